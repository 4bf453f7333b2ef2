"""The report keeps to its schema and says nothing that does not follow from the session."""

import json

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.analysis.api import API_VERSION, Assessment, Finding, Group, Level, Observed
from proctor.analysis.discovery import Plugin, discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import Rule, built_in_policy
from proctor.analysis.report import CATEGORIES
from proctor.analysis.schema import Status, report_schema
from proctor.analysis.slot import Fault
from proctor.model import ExamSession
from proctor.testing import FACE, NO_FACE, ORIGIN_MS, event, held, stored

PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
CALM = FACE | {"gaze_on_script": 1, "head_yaw": 0.01, "phone_present": 0}
PHONE = CALM | {"phone_present": 1, "phone_conf": 88}
SCHEMA = report_schema()


@pytest.fixture(scope="module")
def policy():
    return built_in_policy(discover(plugins=PLUGINS))


@pytest.fixture(scope="module")
def told(policy):
    """Makes a session's report, as the JSON object that a client reads, and holds it to the schema."""
    validator = jsonschema.Draft202012Validator(SCHEMA)

    def tell(
        frames, *, plugins=PLUGINS, policy=policy, final=False, analysed_ms=ORIGIN_MS, faults=None, **facts
    ):
        session = ExamSession(**{"session_id": "s", "started_ms": ORIGIN_MS} | facts)
        job = Job(plugins, policy, None, frames, faults or {})
        told = json.loads(report(ReportRequest(session, final, analysed_ms), job))
        validator.validate(told)
        assert sum(each["points"] for each in told["contributions"]) == told["verdict"]["score"]
        return told

    return tell


