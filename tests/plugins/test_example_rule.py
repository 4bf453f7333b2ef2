"""The example that institutions copy: it installs by itself, is found, and passes its own tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "plugins" / "example-rule"


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_example_installs_is_found_and_passes_its_own_tests(tmp_path):
    """A copy, since building leaves files behind; nothing of it is in this environment."""
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run("-m", "pip", "install", *offline, "--target", str(target), str(source))
    listing = "from importlib.metadata import entry_points as e; print(*e(group='proctor.analyzers').names)"
    assert "too_far" in run("-c", listing, PYTHONPATH=str(target)).split()
    report = run("-m", "pytest", str(source), "-q", "-p", "no:cacheprovider", PYTHONPATH=str(target))
    assert "7 passed" in report
