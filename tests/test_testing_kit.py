"""The kit for the tests of rules makes what a server stores, and judges as a server does."""

import json
import signal
import textwrap
import time
from collections import Counter
from itertools import pairwise

import msgspec
import pytest

import proctor.testing
from proctor.analysis import API_VERSION, Assessment, FrameBatch
from proctor.analysis.fold import FRAMES_AT_ONCE
from proctor.analysis.slot import STATE_MAX_BYTES
from proctor.errors import InvalidRequest, Misconfigured
from proctor.testing import (
    FACE,
    KINDS,
    ORIGIN_MS,
    event,
    held,
    judge,
    levels,
    only,
    recorded,
    simulated,
    stored,
)
from proctor.testing.checks import smallest_cuts
from proctor.testing.judging import deadline, subject, time_ms
from proctor.testing.material import HUGE_FRAMES, hostile, huge, wild
from proctor.wire import Frames, read_message
from tests.wayward.wayward_rules import Upright

HANDS, NONE = FACE | {"hand_count": 2}, FACE | {"hand_count": 0}


class Probe:
    """Says how it was called."""

    api_version = API_VERSION
    title = "Probe"

    class Settings(msgspec.Struct, frozen=True):
        grow: int = 0
        end_seconds: float = 0.0

    class State(msgspec.Struct):
        batches: list[int] = msgspec.field(default_factory=list)
        hoard: str = ""

    def __init__(self, settings):
        self.settings = settings

    def fold(self, state, frames: FrameBatch):
        state.batches.append(len(frames))
        state.hoard += "x" * self.settings.grow

    def assess(self, state):
        return Assessment(findings=[], details={"batches": state.batches})


class TestFrames:
    def test_spans_hold_for_seconds_at_a_rate(self):
        frames = held((3, HANDS), (2, NONE), fps=4)
        batch = FrameBatch.from_json(frames, ORIGIN_MS)
        assert batch.seconds[:3].tolist() == [0.0, 0.25, 0.5]
        assert batch.seconds[-1] == 5.0
        assert Counter(batch["hand_count"].tolist()) == {2.0: 12, 0.0: 9}

    def test_jitter_is_irregular_and_repeatable(self):
        frames = held((60, HANDS), fps=4, jitter=3)
        gaps = [time_ms(later) - time_ms(frame) for frame, later in pairwise(frames)]
        assert len(set(gaps)) > 20
        assert frames == held((60, HANDS), fps=4, jitter=3) != held((60, HANDS), fps=4, jitter=4)

    def test_features_are_taken_in_as_a_server_does(self):
        frame = json.loads(stored([(1.5, {"face_conf": 0.9, "gaze_on_script": None, "lips": "thin"})])[0])
        assert frame == {
            "face_conf": 90.0,
            "lips": "thin",
            "session_id": "s",
            "frame_id": f"{ORIGIN_MS + 1500}-0",
            "timestamp": "2026-01-05T09:00:01.500Z",
            "received_at": "2026-01-05T09:00:01.500Z",
        }
        with pytest.raises(InvalidRequest, match="face_present must be 0 or 1"):
            stored([(0, {"face_present": "yes"})])

    def test_an_event_is_a_frame_that_may_have_features(self):
        batch = FrameBatch.from_json(stored([(0, FACE | event("TAB_SWITCHED", tabs=2))]), ORIGIN_MS)
        assert [(one.name, one.body["tabs"]) for one in batch.events] == [("TAB_SWITCHED", 2)]
        assert batch["face_present"].tolist() == [1.0]


class TestSessions:
    @pytest.mark.parametrize("kind", KINDS)
    def test_simulated_people_come_with_their_truth(self, kind):
        exam = simulated(kind, seed=1, minutes=3)
        assert exam == simulated(kind, seed=1, minutes=3)
        assert bool(exam.truth) != kind.startswith("honest")
        assert FrameBatch.from_json(exam.frames, ORIGIN_MS).seconds[-1] <= 180

    def test_recordings_are_read_as_the_server_would_have_stored_them(self, tmp_path):
        path = tmp_path / "dump.json"
        path.write_text(json.dumps([{"timestamp": ORIGIN_MS + n * 1000, "face_conf": 0.5} for n in range(3)]))
        batch = FrameBatch.from_json(recorded(path), ORIGIN_MS)
        assert batch["face_conf"].tolist() == [50.0] * 3
        assert batch.seconds.tolist() == [0.0, 1.0, 2.0]


