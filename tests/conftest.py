"""Fixtures that several test modules share."""

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from proctor.logs import set_up_logging

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.postgres",
    "tests.fixtures.redis",
    "tests.fixtures.schema",
    "tests.fixtures.server",
    "tests.fixtures.workers",
]

_HARD_LIMIT_SECONDS = 20


@pytest.fixture
async def hard_limit() -> AsyncIterator[None]:
    """End a test that waits for something that never comes."""
    with trio.fail_after(_HARD_LIMIT_SECONDS):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Under pytest-cov's mark `no_cover`, the processes that a test starts are not measured either.

    It is for what proves much about lines that others reach, since to be measured doubles what they cost.
    """
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("no_cover"):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    """Log as the server does, so that a failing test shows what it said."""
    set_up_logging("text", "info")
