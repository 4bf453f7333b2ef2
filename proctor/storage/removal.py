"""What is looked up in the database to be removed from it."""

from typing import Any

import sqlalchemy as sa
from databases.core import Connection

from proctor.model import ExamSession, SessionStatus, check_session_id
from proctor.storage.pool import Pool
from proctor.storage.rows import check_text, session_of
from proctor.storage.tables import exam_analyses, exam_sessions

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
        """Delete a session and all its reports. Idempotent; cut short, it is to be called again."""
        check_session_id(session_id)
        # The reports first, which refer to the session, so that whoever finds it there removes the rest.
        await self._execute(sa.delete(exam_analyses).where(exam_analyses.c.session_id == session_id))
        await self._execute(sa.delete(exam_sessions).where(_there.session_id == session_id))

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
