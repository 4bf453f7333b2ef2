"""Removes what is kept about people: on request at once, and by itself when its time is over.

A session that still runs is ended first, so that no process has anything of it under way and the frame store
is empty of it. Then go its dump, what a process that woke late may have spooled, and last its rows, by which
everything else is found: whatever interrupts an erasure, the next one finishes it.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
import trio

from proctor.archive import Archive
from proctor.audit import Action, Audit, Who
from proctor.errors import Unavailable, UnknownSession
from proctor.model import ExamSession
from proctor.monitor.board import Board, take_down
from proctor.sessions import Sessions
from proctor.settings import Settings
from proctor.storage.audit_cuts import AuditCuts
from proctor.storage.dumps import remove_dump
from proctor.storage.frames import FrameStore
from proctor.storage.removal import Removal
from proctor.trail_retention import TrailRetention

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 3600.0
"""How often what is kept is compared with how long it may be."""
_DAY_MS = 24 * 3600 * 1000
_AT_ONCE = 100
_RETENTION = Who(actor="retention", address=None)


class Erasure:
    """Calls may be repeated, and cancelled; a cancelled one may have removed some of it."""

    def __init__(
        self,
        removal: Removal,
        sessions: Sessions,
        store: FrameStore,
        archive: Archive,
        board: Board,
        audit: Audit,
        cuts: AuditCuts,
        settings: Settings,
        now_ms: Callable[[], int],
    ) -> None:
        self._removal = removal
        self._sessions = sessions
        self._store = store
        self._archive = archive
        self._board = board
        self._audit = audit
        self._trail = TrailRetention(cuts, audit, settings, now_ms)
        self._settings = settings
        self._now_ms = now_ms

    async def erase(self, session_id: str, who: Who) -> None:
        """Remove everything about a session, which is ended if it still runs. The audit trail says who did.

        Raises:
            UnknownSession: there is no such session.
            Unavailable: something is down; ask again, and it goes on where it was.
        """
        await self._sessions.get(session_id)
        await self._audit.record(Action.ERASED, session_id, **who)
        if not await self._sessions.end(session_id):
            raise Unavailable(f"session {session_id!r} is still ending; ask again in a few seconds")
        await remove_dump(self._settings.dump_directory, session_id)
        await self._archive.remove(session_id)
        await take_down(self._board, session_id, self._now_ms())
        await self._removal.remove_session(session_id)
        _log.info("session erased", session=session_id)

    async def erase_candidate(self, candidate_id: str, who: Who) -> list[str]:
        """Remove everything about a candidate. Returns the ids of the sessions that were erased.

        Raises:
            UnknownSession: no session is this candidate's.
            Unavailable: as :meth:`erase`.
        """
        erased = [session.session_id for session in await self.sessions_of(candidate_id)]
        subject = await self._audit.pseudonym(candidate_id)
        await self._audit.record(Action.ERASED, subject, **who, after={"sessions": erased})
        for session_id in erased:
            with suppress(UnknownSession):  # somebody else has erased it just now
                await self.erase(session_id, who)
        return erased

    async def sessions_of(self, candidate_id: str) -> list[ExamSession]:
        """Return a candidate's sessions, at least one. Raises UnknownSession."""
        found = await self._removal.sessions_of(candidate_id)
        if not found:
            raise UnknownSession(f"no session is of candidate {candidate_id!r}", field="candidate_id")
        return found

    async def expire(self) -> None:
        """Remove what has been kept for long enough, now and then, until cancelled; one process does so."""
        while True:
            try:
                if await self._store.claim("retention", LOOK_SECONDS / 2) == 0:
                    await self.remove_expired()
            except Unavailable as failure:
                _log.warning("what has expired is still kept", reason=failure.detail)
            await trio.sleep(LOOK_SECONDS)

    async def remove_expired(self) -> None:
        """Remove what is older than the settings allow: sessions with reports, dumps, entries of the trail.

        Raises:
            Unavailable: something is down.
        """
        await self._remove_old(self._settings.report_retention_days, self._expire_session, dumped=False)
        await self._remove_old(self._settings.dump_retention_days, self._expire_dump, dumped=True)
        await self._trail.apply()

    async def _remove_old(
        self, days: float, remove: Callable[[str], Awaitable[None]], *, dumped: bool
    ) -> None:
        if not days:
            return
        failed: dict[str, Unavailable] = {}
        while True:
            # Those that cannot be removed stay among the oldest, and must not keep the others.
            limit = _AT_ONCE + len(failed)
            old = await self._removal.ended_before(self._days_ago(days), dumped=dumped, limit=limit)
            due = [session.session_id for session in old if session.session_id not in failed]
            if not due:
                break
            for session_id in due:
                try:
                    await remove(session_id)
                except UnknownSession:
                    pass  # somebody else has erased it just now
                except Unavailable as failure:
                    failed[session_id] = failure
        for session_id, why in failed.items():
            _log.warning("cannot remove what has expired", session=session_id, reason=why.detail)

    async def _expire_session(self, session_id: str) -> None:
        await self.erase(session_id, _RETENTION)

    async def _expire_dump(self, session_id: str) -> None:
        await remove_dump(self._settings.dump_directory, session_id)
        await self._audit.record(Action.ERASED, session_id, **_RETENTION, before={"kind": "dump"})
        await self._removal.forget_dump(session_id)
        _log.info("dump expired", session=session_id)

    def _days_ago(self, days: float) -> int:
        return self._now_ms() - round(days * _DAY_MS)
