"""Fixtures that several test modules share."""

import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from proctor.logs import set_up_logging

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.postgres",
    "tests.fixtures.receiver",
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


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Where pytest-cov pauses, stop what measures its worker as a process as any other, and goes on then."""
    if not item.get_closest_marker("no_cover"):
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(here)
        threading.settrace(in_threads)


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    """Log as the server does, so that a failing test shows what it said."""
    set_up_logging("text", "info")
