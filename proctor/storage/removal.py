"""What is looked up in the database to be removed from it."""

from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from databases.core import Connection

from proctor.errors import Unavailable, UnknownSession
from proctor.model import ExamSession, SessionStatus, check_session_id
from proctor.storage.pool import Pool
from proctor.storage.rows import check_text, session_of
from proctor.storage.tables import exam_analyses, exam_sessions, review_events

_ATTEMPTS = 10

_there = exam_sessions.c


class Removal:
    """Calls are as those of :class:`proctor.storage.database.Database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def sessions_of(self, candidate_id: str) -> list[ExamSession]:
        """Return all sessions of a candidate, the oldest first. Raises InvalidRequest for what is no name."""
        check_text(candidate_id, "candidate_id")
        return await self._sessions(_there.candidate_id == candidate_id)

    async def ended_before(self, time_ms: int, *, dumped: bool, limit: int) -> list[ExamSession]:
        """Return up to `limit` sessions that ended before this time; or only those with a dump."""
        old = sa.and_(_there.status == SessionStatus.ENDED.value, _there.ended_ms < time_ms)
        return await self._sessions(sa.and_(old, _there.dumped) if dumped else old, limit)

    async def running_since_before(self, time_ms: int) -> list[ExamSession]:
        """Return the active sessions that began before this time, the oldest first."""
        active = _there.status == SessionStatus.ACTIVE.value
        return await self._sessions(sa.and_(active, _there.started_ms < time_ms))

    async def forget_dump(self, session_id: str) -> None:
        """Note that a session's dump is no more."""
        session = sa.update(exam_sessions).where(_there.session_id == check_session_id(session_id))
        await self._execute(session.values(dumped=False))

    async def remove_session(self, session_id: str) -> None:
        """Delete a session, its reports and their review. Idempotent; cut short, it is to be called again.

        Its milestones, and what webhooks tell of it, go with its row, which theirs refer to.
        """
        check_session_id(session_id)
        for _ in range(_ATTEMPTS):
            # What refers to the session comes first, so that whoever finds it there removes the rest.
            for table in (review_events, exam_analyses):
                await self._execute(sa.delete(table).where(table.c.session_id == session_id))
            # Unless something was added meanwhile.
            with suppress(UnknownSession):
                await self._execute(sa.delete(exam_sessions).where(_there.session_id == session_id))
                return
        raise Unavailable(f"somebody works on session {session_id!r} all the time; ask again in a moment")

    async def _sessions(
        self, condition: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[ExamSession]:
        select = sa.select(exam_sessions).where(condition).order_by(_there.started_ms, _there.session_id)

        async def unit(connection: Connection) -> list[ExamSession]:
            return [session_of(row) for row in await connection.fetch_all(select.limit(limit))]

        return await self._pool.run(unit)

    async def _execute(self, statement: Any) -> None:
        async def unit(connection: Connection) -> None:
            await connection.execute(statement)

        await self._pool.run(unit)
