"""The life of exam sessions: start, streaming, analyze, and an end that survives everything.

Ending a session is a sequence of steps, each safe to repeat, in an order in which a crash between any two
loses nothing: mark `ending` → take in what was received → seal the frame store → report into the database →
dump onto the disk → clear the frame store and the spool → mark `ended` → tell the clients. A restart goes on
where it was.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import stamina
import structlog
import trio

from proctor.accommodations import granted
from proctor.archive import Archive
from proctor.errors import Conflict, ProctorError, SessionEnded, Throttled, Unavailable, UnknownSession
from proctor.ingest import Ingest
from proctor.live import LiveAnalysis
from proctor.metrics import Metrics
from proctor.model import ExamSession, SessionStatus
from proctor.roster import Roster
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.dumps import write_dump
from proctor.storage.frames import FrameStore
from proctor.storage.listing import SessionPage
from proctor.times import iso_from_ms

_log = structlog.get_logger(__name__)

_ENDINGS_WAITING = 10_000
"""Ends asked for but not begun; when full, `end` answers that the server is overloaded."""

_INTAKE_SECONDS = 5.0
"""Longest that an end waits for what was received to be stored, before it is tried again later."""

_REPORTS_AT_ONCE = 4
"""Most sessions whose frames are in memory at the same time to be judged and dumped."""

_RETRY = partial(
    stamina.retry_context, on=Unavailable, attempts=None, timeout=None, wait_initial=0.5, wait_max=30.0
)


class _Ending:
    """One session being ended in this process, and what its requests wait for."""

    def __init__(self) -> None:
        self.attempted = trio.Event()
        """Set when the first attempt is over, well or not."""
        self.finished = False
        self.failure: ProctorError | None = Unavailable("the server is stopping; ask again")
        """None once the session is marked `ending`, from when on only time stands between it and its end."""


class Sessions:
    """Everything that can be done with an exam session."""

    def __init__(
        self,
        *,
        database: Database,
        store: FrameStore,
        archive: Archive,
        ingest: Ingest,
        live: LiveAnalysis,
        roster: Roster,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._store = store
        self._archive = archive
        self._ingest = ingest
        self._live = live
        self._roster = roster
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._reports = trio.CapacityLimiter(_REPORTS_AT_ONCE)
        self._endings: dict[str, _Ending] = {}
        self._to_end, self._ending_ids = trio.open_memory_channel[str](_ENDINGS_WAITING)

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
            raise _unknown(session_id)
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
        """
        session = await self._database.get_session(session_id)
        if session is None:
            session = await self._database.start_session(
                ExamSession(session_id=session_id, started_ms=self._now_ms())
            )
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
        """End a session and wait for its final report. Idempotent.

        Cancelling the call does not cancel the end.

        Returns:
            True when everything is done; False when the session has ended for its clients and the rest, which
            failed for now, is being retried.

        Raises:
            UnknownSession: there is no such session.
            Unavailable: nothing has happened; ask again.
        """
        ending = self._begin(session_id)
        await ending.attempted.wait()
        if ending.failure is not None:
            raise ending.failure
        return ending.finished

    async def finalize(self) -> None:
        """Carry out ends until cancelled, beginning with those that an earlier run left unfinished."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._resume)
            async for session_id in self._ending_ids:
                ending = self._endings[session_id]
                nursery.start_soon(self._carry_out, session_id, ending, name=f"end session={session_id}")

    async def _resume(self) -> None:
        async for attempt in _RETRY():
            with attempt:
                for session in await self._database.unfinished_sessions():
                    self._begin(session.session_id)

    def _begin(self, session_id: str) -> _Ending:
        ending = self._endings.get(session_id)
        if ending is None:
            try:
                self._to_end.send_nowait(session_id)
            except trio.WouldBlock:
                raise Unavailable("too many sessions are ending at once; ask again in a moment") from None
            ending = self._endings[session_id] = _Ending()
        return ending

    async def _carry_out(self, session_id: str, ending: _Ending) -> None:
        try:
            if await self._database.begin_ending(session_id, self._now_ms()) is None:
                raise _unknown(session_id)
            ending.failure = None
            async for attempt in _RETRY():
                with attempt:
                    try:
                        await self._finish(session_id)
                        ending.finished = True
                    finally:
                        self._roster.finish(session_id)
                        ending.attempted.set()
        except ProctorError as failure:
            ending.failure = failure
        except Exception:  # noqa: BLE001 - one session's trouble must not stop the ends of others
            _log.exception("end failed; it is retried at the next request or restart", session=session_id)
            ending.failure = Unavailable(
                "the session has ended, but its final report failed; see the server's log"
            )
        finally:
            self._endings.pop(session_id, None)
            ending.attempted.set()

    async def _finish(self, session_id: str) -> None:
        """Do every step that is not done yet. Each is safe to repeat."""
        session = await self.get(session_id)
        if session.status is SessionStatus.ENDED:
            return
        with trio.move_on_after(_INTAKE_SECONDS) as intake:
            await self._roster.stop_intake(session_id)
            await self._ingest.flush()
        if intake.cancelled_caught:
            raise Unavailable("what was received could not be stored yet")
        await self._store.seal(session_id)
        if not session.dumped:
            async with self._reports:
                await self._keep(session)
        await self._store.clear(session_id)
        await self._archive.remove(session_id)
        await self._database.mark_ended(session_id)
        self._metrics.sessions_ended.inc()
        _log.info("session ended", session=session_id)

    async def _keep(self, session: ExamSession) -> None:
        """Bring what outlives the frame store into the database and onto the disk."""
        session_id = session.session_id
        with suppress(Unavailable):  # a full disk keeps frames from the spool, but not from the report
            await self._archive.complete(session_id)
        if await self._database.get_report(session_id) is None:
            await self._database.save_report(session_id, await self._live.report(session, final=True))
        with await self._archive.recording(session_id) as recording:
            await write_dump(self._settings.dump_directory, session_id, recording.frames())
        await self._database.mark_dumped(session_id)


def _unknown(session_id: str) -> UnknownSession:
    return UnknownSession(f"there is no session {session_id!r}; start it, or stream to it first")


def _ended(session: ExamSession) -> SessionEnded:
    when = iso_from_ms(session.ended_ms) if session.ended_ms is not None else "earlier"
    return SessionEnded(f"session {session.session_id!r} ended {when}; start one with another id")
