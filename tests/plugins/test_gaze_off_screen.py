"""Looking off the screen, apart from thinking, blinking and cameras that cannot tell."""

import random

import pytest

from proctor.testing import event, held, judge, levels, only, stored
from proctor_rules.gaze_off_screen import GazeOffScreen

ON = {"face_present": 1, "gaze_on_script": 1, "gaze_direction": "center"}
OFF = {"face_present": 1, "gaze_on_script": 0, "gaze_direction": "bottom_left", "gazePoint_x": 40}
FAILED = {
    "face_present": 1,
    "gaze_on_script": 0,
    "gaze_direction": "None",
    "gazePoint_x": 0,
    "gazePoint_y": 0,
}
NOBODY = {**FAILED, "face_present": 0}


@pytest.mark.parametrize(("seconds", "level"), [(4, []), (8, ["info"]), (20, ["concern"])])
@pytest.mark.parametrize("fps", [1, 10])
def test_levels_by_seconds_at_any_rate(seconds, level, fps):
    assert levels(judge(GazeOffScreen, held((80, ON), (seconds, OFF), (80, ON), fps=fps))) == level


def test_glances_to_and_fro_are_one_concern():
    """Copying from notes: half the time on the screen, for a minute."""
    assessment = judge(GazeOffScreen, held((100, ON), *[(2, OFF), (2, ON)] * 15, (100, ON)))
    finding = only(assessment)
    assert finding.level == "concern"
    assert finding.message == "The gaze was off the screen for 30 s out of 58 s"


def test_thinking_now_and_then_is_no_concern():
    """Four seconds off the screen every half minute."""
    assert judge(GazeOffScreen, held(*[(26, ON), (4, OFF)] * 60)).findings == []


@pytest.mark.parametrize("features", [FAILED, NOBODY])
def test_failed_gaze_is_unknown(features):
    """Absence and failure must not be counted as looking away."""
    assessment = judge(GazeOffScreen, held((80, ON), (60, features), (20, ON)))
    assert assessment.findings == []
    assert not {9, 10, 11, 12} & set(assessment.observed_windows)


def test_flag_says_nothing_about_whom_it_seldom_sees_on_the_screen():
    """After the first minutes, a flag that is nearly always off is the camera's fault."""
    assessment = judge(GazeOffScreen, held((600, {"face_present": 1, "gaze_on_script": 0})))
    assert max(assessment.observed_windows) < 12


def test_points_far_from_the_usual_stand_in_for_the_flag():
    rng = random.Random(5)
    points = [(400, 300)] * 1000 + [(1600, 300)] * 100 + [(400, 300)] * 200
    frames = stored(
        [
            (place / 5, {"gazePoint_x": x + rng.gauss(0, 60), "gazePoint_y": y + rng.gauss(0, 60)})
            for place, (x, y) in enumerate(points)
        ]
    )
    finding = only(judge(GazeOffScreen, frames))
    assert (finding.start_seconds, finding.level) == (200.0, "concern")


def reading(spans, *, offset=0.0, half=60.0, seed=4):
    """(seconds, target) in half screens: eyes within 0.7 of the target, a point and a flag made from it."""
    rng = random.Random(seed)
    moments, begin, place = [], 0.0, 0
    for seconds, target in spans:
        while place / 4 < begin + seconds:
            across = target + rng.uniform(-0.7, 0.7) * (target == 0) + offset + rng.gauss(0, 0.1)
            point = {"gazePoint_x": 700 + half * across, "gazePoint_y": 300 + rng.gauss(0, 20)}
            moments.append((place / 4, point | {"gaze_on_script": int(abs(across) <= 1)}))
            place += 1
        begin += seconds
    return stored(moments)


@pytest.mark.parametrize("offset", [-0.6, 0.6])
def test_flag_of_a_camera_to_one_side_is_denied_by_the_points(offset):
    """A third of honest reading counts as off the screen there, from the first minute on."""
    frames = reading([(1200, 0)], offset=offset)
    assessment = judge(GazeOffScreen, frames)
    assert assessment.findings == []
    assert 0 < max(assessment.window_strengths.values()) < 0.4


def test_looks_to_one_side_are_found_with_such_a_camera():
    finding = only(judge(GazeOffScreen, reading([(600, 0), *[(5, 2.2), (5, 0)] * 8, (300, 0)], offset=-0.6)))
    assert finding.level == "concern"
    assert (finding.start_seconds, finding.end_seconds) == pytest.approx((600, 675), abs=6)


def test_small_movements_of_the_point_bear_a_flag_out():
    """To many browsers the whole screen is a few pixels wide."""
    frames = reading([(300, 0), (20, 2), (100, 0)], half=4.0)
    assert levels(judge(GazeOffScreen, frames)) == ["concern"]


def test_far_point_that_the_browser_calls_centred_is_none():
    near, far = ({"gazePoint_x": x, "gazePoint_y": 300, "gaze_direction": "center"} for x in (400, 1600))
    assert judge(GazeOffScreen, held((200, near), (30, far), (100, near))).window_strengths == {}


def test_points_move_with_the_face():
    """Somebody who moves the chair still looks at the screen; so does a face that is lost for a frame."""
    seat = {"gaze_on_script": 1, "gazePoint_y": 240, "face_y": 200, "face_w": 100, "face_h": 100}
    left, right = ({**seat, "face_x": x, "gazePoint_x": x + 50} for x in (100, 450))
    unboxed = {"gazePoint_x": 500, "gazePoint_y": 240}
    frames = held((300, left), (120, right), (3, unboxed), (60, right))
    assert judge(GazeOffScreen, frames).window_strengths == {}


def test_events_stand_in_for_missing_features():
    frames = stored([(second, event("PROLONGED_GAZE_AWAY")) for second in range(8)])
    assert levels(judge(GazeOffScreen, frames)) == ["info"]


def test_windows_inside_a_long_episode_count_though_they_catch_little_of_it():
    strengths = judge(
        GazeOffScreen, held((100, ON), (9, OFF), (9, ON), (9, OFF), (100, ON)), merge_seconds=5.0
    ).window_strengths
    assert set(strengths) >= {10, 11, 12}
    assert min(strengths[window] for window in (10, 11, 12)) > 0.3
