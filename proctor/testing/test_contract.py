"""`pytest --pyargs proctor.testing`: the contract suite for every installed analyzer, or for those chosen."""

from pathlib import Path

import pytest

from proctor.analysis.discovery import find_plugins
from proctor.errors import ProctorError
from proctor.testing.judging import Subject, subject
from proctor.testing.suite import ContractSuite


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for each analyzer."""
    if "name" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--analyzer")
        metafunc.parametrize("name", chosen or [plugin.name for plugin in find_plugins()])


class TestContract(ContractSuite):
    """The suite for analyzers by their entry-point names."""

    @pytest.fixture
    def subject(self, name: str, request: pytest.FixtureRequest) -> Subject:
        """The analyzer of this name, with the settings that the command line asks for."""
        option = request.config.getoption
        policy = option("--policy")
        try:
            chosen = subject(
                name, policy=Path(policy) if policy else None, call_seconds=option("--call-seconds")
            )
        except ProctorError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        if not chosen.rule.enabled:
            pytest.skip(f"{policy} switches {name} off")
        return chosen
