"""What the processes of one deployment tell each other about sessions that end.

Notices are a courtesy that makes things quick. They may get lost; what has to happen happens without them,
if later: see :mod:`proctor.farewells`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from proctor.replies import Alert, Message
from proctor.settings import Settings

TAKE_IN_SECONDS = 1.5
"""Longest that an end waits for the other processes to take in what was sent to them."""


Told = Message | Alert
"""What the clients of a session may be told from elsewhere."""


class Listener(Protocol):
    """What a process does when another asks for it."""

    async def take_in(self, session_id: str) -> None:
        """Take in and store what the session's clients have sent to this process."""
        ...

    def finish(self, session_id: str) -> None:
        """Tell the session's clients here that it has ended, and let them go."""
        ...

    def tell(self, session_id: str, message: Told) -> int:
        """Tell the session's clients here something; returns how many there are."""
        ...


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

    async def tell(self, session_id: str, message: Told) -> int:
        """Have all other processes tell the session's clients something; returns how many of them there are.

        Waits `TAKE_IN_SECONDS` at most.
        """
        ...

    async def listen(self, listener: Listener) -> None:
        """Have `listener` do what any process, this one included, asks for, until cancelled."""
        ...


class NobodyElse:
    """The notices of a process that has its frames, and so its sessions, to itself."""

    async def ending(self, _session_id: str) -> None:
        """Nobody has to be told."""
        await trio.lowlevel.checkpoint()

    async def ended(self, _session_id: str) -> None:
        """Nobody has to be told."""
        await trio.lowlevel.checkpoint()

    async def tell(self, _session_id: str, _message: Told) -> int:
        """There is nobody to tell."""
        await trio.lowlevel.checkpoint()
        return 0

    async def listen(self, _listener: Listener) -> None:
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