@pytest.fixture(scope="module")
def eventful(told):
    frames = held(
        (300, CALM),
        (8, PHONE),
        (60, CALM),
        (30, NO_FACE),
        (0.5, CALM | event("TAB_SWITCHED")),
        (20, CALM),
        fps=2,
    )
    return told(frames)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_refuses_a_key_too_many_and_one_too_few(eventful):
    """Otherwise it would hold nobody to anything."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert not validator.is_valid(eventful | {"more": 1})
    assert not validator.is_valid({key: value for key, value in eventful.items() if key != "verdict"})


behaviour = st.sampled_from(
    [
        CALM,
        PHONE,
        NO_FACE,
        {},
        CALM | {"gaze_on_script": 0},
        CALM | {"head_yaw": 0.6},
        CALM | {"no_of_face": 3},
        CALM | event("TAB_SWITCHED"),
        CALM | event("PASTE_ATTEMPT"),
        CALM | event("TALKING_DETECTED", duration=9000),
        CALM | {"client_timestamp": 12.5},
    ]
)


@given(
    st.lists(st.tuples(st.floats(0.1, 60), behaviour), min_size=1, max_size=12), st.sampled_from([0.3, 1, 4])
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_session_keeps_to_the_schema(told, spans, fps):
    """And its points add up to its score; `told` checks both."""
    told(held(*spans, fps=fps, jitter=3))


def test_an_empty_session_is_insufficient_and_never_cleared(told):
    empty = told([], final=True, ended_ms=ORIGIN_MS + 60_000)
    verdict = empty["verdict"]
    assert (verdict["review_priority"], verdict["confidence_level"]) == ("insufficient", "insufficient")
    assert (verdict["is_cheating"], verdict["score"], verdict["confidence"]) == (False, 0, None)
    assert empty["window_analysis"]["predictions_per_window"] == []
    assert empty["window_analysis"]["mean_confidence"] is None
    assert {analyzer["status"] for analyzer in empty["analyzers"].values()} == {"skipped"}
    assert empty["timeline"] == []
    assert "Too little was observed" in empty["recommendations"][0]


def test_a_single_frame_is_insufficient(told):
    one = told(held((0, CALM)))
    assert one["verdict"]["review_priority"] == "insufficient"
    assert one["window_analysis"]["total_windows"] == 1
    assert one["data_quality"]["frames_per_second"] is None


def test_a_calm_session_calls_for_nothing(told):
    calm = told(held((600, CALM), fps=1))
    assert calm["verdict"]["review_priority"] == "none"
    assert calm["verdict"]["score"] == 0
    assert calm["findings"] == calm["contributions"] == []
    assert calm["recommendations"] == ["No review is called for by what was observed."]
    assert calm["window_analysis"]["max_confidence"] == 0.0


def test_a_phone_for_eight_seconds_is_high(told):
    """Also in a session of a minute, where the report says how little was observed."""
    assert told(held((1200, CALM), (8, PHONE), (1200, CALM), fps=2))["verdict"]["is_cheating"] is True
    demo = told(held((30, CALM), (8, PHONE), (22, CALM), fps=5))["verdict"]
    assert demo["review_priority"] == "high"
    assert (
        "Little was observed (60 s observed, 100% of the session; 5 min and 60% are usual)"
        in demo["verdict_basis"]
    )
    assert "direct evidence (device)" in demo["verdict_basis"]


def test_the_same_input_gives_the_same_bytes(policy):
    """Apart from the time of the analysis."""
    frames = held((300, CALM), (8, PHONE), (30, NO_FACE), fps=2)
    job = Job(PLUGINS, policy, None, frames)
    session = ExamSession(session_id="s", started_ms=ORIGIN_MS)
    early = report(ReportRequest(session, final=True, analysed_ms=ORIGIN_MS), job)
    late = report(ReportRequest(session, final=True, analysed_ms=ORIGIN_MS + 1), job)
    assert early != late
    assert early == late.replace(b":00:00.001Z", b":00:00.000Z")


def test_existing_keys_are_where_frontends_read_them(eventful):
    assert {"is_cheating", "confidence", "confidence_level", "verdict_basis"} <= eventful["verdict"].keys()
    windows = eventful["window_analysis"]
    assert {
        "total_windows",
        "windows_flagged",
        "percentage_flagged",
        "max_confidence",
        "mean_confidence",
    } <= (windows.keys())
    first = windows["predictions_per_window"][0]
    assert {"window_id", "is_cheating", "confidence", "start_frame", "end_frame"} <= first.keys()
    assert eventful["suspicious_events"].keys() == CATEGORIES.keys() | {"summary"}


def test_findings_stand_under_their_category(eventful):
    [phone] = eventful["suspicious_events"]["phone_detections"]
    assert phone in eventful["findings"]
    assert eventful["suspicious_events"]["summary"]["phone"] == {
        "count": 1,
        "concerns": 1,
        "total_seconds": phone["end_seconds"] - phone["start_seconds"],
    }
    assert "window" in eventful["suspicious_events"]["summary"]


def test_windows_follow_each_other_from_the_first_frame(eventful):
    windows = eventful["window_analysis"]["predictions_per_window"]
    assert [window["window_id"] for window in windows] == list(range(len(windows)))
    assert all(window["end_seconds"] - window["start_seconds"] == 10 for window in windows)
    assert sum(window["frames"] for window in windows) == eventful["session_info"]["total_frames"]
    assert windows[0]["start_frame"] == f"{ORIGIN_MS}-0"
    flagged = [window["window_id"] for window in windows if window["is_cheating"]]
    assert 30 in flagged  # the phone, at 300 s
    assert not set(flagged) & set(range(29))


def test_a_window_that_nobody_observed_has_no_confidence(told):
    """Nothing came in, so it is neither suspicious nor clean."""
    windows = told(held((20, CALM)) + held((60, CALM))[-60:])["window_analysis"]["predictions_per_window"]
    assert windows[0]["confidence"] == 0.0
    empty = windows[3]
    assert (empty["frames"], empty["confidence"], empty["is_cheating"]) == (0, None, False)
    assert (empty["start_frame"], empty["end_frame"]) == (None, None)


def test_frames_that_say_nothing_are_observed_by_no_rule(told):
    """A window full of frames without features cannot be judged either."""
    silent = told(held((60, {}), fps=2))["window_analysis"]
    observing = {window["confidence"] for window in silent["predictions_per_window"]}
    assert observing <= {None, 0.0}
    assert silent["windows_flagged"] == 0


def test_without_a_rule_is_what_a_policy_that_gives_it_no_points_would_say(told, policy):
    frames = held((300, CALM), (8, PHONE), (60, CALM), (15, NO_FACE), (60, CALM), fps=2)
    contributions = told(frames)["contributions"]
    assert [each["rule"] for each in contributions] == ["phone", "no_face"]
    for each in contributions:
        rules = policy.rules | {each["rule"]: msgspec.structs.replace(policy.rules[each["rule"]], points=0)}
        verdict = told(frames, policy=msgspec.structs.replace(policy, rules=rules))["verdict"]
        assert each["without"] == {key: verdict[key] for key in ("score", "review_priority")}
        assert each["without"]["score"] < 100


def test_time_before_and_after_the_frames_is_not_observed(told):
    """Pulling the plug after a few minutes is no clean session."""
    frames = held((600, CALM), fps=1)
    last_ms = ORIGIN_MS + 600_000
    quality = told(frames, started_ms=ORIGIN_MS - 300_000, ended_ms=last_ms + 900_000)["data_quality"]
    assert quality["before_first_frame_seconds"] == 300
    assert quality["after_last_frame_seconds"] == 900
    assert quality["coverage"] == pytest.approx(600 / 1800, abs=1e-4)
    cut_short = told(frames, started_ms=ORIGIN_MS, ended_ms=last_ms + 900_000)
    assert cut_short["verdict"]["review_priority"] == "insufficient"
    assert "Nothing is known of the last 15 min of the session." in cut_short["recommendations"]


def test_an_end_before_the_last_frame_is_no_negative_time(told):
    """Clocks of client and server may disagree."""
    quality = told(held((600, CALM), fps=1), started_ms=ORIGIN_MS + 5_000, ended_ms=ORIGIN_MS + 1_000)[
        "data_quality"
    ]
    assert (quality["before_first_frame_seconds"], quality["after_last_frame_seconds"]) == (0, 0)
    assert quality["coverage"] == 1


def test_gaps_are_told_and_count_for_nothing(told):
    moments = [(second, CALM) for second in range(400)] + [(second, CALM) for second in range(520, 900)]
    gap = told(stored(moments))
    assert gap["data_quality"]["gaps"] == {
        "count": 1,
        "total_seconds": 121,
        "longest": [{"start_seconds": 399, "end_seconds": 520}],
    }
    assert gap["verdict"]["score"] == 0
    assert any("No frames came in from 0:06:39 to 0:08:40" in each for each in gap["recommendations"])
    assert "gap" in {entry["kind"] for entry in gap["timeline"]}


def test_the_timeline_is_in_order_and_dated(eventful):
    starts = [entry["start_seconds"] for entry in eventful["timeline"]]
    assert starts == sorted(starts)
    assert eventful["timeline"][0]["kind"] == "first_frame"
    assert eventful["timeline"][0]["timestamp"] == eventful["session_info"]["first_frame_at"]
    assert sum(entry["kind"] == "finding" for entry in eventful["timeline"]) == len(eventful["findings"])


def test_recommendations_say_when_to_look(eventful):
    """The strongest concerns, in order of time."""
    [look] = [each for each in eventful["recommendations"] if "phone" in each]
    assert look.startswith("Look at 0:05:00 to 0:05:08: ")


def test_many_concerns_are_not_all_recommended(told):
    spans = [(40, CALM), (12, NO_FACE)] * 12
    many = told(held(*spans, fps=2))["recommendations"]
    assert sum(each.startswith("Look at") for each in many) == 5
    assert any("more concerns among the findings" in each for each in many)


def test_an_analyzer_that_failed_is_named_in_the_recommendations(told):
    fault = Fault(Status.TIMED_OUT, "proctor[phone]: took longer than 1 s")
    failed = told(held((600, CALM), fps=1), faults={"phone": fault})
    assert failed["analyzers"]["phone"]["status"] == "timed_out"
    assert failed["recommendations"][-1].startswith(
        "Not judged by Phone in view (proctor[phone]: took longer"
    )


def test_provenance_tells_inputs_apart(told, policy):
    """Other frames, another policy or other settings show in their own digest, and only there."""
    frames = held((60, CALM), fps=1)
    base = told(frames)["provenance"]
    other_frames = told(frames[:-1])["provenance"]
    assert other_frames["frames"]["digest"] != base["frames"]["digest"]
    assert other_frames["policy"] == base["policy"]
    rules = policy.rules | {"phone": msgspec.structs.replace(policy.rules["phone"], points=1)}
    other_policy = told(frames, policy=msgspec.structs.replace(policy, rules=rules))["provenance"]
    assert other_policy["policy"]["digest"] != base["policy"]["digest"]
    assert other_policy["plugins_digest"] == base["plugins_digest"]
    newer = (PLUGINS[0]._replace(version="9.9"), *PLUGINS[1:])
    assert told(frames, plugins=newer)["provenance"]["plugins_digest"] != base["plugins_digest"]


def test_session_info_is_the_session(told):
    facts = told(held((60, CALM)), candidate_id="c", exam_id="e", final=True, ended_ms=ORIGIN_MS + 61_000)
    info = facts["session_info"]
    assert (info["session_id"], info["candidate_id"], info["exam_id"], info["final"]) == ("s", "c", "e", True)
    assert (info["started_at"], info["ended_at"]) == ("2026-01-05T09:00:00.000Z", "2026-01-05T09:01:01.000Z")
    assert info["duration_seconds"] == 60


def test_a_clock_that_runs_wild_does_not_blow_up_the_report(told):
    """Two frames ten years apart; windows without frames are then not listed."""
    wild = told(stored([(0, CALM), (1, CALM), (10 * 365 * 86400.0, CALM)]))
    assert len(wild["window_analysis"]["predictions_per_window"]) == 2
    assert wild["window_analysis"]["total_windows"] > 10**6


def test_technical_findings_are_shown_and_never_suspicious(told, policy):
    """Neither among suspicious events, nor in the score, nor in a window's confidence."""
    camera = Plugin("camera", "ours", "1", "tests.test_report:Camera")
    rules = policy.rules | {"camera": Rule(settings={})}
    shown = told(
        held((600, CALM), fps=1),
        plugins=(*PLUGINS, camera),
        policy=msgspec.structs.replace(policy, rules=rules),
    )
    assert [finding["category"] for finding in shown["findings"]] == ["camera"]
    assert "camera" not in shown["suspicious_events"]["summary"]
    assert shown["verdict"]["review_priority"] == "none"
    assert shown["window_analysis"]["max_confidence"] == 0.0
    assert shown["analyzers"]["camera"]["details"] == {"model": "unknown"}


