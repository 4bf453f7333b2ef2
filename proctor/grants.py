"""Accommodations of running sessions: granted at the start or later, and taken back."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from proctor.accommodations import AnyAccommodation, in_force
from proctor.analysis.granting import Granting
from proctor.errors import InvalidRequest, SessionEnded, Unavailable
from proctor.ingest import Ingest
from proctor.model import ExamSession, SessionStatus
from proctor.sessions import Sessions
from proctor.storage.database import Database
from proctor.times import iso_from_ms

_log = structlog.get_logger(__name__)

_ATTEMPTS = 100


class Grants:
    """Changes what sessions are granted; they are judged by it from their next report on."""

    def __init__(
        self,
        sessions: Sessions,
        database: Database,
        ingest: Ingest,
        granting: Granting,
        now_ms: Callable[[], int],
    ) -> None:
        self._sessions = sessions
        self._database = database
        self._ingest = ingest
        self._granting = granting
        self._now_ms = now_ms

    async def grant(self, session_id: str, asked: Sequence[Any]) -> ExamSession:
        """Add accommodations, given as JSON values.

        Raises:
            UnknownSession: there is no such session.
            SessionEnded: it is over; judge it again with accommodations instead.
            InvalidRequest: naming the accommodation and the key at fault.
            Unavailable: others change them all the time; ask again.
        """
        now = iso_from_ms(self._now_ms())

        def more(session: ExamSession) -> list[AnyAccommodation]:
            return self._granting.read(asked, session.policy, session.accommodations, now)

        return await self._change(session_id, more)

    async def withdraw(self, session_id: str, accommodation_id: str) -> ExamSession:
        """Take an accommodation back, as if it had never been granted; the session still shows it.

        Raises:
            InvalidRequest: the session has no such accommodation.
            UnknownSession, SessionEnded, Unavailable: as :meth:`grant`.
        """
        now = iso_from_ms(self._now_ms())

        def fewer(session: ExamSession) -> list[AnyAccommodation]:
            there = [each.id for each in session.accommodations]
            if accommodation_id not in there:
                known = ", ".join(there) or "none"
                detail = f"there is no accommodation {accommodation_id!r}; there are: {known}"
                raise InvalidRequest(detail, field="accommodation_id")
            return [
                msgspec.structs.replace(each, withdrawn=each.withdrawn or now)
                if each.id == accommodation_id
                else each
                for each in session.accommodations
            ]

        return await self._change(session_id, fewer)

    async def _change(
        self, session_id: str, change: Callable[[ExamSession], list[AnyAccommodation]]
    ) -> ExamSession:
        for _ in range(_ATTEMPTS):
            session = await self._sessions.get(session_id)
            if session.status is not SessionStatus.ACTIVE:
                again = f"/api/v1/session/{session_id}/reanalyze judges it again, with accommodations"
                raise SessionEnded(f"session {session_id!r} is over; {again}")
            wanted = change(session)
            changed = await self._database.replace_accommodations(session, wanted)
            # Else somebody else was faster, and the change is made to what is there now.
            if changed is not None:
                self._ingest.touched.add(session_id)
                now = [each.id for each in in_force(wanted)]
                _log.info("accommodations changed", session=session_id, in_force=now)
                return changed
        raise Unavailable(
            f"the accommodations of session {session_id!r} keep changing; ask again in a moment"
        )
