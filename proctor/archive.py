"""Frames outlive the frame buffer: each is also written to its session's spool, soon after it is stored.

Whatever is not spooled yet is still in the buffer, whichever process stored it, so that both together are the
whole session. When a process died, or the disk was full, the spool is completed from the buffer; only a frame
that expires before that is lost, and is counted.
"""

from itertools import islice

import structlog
import trio

from proctor.errors import Unavailable
from proctor.metrics import Metrics
from proctor.model import SessionStatus
from proctor.settings import Settings
from proctor.storage.completion import append_lacking, epoch_of, recorded
from proctor.storage.database import Database
from proctor.storage.frames import FrameMessage, FrameStore
from proctor.storage.numbers import Numbers
from proctor.storage.recording import Recording
from proctor.storage.spool import (
    Spool,
    Stored,
    append_all,
    remove_spools,
    spooled_sessions,
)

_log = structlog.get_logger(__name__)

WRITE_SECONDS = 5.0
"""Longest that a frame waits to be spooled, unless the disk refuses."""
SYNC_SECONDS = 30.0
SWEEP_SECONDS = 60.0
_PER_RETENTION = 4
"""Each of these is done so often within the retention, if that is shorter."""
WRITE_BYTES = 4 * 2**20
"""So much is spooled without waiting longer."""
PENDING_BYTES = 12 * 2**20
"""Most that waits in memory while the disk refuses; what comes then is read from the buffer later."""
_KNOWN_SPOOLS = 10_000
"""Most that a process remembers what it has written to; others it reads again when they get more."""


