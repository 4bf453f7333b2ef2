"""The audit trail's entries, in SQLite or PostgreSQL. Rows are added and read; triggers refuse all else."""

import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
import trio
from databases.core import Connection

from proctor.audit import Audit
from proctor.chain import START, Entry, Event, Head, seal
from proctor.errors import Misconfigured, Unavailable
from proctor.settings import Settings
from proctor.storage.pool import Pool, open_pool
from proctor.storage.schema import SchemaState, schema_status
from proctor.storage.tables import audit_log, installation_secrets

_ATTEMPTS = 50
_PAUSE_SECONDS = 0.1
"""Longest between two attempts."""

_there = audit_log.c
_LAST = sa.select(_there.number, _there.hash).order_by(_there.number.desc()).limit(1)


class AuditLog:
    """Appends to the chain, and reads it. Any number of processes may do so on one database.

    Calls may be cancelled. They end as those of :class:`proctor.storage.database.Database` do, within
    `database_timeout_seconds`, and raise :class:`proctor.errors.Unavailable` where that one would.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._turn = trio.Lock()

    async def append(self, event: Event) -> Entry:
        """Add the event to the end of the chain and return it as the entry that it became.

        Once where it returns; where it raises or is cancelled, once or not at all.

        Raises:
            Unavailable: the database is down or slow, or other processes were faster every time.
        """
        try:
            # Taking turns, tasks of one process do not compete, and other processes are few.
            with trio.fail_after(self._pool.seconds):
                async with self._turn:
                    return await self._compete(event)
        except trio.TooSlowError as error:
            raise Unavailable(f"nothing could be recorded within {self._pool.seconds:g} s") from error

    async def _compete(self, event: Event) -> Entry:
        async def unit(connection: Connection) -> Entry | None:
            rows = await connection.fetch_all(_LAST)
            entry = seal(event, Head(rows[0]["number"], rows[0]["hash"]) if rows else START)
            insert = (
                self._pool.insert(audit_log).values(msgspec.structs.asdict(entry)).on_conflict_do_nothing()
            )
            # All rows are fetched, even of one: SQLite commits once there are no more.
            return entry if await connection.fetch_all(insert.returning(_there.number)) else None

        for attempt in range(_ATTEMPTS):
            entry = await self._pool.run(unit)
            if entry is not None:
                return entry
            longest = min(_PAUSE_SECONDS, 0.002 * 2**attempt)
            await trio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads load, keeps no secret
        raise Unavailable("others record all the time; try again in a moment")

    async def oldest(self, *, after: int | None, limit: int) -> list[Entry]:
        """Return up to `limit` entries by rising number, beginning after one or with the lowest."""
        page = sa.select(audit_log).order_by(_there.number).limit(limit)
        return await self._entries(page if after is None else page.where(_there.number > after))

    async def newest(
        self,
        *,
        subjects: Sequence[str] | None,
        actor: str | None,
        action: str | None,
        since_ms: int | None,
        before: int | None,
        limit: int,
    ) -> list[Entry]:
        """Return up to `limit` of the entries that match all that is not None, by falling number."""
        page = sa.select(audit_log).order_by(_there.number.desc()).limit(limit)
        if subjects is not None:
            page = page.where(_there.subject.in_(subjects))
        for column, value in ((_there.actor, actor), (_there.action, action)):
            if value is not None:
                page = page.where(column == value)
        if since_ms is not None:
            page = page.where(_there.at_ms >= since_ms)
        if before is not None:
            page = page.where(_there.number < before)
        return await self._entries(page)

    async def pseudonym_secret(self) -> bytes:
        """Return what pseudonyms are keyed with, which is made when it is first asked for."""
        made = {"name": "pseudonyms", "secret": secrets.token_hex(32)}
        insert = self._pool.insert(installation_secrets).values(made).on_conflict_do_nothing()
        select = sa.select(installation_secrets.c.secret).where(installation_secrets.c.name == made["name"])

        async def unit(connection: Connection) -> str:
            await connection.execute(insert)
            secret: str = await connection.fetch_val(select)
            return secret

        return bytes.fromhex(await self._pool.run(unit))

    async def _entries(self, select: sa.Select[Any]) -> list[Entry]:
        async def unit(connection: Connection) -> list[Entry]:
            with self._as_they_are(connection):
                rows = await connection.fetch_all(select)
            return [Entry(**{name: row[name] for name in Entry.__struct_fields__}) for row in rows]

        return await self._pool.run(unit)

    @contextmanager
    def _as_they_are(self, connection: Connection) -> Iterator[None]:
        """Read texts that are no UTF-8, too: SQLite lets whoever tampers write any bytes into any column."""
        if self._pool.kind != "sqlite":
            yield
            return
        sqlite = connection.raw_connection
        sqlite.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        try:
            yield
        finally:
            sqlite.text_factory = str


@asynccontextmanager
async def open_audit(settings: Settings) -> AsyncIterator[Audit]:
    """Open the audit trail of a database that is there already, over connections of its own.

    An outdated SQLite file is brought up to date, but none is made: an empty trail would be intact.

    Raises:
        Unavailable: the database is down.
        Misconfigured: there is none, or it cannot be used as it is; says what to do.
    """
    if (await schema_status(settings)).state is SchemaState.MISSING:
        detail = (
            "there is no database of Proctor's: is it the right one? A server's start creates it in SQLite, "
        )
        raise Misconfigured(detail + "`proctor db upgrade` in PostgreSQL", field="database_url")
    async with open_pool(settings) as pool:
        yield Audit(AuditLog(pool), _now_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
