"""What is granted is held to what rules know, and changes what they see, and nothing else."""

import itertools
import json

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.accommodations import EVENTS, SIGNALS, AllowPeople, Break, Exempt, Scale, digest, scaled
from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, advance, progress, report
from proctor.analysis.frames import FrameBatch
from proctor.analysis.granting import ACCOMMODATIONS_MAX, Granting
from proctor.analysis.policy import built_in_policy
from proctor.analysis.view import view
from proctor.errors import InvalidRequest
from proctor.features import VOCABULARY
from proctor.model import ExamSession
from proctor.testing import FACE, NO_FACE, ORIGIN_MS, event, held, stored
from proctor.times import iso_from_ms

PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
CALM = FACE | {"gaze_on_script": 1, "head_yaw": 0.01, "head_pose": "forward", "phone_present": 0}
AWAY = CALM | {"gaze_on_script": 0}
COMPANY = CALM | {"no_of_face": 2, "face_conf": 95}
SESSION = ExamSession(session_id="s", started_ms=ORIGIN_MS)


UNTIL = "effective_until"
REPEATS = {"type": "scale", "rule": "phone", "setting": "repeats"}


def moment(seconds: float) -> str:
    return iso_from_ms(ORIGIN_MS + round(seconds * 1000))


@pytest.fixture(scope="module")
def analyzers():
    return discover(plugins=PLUGINS)


@pytest.fixture(scope="module")
def policy(analyzers):
    return built_in_policy(analyzers)


@pytest.fixture(scope="module")
def granting(analyzers, policy):
    return Granting(analyzers, {"default": policy})


@pytest.fixture
def grant(granting):
    """Reads accommodations as the API does, with a reason where none is given."""
    return lambda *asked: tuple(granting.read([{"reason": "because"} | each for each in asked], "default"))


@pytest.fixture
def told(policy):
    """Makes the report on a session's frames under accommodations."""

    def tell(frames, granted=(), state=None):
        job = Job(PLUGINS, policy, state, frames, {}, tuple(granted))
        return json.loads(report(ReportRequest(SESSION, final=True, analysed_ms=0), job))

    return tell


def second(frame):
    return (int(json.loads(frame)["frame_id"].partition("-")[0]) - ORIGIN_MS) / 1000


def categories(told):
    return [(finding["category"], finding["level"]) for finding in told["findings"]]


def suppressed(told):
    return [[each["category"] for each in granted["suppressed"]] for granted in told["accommodations"]]


