"""Accommodations of running sessions: granted at the start or later, and taken back."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from proctor.accommodations import AnyAccommodation
from proctor.analysis.granting import Granting
from proctor.errors import InvalidRequest, SessionEnded
from proctor.ingest import Ingest
from proctor.model import ExamSession, SessionStatus
from proctor.sessions import Sessions
from proctor.storage.database import Database

_log = structlog.get_logger(__name__)


class Grants:
    """Changes what sessions are granted; they are judged by it from their next report on."""

    def __init__(self, sessions: Sessions, database: Database, ingest: Ingest, granting: Granting) -> None:
        self._sessions = sessions
        self._database = database
        self._ingest = ingest
        self._granting = granting

    async def grant(self, session_id: str, asked: Sequence[Any]) -> ExamSession:
        """Add accommodations, given as JSON values.

        Raises:
            UnknownSession: there is no such session.
            SessionEnded: it is over; judge it again with accommodations instead.
            InvalidRequest: naming the accommodation and the key at fault.
        """

        def more(session: ExamSession) -> list[AnyAccommodation]:
            return self._granting.read(asked, session.policy, session.accommodations)

        return await self._change(session_id, more)

    async def withdraw(self, session_id: str, accommodation_id: str) -> ExamSession:
        """Take an accommodation back, as if it had never been granted. Raises as :meth:`grant`."""

        def fewer(session: ExamSession) -> list[AnyAccommodation]:
            left = [each for each in session.accommodations if each.id != accommodation_id]
            if len(left) == len(session.accommodations):
                there = ", ".join(each.id for each in session.accommodations) or "none"
                detail = (
                    f"session {session_id!r} has no accommodation {accommodation_id!r}; there are: {there}"
                )
                raise InvalidRequest(detail, field="accommodation_id")
            return left

        return await self._change(session_id, fewer)

    async def _change(
        self, session_id: str, change: Callable[[ExamSession], list[AnyAccommodation]]
    ) -> ExamSession:
        while True:
            session = await self._sessions.get(session_id)
            if session.status is not SessionStatus.ACTIVE:
                again = f"/api/v1/session/{session_id}/reanalyze judges it again, with accommodations"
                raise SessionEnded(f"session {session_id!r} is over; {again}")
            wanted = change(session)
            changed = await self._database.replace_accommodations(session, wanted)
            # Else somebody else was faster, and the change is made to what is there now.
            if changed is not None:
                self._ingest.touched.add(session_id)
                _log.info("accommodations changed", session=session_id, now=[each.id for each in wanted])
                return changed
