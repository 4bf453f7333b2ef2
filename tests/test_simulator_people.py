"""Simulated people: their truth is what their frames show, and the same seed is the same person."""

from itertools import pairwise

import numpy as np
import pytest

from proctor.errors import InvalidRequest
from proctor.features import VOCABULARY, take_in
from proctor.simulator import KINDS, ExamTaker, episode, exam_taker
from proctor.simulator.client import frame_ms
from proctor.simulator.habits import HABITS, Category, spread

DISHONEST = [kind for kind in KINDS if not kind.startswith("honest")]


def features(taker: ExamTaker) -> list[dict]:
    return [frame for frame in taker.frames() if "event" not in frame]


def share(frames: list[dict], name: str, value: object, spans) -> float:
    """The share of frames inside the spans in which a feature has a value."""
    inside = [
        frame for frame in frames if any(span[0] <= frame["timestamp"] / 1000 < span[1] for span in spans)
    ]
    return sum(frame[name] == value for frame in inside) / len(inside)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_is_the_same_exam(kind):
    """Frame by frame and label by label, also when the frames are asked for twice; another seed differs."""
    first, again, other = exam_taker(kind, 7, 3), exam_taker(kind, 7, 3), exam_taker(kind, 8, 3)
    frames = list(first.frames(1000))
    assert frames == list(first.frames(1000)) == list(again.frames(1000))
    assert first.truth == again.truth
    assert frames != list(other.frames(1000))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_ordered_start_at_the_start_and_end_within_the_exam(kind):
    """Times are whole milliseconds from `start_ms` on, never going back."""
    taker = exam_taker(kind, 1, 10, fps=5)
    times = [frame_ms(frame) for frame in taker.frames(start_ms=1_000_000)]
    assert all(type(time) is int for time in times)
    assert times[0] == 1_000_000
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[-1] <= 1_000_000 + 600_000


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_has_the_whole_vocabulary_as_servers_accept_it(kind):
    for frame in features(exam_taker(kind, 3, 5)):
        del frame["timestamp"]
        assert set(frame) == set(VOCABULARY)
        take_in(frame)


@pytest.mark.parametrize("kind", KINDS)
def test_truth_lies_within_the_exam_and_only_dishonest_kinds_have_any(kind):
    """Even in an exam of half a minute a dishonest person does what they are there for."""
    for minutes in (0.5, 40):
        taker = exam_taker(kind, 2, minutes)
        assert taker.honest == kind.startswith("honest")
        for truth in taker.truth:
            assert 0 <= truth.start_seconds < truth.end_seconds <= minutes * 60


