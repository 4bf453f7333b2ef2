"""Keeps the analysis of running sessions up to date with their frames.

A session's analysis state lives in the frame store, next to the frames it was folded from. Frames are folded
once they have settled, that is once enough newer ones have come that none is likely to arrive before them;
a report folds the unsettled rest on a copy. A frame that is later than that makes the state start over from
the stored frames, so that a report depends on the frames alone and not on when they came.
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
from proctor.errors import Unavailable
from proctor.ingest import Ingest
from proctor.metrics import Metrics
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage.frames import FrameStore, frame_id_of

_log = structlog.get_logger(__name__)

SETTLING_MS = 2_000
"""A frame is settled when one this much newer, by event time, has been stored, and its own time has come."""


class _CaughtUp(NamedTuple):
    state: bytes | None
    unsettled: Sequence[bytes]


class LiveAnalysis:
    """Folds stored frames and writes reports. Cancelling any call leaves the stored state whole."""

    def __init__(
        self,
        store: FrameStore,
        engine: Engine,
        ingest: Ingest,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._engine = engine
        self._ingest = ingest
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

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
        """Fold the session's settled frames into its stored state."""
        session = self._judgeable(session)
        async with self._lock(session.session_id):
            await self._catch_up(session)

    async def report(self, session: ExamSession, *, final: bool) -> bytes:
        """Return the session's report, as JSON, from every frame that is stored."""
        session = self._judgeable(session)
        async with self._lock(session.session_id):
            state, unsettled = await self._catch_up(session)
        with self._timed("report"):
            return await self._engine.report(
                state, unsettled, session, final=final, analysed_ms=self._now_ms()
            )

    async def _catch_up(self, session: ExamSession) -> _CaughtUp:
        state = await self._store.load_state(session.session_id)
        done = progress(state)
        page = await self._store.read(session.session_id, after=done.cursor)
        late = done.frames + len(page.frames) < page.stored
        changed = done.frames > 0 and done.granted != digest(in_force(session.accommodations))
        if late or changed:
            # Frames came in behind the cursor, or something was granted. Start over, unless some that were
            # folded have expired since: then what they showed lives in the state alone, and the state stays.
            everything = await self._store.read(session.session_id)
            if len(everything.frames) == everything.stored:
                state, page = None, everything
            elif changed:
                state = await self._engine.advance(state, [], session)
        settled = _settled(page.frames, self._now_ms())
        for start in range(0, settled, JOB_FRAMES):
            with self._timed("fold"):
                chunk = page.frames[start : min(start + JOB_FRAMES, settled)]
                state = await self._engine.advance(state, chunk, session)
        if (settled or changed) and state is not None:
            await self._store.save_state(session.session_id, state)
        return _CaughtUp(state, page.frames[settled:])

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


def _settled(frames: Sequence[bytes], now_ms: int) -> int:
    """Return how many of the frames, in time order, have settled."""
    if not frames:
        return 0
    # Frames that claim to be from the future must not take the cursor past those that are still to come.
    horizon = min(frame_id_of(frames[-1]).time_ms - SETTLING_MS, now_ms)
    count = len(frames)
    while count and frame_id_of(frames[count - 1]).time_ms > horizon:
        count -= 1
    return count