class TestReading:
    @pytest.mark.parametrize(
        ("asked", "field", "hint"),
        [
            ({"type": "exempt"}, "signal", "which signal or which rule"),
            ({"type": "exempt", "signal": "gaze", "rule": "phone"}, "signal", "one of the two"),
            ({"type": "exempt", "signal": "gase"}, "signal", "did you mean gaze"),
            ({"type": "exempt", "signal": "xyzzy"}, "signal", "there are CO"),
            ({"type": "exempt", "signal": "GASE"}, "signal", "did you mean gaze"),
            ({"type": "exempt", "signal": "PHONE_DETECTED"}, "signal", "unknown"),
            ({"type": "exempt", "signal": "gaze", "withdrawn": moment(1)}, "withdrawn", "leave it out"),
            (
                {"type": "scale", "rule": "phone", "setting": "repeats", "factor": 1.2},
                "factor",
                "would stay 2",
            ),
            (
                {"type": "break", "effective_from": "0002-01-01", "effective_until": "0001-01-01"},
                UNTIL,
                "later",
            ),
            ({"type": "exempt", "rule": "phones"}, "rule", "did you mean phone"),
            ({"type": "allow_people", "people": 0}, "people", ">= 1"),
            ({"type": "scale", "rule": "phone", "setting": "seconds", "factor": 2}, "setting", "unknown"),
            ({"type": "scale", "rule": "phone", "setting": "concern_seconds"}, "", "factor"),
            ({"type": "scale", "rule": "x", "setting": "y", "factor": 2}, "rule", "unknown"),
            (
                {"type": "scale", "rule": "phone", "setting": "confidence_min", "factor": 2},
                "factor",
                "confidence_min would be 1.4",
            ),
            (
                {"type": "scale", "rule": "phone", "setting": "concern_seconds", "factor": 99},
                "factor",
                "<= 10",
            ),
            ({"type": "break"}, "effective_until", "has an end"),
            ({"type": "break", "effective_until": "soon"}, "effective_until", "ISO 8601"),
            (
                {"type": "break", "effective_from": moment(9), "effective_until": moment(9)},
                "effective_until",
                "later",
            ),
            ({"type": "nap"}, "type", "exempt, allow_people, scale, break"),
            ({}, "type", "exempt, allow_people, scale, break"),
            ({"type": "exempt", "signal": "gaze", "reason": ""}, "reason", "length >= 1"),
            ({"type": "exempt", "signal": "gaze", "colour": 1}, "", "colour"),
        ],
    )
    def test_a_mistake_is_told_with_its_place_and_remedy(self, granting, asked, field, hint):
        with pytest.raises(InvalidRequest) as caught:
            granting.read([{"reason": "r"} | asked], "default")
        assert caught.value.field == ".".join(filter(None, ["accommodations.0", field]))
        assert hint in caught.value.detail

    def test_a_reason_is_needed(self, granting):
        with pytest.raises(InvalidRequest, match="reason"):
            granting.read([{"type": "exempt", "signal": "gaze"}], "default")

    def test_no_session_has_more_than_so_many(self, granting):
        one = {"type": "exempt", "signal": "gaze", "reason": "r"}
        there = granting.read([one] * ACCOMMODATIONS_MAX, "default")
        with pytest.raises(InvalidRequest, match="may have 50"):
            granting.read([one], "default", there)

    def test_ids_go_on_after_those_there_are(self, granting):
        one = {"type": "exempt", "signal": "gaze", "reason": "r", "id": "mine"}
        there = granting.read([one, one], "default")
        assert [each.id for each in granting.read([one], "default", there)] == ["a1", "a2", "a3"]

    def test_times_are_written_one_way(self, grant):
        [rest] = grant({"type": "break", "effective_until": "2026-01-05T11:00:00+02:00"})
        assert rest.effective_until == "2026-01-05T09:00:00.000Z"

    @pytest.mark.parametrize("signal", [*SIGNALS, *VOCABULARY, *sorted(EVENTS)])
    def test_every_signal_feature_and_event_can_be_named(self, grant, signal):
        [exemption] = grant({"type": "exempt", "signal": signal})
        assert exemption.hidden.features or exemption.hidden.events

    def test_signals_name_features_that_exist(self):
        assert {name for signal in SIGNALS.values() for name in signal.features} <= VOCABULARY.keys()

    def test_only_what_follows_for_the_rules_is_in_the_digest(self, grant):
        """So that a corrected reason makes no analysis start over."""
        gaze = {"type": "exempt", "signal": "gaze"}
        assert digest(grant(gaze)) == digest(grant(gaze | {"reason": "other", "granted_by": "me"})) != ""
        assert digest(grant(gaze)) != digest(grant(gaze | {"effective_from": moment(1)}))
        assert digest(()) == ""

    def test_whole_numbers_stay_whole_when_scaled(self):
        def by(factor, setting):
            return Scale(reason="r", rule="x", setting=setting, factor=factor)

        assert scaled({"count": 3, "seconds": 3.0}, [by(1.5, "count"), by(1.5, "seconds")]) == {
            "count": 4,
            "seconds": 4.5,
        }
        assert scaled({"count": 2}, [by(0.1, "count")]) == {"count": 1}, "0 may mean never"


