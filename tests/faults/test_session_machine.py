"""Any history of sessions, with the process dying in the middle of any step: each ends once, and whole."""

import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proctor.errors import SessionEnded, UnknownSession
from proctor.model import ExamSession, SessionStatus
from proctor.storage.frames import Outcome
from tests import test_sessions
from tests.fakes import Wrapped
from tests.faults.checker import dumped
from tests.faults.trio_thread import TrioThread
from tests.house import PARTS, House, house_settings, open_house

T0_MS = 1_767_603_600_000
SESSIONS = st.sampled_from(["one", "two"])
_PATIENCE_SECONDS = 20


class Fuse:
    """Where the process is to die: at one step of an end, before or after it does its work."""

    def __init__(self) -> None:
        self.step: tuple[str, str, bool] | None = None
        self.reached = trio.Event()


class Fused(Wrapped):
    """A part of the house that stops for ever at the fuse's step."""

    def __init__(self, inner: Any, part: str, fuse: Fuse) -> None:
        super().__init__(inner)
        self._part = part
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        works = getattr(self.inner, name)
        step = self._fuse.step
        if step is None or step[:2] != (self._part, name):
            return works

        async def burn(*arguments: Any, **keywords: Any) -> None:
            if step[2]:
                await works(*arguments, **keywords)
            self._fuse.reached.set()
            await trio.sleep_forever()

        return burn


class SessionMachine(RuleBasedStateMachine):
    """Two sessions and one process after the other, on real files."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory(prefix="proctor-sessions-")
        self.settings = house_settings(Path(self.folder.name), analyze_interval_seconds=0)
        self.trio = TrioThread()
        self.known: set[str] = set()
        self.ended: dict[str, tuple[bytes, bytes]] = {}
        """Report and dump, as they were when the session was first seen to have ended."""
        self.stored: dict[str, int] = {"one": 0, "two": 0}
        self._boot()

    def _boot(self) -> None:
        self.fuse = Fuse()
        self.process, self.house = self.trio.call(self.trio.nursery.start, self._live)

    async def _live(self, task_status: trio.TaskStatus[tuple[trio.CancelScope, House]]) -> None:
        wraps = {part: partial(Fused, part=part, fuse=self.fuse) for part in PARTS}
        with trio.CancelScope() as scope:
            async with open_house(self.settings, **wraps) as house:
                task_status.started((scope, house))
                await trio.sleep_forever()
        self.dead.set()

    @rule(session_id=SESSIONS)
    def start(self, session_id: str) -> None:
        session = ExamSession(session_id=session_id, started_ms=T0_MS)
        try:
            self.trio.call(self.house.sessions.start, session)
        except SessionEnded:
            assert session_id in self.ended
        else:
            assert session_id not in self.ended
            self.known.add(session_id)

    @rule(session_id=SESSIONS, count=st.integers(1, 5))
    def stream(self, session_id: str, count: int) -> None:
        first = self.stored[session_id]
        frames = [
            {"face_present": 1, "marker": n, "ts": T0_MS + 500 * n} for n in range(first, first + count)
        ]
        try:
            outcome = self.trio.call(self.house.stream, session_id, *frames)
        except SessionEnded:
            assert session_id in self.ended
        else:
            assert session_id not in self.ended
            assert outcome is Outcome.STORED
            self.stored[session_id] += count
            self.known.add(session_id)

    @rule(session_id=SESSIONS)
    def analyze(self, session_id: str) -> None:
        try:
            report = self.trio.call(self.house.sessions.analyze, session_id)
        except UnknownSession:
            assert session_id not in self.known
        else:
            info = json.loads(report)["session_info"]
            assert info["final"] is (session_id in self.ended)
            assert info["total_frames"] == self.stored[session_id]

    @rule(session_id=SESSIONS)
    def end(self, session_id: str) -> None:
        try:
            assert self.trio.call(self.house.sessions.end, session_id) is True
        except UnknownSession:
            assert session_id not in self.known
        else:
            self._note_end(session_id)

    @rule(session_id=SESSIONS, step=st.sampled_from(test_sessions.TestCrash.STEPS))
    def end_and_die(self, session_id: str, step: tuple[str, str, bool]) -> None:
        self.fuse.step = step
        self.trio.call(self._end_until_death, session_id)
        self._crash()
        if session_id in self.known:
            self.trio.call(self._until_ended, session_id)
            self._note_end(session_id)

    async def _end_until_death(self, session_id: str) -> None:
        """Until the fuse is reached; an end that takes no such step comes to its own end."""
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                with suppress(UnknownSession):
                    await self.house.sessions.end(session_id)
                self.fuse.reached.set()

            nursery.start_soon(end)
            with trio.fail_after(_PATIENCE_SECONDS):
                await self.fuse.reached.wait()
            nursery.cancel_scope.cancel(reason="the process dies")

    async def _until_ended(self, session_id: str) -> None:
        with trio.fail_after(_PATIENCE_SECONDS):
            while True:
                session = await self.house.database.get_session(session_id)
                if session is not None and session.status is SessionStatus.ENDED:
                    return
                await trio.sleep(0.01)

    @rule()
    def crash(self) -> None:
        self._crash()

    def _crash(self) -> None:
        self.trio.call(self._die)
        self._boot()

    async def _die(self) -> None:
        self.dead = trio.Event()
        self.process.cancel()
        await self.dead.wait()

    def _outcome(self, session_id: str) -> tuple[bytes, bytes]:
        report = self.trio.call(self.house.database.get_report, session_id)
        assert report is not None
        return report, (self.settings.dump_directory / f"{session_id}_frames.json").read_bytes()

    def _note_end(self, session_id: str) -> None:
        self.ended.setdefault(session_id, self._outcome(session_id))

    @invariant()
    def what_has_ended_is_whole_and_stays(self) -> None:
        for session_id, outcome in getattr(self, "ended", {}).items():
            assert self._outcome(session_id) == outcome
            markers = [frame["marker"] for frame in dumped(self.settings.dump_directory, session_id)]
            assert markers == list(range(self.stored[session_id]))
            info = json.loads(outcome[0])["session_info"]
            assert (info["final"], info["total_frames"]) == (True, self.stored[session_id])
            assert self.trio.call(self.house.store.read, session_id).frames == []

    @invariant()
    def what_goes_on_is_there(self) -> None:
        for session_id in getattr(self, "known", set()) - getattr(self, "ended", {}).keys():
            assert len(self.trio.call(self.house.store.read, session_id).frames) == self.stored[session_id]

    def teardown(self) -> None:
        if hasattr(self, "trio"):
            self.trio.call(self._die)
            self.trio.close()
            self.folder.cleanup()


SessionMachine.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=12,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # to shrink would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)
TestSessions = pytest.mark.no_cover(SessionMachine.TestCase)
