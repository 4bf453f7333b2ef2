"""Keeps the analysis of running sessions up to date with their frames.

A session's analysis state lives in the frame store, next to the frames it was folded from. Frames are folded
once they have settled, that is once enough newer ones have come that none is likely to arrive before them;
a report folds the unsettled rest on a copy. A frame that is later than that makes the state start over from
the first frame, however long ago that expired from the store, so that a report depends on the frames alone
and not on when they came.

Across processes, one at a time has a session's state, and it is lent for `TURN_SECONDS` (a quarter of the
retention, if that is less). Another goes on with the state once that has lapsed; a process that was stopped
in the middle and wakes then can save nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from typing import NamedTuple
from weakref import WeakValueDictionary

import structlog
import trio

from proctor.accommodations import digest, in_force
from proctor.analysis.engine import JOB_BYTES, JOB_FRAMES, Engine
from proctor.analysis.fold import progress
from proctor.analysis.policy import judgeable
from proctor.archive import Archive
from proctor.errors import Unavailable
from proctor.ingest import Ingest
from proctor.metrics import Metrics
from proctor.model import ExamSession, FrameId
from proctor.settings import Settings
from proctor.settling import settled_of
from proctor.storage.frames import FramePage, FrameStore, Turn, frame_id_of
from proctor.storage.recording import Recording

_log = structlog.get_logger(__name__)

TURN_SECONDS = 30.0
"""How long the state of a process that died stays with it. Reports do not wait for it."""

SWEEP_SECONDS = 60.0
"""How often, at least, every running session is looked at, whose process may have died before folding."""

_TURNS = 20
"""A session's turn comes once in so many, so that not all are followed in one go, which others would feel."""

_FOLDS_AT_ONCE = 16
"""Sessions that are followed at the same time, so that one whose fold is slow does not hold up the others."""

_GIVE_BACK_SECONDS = 1.0

_REST_FACTOR = 10
"""A session that starts over is not folded again for so many times as long as that took, unless asked for."""

_Read = Callable[[FrameId | None, int, int], Awaitable[FramePage]]
"""Frames after one, as many as a job may have."""