class Camera:
    """Has something to say about the camera, and says it strongly."""

    api_version = API_VERSION
    title = "Camera"

    class Settings(msgspec.Struct):
        pass

    class State(msgspec.Struct):
        pass

    def __init__(self, settings):
        pass

    def fold(self, state, frames):
        pass

    def assess(self, state):
        finding = Finding(
            category="camera",
            group=Group.TECHNICAL,
            level=Level.CONCERN,
            start_seconds=0.0,
            end_seconds=300.0,
            strength=1.0,
            message="The camera was covered",
            frame_ids=("0-0", "0-0", "0-0"),
            observed=Observed(signal="frames", value=0.0, threshold=1.0, unit="1"),
        )
        return Assessment(findings=[finding], window_strengths={0: 1.0}, details={"model": "unknown"})


def test_a_window_without_evidence_names_no_rule(told, policy):
    """An analyzer may say 0 of a window, or nothing; where it could not observe, it counts for nothing."""
    listener = Plugin("listener", "ours", "1", "tests.test_report:Listener")
    rules = {"listener": Rule(settings={})}
    told_by_one = told(
        held((40, CALM), fps=1),
        plugins=(listener,),
        policy=msgspec.structs.replace(policy, rules=rules),
    )
    windows = told_by_one["window_analysis"]["predictions_per_window"]
    assert [window["confidence"] for window in windows] == [0.0, 0.96, 0.0, None, None]
    assert [window["rules"] for window in windows] == [{}, {"listener": 0.7}, {}, {}, {}]
    assert told_by_one["window_analysis"]["percentage_flagged"] == 33.3


class Listener(Camera):
    """Heard something in the second window and could not hear in the fourth."""

    title = "Listener"

    def assess(self, state):
        return Assessment(findings=[], window_strengths={0: 0.0, 1: 0.7, 3: 0.9}, observed_windows=[0, 1, 2])


def test_every_group_is_named_in_the_schema():
    assert set(SCHEMA["$defs"]["Group"]["enum"]) == {group.value for group in Group}