class TestSeeing:
    """What a rule gets to see of the frames."""

    FRAMES = FrameBatch.from_json(
        stored(
            [
                (0, CALM),
                (1, AWAY | event("GAZE_AWAY")),
                (2, COMPANY | event("MULTIPLE_FACES")),
                (3, NO_FACE | {"head_yaw": 0, "gaze_on_script": 0}),
                (4, CALM | {"no_of_face": 3, "other": "x"}),
            ]
        ),
        ORIGIN_MS,
    )

    def seen(self, *granted, rule="any"):
        return view(self.FRAMES, ORIGIN_MS, rule, granted)

    def test_without_effect_it_is_the_batch_itself(self):
        assert self.seen(Exempt(reason="r", rule="phone")) is self.FRAMES

    def test_an_exempt_signal_is_unknown_and_its_events_are_gone(self):
        seen = self.seen(Exempt(reason="r", signal="gaze", effective_from=moment(1)))
        assert np.array_equal(seen["gaze_on_script"], [1, *[np.nan] * 4], equal_nan=True)
        assert seen.values("gaze_on_script") == [1, None, None, None, None]
        assert [(each.place, each.name) for each in seen.events] == [(2, "MULTIPLE_FACES")]
        assert np.array_equal(seen["head_yaw"], self.FRAMES["head_yaw"], equal_nan=True)

    def test_until_is_exclusive_and_from_inclusive(self):
        seen = self.seen(
            Exempt(reason="r", signal="head", effective_from=moment(1), effective_until=moment(2))
        )
        assert seen.text("head_pose")[:3] == ["forward", None, "forward"]

    def test_exempt_from_presence_hides_absence_only(self):
        """How many people there are is still told, and zeros without a face stay unknown."""
        seen = self.seen(Exempt(reason="r", signal="presence"))
        assert np.array_equal(seen["no_of_face"], [1, 1, 2, np.nan, 3], equal_nan=True)
        assert not seen.faceless.any()
        assert np.isnan(seen["head_yaw"][3])

    def test_company_that_is_allowed_is_not_counted(self):
        """One more than that still is; and whose face it is, nobody knows."""
        seen = self.seen(AllowPeople(reason="r"))
        assert np.array_equal(seen["no_of_face"], [1, 1, 1, 0, 2])
        assert seen.values("no_of_face") == [1, 1, 1, 0, 2]
        assert np.isnan(seen["head_yaw"][[2, 4]]).all()
        assert [each.name for each in seen.events] == ["GAZE_AWAY"]

    def test_frames_of_a_break_are_not_there(self):
        seen = self.seen(Break(reason="r", effective_from=moment(1), effective_until=moment(3)))
        assert len(seen) == 3
        assert [name.rpartition("-")[2] for name in seen.ids] == ["0", "3", "4"]
        assert seen.seconds.tolist() == [0, 3, 4]
        assert seen.values("other") == [None, None, "x"]
        assert list(seen.faceless) == [False, True, False]
        assert seen.events == ()

    def test_places_of_events_are_those_of_the_frames_left(self):
        seen = self.seen(Break(reason="r", effective_until=moment(2)))
        assert [(each.place, each.name) for each in seen.events] == [(0, "MULTIPLE_FACES")]

    def test_an_exempt_rule_sees_nothing(self):
        assert len(self.seen(Exempt(reason="r", rule="phone"), rule="phone")) == 0


LOOKING_AWAY = held((90, CALM), (40, AWAY), (60, CALM), (40, AWAY), (30, CALM), fps=2)


