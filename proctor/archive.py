"""Frames outlive the frame buffer: each is also written to its session's spool, soon after it is stored.

Whatever is not spooled yet is still in the buffer, whichever process stored it, so that both together are the
whole session. When a process died, or the disk was full, the spool is completed from the buffer; only a frame
that expires before that is lost, and is counted.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import islice

import structlog
import trio

from proctor.errors import Unavailable
from proctor.metrics import Metrics
from proctor.model import FrameId, SessionStatus
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.frames import FrameMessage, FrameStore, frame_id_of
from proctor.storage.numbers import Numbers
from proctor.storage.spool import (
    Recording,
    Spool,
    Stored,
    append_all,
    remove_spool,
    size_of,
    spool_path,
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
PENDING_BYTES = 24 * 2**20
"""Most that waits in memory while the disk refuses; what comes then is read from the buffer later."""
PAGE_FRAMES = 1000
_NEAR_MS = 60_000
"""What a spool lacks is mostly no older than its latest frames, less so much."""
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
        self._unsynced: set[str] = set()
        self._next_sync = 0.0
        self._turn = trio.Lock()
        """Held by whoever works on spools."""

    def add(self, message: FrameMessage, first_number: int) -> None:
        """Take in a message that was stored; its frames' arrival numbers begin with `first_number`."""
        if not message.frames:
            return
        if self._pending_bytes > PENDING_BYTES:
            self._behind.add(message.session_id)
            return
        self._pending.append(Stored(message, first_number))
        self._pending_bytes += size_of(message)
        if self._pending_bytes > WRITE_BYTES:
            self._wake.set()

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
            async with self._turn:
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
        # Counted first, so that of what comes meanwhile nothing is taken for lost.
        stored = (await self._store.read(session_id, limit=0)).stored
        try:
            path = spool_path(self._directory, session_id)
            recording = await trio.to_thread.run_sync(Recording, path, stored)
        except OSError as error:
            raise _refusal(error) from error
        try:
            found = []
            async with aclosing(self._lacking(session_id, recording, stored)) as pages:
                async for page in pages:
                    found += page
            recording.add(found)
        except BaseException:
            recording.close()
            raise
        return recording

    async def remove(self, session_id: str) -> None:
        """Delete a session's spool, whose frames are safe elsewhere. Idempotent.

        Raises:
            Unavailable: the disk refuses.
        """
        async with self._turn:
            self._spools.pop(session_id, None)
            self._behind.discard(session_id)
            self._unsynced.discard(session_id)
            self._pending = [each for each in self._pending if each.message.session_id != session_id]
            self._pending_bytes = sum(size_of(each.message) for each in self._pending)
            try:
                await trio.to_thread.run_sync(remove_spool, self._directory, session_id)
            except OSError as error:
                raise _refusal(error) from error

    async def _write_pending(self) -> OSError | None:
        """Return what kept some of it from being written; that stays pending."""
        taken, self._pending = self._pending, []
        if not taken:
            return None
        by_session: dict[str, list[Stored]] = {}
        for each in taken:
            by_session.setdefault(each.message.session_id, []).append(each)
        for session_id, first in by_session.items():
            if session_id not in self._spools and first[0].first_number > 0:
                self._behind.add(session_id)  # an earlier or another process may have left it unfinished
        work = [(self._spool(session_id), some) for session_id, some in by_session.items()]
        failure: OSError | None = None
        try:
            taken, failure = await trio.to_thread.run_sync(append_all, work)
        finally:
            self._pending = taken + self._pending
            self._pending_bytes = sum(size_of(each.message) for each in self._pending)
            self._unsynced.update(by_session)
        return failure

    async def _complete(self, session_id: str) -> OSError | None:
        """Append what the buffer has and the spool lacks; what neither has is lost. Raises Unavailable."""
        self._behind.add(session_id)
        spool = self._spool(session_id)
        try:
            await trio.to_thread.run_sync(spool.refresh)
            stored = (await self._store.read(session_id, limit=0)).stored
            async with aclosing(self._lacking(session_id, spool, stored)) as pages:
                async for page in pages:
                    self._unsynced.add(session_id)
                    numbers = [(number, number + 1) for _, number in map(frame_id_of, page)]
                    await trio.to_thread.run_sync(spool.append, page, numbers)
            await trio.to_thread.run_sync(spool.refresh)
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

    async def _lacking(
        self, session_id: str, spooled: Spool | Recording, stored: int
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the frames numbered below `stored` that the buffer has and the spool lacks, page by page.

        What the caller adds to the spool meanwhile makes no difference.
        """
        lacking = Numbers(spooled.numbers.lacking(stored))
        got = Numbers()
        for start in (FrameId(spooled.latest_ms - _NEAR_MS, 0), None):
            after, more = start, True
            while more and len(got) < len(lacking):
                page = await self._store.read(session_id, after, PAGE_FRAMES)
                more = len(page.frames) == PAGE_FRAMES
                found = []
                for frame in page.frames:
                    after = frame_id_of(frame)
                    if after.number in lacking and after.number not in got:
                        got.add(after.number, after.number + 1)
                        found.append(frame)
                if found:
                    yield found

    async def _sync(self) -> OSError | None:
        failure = None
        for session_id in sorted(self._unsynced):
            try:
                await trio.to_thread.run_sync(self._spool(session_id).sync)
                self._unsynced.discard(session_id)
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

    def _spool(self, session_id: str) -> Spool:
        spool = self._spools.pop(session_id, None) or Spool(self._directory, session_id)
        self._spools[session_id] = spool
        for forgotten in list(islice(self._spools, max(0, len(self._spools) - _KNOWN_SPOOLS))):
            del self._spools[forgotten]
        return spool


def _refusal(error: OSError) -> Unavailable:
    return Unavailable(f"cannot write or read a spool: {error}")
