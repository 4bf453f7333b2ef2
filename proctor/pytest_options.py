"""The options of `pytest --pyargs proctor.testing`.

They are a plugin of pytest's, for a conftest.py in a package that `--pyargs` names is read too late to add
options. This one is loaded into every test run of an environment that has Proctor, so it imports nothing
until one of its options is there.
"""

import typing

if typing.TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: "pytest.Parser") -> None:
    """Add the options."""
    group = parser.getgroup("proctor", "Proctor's contract suite for analyzers (--pyargs proctor.testing)")
    group.addoption(
        "--analyzer",
        action="append",
        default=[],
        metavar="NAME",
        help="test the analyzer of this entry-point name; repeatable; every installed one if none is named",
    )
    group.addoption(
        "--policy", metavar="FILE", help="test with the settings that this exam policy (TOML) gives to them"
    )
    group.addoption(
        "--recording",
        action="append",
        default=[],
        metavar="FILE",
        help="judge the frames of this dump as well; repeatable",
    )
    group.addoption(
        "--call-seconds",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="longest that an analyzer may take over one batch (a server's ANALYSIS_TIMEOUT_SECONDS)",
    )


def pytest_configure(config: "pytest.Config") -> None:
    """Refuse names of analyzers that are not installed, before any test runs."""
    if chosen := config.getoption("--analyzer"):
        import pytest

        from proctor.analysis.discovery import find_plugins

        installed = [plugin.name for plugin in find_plugins()]
        for name in chosen:
            if name not in installed:
                known = ", ".join(installed) or "none"
                raise pytest.UsageError(
                    f"--analyzer {name}: not installed; there are {known}; to add yours: pip install -e ."
                )