class Archive:
    """Spools the frames of running sessions, and reads whole sessions back."""

    def __init__(self, store: FrameStore, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._directory = settings.dump_directory
        often = settings.frame_buffer_retention_seconds / _PER_RETENTION
        self._write_seconds = min(WRITE_SECONDS, often)
        self._sync_seconds = min(SYNC_SECONDS, often)
        self._sweep_seconds = min(SWEEP_SECONDS, often)
        self._pending: list[Stored] = []
        self._pending_bytes = 0
        self._wake = trio.Event()
        self._spools: dict[str, Spool] = {}
        """Those that this process has worked on, the latest last."""
        self._behind: set[str] = set()
        """Sessions whose spools may lack what the buffer has."""
        self._unsynced: set[Spool] = set()
        self._next_sync = 0.0
        self._turn = trio.Lock()
        """Held by whoever works on spools."""

    def add(self, message: FrameMessage, first_number: int, epoch: str) -> None:
        """Take in a message that was stored; its frames' arrival numbers begin with `first_number`.

        `epoch` is the store's when it was stored. Where that is in doubt it is empty, and the frames are
        looked up in the buffer.
        """
        if not message.frames:
            return
        if not epoch or self._pending_bytes > PENDING_BYTES:
            self._behind.add(message.session_id)
            return
        size = message.memory_bytes
        self._pending.append(Stored(message, first_number, size, epoch))
        self._pending_bytes += size
        if self._pending_bytes > WRITE_BYTES:
            self._wake.set()

    def renew(self) -> None:
        """Learn that the store was emptied. What was spooled before counts only if it is sent again."""
        _log.warning("the frame store was emptied; clients have to send their frames again")
        self._behind |= self._spools.keys()

    async def write(self) -> None:
        """Spool what is stored until cancelled.

        Raises:
            Unavailable: the disk refuses. Nothing is lost if this is run again before frames expire.
        """
        while True:
            self._wake = trio.Event()
            await self.flush()
            with trio.move_on_after(self._write_seconds):
                await self._wake.wait()

    async def flush(self) -> None:
        """Spool what was stored so far, complete the spools that are behind, and sync them if it is time.

        Raises:
            Unavailable: the disk refuses some of it.
        """
        async with self._turn:
            failure = await self._write_pending()
        try:
            for session_id in sorted(self._behind):
                async with self._turn:
                    failure = await self._complete(session_id) or failure
        except Unavailable as trouble:
            _log.warning("spools wait for the frame store", reason=trouble.detail)
        self._metrics.spools_behind.set(len(self._behind))
        if self._unsynced and trio.current_time() >= self._next_sync:
            failure = await self._sync() or failure
            self._next_sync = trio.current_time() + self._sync_seconds
        if failure is not None:
            raise _refusal(failure) from failure

    async def sweep(self, database: Database) -> None:
        """See to sessions whose processes died, and to spools that were left over, until cancelled."""
        while True:
            try:
                # One process is enough; another takes over if it dies.
                if await self._store.claim("spool_sweep", self._sweep_seconds / 2) == 0:
                    await self._sweep(database)
            except Unavailable as failure:
                _log.warning("spools are not looked after", reason=failure.detail)
            await trio.sleep(self._sweep_seconds)

    async def complete(self, session_id: str) -> None:
        """Spool all frames of a session that the buffer still has.

        Raises:
            Unavailable: the disk or the store refuses.
        """
        async with self._turn:
            failure = await self._write_pending() or await self._complete(session_id)
        if failure is not None:
            raise _refusal(failure) from failure

    async def recording(self, session_id: str) -> Recording:
        """Return the whole session as it is now; to be used in a `with` block.

        Raises:
            Unavailable: the disk or the store refuses.
        """
        async with self._turn:
            await self._write_pending()  # a full disk keeps nobody from reading
        try:
            return await recorded(self._store, self._directory, session_id)
        except OSError as error:
            raise _refusal(error) from error

    async def remove(self, session_id: str) -> None:
        """Delete a session's spools, whose frames are safe elsewhere. Idempotent.

        Raises:
            Unavailable: the disk refuses.
        """
        async with self._turn:
            self._spools.pop(session_id, None)
            self._behind.discard(session_id)
            self._unsynced = {spool for spool in self._unsynced if spool.session_id != session_id}
            self._pending = [each for each in self._pending if each.message.session_id != session_id]
            self._pending_bytes = sum(each.size for each in self._pending)
            try:
                await trio.to_thread.run_sync(remove_spools, self._directory, session_id)
            except OSError as error:
                raise _refusal(error) from error

    async def _write_pending(self) -> OSError | None:
        """Return what kept some of it from being written; that stays pending."""
        taken, self._pending = self._pending, []
        if not taken:
            return None
        by_spool: dict[tuple[str, str], list[Stored]] = {}
        for each in taken:
            by_spool.setdefault((each.message.session_id, each.epoch), []).append(each)
        work = []
        for (session_id, epoch), some in by_spool.items():
            known = self._spools.get(session_id)
            if (known is None or known.epoch != epoch) and some[0].first_number > 0:
                self._behind.add(session_id)  # an earlier or another process may have left it unfinished
            work.append((self._spool(session_id, epoch), some))
        failure: OSError | None = None
        try:
            taken, failure = await trio.to_thread.run_sync(append_all, work)
        finally:
            self._pending = taken + self._pending
            self._pending_bytes = sum(each.size for each in self._pending)
            self._unsynced.update(spool for spool, _ in work)
        return failure

    async def _complete(self, session_id: str) -> OSError | None:
        """Append what the buffer has and the spool lacks; what neither has is lost. Raises Unavailable."""
        self._behind.add(session_id)
        epoch = None
        # Once, unless the store is emptied meanwhile.
        while epoch != (epoch := await epoch_of(self._store, session_id)):
            spool = self._spool(session_id, epoch)
            self._unsynced.add(spool)
            try:
                stored = await append_lacking(self._store, spool)
            except OSError as failure:
                return failure
        lost = Numbers(spool.numbers.lacking(stored))
        if len(lost):
            self._metrics.frames_lost.inc(len(lost))
            _log.error("frames expired before they were spooled", session=session_id, frames=len(lost))
            for run in lost:
                spool.numbers.add(*run)  # so that they are looked for and counted only once
        self._behind.discard(session_id)
        return None

    async def _sync(self) -> OSError | None:
        failure = None
        for spool in list(self._unsynced):
            async with self._turn:  # for each, so that no report has to wait for all of them
                if spool not in self._unsynced:
                    continue
                try:
                    await trio.to_thread.run_sync(spool.sync)
                    self._unsynced.discard(spool)
                except OSError as error:
                    failure = error
        return failure

    async def _sweep(self, database: Database) -> None:
        active = set(await database.running_sessions())
        self._behind |= active
        self._wake.set()
        try:
            spooled = await trio.to_thread.run_sync(spooled_sessions, self._directory)
        except OSError as error:
            raise _refusal(error) from error
        for session_id in set(spooled) - active:
            session = await database.get_session(session_id)
            if session is not None and session.status is SessionStatus.ENDED:
                await self.remove(session_id)

    def _spool(self, session_id: str, epoch: str) -> Spool:
        spool = self._spools.pop(session_id, None)
        if spool is None or spool.epoch != epoch:
            spool = Spool(self._directory, session_id, epoch)
        self._spools[session_id] = spool
        for forgotten in list(islice(self._spools, max(0, len(self._spools) - _KNOWN_SPOOLS))):
            del self._spools[forgotten]
        return spool


def _refusal(error: OSError) -> Unavailable:
    return Unavailable(f"cannot write or read a spool: {error}")
