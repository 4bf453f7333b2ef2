"""Which connections this process has, by exam session."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

from proctor.connection import Connection
from proctor.replies import ServerMessage
from proctor.wire import CloseCode

_ENDED_REMEMBERED = 10_000
"""Sessions that ended last, for clients that were admitted just before but join just after."""


class Roster:
    """The open connections. Each joins for as long as it runs."""

    def __init__(self) -> None:
        self._connections: defaultdict[str, set[Connection]] = defaultdict(set)
        self._ended: dict[str, None] = {}
        self._closing: CloseCode | None = None

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        """Keep `connection` on the roster inside the block."""
        members = self._connections[connection.session_id]
        members.add(connection)
        if self._closing is not None:
            connection.finish(self._closing)
        elif connection.session_id in self._ended:
            connection.finish(CloseCode.SESSION_ENDED)
        try:
            yield
        finally:
            members.discard(connection)
            if not members and self._connections.get(connection.session_id) is members:
                del self._connections[connection.session_id]

    def __len__(self) -> int:
        return sum(map(len, self._connections.values()))

    @property
    def session_ids(self) -> list[str]:
        """The sessions that have clients here."""
        return list(self._connections)

    async def stop_intake(self, session_id: str) -> None:
        """Take in what the session's clients have sent already; read nothing more from them."""
        async with trio.open_nursery() as nursery:
            for connection in self._of(session_id):
                nursery.start_soon(connection.stop_intake)

    def finish(self, session_id: str) -> None:
        """Tell every client of the session, also one that joins later, that it has ended, and close."""
        self._ended[session_id] = None
        if len(self._ended) > _ENDED_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        for connection in self._of(session_id):
            connection.finish(CloseCode.SESSION_ENDED)

    def tell(self, session_id: str, message: ServerMessage) -> int:
        """Tell the session's clients something; returns how many there are."""
        connections = self._of(session_id)
        for connection in connections:
            connection.tell(message)
        return len(connections)

    def renew(self, epoch: str) -> None:
        """Tell every client that knows of another epoch that the frame store holds nothing of before."""
        for connections in self._connections.values():
            for connection in connections:
                connection.renew(epoch)

    async def close_all(self, code: CloseCode) -> None:
        """Take in what all clients have sent already, then close their connections and every later one."""
        self._closing = code
        async with trio.open_nursery() as nursery:
            for session_id in list(self._connections):
                for connection in self._of(session_id):
                    nursery.start_soon(partial(_leave, connection, code))

    def _of(self, session_id: str) -> list[Connection]:
        return list(self._connections.get(session_id, ()))


async def _leave(connection: Connection, code: CloseCode) -> None:
    await connection.stop_intake()
    connection.finish(code)