class TestJudging:
    def test_an_exempt_signal_finds_nothing_and_says_what_it_set_aside(self, told, grant):
        assert categories(told(LOOKING_AWAY)) == [("gaze", "concern")] * 2
        quiet = told(LOOKING_AWAY, grant({"type": "exempt", "signal": "gaze", "reason": "nystagmus"}))
        assert quiet["findings"] == quiet["contributions"] == []
        assert suppressed(quiet) == [["gaze", "gaze"]]
        assert quiet["accommodations"][0]["accommodation"]["reason"] == "nystagmus"
        assert any("2 findings" in sentence for sentence in quiet["recommendations"])
        assert quiet["verdict"]["score"] == 0

    def test_it_is_effective_from_its_time_on(self, told, grant):
        late = told(LOOKING_AWAY, grant({"type": "exempt", "signal": "gaze", "effective_from": moment(150)}))
        assert [finding["start_seconds"] for finding in late["findings"]] == [90.0]
        assert suppressed(late) == [["gaze"]]

    def test_an_exempt_rule_leaves_the_others_alone(self, told, grant):
        frames = held((90, CALM), (40, AWAY), (20, CALM | {"phone_present": 1}), (9, CALM), fps=2)
        without = told(frames, grant({"type": "exempt", "rule": "phone"}))
        assert categories(without) == [("gaze", "concern")]
        assert suppressed(without) == [["phone"]]

    def test_an_allowed_person_is_no_finding_and_a_third_is(self, told, grant):
        allowed = grant({"type": "allow_people"})
        frames = held(
            (60, CALM), (30, COMPANY), (60, CALM), (8, COMPANY | {"no_of_face": 3}), (9, CALM), fps=4
        )
        assert categories(told(frames)) == [("multiple_faces", "concern")] * 2
        with_scribe = told(frames, allowed)
        assert [finding["start_seconds"] for finding in with_scribe["findings"]] == [150.0]
        assert suppressed(with_scribe) == [["multiple_faces"]]

    def test_a_scaled_threshold_makes_an_info_of_a_concern(self, told, grant):
        twice = {"type": "scale", "rule": "gaze_off_screen", "setting": "concern_seconds", "factor": 4}
        more_time = told(LOOKING_AWAY, grant(twice))
        assert categories(more_time) == [("gaze", "info")] * 2
        assert suppressed(more_time) == [["gaze", "gaze"]]
        assert more_time["findings"][0]["observed"]["threshold"] == 5.0

    def test_a_scaled_threshold_counts_for_its_part_of_the_session(self, told, grant):
        scale = {"type": "scale", "rule": "gaze_off_screen", "setting": "concern_seconds", "factor": 4}
        later = told(LOOKING_AWAY, grant(scale | {"effective_from": moment(160)}))
        assert categories(later) == [("gaze", "concern"), ("gaze", "info")]
        earlier = told(LOOKING_AWAY, grant(scale | {"effective_until": moment(160)}))
        assert categories(earlier) == [("gaze", "info"), ("gaze", "concern")]

    def test_a_break_is_neither_judged_nor_missing(self, told, grant):
        """A candidate who walks away, or whose browser sleeps, loses nothing by a planned break."""
        rest = grant({"type": "break", "effective_from": moment(100), "effective_until": moment(200)})
        away = held((100, CALM), (100, NO_FACE), (100, CALM), fps=2)
        asleep = [
            frame
            for frame in held((300, CALM), fps=2)
            if not 100_000 <= int(json.loads(frame)["frame_id"].partition("-")[0]) - ORIGIN_MS < 200_000
        ]
        for frames in (away, asleep):
            rested = told(frames, rest)
            assert rested["findings"] == []
            quality = rested["data_quality"]
            assert (quality["coverage"], quality["gaps"]["count"]) == (1.0, 0)
            assert quality["observed_seconds"] == quality["session_seconds"] == pytest.approx(200, abs=1)
            assert quality["frames_per_second"] == pytest.approx(2, abs=0.05)
            windows = rested["window_analysis"]["predictions_per_window"]
            unseen = [each["window_id"] for each in windows[:-1] if each["confidence"] is None]
            assert unseen == list(range(10, 20))
            assert [each["kind"] for each in rested["timeline"]] == ["first_frame", "break", "last_frame"]
        assert told(asleep)["data_quality"]["gaps"]["count"] == 1
        assert categories(told(away)) == [("no_face", "concern")]

    def test_an_absence_that_outlasts_the_break_counts_from_its_end(self, told, grant):
        rest = grant({"type": "break", "effective_from": moment(100), "effective_until": moment(160)})
        frames = held((100, CALM), (100, NO_FACE), (100, CALM), fps=2)
        [finding] = told(frames, rest)["findings"]
        assert (finding["start_seconds"], finding["end_seconds"]) == (160.0, 200.0)

    def test_another_window_during_a_break_is_nobodys_business(self, told, grant):
        """Whether it was left before the break, and whether frames come meanwhile: only the rest counts."""
        left, back = CALM | event("TAB_SWITCHED"), CALM | event("TAB_RETURNED")
        awake = held((100, CALM), (0.5, left), (900, CALM), (0.5, back), (100, CALM), fps=2)
        asleep = [frame for frame in awake if not 102 <= second(frame) < 1000]
        rest = grant({"type": "break", "effective_from": moment(102), "effective_until": moment(1000)})
        for frames in (awake, asleep):
            [before] = told(frames, rest)["findings"]
            assert (before["start_seconds"], before["end_seconds"], before["level"]) == (100.0, 102.0, "info")
            assert suppressed(told(frames, rest)) == [["window"]]

    @pytest.mark.parametrize("exemption", [{"signal": "window"}, {"rule": "window_left"}])
    def test_neither_is_it_while_exempt(self, told, grant, exemption):
        left, back = CALM | event("TAB_SWITCHED"), CALM | event("TAB_RETURNED")
        frames = held((100, CALM), (0.5, left), (300, CALM), (0.5, back), (9, CALM), fps=2)
        span = {"effective_from": moment(101), "effective_until": moment(400)}
        assert all(
            finding["end_seconds"] - finding["start_seconds"] <= 1
            for finding in told(frames, grant({"type": "exempt", **exemption, **span}))["findings"]
        )

    def test_a_finding_that_lost_most_of_its_time_was_set_aside(self, told, grant):
        frames = held((100, CALM), (300, NO_FACE), (100, CALM), fps=2)
        rest = grant({"type": "break", "effective_from": moment(120), "effective_until": moment(380)})
        report = told(frames, rest)
        assert categories(report) == [("no_face", "concern")] * 2
        assert suppressed(report) == [["no_face"]]

    @pytest.mark.parametrize("bound", ["effective_from", "effective_until"])
    def test_where_a_scale_begins_or_ends_nothing_is_lost_or_told_twice(self, told, grant, bound):
        """The rule sees the phone begin at two times, by the two settings."""
        unsure, sure = (CALM | {"phone_present": 1, "phone_conf": conf} for conf in (75, 99))
        frames = held((120, CALM), (5, unsure), (25, sure), (60, CALM), fps=4)
        scale = {"type": "scale", "rule": "phone", "setting": "confidence_min", "factor": 1.2}
        [phone] = told(frames, grant(scale | {bound: moment(122)}))["findings"]
        assert (phone["category"], phone["level"], phone["end_seconds"]) == ("phone", "concern", 150.0)

    def test_of_two_scales_at_a_time_the_second_is_refused(self, grant):
        """Together they would leave the bounds that each keeps to."""
        scale = {"type": "scale", "rule": "phone", "setting": "confidence_min", "factor": 1.2}
        with pytest.raises(InvalidRequest, match="scaled at that time already, by a1"):
            grant(scale, scale | {"effective_from": moment(5)})
        assert len(grant(scale | {"effective_until": moment(5)}, scale | {"effective_from": moment(5)})) == 2

    def test_a_break_to_come_is_told_with_its_times(self, told, grant):
        rest = grant({"type": "break", "effective_from": moment(600), "effective_until": moment(900)})
        [granted] = told(held((60, CALM)), rest)["accommodations"]
        assert granted["description"] == "A break, 0:10:00 to 0:15:00"

    def test_what_was_granted_is_part_of_what_the_report_follows_from(self, told, grant):
        granted = grant({"type": "exempt", "signal": "gaze"})
        assert told(LOOKING_AWAY, granted)["provenance"]["accommodations_digest"] == digest(granted)
        assert told(LOOKING_AWAY)["provenance"]["accommodations_digest"] == ""

    def test_without_frames_what_was_granted_is_still_told(self, told, grant):
        empty = told([], grant({"type": "exempt", "signal": "gaze"}))
        assert empty["accommodations"][0]["description"] == "Exempt from being judged by gaze"
        assert suppressed(empty) == [[]]


