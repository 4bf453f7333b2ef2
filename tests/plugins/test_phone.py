"""A phone in most frames of a second or longer."""

import pytest

from proctor.testing import held, judge, levels, only, stored
from proctor_rules.phone import Phone

NONE = {"phone_present": 0, "phone_conf": 0}
SURE = {"phone_present": 1, "phone_conf": 87}
UNSURE = {"phone_present": 1, "phone_conf": 60}


@pytest.mark.parametrize(("seconds", "level"), [(0.6, []), (2, ["info"]), (8, ["concern"])])
def test_levels_by_seconds(seconds, level):
    assert levels(judge(Phone, held((20, NONE), (seconds, SURE), (20, NONE)))) == level


def test_single_frame_never_triggers():
    """At one frame a second it lasts a second, and is a single frame all the same."""
    assert judge(Phone, held((20, NONE), (1, SURE), (20, NONE), fps=1)).findings == []


def test_most_frames_of_it_are_enough():
    flicker = [(0.6, SURE), (0.4, NONE)] * 8
    finding = only(judge(Phone, held((20, NONE), *flicker, (20, NONE))))
    assert finding.level == "concern"
    assert finding.message == "A phone was in view for 4.8 s out of 7.6 s"


def test_stray_detections_are_no_phone():
    assert judge(Phone, held(*[(0.2, SURE), (1.8, NONE)] * 300)).findings == []


def test_unsure_detector_finds_no_phone_but_tells_windows_apart():
    assessment = judge(Phone, held((20, NONE), (10, UNSURE), (20, NONE)))
    assert assessment.findings == []
    assert list(assessment.window_strengths) == [2]


def test_confidence_is_not_needed():
    assert levels(judge(Phone, held((20, NONE), (5, {"phone_present": 1}), (20, NONE)))) == ["concern"]


def test_worst_frame_is_the_surest():
    frames = stored(
        [(time / 2, {"phone_present": 1, "phone_conf": 95 if time == 4 else 80}) for time in range(12)]
    )
    assert only(judge(Phone, frames)).frame_ids[1].endswith("2000-4")


def test_second_look_within_five_minutes_is_a_concern():
    assert levels(judge(Phone, held((2, SURE), (60, NONE), (2, SURE), (9, NONE)))) == ["info", "concern"]


def test_hand_on_something_sets_windows_apart_and_is_no_finding():
    """It may be a pen or a cup; next to a phone it adds nothing."""
    empty, pen = ({"phone_present": 0, "hand_obj_interaction": held_now} for held_now in (0, 1))
    assessment = judge(Phone, held((30, empty), (20, pen), (30, empty)))
    assert assessment.findings == []
    assert assessment.window_strengths.keys() == {3, 4}
    phone = {"phone_present": 1, "phone_conf": 90}
    both = judge(Phone, held((30, empty), (20, {**pen, **phone}), (30, empty)))
    assert max(assessment.window_strengths.values()) < 0.5 < min(both.window_strengths.values())
