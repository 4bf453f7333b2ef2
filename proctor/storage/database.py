"""Exam sessions and their final reports, in SQLite or PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from databases.core import Connection
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from proctor.accommodations import AnyAccommodation
from proctor.errors import Unavailable
from proctor.model import ExamSession, SessionStatus, check_session_id
from proctor.settings import Settings
from proctor.storage.analyses import Analysis, report_columns
from proctor.storage.listing import Place, SessionPage
from proctor.storage.pool import Pool, open_pool
from proctor.storage.rows import check_text, is_session, row_of, session_of, written
from proctor.storage.tables import exam_analyses, exam_sessions

_ACTIVE = exam_sessions.c.status == SessionStatus.ACTIVE.value
_ENDING = exam_sessions.c.status == SessionStatus.ENDING.value
_CLAIMED = ("candidate_id", "exam_id", "policy", "metadata")


class Database:
    """Every call is one unit of work: atomic, and safe against the same call from any other process.

    Calls may be cancelled; a cancelled write may or may not have happened. Whatever the database's trouble, a
    call ends within `database_timeout_seconds` (SQLite's cancellation may take that long too) and raises
    :class:`proctor.errors.Unavailable`; later calls work again as soon as the database does.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool, self._insert = pool, pool.insert
        self.kind = pool.kind
        """`sqlite` or `postgresql`."""

    async def start_session(self, session: ExamSession) -> ExamSession:
        """Insert the session, or return the one that has its id, however that one differs.

        A running session that nobody had started takes what it lacks from `session`, but keeps its start.

        Raises:
            InvalidRequest: a text that one of the databases cannot hold.
        """
        insert = self._insert(exam_sessions).values(row_of(session))
        there, given = exam_sessions.c, insert.excluded
        # What was granted before the session was started stays.
        nothing = there.accommodations == written([])
        granted = sa.case((nothing, given.accommodations), else_=there.accommodations)
        claim = insert.on_conflict_do_update(
            index_elements=[there.session_id],
            set_={name: given[name] for name in _CLAIMED} | {"accommodations": granted},
            where=there.candidate_id.is_(None) & given.candidate_id.is_not(None) & _ACTIVE,
        )
        found = await self._write_or_read(claim.returning(exam_sessions), session.session_id)
        if found is None:
            raise Unavailable("the session was erased this very moment; start it again")
        return found

    async def admit_sessions(
        self, session_ids: Sequence[str], started_ms: int | None
    ) -> dict[str, ExamSession]:
        """Return the sessions of these ids; those that nobody had started begin at `started_ms`, if given."""
        wanted = _among([check_session_id(each) for each in session_ids])

        async def unit(connection: Connection) -> dict[str, ExamSession]:
            found: dict[str, ExamSession] = {}
            while True:
                rows = await connection.fetch_all(sa.select(exam_sessions).where(wanted))
                found.update((row["session_id"], session_of(row)) for row in rows)
                missing = [each for each in session_ids if each not in found]
                if not missing or started_ms is None:
                    return found
                begun = [row_of(ExamSession(session_id=each, started_ms=started_ms)) for each in missing]
                await connection.execute(self._insert(exam_sessions).values(begun).on_conflict_do_nothing())

        return await self._pool.run(unit)

    async def get_session(self, session_id: str) -> ExamSession | None:
        """Return the session of this id."""
        found = await self._sessions(sa.select(exam_sessions).where(is_session(session_id)))
        return found[0] if found else None

    async def list_sessions(
        self,
        *,
        status: SessionStatus | None = None,
        exam_id: str | None = None,
        candidate_id: str | None = None,
        limit: int,
        before: str | None = None,
    ) -> SessionPage:
        """Return up to `limit` sessions, newest first, beginning after the place that `before` names.

        Pages neither repeat nor skip a session, however many are started in between.

        Raises:
            InvalidRequest: `before` is not the `next` of a page, or a filter is no text that could be stored.
        """
        filters = {"status": status and status.value, "exam_id": exam_id, "candidate_id": candidate_id}
        for field, value in filters.items():
            check_text(value, field)
        matching = [exam_sessions.c[field] == value for field, value in filters.items() if value is not None]
        order = (exam_sessions.c.started_ms, exam_sessions.c.session_id)
        page = sa.select(exam_sessions).where(*matching).order_by(*(column.desc() for column in order))
        if before is not None:
            page = page.where(sa.tuple_(*order) < Place.parse(before))
        count = sa.select(sa.func.count()).select_from(exam_sessions).where(*matching)

        async def unit(connection: Connection) -> tuple[list[ExamSession], int]:
            # One more than asked for tells whether there is a next page.
            rows = await connection.fetch_all(page.limit(limit + 1))
            return [session_of(row) for row in rows], await connection.fetch_val(count)

        found, total = await self._pool.run(unit)
        shown = found[:limit]
        more = len(found) > limit
        return SessionPage(
            shown, total, str(Place(shown[-1].started_ms, shown[-1].session_id)) if more else None
        )

    async def begin_ending(self, session_id: str, ended_ms: int) -> ExamSession | None:
        """Make an active session an ending one and return it; one that is further stays as it is.

        Returns:
            The session as it is then, or None if there is none.
        """
        return await self._advance(
            session_id,
            _ACTIVE,
            status=SessionStatus.ENDING.value,
            ended_ms=ended_ms,
        )

    async def replace_accommodations(
        self, session: ExamSession, accommodations: Sequence[AnyAccommodation]
    ) -> ExamSession | None:
        """Give a session other accommodations, if it is active and those it has are the ones in `session`.

        Returns:
            The session as it is then, or None where nothing was changed.
        """
        there = exam_sessions.c
        as_read = there.accommodations == written(session.accommodations)
        update = sa.update(exam_sessions).values(accommodations=written(accommodations))
        update = update.where(is_session(session.session_id), _ACTIVE, as_read)
        changed = await self._sessions(update.returning(exam_sessions))
        return changed[0] if changed else None

    async def mark_dumped(self, session_id: str) -> ExamSession | None:
        """Note that the dump is on disk. Idempotent; returns as `begin_ending` does."""
        return await self._advance(session_id, sa.not_(exam_sessions.c.dumped), dumped=True)

    async def mark_ended(self, session_id: str) -> ExamSession | None:
        """Make an ending session an ended one; others stay as they are. Returns as `begin_ending` does."""
        return await self._advance(session_id, _ENDING, status=SessionStatus.ENDED.value)

    async def unfinished_sessions(self) -> list[ExamSession]:
        """Return the sessions that are ending, those first that have been for longest."""
        return await self._sessions(
            sa.select(exam_sessions)
            .where(_ENDING)
            .order_by(exam_sessions.c.ended_ms, exam_sessions.c.session_id)
        )

    async def running_sessions(self) -> list[str]:
        """Return the ids of the sessions that are active."""
        return await self._ids(sa.select(exam_sessions.c.session_id).where(_ACTIVE))

    async def lately_ended(self, since_ms: int) -> list[ExamSession]:
        """Return the sessions that have ended, or begun to, since then (milliseconds since the epoch)."""
        return await self._sessions(sa.select(exam_sessions).where(exam_sessions.c.ended_ms >= since_ms))

    async def active_sessions(self, session_ids: Sequence[str]) -> list[ExamSession]:
        """Return those of the sessions, at most a thousand or so, that are active, in any order."""
        return await self._sessions(sa.select(exam_sessions).where(_ACTIVE, _among(session_ids)))

    async def no_longer_active(self, session_ids: Sequence[str]) -> list[str]:
        """Return those of the sessions, at most a thousand or so, that are over, in any order."""
        return await self._ids(sa.select(exam_sessions.c.session_id).where(~_ACTIVE, _among(session_ids)))

    async def save_report(
        self,
        session_id: str,
        report: bytes,
        *,
        version: int = 1,
        requested_by: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Keep a version of a session's report, unless there is one of this number, which then stands.

        Returns:
            Whether it is this one that is kept.

        Raises:
            UnknownSession: there is no such session.
            InvalidRequest: a text that one of the databases cannot hold.
        """
        check_text(requested_by, "requested_by")
        check_text(reason, "reason")
        row = report_columns(report) | {
            "session_id": check_session_id(session_id),
            "version": version,
            "requested_by": requested_by,
            "reason": reason,
        }
        insert = self._insert(exam_analyses).values(row).on_conflict_do_nothing()

        async def unit(connection: Connection) -> bool:
            return bool(await connection.fetch_all(insert.returning(exam_analyses.c.session_id)))

        return await self._pool.run(unit)

    async def get_report(self, session_id: str, version: int | None = None) -> bytes | None:
        """Return a version of the session's final report, by default the latest: the very bytes saved."""
        there = exam_analyses.c
        select = sa.select(there.report).where(there.session_id == check_session_id(session_id))
        if version is not None:
            select = select.where(there.version == version)
        select = select.order_by(there.version.desc()).limit(1)

        async def unit(connection: Connection) -> str | None:
            report: str | None = await connection.fetch_val(select)
            return report

        report = await self._pool.run(unit)
        return None if report is None else report.encode()

    async def list_analyses(self, session_id: str) -> list[Analysis]:
        """Return all versions of a session's report, without the reports, the first first."""
        there = exam_analyses.c
        select = (
            sa.select(*(there[name] for name in Analysis.__struct_fields__))
            .where(there.session_id == check_session_id(session_id))
            .order_by(there.version)
        )

        async def unit(connection: Connection) -> list[Analysis]:
            rows = await connection.fetch_all(select)
            return [Analysis(**{name: row[name] for name in Analysis.__struct_fields__}) for row in rows]

        return await self._pool.run(unit)

    async def ping(self) -> None:
        """Return if the database answers."""

        async def unit(connection: Connection) -> None:
            await connection.fetch_val(sa.select(1))

        await self._pool.run(unit)

    async def _advance(
        self, session_id: str, condition: sa.ColumnElement[bool], **values: object
    ) -> ExamSession | None:
        update = sa.update(exam_sessions).where(is_session(session_id), condition).values(values)
        return await self._write_or_read(update.returning(exam_sessions), session_id)

    async def _write_or_read(
        self, write: ReturningInsert[Any] | ReturningUpdate[Any], session_id: str
    ) -> ExamSession | None:
        """Return the session that `write` has written, or else, if it had nothing to do, as it is."""
        read = sa.select(exam_sessions).where(is_session(session_id))

        async def unit(connection: Connection) -> ExamSession | None:
            # All rows are fetched, even of one: SQLite commits once there are no more.
            rows = await connection.fetch_all(write) or await connection.fetch_all(read)
            return session_of(rows[0]) if rows else None

        return await self._pool.run(unit)

    async def _ids(self, select: sa.Select[Any]) -> list[str]:
        async def unit(connection: Connection) -> list[str]:
            return [row[0] for row in await connection.fetch_all(select)]

        return await self._pool.run(unit)

    async def _sessions(self, statement: sa.Select[Any] | ReturningUpdate[Any]) -> list[ExamSession]:
        async def unit(connection: Connection) -> list[ExamSession]:
            return [session_of(row) for row in await connection.fetch_all(statement)]

        return await self._pool.run(unit)


def _among(session_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    return exam_sessions.c.session_id.in_(session_ids)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database that the settings name; a SQLite file is created and brought up to date.

    Raises:
        Unavailable: the database is down.
        Misconfigured: it cannot be used as it is; says what to do.
    """
    async with open_pool(settings) as pool:
        yield Database(pool)
