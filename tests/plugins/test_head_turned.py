"""Head pose against the candidate's own, whatever the camera."""

import random

import pytest

from proctor.testing import event, held, judge, levels, only, stored
from proctor_rules.head_turned import HeadTurned


def head(spans, *, offset=0.0, pose=None, noise=0.01, fps=5):
    """(seconds, yaw) spans of somebody whose camera stands to one side and whose head is never still."""
    rng = random.Random(3)
    moments, begin, place = [], 0.0, 0
    for seconds, yaw in spans:
        while place / fps < begin + seconds:
            features = {"face_present": 1, "head_yaw": offset + yaw + rng.gauss(0, noise), "head_pitch": 0.02}
            moments.append((place / fps, features | ({"head_pose": pose(yaw)} if pose else {})))
            place += 1
        begin += seconds
    return stored(moments)


@pytest.mark.parametrize("offset", [0.0, -0.35, 0.6])
def test_turn_is_a_turn_from_where_the_head_usually_is(offset):
    """A camera far to one side changes nothing."""
    assessment = judge(HeadTurned, head([(60, 0), (5, 0.3), (30, 0)], offset=offset))
    finding = only(assessment)
    assert finding.observed.value == pytest.approx(5, abs=0.3)
    assert finding.observed.baseline == pytest.approx(offset, abs=0.01)
    assert finding.level == "info"


def test_fifteen_seconds_within_a_minute_are_one_concern():
    """From the first of the turns to the last; a turn a minute later is another matter."""
    turns = [(60, 0), *[(6, 0.3), (10, 0)] * 3, (60, 0), (5, 0.3), (30, 0)]
    assessment = judge(HeadTurned, head(turns))
    assert levels(assessment) == ["concern", "info"]
    whole = assessment.findings[0]
    assert (whole.start_seconds, whole.end_seconds) == pytest.approx((60, 98), abs=0.3)


def test_glance_of_half_a_second_is_nothing():
    assert judge(HeadTurned, head([(60, 0), *[(0.6, 0.3), (5, 0)] * 20])).findings == []


def test_restless_head_needs_to_turn_further():
    """The spread of the candidate's own pose is part of the threshold."""
    spans = [(120, 0), (5, 0.2), (30, 0)]
    assert judge(HeadTurned, head(spans, noise=0.06)).findings == []
    assert levels(judge(HeadTurned, head(spans, noise=0.01))) == ["info"]


def test_nothing_is_judged_by_numbers_before_a_baseline():
    assert judge(HeadTurned, head([(5, 0), (10, 0.4)])).observed_windows == []


def test_pose_in_words_needs_no_baseline_of_numbers():
    frames = held((30, {"head_pose": "forward"}), (5, {"head_pose": "left"}), (30, {"head_pose": "forward"}))
    assert only(judge(HeadTurned, frames)).message == "The head was turned away for 5 s"


def test_pose_in_words_says_nothing_about_whom_it_seldom_calls_forward():
    """A camera below the screen makes a candidate look up all the time."""
    spans = [(60, {"head_pose": "up"}), *[(6, {"head_pose": "forward"}), (14, {"head_pose": "up"})] * 5]
    findings = judge(HeadTurned, held(*spans)).findings
    assert all(finding.end_seconds <= 40 for finding in findings)


def test_pose_in_words_is_not_believed_against_the_numbers():
    frames = head([(60, 0), (9, 0.001), (30, 0)], noise=0.02, pose=lambda yaw: "left" if yaw else "forward")
    seconds = sum(finding.observed.value for finding in judge(HeadTurned, frames).findings)
    assert seconds < 4


def test_camera_to_one_side_gives_no_finding_from_the_first_frame_on():
    """Words that were never forward hint for five minutes at the most, and then say nothing."""
    assessment = judge(HeadTurned, head([(900, 0)], offset=0.2, pose=lambda yaw: "left"))
    assert assessment.findings == []
    assert max(assessment.window_strengths) < 34
    assert max(assessment.window_strengths.values()) < 0.5


def test_pose_that_cannot_be_told_is_a_hint_where_it_usually_can():
    forward = {"face_present": 1, "head_yaw": 0.1, "head_pitch": 0.1, "head_pose": "forward"}
    lost = {"face_present": 1, "head_yaw": 0, "head_pitch": 0, "head_pose": "None"}
    assessment = judge(HeadTurned, held((60, forward), (20, lost), (60, forward)))
    assert assessment.findings == []
    assert set(assessment.window_strengths) == {6, 7}
    assert max(judge(HeadTurned, held((600, lost))).window_strengths) < 6


def test_no_face_is_no_turn():
    """Without a face the browser fills in zeros, far from the usual pose of this candidate."""
    blank = {"face_present": 0, "head_yaw": 0, "head_pitch": 0, "head_roll": 0, "head_pose": "None"}
    usual = {"face_present": 1, "head_yaw": 0.5, "head_pitch": 0.1, "head_roll": 0, "head_pose": "forward"}
    assert judge(HeadTurned, held((60, usual), (30, blank), (10, usual))).findings == []


def test_events_stand_in_for_missing_features():
    frames = stored([(second, event("HEAD_TURNED")) for second in range(5)])
    assert levels(judge(HeadTurned, frames)) == ["info"]
