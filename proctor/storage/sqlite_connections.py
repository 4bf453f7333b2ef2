"""Connections to the SQLite database, kept open from one unit of work to the next.

By itself `databases` opens one for each unit, with a thread of its own, at more cost than all else about it.
"""

import os
from typing import Any

import aiosqlite
from databases import Database
from databases.backends.sqlite import SQLiteBackend, SQLitePool
from databases.core import DatabaseURL


class KeptDatabase(Database):
    """A `databases.Database` whose SQLite connections stay open while they are good."""

    SUPPORTED_BACKENDS = Database.SUPPORTED_BACKENDS | {
        "sqlite": "proctor.storage.sqlite_connections:KeptBackend"
    }


class KeptBackend(SQLiteBackend):
    """What the database uses in place of its own backend."""

    def __init__(self, database_url: DatabaseURL | str, *, path: str, **options: Any) -> None:
        super().__init__(database_url, **options)
        self._pool: KeptPool = KeptPool(DatabaseURL(database_url), path, **options)

    async def disconnect(self) -> None:
        """Close what is kept."""
        await self._pool.close()


class KeptPool(SQLitePool):
    """Idle connections to the file that is at `path` now; the last used is used next."""

    def __init__(self, url: DatabaseURL, path: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._path = path
        self._file: tuple[int, int] | None = None
        self._idle: list[aiosqlite.Connection] = []

    async def acquire(self) -> aiosqlite.Connection:
        """Return a connection that nobody else has."""
        file = self._file_now()
        if file != self._file:
            # Another file is there, or none: connections to the old one would read and write what is no more.
            await self.close()
            self._file = file
        return self._idle.pop() if self._idle else await super().acquire()

    async def release(self, connection: aiosqlite.Connection) -> None:
        """Keep the connection, unless a statement is unfinished or its file is gone."""
        if not connection.in_transaction and self._file_now() == self._file:
            self._idle.append(connection)
        else:
            await super().release(connection)

    async def close(self) -> None:
        """Close all that are idle."""
        while self._idle:
            await super().release(self._idle.pop())

    def _file_now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once per unit of work, on the event loop
        except OSError:
            return None
        return found.st_dev, found.st_ino
