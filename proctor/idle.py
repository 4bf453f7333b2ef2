"""Ends sessions that nobody ends: those that have received nothing for `session_idle_hours`.

Without an end there is no report, and nothing that is kept about the candidate ever expires. What was
received last is told by the spool, which gets every frame within seconds of the store.
"""

from collections.abc import Callable

import structlog
import trio

from proctor.audit import Action, Audit, Who
from proctor.endings import Endings
from proctor.errors import Unavailable, UnknownSession
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore
from proctor.storage.removal import Removal
from proctor.storage.spool import spooled_until_ms

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 900.0
"""How often sessions are looked at."""
_HOUR_MS = 3600 * 1000
_SERVER = Who(actor="server", address=None)


class IdleSessions:
    """Has a task, `follow`. `now_ms` tells the time in milliseconds since the epoch."""

    def __init__(
        self,
        removal: Removal,
        database: Database,
        store: FrameStore,
        endings: Endings,
        audit: Audit,
        settings: Settings,
        now_ms: Callable[[], int],
    ) -> None:
        self._removal = removal
        self._database = database
        self._store = store
        self._endings = endings
        self._audit = audit
        self._settings = settings
        self._now_ms = now_ms

    async def follow(self) -> None:
        """End what is idle, now and then, until cancelled; one process does so."""
        while True:
            try:
                if await self._store.claim("idle_sessions", LOOK_SECONDS / 2) == 0:
                    await self.end_idle()
            except Unavailable as failure:
                _log.warning("idle sessions are not ended", reason=failure.detail)
            await trio.sleep(LOOK_SECONDS)

    async def end_idle(self) -> None:
        """End each session that is idle, as of when it received something last.

        Raises:
            Unavailable: the database, the frame store or the disk is in trouble.
        """
        hours = self._settings.session_idle_hours
        if not hours:
            return
        idle_since = self._now_ms() - round(hours * _HOUR_MS)
        for session in await self._removal.running_since_before(idle_since):
            last_ms = await self._received_ms(session)
            if last_ms < idle_since and not await self._has_fresh_frames(session):
                await self._end(session.session_id, last_ms, hours)

    async def _received_ms(self, session: ExamSession) -> int:
        folder, session_id = self._settings.dump_directory, session.session_id
        try:
            spooled = await trio.to_thread.run_sync(spooled_until_ms, folder, session_id)
        except OSError as error:
            raise Unavailable(f"cannot look at the spool of {session_id!r}: {error}") from error
        return max(session.started_ms, spooled)

    async def _has_fresh_frames(self, session: ExamSession) -> bool:
        """Tell whether the store has frames that are no older than it keeps any: a full disk spools none."""
        if (
            self._settings.frame_buffer_retention_seconds * 1000
            > self._settings.session_idle_hours * _HOUR_MS
        ):
            return False
        return bool((await self._store.read(session.session_id, limit=1)).frames)

    async def _end(self, session_id: str, last_ms: int, hours: float) -> None:
        why = {"idle_hours": hours}
        await self._audit.record(Action.SESSION_ENDED, session_id, **_SERVER, after=why)
        # Its end is that of what was received, not now: nobody was there to be observed since.
        await self._database.begin_ending(session_id, last_ms)
        try:
            await self._endings.end(session_id)
        except UnknownSession:
            return  # somebody else has erased it just now
        _log.info("idle session ended", session=session_id)
