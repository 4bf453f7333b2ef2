"""Columns of stored frames: what is known, what is not, and what only looks known."""

import math

import numpy as np
import pytest

from proctor.analysis.frames import FrameBatch
from proctor.testing import ORIGIN_MS, event, stored

ZEROS = {
    "face_present": 0,
    "no_of_face": 0,
    "face_w": 0.0,
    "head_pose": "None",
    "head_yaw": 0.0,
    "head_pitch": 0,
    "head_roll": 0,
    "gaze_on_script": 0,
    "gaze_direction": "None",
    "gazePoint_x": 0,
    "gazePoint_y": 0,
    "left_eye_x": 0.0,
    "pupil_left_x": 0,
    "hand_count": 0,
}


def batch(*features, step=1.0):
    return FrameBatch.from_json(
        stored([(place * step, one) for place, one in enumerate(features)]), ORIGIN_MS
    )


def same(column, *values):
    return np.array_equal(column, np.array(values, dtype=float), equal_nan=True)


def test_time_is_event_time_since_the_origin():
    """Seconds come from the frame ids, and do not start anew with each batch."""
    frames = FrameBatch.from_json(stored([(5.25, {}), (7.0, {})]), ORIGIN_MS)
    assert frames.seconds.tolist() == [5.25, 7.0]
    assert frames.milliseconds.tolist() == [5250, 7000]
    assert frames.ids == (f"{ORIGIN_MS + 5250}-0", f"{ORIGIN_MS + 7000}-1")
    assert len(frames) == 2


def test_missing_and_null_are_nan():
    frames = batch({"face_w": 150}, {"face_w": None}, {})
    assert same(frames["face_w"], 150, math.nan, math.nan)


def test_feature_nobody_sent_is_unknown_throughout():
    """Neither a vocabulary name nor any other raises KeyError."""
    frames = batch({}, {})
    for name in ("phone_present", "left_hand_x", "no_such_feature"):
        assert same(frames[name], math.nan, math.nan)
        assert frames.values(name) == [None, None]
    assert frames.text("head_pose") == (None, None)


def test_feature_outside_the_vocabulary_is_a_column_of_its_numbers():
    """Whatever was stored under it, the column has floats, and the values are there as they came."""
    values = [2, 2.5, True, False, "7", [1], {"a": 1}, None, 10**400]
    frames = batch(*[{"light level": value} for value in values])
    assert same(frames["light level"], 2, 2.5, 1, 0, *[math.nan] * 5)
    assert frames.values("light level") == values
    assert frames.text("light level")[4] == "7"


def test_text_that_says_none_is_unknown():
    frames = batch({"head_pose": "None"}, {"head_pose": "left"}, {"head_pose": ""})
    assert frames.text("head_pose") == (None, "left", None)
    assert same(frames["head_pose"], *[math.nan] * 3)


@pytest.mark.parametrize(
    "name", ["face_w", "head_yaw", "gaze_on_script", "gazePoint_x", "left_eye_x", "pupil_left_x"]
)
def test_zeros_without_a_face_are_unknown(name):
    """A browser that sees no face fills in zeros; the rules must not take them for gaze off the screen."""
    assert same(batch(ZEROS, {**ZEROS, "face_present": 1, "no_of_face": 1})[name][:1], math.nan)


def test_what_does_not_come_from_a_face_stays_zero_without_one():
    assert same(batch(ZEROS)["hand_count"], 0)
    assert same(batch(ZEROS)["face_present"], 0)


def test_values_that_are_no_filling_stay_without_a_face():
    """A group with a value in it was computed, though the face detector missed the face."""
    frames = batch({**ZEROS, "head_pose": "down", "head_pitch": -0.04, "gaze_on_script": 1})
    assert same(frames["head_yaw"], 0)
    assert same(frames["gaze_on_script"], 1)
    assert same(frames["face_w"], math.nan)


def test_group_with_none_in_it_is_unknown_with_a_face():
    """Gaze can fail while a face is there; its zeros are then as empty as without one."""
    frames = batch({**ZEROS, "face_present": 1, "no_of_face": 1, "head_pose": "forward"})
    assert same(frames["gaze_on_script"], math.nan)
    assert same(frames["head_yaw"], 0)
    assert same(frames["left_eye_x"], 0)


def test_gaze_flag_alone_is_believed():
    """Clients that send no direction mean their 0."""
    assert same(
        batch({"gaze_on_script": 0}, {"gaze_on_script": 0, "face_present": 1})["gaze_on_script"], 0, 0
    )


def test_events_tell_their_frame_and_keep_what_came():
    frames = batch({}, event("TAB_SWITCHED", source="tab"), {"event": {"lv": 3}}, {"event": {"event": 7}})
    [only] = frames.events
    assert (only.place, only.name) == (1, "TAB_SWITCHED")
    assert only.body == {"event": "TAB_SWITCHED", "lv": 10, "source": "tab"}


def test_columns_cannot_be_written():
    """One analyzer must not change what the next one reads."""
    frames = batch({"face_present": 1})
    for column in (frames["face_present"], frames.milliseconds, frames.seconds):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