SCENE = held(
    (70, CALM),
    (25, AWAY),
    (10, CALM),
    (12, COMPANY),
    (30, NO_FACE),
    (1, CALM | event("TAB_SWITCHED")),
    (20, CALM),
    (30, AWAY),
    fps=2,
    jitter=1,
)
SLOWER = {"type": "scale", "rule": "no_face", "factor": 3}
MIXED = (
    {"type": "exempt", "signal": "gaze", "effective_from": moment(100)},
    {"type": "allow_people", "effective_from": moment(110), "effective_until": moment(115)},
    {"type": "scale", "rule": "no_face", "setting": "concern_seconds", "factor": 3},
    {
        "type": "scale",
        "rule": "no_face",
        "setting": "info_seconds",
        "factor": 2,
        "effective_from": moment(130),
    },
    {"type": "break", "effective_from": moment(60), "effective_until": moment(75)},
)


@given(st.lists(st.integers(1, len(SCENE) - 1), max_size=6, unique=True))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batching_never_matters_under_accommodations_either(policy, grant, cuts):
    job = Job(PLUGINS, policy, accommodations=grant(*MIXED))
    request = ReportRequest(SESSION, final=True, analysed_ms=0)
    whole = report(request, job._replace(frames=SCENE))
    for start, end in itertools.pairwise([0, *sorted(cuts), len(SCENE)]):
        job = job._replace(state=advance(job._replace(frames=SCENE[start:end])))
    assert report(request, job) == whole


