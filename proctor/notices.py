"""What the processes of one deployment tell each other about sessions that end.

Notices are a courtesy that makes things quick. They may get lost; what has to happen happens without them,
if later: see :mod:`proctor.farewells`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from proctor.settings import Settings

TAKE_IN_SECONDS = 1.5
"""Longest that an end waits for the other processes to take in what was sent to them."""


class Notices(Protocol):
    """Between processes. While Redis is down, calls do nothing, and take no longer than else."""

    async def ending(self, session_id: str) -> None:
        """Have all processes take in what the session's clients have sent; returns once they say they have.

        Waits `TAKE_IN_SECONDS` at most.
        """
        ...

    async def ended(self, session_id: str) -> None:
        """Have all processes tell the session's clients that it has ended. Does not wait for it."""
        ...

    async def listen(self, take_in: Callable[[str], Awaitable[None]], finish: Callable[[str], None]) -> None:
        """Do what any process, this one included, asks for, until cancelled."""
        ...


class NobodyElse:
    """The notices of a process that has its frames, and so its sessions, to itself."""

    async def ending(self, _session_id: str) -> None:
        """Nobody has to be told."""
        await trio.lowlevel.checkpoint()

    async def ended(self, _session_id: str) -> None:
        """Nobody has to be told."""
        await trio.lowlevel.checkpoint()

    async def listen(
        self, _take_in: Callable[[str], Awaitable[None]], _finish: Callable[[str], None]
    ) -> None:
        """Nobody asks for anything."""
        await trio.sleep_forever()


@asynccontextmanager
async def open_notices(settings: Settings) -> AsyncIterator[Notices]:
    """Open what connects the processes that share a frame store: Redis, or nothing for the embedded one."""
    if settings.redis_url:
        from proctor.storage.redis_notices import open_redis_notices

        async with open_redis_notices(settings) as notices:
            yield notices
    else:
        yield NobodyElse()
