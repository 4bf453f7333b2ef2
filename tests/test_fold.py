"""A report depends on frames, policy and plugins, and on nothing else."""

import itertools
import json
import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.analysis.discovery import Plugin, discover, find_plugins
from proctor.analysis.fold import FORMAT, Job, ReportRequest, active_plugins, advance, progress, report
from proctor.analysis.policy import Rule, built_in_policy
from proctor.analysis.schema import Status
from proctor.analysis.slot import Fault
from proctor.errors import InvalidRequest
from proctor.model import ExamSession, FrameId
from proctor.testing import FACE, NO_FACE, ORIGIN_MS, event, held

PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
SESSION = ExamSession(session_id="s", started_ms=ORIGIN_MS)
REQUEST = ReportRequest(SESSION, final=False, analysed_ms=ORIGIN_MS)
CALM = FACE | {"gaze_on_script": 1, "head_yaw": 0.01, "phone_present": 0}
SCENE = held(
    (40, CALM),
    (8, CALM | {"phone_present": 1, "phone_conf": 88}),
    (20, CALM),
    (30, NO_FACE),
    (10, CALM | event("TAB_SWITCHED")),
    (20, CALM | {"gaze_on_script": 0}),
    (12, CALM | {"no_of_face": 2}),
    fps=2,
    jitter=1,
)


@pytest.fixture(scope="module")
def policy(analyzers):
    return built_in_policy(analyzers)


@pytest.fixture(scope="module")
def analyzers():
    return discover(plugins=PLUGINS)


@pytest.fixture(scope="module")
def job(policy):
    return Job(PLUGINS, policy)


def reported(job, frames, cuts=(), tail=0):
    """The report after folding the frames up to `tail`, cut where told, and giving it the rest."""
    settled = len(frames) - tail
    bounds = [0, *sorted(cut for cut in cuts if cut < settled), settled]
    for start, end in itertools.pairwise(bounds):
        job = job._replace(state=advance(job._replace(frames=frames[start:end])))
    return report(REQUEST, job._replace(frames=frames[settled:]))


