"""Head pose against the candidate's own, whatever the camera."""

import json
import random

import pytest

from proctor.analysis.api import Assessment
from proctor.testing import ORIGIN_MS, event, held, judge, levels, only, stored
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


def with_gaze(frames, on_screen):
    """The same frames with the browser's flag: 1 but for a frame in twenty, and `on_screen` from 60 s on."""
    rng, flagged = random.Random(9), []
    for frame in map(json.loads, frames):
        seconds = (int(frame["frame_id"].partition("-")[0]) - ORIGIN_MS) / 1000
        usual = int(rng.random() > 0.05)
        flagged.append((seconds, {**frame, "gaze_on_script": on_screen if 60 <= seconds < 90 else usual}))
    return stored(flagged)


@pytest.mark.parametrize(("on_screen", "level"), [(1, []), (0, ["concern"])])
def test_whoever_leans_and_reads_on_is_not_turned_away(on_screen, level):
    frames = with_gaze(head([(60, 0), (30, 0.2), (60, 0)]), on_screen)
    found = [finding for finding in judge(HeadTurned, frames).findings if finding.start_seconds < 62]
    assert levels(Assessment(findings=found)) == level


def test_flag_that_is_always_on_denies_nothing():
    frames = head([(60, 0), (30, 0.2), (60, 0)])
    frames = [
        frame.replace(b'"face_present": 1', b'"face_present": 1, "gaze_on_script": 1') for frame in frames
    ]
    assert levels(judge(HeadTurned, frames)) == ["concern"]


def test_gaze_alone_says_nothing_about_the_head():
    frames = held(*[(9, {"gaze_on_script": 1}), (1, {"gaze_on_script": 0})] * 20)
    assessment = judge(HeadTurned, frames)
    assert (assessment.window_strengths, assessment.observed_windows) == ({}, [])


def test_head_that_stays_turned_is_a_new_posture():
    """For a minute and more without coming back; who copies from something looks at the screen in between."""
    finding = only(judge(HeadTurned, head([(300, 0), (80, 0.2), (300, 0)])))
    assert finding.level == "info"
    assert finding.message == "The head was turned away for 1 min 20 s, as in a new posture"
    copying = judge(HeadTurned, head([(300, 0), *[(5, 0.2), (3, 0)] * 10, (300, 0)]))
    assert levels(copying) == ["concern"]


@pytest.mark.parametrize(("noise", "deviation"), [(0.01, 0.15), (0.04, 0.24)])
def test_finding_says_how_far_off_counts_as_turned(noise, deviation):
    """So that a reader can see it in the signal: a ratio, or six of the candidate's own spreads."""
    findings = judge(HeadTurned, head([(60, 0), (5, 0.5), (30, 0)], noise=noise)).findings
    assert [each.observed.deviation for each in findings] == [pytest.approx(deviation, rel=0.25)]