class TestJudge:
    def test_what_it_says_is_attributed_as_in_a_report(self):
        finding = only(judge(Upright, held((5, HANDS), (30, NONE), (5, HANDS))))
        assert (finding.start_seconds, finding.end_seconds, finding.rule) == (5.0, 35.0, "Upright")

    def test_settings_are_a_policys(self):
        frames = held((5, HANDS), (30, NONE), (5, HANDS))
        assert levels(judge(Upright, frames)) == ["info"]
        assert levels(judge(Upright, frames, concern_seconds=20.0)) == ["concern"]
        with pytest.raises(TypeError, match=r"Upright has no setting 'conern'; it has concern_seconds"):
            judge(Upright, frames, conern=1.0)
        with pytest.raises(msgspec.ValidationError, match="Expected `float`, got `str`"):
            judge(Upright, frames, concern_seconds="long")

    def test_installed_analyzers_go_by_their_names(self):
        assert judge("no_face", held((10, FACE))).findings == []
        with pytest.raises(LookupError, match=r"no analyzer 'nobody' is installed; there are .*phone"):
            judge("nobody", [])

    def test_batches_end_where_they_are_cut_and_where_a_server_would(self):
        assert judge(Probe, held((2, FACE)), [1, 4]).details == {"batches": [1, 3, 7]}
        frames = list(huge())[: FRAMES_AT_ONCE + 500]
        assert judge(Probe, frames).details == {"batches": [FRAMES_AT_ONCE, 500]}

    def test_the_first_frame_is_the_beginning_whenever_it_was(self):
        late = [(1000 + second, NONE if second > 10 else HANDS) for second in range(40)]
        assert only(judge(Upright, stored(late))).start_seconds == 11.0

    def test_a_state_that_a_server_would_refuse_is_refused(self):
        with pytest.raises(ValueError, match="its state grew to"):
            judge(Probe, held((2, FACE)), grow=STATE_MAX_BYTES)

    def test_what_the_analyzer_raises_goes_through(self):
        class Broken(Probe):
            def fold(self, state, frames):
                raise ZeroDivisionError("here")

        with pytest.raises(ZeroDivisionError, match="here") as raised:
            judge(Broken, held((2, FACE)))
        assert raised.traceback[-1].name == "fold"

    def test_a_class_that_is_no_analyzer_is_refused(self):
        with pytest.raises(Misconfigured, match=r"no method fold|has no title|version None"):
            judge(dict, [])  # type: ignore[arg-type]


class TestDeadline:
    def test_a_call_that_takes_too_long_is_ended(self):
        class Sleeps(Probe):
            def fold(self, state, frames):
                time.sleep(30)

        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"took longer than 0\.05 s over one batch"):
            subject(Sleeps, call_seconds=0.05).judge(held((2, FACE)))
        assert time.monotonic() - began < 10

    def test_an_alarm_that_somebody_else_has_set_still_rings(self):
        rung = []
        handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
        before = signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            with deadline(30):
                time.sleep(0.1)
            assert not rung
            time.sleep(0.05)
            assert rung
        finally:
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *before)


def test_the_example_runs_as_it_stands():
    """The tests in the package's documentation pass."""
    block = (proctor.testing.__doc__ or "").split("::\n", 1)[1].split("\n\nAn analyzer is named", 1)[0]
    namespace: dict = {"__name__": "example"}
    exec(textwrap.dedent(block), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 4
    for test in tests:
        test()


def test_everything_that_is_exported_is_documented():
    for name in proctor.testing.__all__:
        exported = getattr(proctor.testing, name)
        if callable(exported):
            assert exported.__doc__, name


def test_the_cut_that_matters_is_found():
    assert smallest_cuts([3, 5, 9], lambda cuts: 5 in cuts) == [5]
    assert smallest_cuts([3, 5, 9, 12], lambda cuts: {3, 9} <= set(cuts)) == [3, 9]


def test_wild_frames_have_every_feature_that_is_asked_for():
    batch = FrameBatch.from_json(wild(200, 1, ["lips"]), ORIGIN_MS)
    assert len(set(batch.values("lips"))) > 3
    assert batch.seconds[0] == 0


def test_huge_sessions_are_as_long_as_they_say():
    frames = list(huge(["lips"]))
    assert len(frames) == HUGE_FRAMES
    assert time_ms(frames[-1]) - time_ms(frames[0]) == pytest.approx(3_600_000, abs=100)
    batch = FrameBatch.from_json(frames[:20_000], ORIGIN_MS)
    assert {value is None for value in batch.values("lips")} == {True, False}


def test_hostile_frames_are_frames_that_a_server_stores():
    """What the server's own intake makes of them is what they are."""
    for frame in hostile()[::40]:
        features = json.loads(frame)
        for key in ("frame_id", "received_at", "event", "session_id", "timestamp"):
            features.pop(key, None)
        message = read_message({"extracted_features": features}, "s", batch_max_frames=1)
        assert isinstance(message, Frames)
        assert message.frames[0].features == features