class _CaughtUp(NamedTuple):
    state: bytes | None
    unsettled: Sequence[bytes]
    frames: int
    """Those folded and the unsettled ones."""
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
        self._turn_seconds = min(TURN_SECONDS, settings.frame_buffer_retention_seconds / 4)
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()
        self._lost: dict[str, int] = {}
        """How many frames of a session could not be had when last looked for, where there are such."""
        self._rests_until: dict[str, float] = {}
        """Until when sessions that started over are left alone, lest one with late frames all the time does
        nothing else."""

    async def follow(
        self, active_sessions: Callable[[Sequence[str]], Awaitable[Iterable[ExamSession]]]
    ) -> None:
        """Fold what was stored, every `analysis_refresh_seconds`, until cancelled.

        Evidence is thereby in the state before its frames expire. `active_sessions` tells which of some
        sessions are active.
        """
        places = trio.CapacityLimiter(_FOLDS_AT_ONCE)
        under_way: set[str] = set()

        async def follow_one(session: ExamSession) -> None:
            try:
                async with places:
                    await self._follow(session)
            finally:
                under_way.discard(session.session_id)

        touched = self._ingest.touched
        async with trio.open_nursery() as nursery:
            for turn in cycle(range(_TURNS)):
                await trio.sleep(self._settings.analysis_refresh_seconds / _TURNS)
                due = [each for each in touched - under_way if hash(each) % _TURNS == turn]
                if not due:
                    continue
                try:
                    sessions = await active_sessions(due)
                except Unavailable as failure:
                    _log.warning("live analysis waits", sessions=len(due), reason=failure.detail)
                    continue
                touched.difference_update(due)
                for session in sessions:
                    under_way.add(session.session_id)
                    nursery.start_soon(follow_one, session, name=f"follow session={session.session_id}")

    async def _follow(self, session: ExamSession) -> None:
        session_id = session.session_id
        try:
            if not await self.advance(session):
                # Another process is at it, and may have begun before the last frames were stored here.
                self._ingest.touched.add(session_id)
        except Unavailable as failure:
            self._ingest.touched.add(session_id)
            _log.warning("live analysis waits", session=session_id, reason=failure.detail)
        except Exception:  # noqa: BLE001 - one session's trouble must not stop the analysis of others
            _log.exception("live analysis failed", session=session_id)

    async def sweep(self, running: Callable[[], Awaitable[Iterable[str]]]) -> None:
        """Have every running session followed now and then, until cancelled; one process does so for all.

        So the frames of a process that died are folded by another before they expire.
        """
        interval = min(SWEEP_SECONDS, self._settings.frame_buffer_retention_seconds / 4)
        while True:
            await trio.sleep(interval)
            try:
                if await self._store.claim("sweep", interval) == 0:
                    sessions = dict.fromkeys(await running())
                    self._ingest.touched.update(sessions)
                    self._ingest.unseen.add(sessions)
            except Unavailable as failure:
                _log.warning("sweep of running sessions waits", reason=failure.detail)

    async def advance(self, session: ExamSession) -> bool:
        """Fold the session's settled frames into its stored state; False if another process is at it.

        A session for which that was costly a moment ago is left alone.
        """
        session = self._judgeable(session)
        async with self._lock(session.session_id):
            if trio.current_time() < self._rests_until.get(session.session_id, 0.0):
                return True
            turn = await self._store.take_state(session.session_id, self._turn_seconds)
            if turn is None:
                return False
            await self._in_turn(session, turn)
            return True

    async def report(self, session: ExamSession, *, final: bool) -> bytes:
        """Return the session's report, as JSON, from every frame that is stored."""
        session = self._judgeable(session)
        async with self._lock(session.session_id):
            turn = await self._store.take_state(session.session_id, self._turn_seconds)
            if turn is not None:
                caught_up = await self._in_turn(session, turn, whole=final)
            else:
                copy = await self._store.load_state(session.session_id)
                caught_up = await self._catch_up(session, copy, None, whole=final)
        if final:
            self._lost.pop(session.session_id, None)
            self._rests_until.pop(session.session_id, None)
        with self._timed("report"):
            return await self._engine.report(
                caught_up.state,
                caught_up.unsettled,
                session,
                final=final,
                analysed_ms=self._now_ms(),
                stored=caught_up.stored,
            )

    async def _in_turn(self, session: ExamSession, turn: Turn, *, whole: bool = False) -> _CaughtUp:
        """Catch up, and leave the state for others to take, whatever happens."""
        try:
            return await self._catch_up(session, turn.state, turn.token, whole=whole)
        finally:
            with trio.move_on_after(_GIVE_BACK_SECONDS, shield=True), suppress(Unavailable):
                await self._store.give_back(session.session_id, turn.token)

    async def _catch_up(
        self, session: ExamSession, state: bytes | None, token: int | None, *, whole: bool = False
    ) -> _CaughtUp:
        """Fold what has settled. The state is saved under `token`; without one it is a copy.

        `whole` makes sure that nothing which can be had is missing.
        """
        name = session.session_id
        done = progress(state)
        if done.frames > 0 and done.granted != digest(in_force(session.accommodations)):
            # Start over, unless more was folded than can be had again; that lives on in the state alone.
            with await self._archive.recording(name) as recording:
                if len(recording) >= done.frames + recording.following(done.cursor):
                    return await self._start_over(session, recording, token)
            state = await self._engine.advance(state, [], session)
            token = await self._save(session, state, token)
        caught_up = await self._fold(session, state, token, partial(self._store.read, name))
        if whole or caught_up.frames + self._lost.get(name, 0) < caught_up.stored:
            # Frames came in behind the cursor, or expired before it got there.
            with await self._archive.recording(name) as recording:
                if len(recording) > caught_up.frames:
                    return await self._start_over(session, recording, token)
            self._lost[name] = caught_up.stored - caught_up.frames
            caught_up = caught_up._replace(stored=caught_up.stored + recording.left_out)
        return caught_up

    async def _start_over(self, session: ExamSession, recording: Recording, token: int | None) -> _CaughtUp:
        """Fold all settled frames anew."""
        began = trio.current_time()
        caught_up = await self._fold(session, None, token, partial(trio.to_thread.run_sync, recording.page))
        self._lost[session.session_id] = recording.stored - len(recording)
        now = trio.current_time()
        self._rests_until[session.session_id] = now + _REST_FACTOR * (now - began)
        return caught_up._replace(stored=recording.stored + recording.left_out)

    async def _fold(
        self, session: ExamSession, state: bytes | None, token: int | None, read: _Read
    ) -> _CaughtUp:
        """Fold what has settled after the state, some at a time, for all of it would not fit into memory."""
        cursor, folded, _ = progress(state)
        while True:
            page = await read(cursor, JOB_FRAMES, JOB_BYTES)
            settled = settled_of(page, self._now_ms())
            if settled:
                cursor, folded = frame_id_of(page.frames[settled - 1]), folded + settled
                with self._timed("fold"):
                    state = await self._engine.advance(state, page.frames[:settled], session)
                # Page by page, so that of a long backlog nobody has to begin again from the start.
                token = await self._save(session, state, token)
            if not page.more:
                frames = folded + len(page.frames) - settled
                return _CaughtUp(state, page.frames[settled:], frames, max(page.stored, frames))

    async def _save(self, session: ExamSession, state: bytes, token: int | None) -> int | None:
        """Save the state and hold on to it; None if it was lost to another process, and is a copy now."""
        if token is None:
            return None
        saved = await self._store.save_state(
            session.session_id, state, token, keep_seconds=self._turn_seconds
        )
        return token if saved else None

    def _judgeable(self, session: ExamSession) -> ExamSession:
        judged = judgeable(session, self._engine.policies)
        if judged is not session:
            name, gone = session.session_id, session.policy
            _log.warning("policy is gone", session=name, policy=gone, instead=judged.policy)
        return judged

    def _lock(self, session_id: str) -> trio.Lock:
        """One fold of a session at a time; the lock lives while somebody holds or awaits it."""
        return self._locks.setdefault(session_id, trio.Lock())

    @contextmanager
    def _timed(self, job: str) -> Iterator[None]:
        began = trio.current_time()
        yield
        self._metrics.analysis_seconds.labels(job).observe(trio.current_time() - began)
