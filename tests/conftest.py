"""Fixtures that several test modules share."""

from collections.abc import AsyncIterator

import pytest
import trio

from proctor.logs import set_up_logging

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.postgres",
    "tests.fixtures.receiver",
    "tests.fixtures.redis",
    "tests.fixtures.server",
]

_HARD_LIMIT_SECONDS = 20


@pytest.fixture
async def hard_limit() -> AsyncIterator[None]:
    """End a test that waits for something that never comes."""
    with trio.fail_after(_HARD_LIMIT_SECONDS):
        yield


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    """Log as the server does, so that a failing test shows what it said."""
    set_up_logging("text", "info")
