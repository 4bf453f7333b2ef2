"""The example that institutions read: it installs by itself, is found, and passes its own tests."""

from pathlib import Path

import pytest

from tests.plugins.distribution import install, own_tests, rules_in

EXAMPLE = Path(__file__).parents[2] / "plugins" / "example-rule"


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.timeout(180)
def test_example_installs_is_found_and_passes_its_own_tests(tmp_path):
    """Nothing of it is in this environment."""
    target = install(EXAMPLE, tmp_path)
    assert "too_far" in rules_in(target)
    assert " passed" in own_tests(tmp_path / "source", target)
