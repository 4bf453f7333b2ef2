"""Where the processes of a deployment put what they see of sessions, for those of them that proctors look at.

Nothing on it has to last: what it says follows from frames and connections, and is said again when they do.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from proctor.settings import Settings

WATCHED_SECONDS = 10.0
"""How long processes go on after a proctor has looked last."""

GLANCE, CONNECTED, ERASED = "glance:", "connected:", "erased:"
"""What stands before a session's id in the names of notes: what it looks like; whether it has clients
(`HERE`), or else since when it has none; and when it was erased, lest it is shown any longer. Times are
milliseconds since the epoch; an empty note says that nothing is known."""
HERE = b"here"


class Board(Protocol):
    """Notes by name, numbered as they change. Every call raises Unavailable while it cannot be reached."""

    async def watch(self) -> None:
        """Have all processes put up what they see, for `WATCHED_SECONDS` from now."""
        ...

    async def is_watched(self) -> bool:
        """Tell whether anybody has asked for that."""
        ...

    async def put(self, notes: Mapping[str, bytes]) -> None:
        """Put up notes, in place of those of the same names."""
        ...

    async def since(self, number: int) -> tuple[int, Mapping[str, bytes]]:
        """Return the number of the last change, and the notes that have changed after `number`.

        If the number is lower than the one given, the board is another one, and the notes are all there are.
        """
        ...

    async def remove(self, names: Iterable[str]) -> None:
        """Take notes down."""
        ...


class OwnBoard:
    """The board of a process that has its sessions to itself."""

    def __init__(self) -> None:
        self._notes: dict[str, tuple[int, bytes]] = {}
        self._number = 0
        self._watched_until = -WATCHED_SECONDS

    async def watch(self) -> None:
        """See the protocol."""
        await trio.lowlevel.checkpoint()
        self._watched_until = trio.current_time() + WATCHED_SECONDS

    async def is_watched(self) -> bool:
        """See the protocol."""
        await trio.lowlevel.checkpoint()
        return trio.current_time() < self._watched_until

    async def put(self, notes: Mapping[str, bytes]) -> None:
        """See the protocol."""
        await trio.lowlevel.checkpoint()
        for name, note in notes.items():
            self._number += 1
            self._notes.pop(name, None)  # so that the order is that of the numbers
            self._notes[name] = self._number, note

    async def since(self, number: int) -> tuple[int, Mapping[str, bytes]]:
        """See the protocol."""
        await trio.lowlevel.checkpoint()
        changed: dict[str, bytes] = {}
        for name in reversed(self._notes):
            changed_at, note = self._notes[name]
            if changed_at <= number <= self._number:
                break
            changed[name] = note
        return self._number, changed

    async def remove(self, names: Iterable[str]) -> None:
        """See the protocol."""
        await trio.lowlevel.checkpoint()
        for name in names:
            self._notes.pop(name, None)


async def take_down(board: Board, session_id: str, now_ms: int) -> None:
    """Have nobody see anything of a session any more. Raises Unavailable."""
    await board.remove([f"{GLANCE}{session_id}", f"{CONNECTED}{session_id}"])
    await board.put({f"{ERASED}{session_id}": b"%d" % now_ms})


@asynccontextmanager
async def open_board(settings: Settings) -> AsyncIterator[Board]:
    """Open the board of the processes that share a frame store."""
    if settings.redis_url:
        from proctor.storage.redis_board import open_redis_board

        async with open_redis_board(settings) as board:
            yield board
    else:
        yield OwnBoard()
