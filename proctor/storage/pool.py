"""Connections to the database, handed out for one unit of work at a time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import databases
import trio
from databases.core import Connection

from proctor.errors import Unavailable
from proctor.settings import Settings
from proctor.storage.backends import Backend, backend_of
from proctor.storage.bridge import Bridge, open_bridge
from proctor.storage.faults import translated
from proctor.storage.schema import check_schema

T = TypeVar("T")


class Pool:
    """Runs units of work, at most `database_connections_max` at a time."""

    def __init__(
        self, bridge: Bridge, backend: Backend, pool: databases.Database, settings: Settings
    ) -> None:
        self._bridge = bridge
        self._backend = backend
        self.kind = backend.kind
        """`sqlite` or `postgresql`."""
        self.insert = backend.insert
        self._pool = pool
        self.seconds = settings.database_timeout_seconds
        """Longest that a unit of work may take."""
        self._limiter = trio.CapacityLimiter(settings.database_connections_max)

    async def run(self, unit: Callable[[Connection], Awaitable[T]]) -> T:
        """Run one unit of work and return its result.

        Units consist of single statements, each of which the database commits by itself. `databases` has
        transactions too, but loses a connection for good when BEGIN, COMMIT or ROLLBACK fails in one.
        A cancelled unit may or may not have happened.

        Raises:
            Unavailable: the database is down, or took longer than `database_timeout_seconds`.
        """
        try:
            with translated(), trio.fail_after(self.seconds):
                async with self._limiter:
                    # SQLite gives up on a lock by itself, after the same time; the rest is for a stuck disk.
                    with trio.fail_after(2 * self.seconds, shield=not self._backend.cancellable):
                        return await self._bridge.run(partial(self._on_connection, unit))
        except trio.TooSlowError as error:
            raise Unavailable(f"the database did not answer within {self.seconds:g} s") from error

    async def _on_connection(self, unit: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            try:
                return await unit(connection)
            except Exception:
                raise
            except BaseException:
                self._backend.abandon(connection)
                raise


@asynccontextmanager
async def open_pool(settings: Settings) -> AsyncIterator[Pool]:
    """Open the database that the settings name; a SQLite file is created and brought up to date.

    On leaving, lets go of all connections within `database_timeout_seconds`.

    Raises:
        Unavailable: the database is down.
        Misconfigured: it cannot be used as it is; says what to do.
    """
    seconds = settings.database_timeout_seconds
    backend = backend_of(settings)
    pool = backend.pool(size=settings.database_connections_max, seconds=seconds)
    async with open_bridge() as bridge:
        await check_schema(bridge, backend, settings)
        with translated():
            await bridge.run(pool.connect)
        try:
            yield Pool(bridge, backend, pool, settings)
        finally:
            # When its time is up, asyncpg drops the connections instead of taking leave of the server.
            with trio.move_on_after(seconds, shield=True), translated():
                await bridge.run(pool.disconnect)