def test_the_state_says_what_it_was_folded_under(policy, grant):
    """So that the server starts over when something was granted since."""
    granted = grant(*MIXED)
    state = advance(Job(PLUGINS, policy, None, SCENE[:50], {}, granted))
    assert progress(state).granted == digest(granted)
    assert progress(advance(Job(PLUGINS, policy, state, SCENE[50:]))).granted == ""


def test_what_is_granted_after_the_frames_have_expired_holds_from_then_on(policy, told, grant):
    """The state cannot start over, so it goes on; the report says from where."""
    state = advance(Job(PLUGINS, policy, None, LOOKING_AWAY[:320]))
    granted = grant({"type": "exempt", "signal": "gaze", "effective_from": moment(160)})
    rest = told(LOOKING_AWAY[320:], granted, state)
    assert [finding["start_seconds"] for finding in rest["findings"]] == [90.0]
    assert suppressed(rest) == [["gaze"]]
    reason = rest["analyzers"]["gaze_off_screen"]["reason"]
    assert reason == "what is granted is not applied to the first 320 frames"


def test_what_is_granted_later_takes_nothing_off_expired_frames(policy, told, grant):
    """A break to come, or an exemption of something else, leaves the earlier one in force."""
    first = {"type": "exempt", "signal": "gaze"}
    state = advance(Job(PLUGINS, policy, None, LOOKING_AWAY[:320], {}, grant(first)))
    for later in (
        {"type": "break", "effective_from": moment(900), "effective_until": moment(950)},
        {"type": "exempt", "signal": "clipboard"},
    ):
        report = told(LOOKING_AWAY[320:], grant(first, later), state)
        assert report["findings"] == []
        assert suppressed(report)[0] == ["gaze", "gaze"]


def test_a_break_that_is_granted_too_late_is_no_time_that_was_missed(policy, told, grant):
    """Its frames were observed and have expired: the coverage is what it was."""
    state = advance(Job(PLUGINS, policy, None, LOOKING_AWAY[:400]))
    rest = grant({"type": "break", "effective_from": moment(50), "effective_until": moment(150)})
    quality = told(LOOKING_AWAY[400:], rest, state)["data_quality"]
    assert quality["coverage"] == 1.0
    assert quality["observed_seconds"] == quality["session_seconds"]


def test_a_rule_that_fails_under_what_was_granted_has_set_nothing_aside(policy, told, grant):
    """It failed, and nothing more is known; least of all that there was nothing."""
    granted = grant({"type": "scale", "rule": "gaze_off_screen", "setting": "concern_seconds", "factor": 2})
    beyond = [msgspec.structs.replace(granted[0], factor=1000.0)]
    report = told(LOOKING_AWAY, beyond)
    assert report["analyzers"]["gaze_off_screen"]["status"] == "failed"
    assert suppressed(report) == [[]]


def test_what_is_withdrawn_leaves_nothing_behind(policy, grant):
    job = Job(PLUGINS, policy, None, SCENE[:100], {}, grant(*MIXED))
    state = advance(job)
    plain = advance(job._replace(state=None, accommodations=()))
    assert len(state) > len(plain)
    assert advance(job._replace(state=state, frames=(), accommodations=())) == plain
    assert msgspec.msgpack.decode(plain)["granted"] == ""
