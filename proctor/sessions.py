"""The life of exam sessions: start, streaming, analyze, and an end, for which see :mod:`proctor.endings`."""

from collections.abc import Callable
from contextlib import suppress

from proctor.accommodations import granted
from proctor.admissions import Admissions, erased
from proctor.endings import Endings
from proctor.errors import Conflict, SessionEnded, Throttled, Unavailable, UnknownSession
from proctor.live import LiveAnalysis
from proctor.model import ExamSession, SessionStatus
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore
from proctor.storage.listing import SessionPage
from proctor.times import iso_from_ms


class Sessions:
    """Everything that can be done with an exam session."""

    def __init__(
        self,
        *,
        database: Database,
        store: FrameStore,
        live: LiveAnalysis,
        endings: Endings,
        admissions: Admissions,
        settings: Settings,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._store = store
        self._live = live
        self._endings = endings
        self._admissions = admissions
        self._settings = settings
        self._now_ms = now_ms

    async def start(self, session: ExamSession) -> ExamSession:
        """Start a session, or return it as it is if the same was started before.

        Raises:
            SessionEnded: it is over.
            Conflict: it belongs to another candidate or exam.
        """
        existing = await self._database.start_session(session)
        if existing.status is not SessionStatus.ACTIVE:
            raise _ended(existing)
        for field in ("candidate_id", "exam_id"):
            there, asked = getattr(existing, field), getattr(session, field)
            if asked is not None and there != asked:
                detail = f"session {session.session_id!r} was started with {field} {there!r}"
                raise Conflict(detail, field=field)
        if granted(session.accommodations) - granted(existing.accommodations):
            detail = (
                f"session {session.session_id!r} was started with other accommodations; "
                f"POST /api/v1/session/{session.session_id}/accommodations adds some"
            )
            raise Conflict(detail, field="accommodations")
        return existing

    async def get(self, session_id: str) -> ExamSession:
        """Return a session. Raises UnknownSession."""
        session = await self._database.get_session(session_id)
        if session is None:
            raise UnknownSession.of(session_id)
        return session

    async def known(self, session_id: str) -> ExamSession | None:
        """Return a session, or None if one of this id may be started.

        Raises:
            Conflict: one of this id was erased not long ago.
        """
        session = await self._database.get_session(session_id)
        with suppress(Unavailable):  # who starts a session need not wait for the frame store
            if session is None and (await self._store.resume_point(session_id)).sealed:
                raise erased(session_id)
        return session

    async def list(
        self,
        *,
        status: SessionStatus | None,
        exam_id: str | None,
        candidate_id: str | None,
        limit: int,
        before: str | None,
    ) -> SessionPage:
        """Return a page of sessions, newest first. Raises InvalidRequest for a `before` that no page gave."""
        return await self._database.list_sessions(
            status=status, exam_id=exam_id, candidate_id=candidate_id, limit=limit, before=before
        )

    async def admit(self, session_id: str) -> ExamSession:
        """Return the session that somebody wants to stream into; one that nobody started begins here.

        Raises:
            SessionEnded: it takes no more frames.
            UnknownSession: nobody started it, and authentication is on.
            Conflict: one of this id was erased not long ago.
        """
        session = await self._admissions.admit(session_id)
        if session.status is not SessionStatus.ACTIVE:
            raise _ended(session)
        return session

    async def analyze(self, session_id: str) -> bytes:
        """Return the report: live while the session runs, the final one when it has ended.

        Raises:
            UnknownSession: there is no such session.
            Throttled: asked again within `analyze_interval_seconds`.
            Unavailable: the session is ending and its final report is not there yet.
        """
        session = await self.get(session_id)
        wait = await self._store.claim(f"analyze:{session_id}", self._settings.analyze_interval_seconds)
        if wait > 0:
            raise Throttled(
                f"session {session_id!r} was analyzed a moment ago; wait {wait:.1f} s",
                retry_after_seconds=wait,
            )
        if session.status is SessionStatus.ACTIVE:
            report = await self._live.report(session, final=False)
            session = await self.get(session_id)
            # If it has ended meanwhile, its frames may have been cleared before they were read.
            if session.status is SessionStatus.ACTIVE:
                return report
        if session.status is SessionStatus.ENDING:
            await self.end(session_id)
        final = await self._database.get_report(session_id)
        if final is None:
            raise Unavailable("the final report is still being made; ask again in a few seconds")
        return final

    async def end(self, session_id: str) -> bool:
        """See :meth:`proctor.endings.Endings.end`."""
        return await self._endings.end(session_id)


def _ended(session: ExamSession) -> SessionEnded:
    when = iso_from_ms(session.ended_ms) if session.ended_ms is not None else "earlier"
    return SessionEnded(f"session {session.session_id!r} ended {when}; start one with another id")