@given(st.lists(st.integers(0, len(SCENE)), max_size=8), st.integers(0, len(SCENE)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batching_never_changes_a_report(job, cuts, tail):
    """Neither where the frames were cut, nor how many of them came as a tail: byte for byte."""
    assert reported(job, SCENE, cuts, tail) == reported(job, SCENE)


def test_frame_by_frame_is_the_same_as_all_at_once(job):
    frames = SCENE[: len(SCENE) // 3]
    assert reported(job, frames, range(1, len(frames))) == reported(job, frames)


def test_the_scene_has_findings_of_every_kind(job):
    """Otherwise the tests above would prove little."""
    found = {finding["rule"] for finding in json.loads(reported(job, SCENE))["findings"]}
    assert {"phone", "no_face", "window_left", "gaze_off_screen", "multiple_faces"} <= found


def test_a_repeated_call_changes_nothing(job):
    """Frames that the state already has are passed over, wholly or in part."""
    state = advance(job._replace(frames=SCENE[:100]))
    assert advance(job._replace(state=state, frames=SCENE[:100])) == state
    overlapping = advance(job._replace(state=state, frames=SCENE[50:200]))
    assert overlapping == advance(job._replace(state=state, frames=SCENE[100:200]))


def test_progress_says_where_to_read_on(job):
    assert progress(None) == (None, 0, "")
    last = FrameId.parse(json.loads(SCENE[99])["frame_id"])
    assert progress(advance(job._replace(frames=SCENE[:100]))) == (last, 100, "")


@pytest.mark.parametrize(
    "foreign", [b"", b"\xc1", b"nonsense", msgspec.msgpack.encode({"format": FORMAT + 1})]
)
def test_a_state_of_another_format_counts_as_none(job, foreign):
    """After an upgrade the session starts over from its frames, instead of failing."""
    assert progress(foreign) == (None, 0, "")
    fresh = advance(job._replace(frames=SCENE))
    assert advance(job._replace(state=foreign, frames=SCENE)) == fresh


def test_a_report_leaves_the_state_as_it_is(job):
    state = advance(job._replace(frames=SCENE[:100]))
    first = report(REQUEST, job._replace(state=state, frames=SCENE[100:]))
    assert report(REQUEST, job._replace(state=state, frames=SCENE[100:])) == first


def test_more_frames_than_are_columns_at_once(job, monkeypatch):
    """A long backlog is taken in pieces, to the same end."""
    whole = reported(job, SCENE)
    monkeypatch.setattr("proctor.analysis.fold.FRAMES_AT_ONCE", 7)
    assert reported(job, SCENE) == whole


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        (list(reversed(SCENE[:3])), "frames must be in time order"),
        ([b"{}"], "not a stored frame"),
        ([SCENE[0], b"{}"], "not a stored frame"),
        ([b'{"frame_id":"here"}'], "not a stored frame"),
        ([SCENE[0], b'{"frame_id":"9999999999999-1","face_x":"left"}'], "not a stored frame"),
        ([SCENE[0], b'{"frame_id":"9999999999999-1","pupil_left_x":"left"}'], "not a stored frame"),
        ([b"no json"], "not a stored frame"),
    ],
)
def test_what_are_no_stored_frames_in_order_is_refused(job, frames, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        advance(job._replace(frames=frames))


def test_a_fault_switches_an_analyzer_off_for_good(job):
    fault = Fault(Status.TIMED_OUT, "proctor[phone]: took longer than 1 s")
    state = advance(job._replace(frames=SCENE[:100], faults={"phone": fault}))
    later = json.loads(report(REQUEST, job._replace(state=state, frames=SCENE[100:])))
    assert later["analyzers"]["phone"]["status"] == "timed_out"
    assert later["analyzers"]["phone"]["reason"] == fault.reason
    assert not later["suspicious_events"]["phone_detections"]
    assert later["suspicious_events"]["no_face_detected"]
    active = active_plugins(job._replace(state=state))
    assert "phone" not in {plugin.name for plugin in active}
    assert len(active) == len(PLUGINS) - 1


def test_nothing_is_called_without_frames(job):
    assert active_plugins(job) == []


def test_a_rule_that_is_switched_off_is_neither_run_nor_hidden(job, policy):
    rules = policy.rules | {"phone": Rule(enabled=False)}
    off = job._replace(policy=msgspec.structs.replace(policy, rules=rules))
    told = json.loads(reported(off, SCENE))
    assert told["analyzers"]["phone"]["status"] == "skipped"
    assert not told["suspicious_events"]["phone_detections"]
    assert "phone" not in {plugin.name for plugin in active_plugins(off._replace(frames=SCENE))}


def test_a_plugin_that_comes_late_says_so(job):
    state = advance(job._replace(plugins=PLUGINS[1:], frames=SCENE[:100]))
    told = json.loads(report(REQUEST, job._replace(state=state, frames=SCENE[100:])))
    assert told["analyzers"][PLUGINS[0].name]["reason"] == "joined after 100 frames"


def test_a_plugin_that_went_says_so(job):
    state = advance(job._replace(frames=SCENE))
    told = json.loads(report(REQUEST, job._replace(plugins=PLUGINS[1:], state=state)))
    gone = told["analyzers"][PLUGINS[0].name]
    assert (gone["status"], gone["reason"]) == ("skipped", "no longer installed")


def test_the_state_of_three_hours_stays_small(job):
    """108,000 frames of restless behaviour fit into 256 KB."""
    rng = random.Random(1)
    restless = [
        (rng.uniform(2, 60), CALM | {"gaze_on_script": rng.randint(0, 1), "phone_present": rng.randint(0, 1)})
        for _ in range(350)
    ]
    frames = held(*restless, fps=2)
    assert len(advance(job._replace(frames=frames))) < 256_000


def test_plugins_order_does_not_matter(job):
    shuffled = tuple(reversed(PLUGINS))
    assert isinstance(shuffled[0], Plugin)
    assert reported(job._replace(plugins=shuffled), SCENE) == reported(job, SCENE)
