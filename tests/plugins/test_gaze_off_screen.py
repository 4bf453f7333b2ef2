"""Looking off the screen, apart from thinking, blinking and cameras that cannot tell."""

import random

import pytest

from proctor_rules.gaze_off_screen import GazeOffScreen
from tests.plugins.recording import event, held, judge, levels, only, stored

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


def test_events_stand_in_for_missing_features():
    frames = stored([(second, event("PROLONGED_GAZE_AWAY")) for second in range(8)])
    assert levels(judge(GazeOffScreen, frames)) == ["info"]


def test_windows_inside_a_long_episode_count_though_they_catch_little_of_it():
    strengths = judge(
        GazeOffScreen, held((100, ON), (9, OFF), (9, ON), (9, OFF), (100, ON)), merge_seconds=5.0
    ).window_strengths
    assert set(strengths) >= {10, 11, 12}
    assert min(strengths[window] for window in (10, 11, 12)) > 0.3