@pytest.mark.parametrize(
    ("kind", "category", "feature", "value", "least"),
    [
        ("phone", Category.PHONE, "phone_present", 1, 0.6),
        ("second-person", Category.MULTIPLE_FACES, "no_of_face", 2, 0.7),
        ("leaves-seat", Category.NO_FACE, "face_present", 0, 0.99),
        ("reads-notes", Category.GAZE, "gaze_on_script", 0, 0.5),
        ("brief-phone", Category.PHONE, "phone_present", 1, 0.6),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_labelled_time_shows_what_its_label_says_and_other_time_does_not(
    kind, category, feature, value, least, seed
):
    taker = exam_taker(kind, seed, 30)
    frames = features(taker)
    labelled = [truth[:2] for truth in taker.truth if truth.category is category]
    assert labelled
    assert share(frames, feature, value, labelled) > least
    bounds = [0.0, *(bound for start, end in labelled for bound in (start - 2, end + 2)), 1800.0]
    outside = list(zip(bounds[::2], bounds[1::2], strict=True))
    assert share(frames, feature, value, outside) < least / 2


def test_heads_turn_to_the_notes_against_the_cameras_own_offset():
    """The shift is many times the noise, wherever the camera stands."""
    taker = exam_taker("reads-notes", 1, 30)
    (start, end, _), *_ = taker.truth
    found = [frame for frame in features(taker) if frame["head_pose"] != "None"]
    inside = [start <= frame["timestamp"] / 1000 < end for frame in found]
    yaw = np.array([frame["head_yaw"] for frame in found])
    usual = np.median(yaw[~np.array(inside)])
    spread_of_usual = np.median(np.abs(yaw[~np.array(inside)] - usual))
    assert np.median(np.abs(yaw[inside] - usual)) > 4 * spread_of_usual


def test_no_face_blanks_every_feature():
    """As browser engines do it, 0 for numbers, "None" for words: absence looks like gaze off the screen."""
    taker = exam_taker("leaves-seat", 5, 10)
    absent = next(frame for frame in features(taker) if not frame["face_present"])
    del absent["timestamp"]
    assert set(absent.values()) == {0, "None"}


def test_tab_switches_are_events_in_pairs_with_one_frame_a_second_between():
    taker = exam_taker("switches-tabs", 4, 20, fps=5)
    frames = list(taker.frames())
    away = [truth for truth in taker.truth if truth.category is Category.WINDOW]
    left = [frame["ts"] / 1000 for frame in frames if frame.get("event") == "TAB_SWITCHED"]
    back = [frame for frame in frames if frame.get("event") == "TAB_RETURNED"]
    assert left == [truth.start_seconds for truth in away]
    assert [frame["ts"] / 1000 for frame in back] == [truth.end_seconds for truth in away]
    assert all(
        frame["duration"] == round(1000 * (t.end_seconds - t.start_seconds))
        for frame, t in zip(back, away, strict=True)
    )
    start, end, _ = away[0]
    between = [frame for frame in features(taker) if start <= frame["timestamp"] / 1000 < end]
    assert len(between) == pytest.approx(end - start, abs=2)


def test_events_have_the_shape_of_the_browser_engine():
    event = next(
        frame for frame in exam_taker("talks", 4, 10).frames() if frame.get("event") == "TALKING_DETECTED"
    )
    assert {"event", "lv", "ts", "source", "frameNumber", "extractedFeatures", "duration"} <= set(event)
    assert event["source"] == "audio"
    assert set(event["extractedFeatures"]) == set(VOCABULARY)


def test_talk_is_heard_throughout_and_only_then():
    taker = exam_taker("talks", 9, 30)
    heard = [frame["ts"] / 1000 for frame in taker.frames() if frame.get("event") == "TALKING_DETECTED"]
    spans = [truth[:2] for truth in taker.truth]
    assert all(any(start <= moment <= end for start, end in spans) for moment in heard)
    assert all(
        sum(start <= moment <= end for moment in heard) >= (end - start) // 3.2 for start, end in spans
    )


def test_bad_networks_have_gaps_and_outages():
    taker = exam_taker("honest-bad-network", 1, 30)
    times = np.array([frame["timestamp"] for frame in features(taker)]) / 1000
    assert np.diff(times).max() > 3
    assert taker.outages
    start, end = taker.outages[0]
    assert ((start <= times) & (times < end)).any(), "frames of an outage come later, they are not lost"
    assert not exam_taker("honest-calm", 1, 30).outages


def test_odd_cameras_call_a_straight_head_turned():
    """What makes them odd: the engine's own words for pose and gaze are wrong most of the time."""
    odd = [frame for seed in range(3) for frame in features(exam_taker("honest-odd-camera", seed, 5))]
    assert sum(frame["head_pose"] in ("left", "right") for frame in odd) > 0.6 * len(odd)
    assert sum(frame["gaze_on_script"] == 0 for frame in odd) > 0.25 * len(odd)


@pytest.mark.parametrize("kind", ["looks-aside", "eyes-aside"])
@pytest.mark.parametrize("seed", range(3))
def test_looks_aside_come_again_and_again_with_the_screen_between_them(kind, seed):
    """A third of labelled time at least is off the screen, much more than of other time, and never all."""
    taker = exam_taker(kind, seed, 30)
    labelled = [truth[:2] for truth in taker.truth]
    assert {truth.category for truth in taker.truth} == {Category.GAZE}
    aside, usual = (
        share(features(taker), "gaze_on_script", 0, spans) for spans in (labelled, [(0.0, 1800.0)])
    )
    assert 1.6 * usual < aside
    assert 0.33 < aside < 0.8


def seen(kind: str, minutes: float = 20) -> list[dict]:
    return [frame for seed in range(3) for frame in features(exam_taker(kind, seed, minutes))]


def part(frames: list[dict], name: str, *values: object) -> float:
    return sum(frame[name] in values for frame in frames) / len(frames)


def test_a_brief_phone_is_held_for_eight_seconds():
    """Also in a long exam, where phones are otherwise held for longer."""
    for seed in range(3):
        truth = exam_taker("brief-phone", seed, 40).truth
        assert [round(item.end_seconds - item.start_seconds, 3) for item in truth] == [8.0] * len(truth)


def test_eyes_aside_are_looks_without_the_head():
    """As many heads are turned in labelled time as in other time; with the head, many more."""
    turned = {}
    for kind in ("eyes-aside", "looks-aside"):
        taker = exam_taker(kind, 1, 40)
        frames = [frame for frame in features(taker) if frame["head_pose"] != "None"]
        inside = [any(t[0] <= frame["timestamp"] / 1000 < t[1] for t in taker.truth) for frame in frames]
        yaw = np.array([frame["head_yaw"] for frame in frames])
        away = np.abs(yaw - np.median(yaw)) > 0.05
        turned[kind] = away[np.array(inside)].mean() - away[~np.array(inside)].mean()
    assert turned["looks-aside"] > 0.25 > 0.05 > abs(turned["eyes-aside"])


def test_detectors_flicker_and_posters_stay():
    """What is no second person: instants of one, a face on the wall nearly always, one some of the time."""
    flickers, poster, dim = (
        part(seen(kind), "no_of_face", 2, 3)
        for kind in ("honest-flickering-detectors", "honest-poster", "honest-flickering-poster")
    )
    assert 0.02 < flickers < 0.12 < dim < 0.7 < 0.85 < poster
    assert part(seen("honest-flickering-detectors"), "phone_present", 1) > 0.02
    assert part(seen("honest-lively"), "no_of_face", 2, 3) < 0.005


def test_glasses_hide_eyes_dim_light_hides_faces_and_distance_shrinks_them():
    assert part(seen("honest-glasses"), "gaze_direction", "None") > 0.4
    assert part(seen("honest-dim-light"), "face_present", 0) > 0.06
    confidences, widths = (
        [np.median([frame[name] for frame in seen(kind) if frame["face_present"]]) for kind in kinds]
        for name, kinds in (
            ("face_conf", ("honest-dim-light", "honest-lively")),
            ("face_w", ("honest-sits-back", "honest-lively")),
        )
    )
    assert confidences[0] < 65 < confidences[1]
    assert widths[0] < 0.6 * widths[1]


def test_slow_clients_send_a_frame_in_two_seconds_and_never_more_than_asked_for():
    assert len(features(exam_taker("honest-slow-client", 1, 10))) == pytest.approx(300, rel=0.1)
    assert len(features(exam_taker("honest-slow-client", 1, 10, fps=0.2))) == pytest.approx(120, rel=0.1)


def test_clients_driven_by_events_send_what_is_new_and_a_sign_of_life():
    """Two frames alike lie at least four seconds apart; no silence is much longer."""
    names = ("no_of_face", "phone_present", "gaze_on_script", "head_pose")
    frames = features(exam_taker("phone-event-driven", 1, 20))
    assert len(frames) < 0.5 * len(features(exam_taker("phone", 1, 20)))
    for earlier, later in pairwise(frames):
        pause = later["timestamp"] - earlier["timestamp"]
        assert pause >= 4000 or any(earlier[name] != later[name] for name in names)
        assert pause < 5000


def test_reading_aloud_comes_in_short_turns():
    """Never so long without a pause as those who talk to somebody."""
    taker = exam_taker("honest-reads-aloud", 1, 40)
    heard = [frame["ts"] / 1000 for frame in taker.frames() if frame.get("event") == "TALKING_DETECTED"]
    assert len(heard) > 20
    longest = run = 0
    for earlier, later in pairwise(heard):
        run = run + 1 if later - earlier < 4 else 0
        longest = max(longest, run)
    assert longest <= 4


def test_frame_rate_is_what_was_asked_for():
    for fps in (1, 4, 25):
        assert len(features(exam_taker("honest-calm", 1, 10, fps))) == pytest.approx(600 * fps, rel=0.05)


def test_a_script_adds_to_what_the_kind_does():
    taker = exam_taker("honest-calm", 1, 5, script=[episode("phone", 60, 68), episode("absence", 120, 150)])
    assert [tuple(truth) for truth in taker.truth] == [(60, 68, "phone"), (120, 150, "no_face")]
    assert share(features(taker), "phone_present", 1, [(60, 68)]) > 0.5
    assert share(features(taker), "face_present", 0, [(120, 150)]) == 1


@pytest.mark.parametrize("habit", HABITS.values(), ids=lambda habit: habit.name)
@pytest.mark.parametrize("seconds", [10, 3600])
def test_spread_keeps_spans_apart_and_inside(habit, seconds):
    """And to half of the exam in all, so that there is usual behaviour to compare with."""
    for seed in range(5):
        spans = spread(np.random.default_rng(seed), seconds, habit)
        assert len(spans) >= habit.at_least
        flat = [bound for span in spans for bound in span]
        assert flat == sorted(flat)
        assert not flat or (flat[0] >= 0 and flat[-1] <= seconds)
        assert sum(end - start for start, end in spans) <= seconds / 2 + 0.01 * len(spans)
        assert all(later.start > earlier.end for earlier, later in pairwise(spans))


def test_unknown_kinds_and_empty_exams_are_refused():
    with pytest.raises(InvalidRequest, match="honest-calm"):
        exam_taker("villain", 1, 1)
    with pytest.raises(InvalidRequest):
        exam_taker("phone", 1, 0)
