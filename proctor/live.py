"""Keeps the analysis of running sessions up to date with their frames.

A session's analysis state lives in the frame store, next to the frames it was folded from. Frames are folded
once they have settled, that is once enough newer ones have come that none is likely to arrive before them;
a report folds the unsettled rest on a copy. A frame that is later than that makes the state start over from
the first frame, however long ago that expired from the store, so that a report depends on the frames alone
and not on when they came.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec
import structlog
import trio

from proctor.accommodations import digest, in_force
from proctor.analysis.engine import JOB_FRAMES, Engine
from proctor.analysis.fold import progress
from proctor.analysis.policy import DEFAULT
from proctor.archive import Archive
from proctor.errors import Unavailable
from proctor.ingest import Ingest
from proctor.metrics import Metrics
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage.frames import FrameStore, frame_id_of
from proctor.storage.spool import Recording

_log = structlog.get_logger(__name__)

SETTLING_MS = 2_000
"""A frame is settled when one this much newer, by event time, has been stored, and its own time has come."""

_REST_FACTOR = 10
"""A session that starts over is not folded again for so many times as long as that took, unless asked for."""


class _CaughtUp(NamedTuple):
    state: bytes | None
    unsettled: Sequence[bytes]
    stored: int
    """Frames that the session ever stored."""


class LiveAnalysis:
    """Folds stored frames and writes reports. Cancelling any call leaves the stored state whole."""

    def __init__(
        self,
        store: FrameStore,
        archive: Archive,
        engine: Engine,
        ingest: Ingest,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._archive = archive
        self._engine = engine
        self._ingest = ingest
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()
        self._lost: dict[str, int] = {}
        """How many frames of a session could not be had when last looked for, where there are such."""
        self._rests_until: dict[str, float] = {}
        """Until when sessions that started over are left alone, lest one with late frames all the time does
        nothing else."""

    async def follow(self, find_session: Callable[[str], Awaitable[ExamSession | None]]) -> None:
        """Fold what was stored, every `analysis_refresh_seconds`, until cancelled.

        Evidence is thereby in the state before its frames expire.
        """
        while True:
            await trio.sleep(self._settings.analysis_refresh_seconds)
            for session_id in sorted(self._ingest.touched):
                self._ingest.touched.discard(session_id)
                try:
                    session = await find_session(session_id)
                    if session is not None:
                        await self.advance(session)
                except Unavailable as failure:
                    self._ingest.touched.add(session_id)
                    _log.warning("live analysis waits", session=session_id, reason=failure.detail)
                except Exception:  # noqa: BLE001 - one session's trouble must not stop the analysis of others
                    _log.exception("live analysis failed", session=session_id)

    async def advance(self, session: ExamSession) -> None:
        """Fold the session's settled frames into its stored state, unless that was costly a moment ago."""
        session = self._judgeable(session)
        async with self._lock(session.session_id):
            if trio.current_time() >= self._rests_until.get(session.session_id, 0.0):
                await self._catch_up(session)

    async def report(self, session: ExamSession, *, final: bool) -> bytes:
        """Return the session's report, as JSON, from every frame that is stored."""
        session = self._judgeable(session)
        async with self._lock(session.session_id):
            state, unsettled, stored = await self._catch_up(session, whole=final)
        if final:
            self._lost.pop(session.session_id, None)
            self._rests_until.pop(session.session_id, None)
        with self._timed("report"):
            return await self._engine.report(
                state, unsettled, session, final=final, analysed_ms=self._now_ms(), stored=stored
            )

    async def _catch_up(self, session: ExamSession, *, whole: bool = False) -> _CaughtUp:
        """Fold what has settled; `whole` makes sure that nothing which can be had is missing."""
        name = session.session_id
        state = await self._store.load_state(name)
        done = progress(state)
        page = await self._store.read(name, after=done.cursor)
        had = done.frames + len(page.frames)
        stored = max(page.stored, had)
        changed = done.frames > 0 and done.granted != digest(in_force(session.accommodations))
        if whole or changed or had + self._lost.get(name, 0) < stored:
            # Frames came in behind the cursor or expired before it got there, or something was granted. Start
            # over, unless more was folded than can be had again: what that showed lives in the state alone.
            with await self._archive.recording(name) as recording:
                if len(recording) > had or (changed and len(recording) == had):
                    return await self._start_over(session, recording)
            self._lost[name] = stored - had
        if changed:
            state = await self._engine.advance(state, [], session)
        settled = _settled(page.frames, _horizon(page.frames, self._now_ms()))
        state = await self._fold(session, state, page.frames[:settled])
        if (settled or changed) and state is not None:
            await self._store.save_state(name, state)
        return _CaughtUp(state, page.frames[settled:], stored)

    async def _start_over(self, session: ExamSession, recording: Recording) -> _CaughtUp:
        """Fold all settled frames anew, some at a time, for all of them would not fit into memory."""
        state: bytes | None = None
        rest: list[bytes] = []
        began = trio.current_time()
        horizon = _horizon(recording.read(len(recording) - 1, len(recording)), self._now_ms())
        for start in range(0, len(recording), JOB_FRAMES):
            frames = await trio.to_thread.run_sync(recording.read, start, start + JOB_FRAMES)
            settled = _settled(frames, horizon)
            state = await self._fold(session, state, frames[:settled])
            rest += frames[settled:]
        if state is not None:
            await self._store.save_state(session.session_id, state)
        self._lost[session.session_id] = recording.stored - len(recording)
        now = trio.current_time()
        self._rests_until[session.session_id] = now + _REST_FACTOR * (now - began)
        return _CaughtUp(state, rest, recording.stored)

    async def _fold(self, session: ExamSession, state: bytes | None, frames: Sequence[bytes]) -> bytes | None:
        for start in range(0, len(frames), JOB_FRAMES):
            with self._timed("fold"):
                state = await self._engine.advance(state, frames[start : start + JOB_FRAMES], session)
        return state

    def _judgeable(self, session: ExamSession) -> ExamSession:
        """Return the session under the default policy if its own has been removed since it started.

        The report then names the policy that it was judged by; a session that could not end would be worse.
        """
        if session.policy in self._engine.policies:
            return session
        _log.warning("policy is gone", session=session.session_id, policy=session.policy, instead=DEFAULT)
        return msgspec.structs.replace(session, policy=DEFAULT)

    def _lock(self, session_id: str) -> trio.Lock:
        """One fold of a session at a time; the lock lives while somebody holds or awaits it."""
        return self._locks.setdefault(session_id, trio.Lock())

    @contextmanager
    def _timed(self, job: str) -> Iterator[None]:
        began = trio.current_time()
        yield
        self._metrics.analysis_seconds.labels(job).observe(trio.current_time() - began)


def _horizon(frames: Sequence[bytes], now_ms: int) -> int:
    """Return until when frames have settled, if these are the latest, in time order."""
    # Frames that claim to be from the future must not take the cursor past those that are still to come.
    return min(frame_id_of(frames[-1]).time_ms - SETTLING_MS, now_ms) if frames else now_ms


def _settled(frames: Sequence[bytes], horizon: int) -> int:
    """Return how many of the frames, in time order, have settled."""
    count = len(frames)
    while count and frame_id_of(frames[count - 1]).time_ms > horizon:
        count -= 1
    return count
