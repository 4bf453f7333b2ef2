"""A second person, and detectors that imagine one."""

import pytest

from proctor.testing import FACE, NO_FACE, event, held, judge, levels, only, stored
from proctor_rules.multiple_faces import MultipleFaces

TWO = {"face_present": 1, "no_of_face": 2, "face_conf": 90}
UNSURE = {**TWO, "face_conf": 55}


@pytest.mark.parametrize(("seconds", "level"), [(1, []), (2, ["info"]), (4, ["concern"])])
def test_levels_by_seconds(seconds, level):
    assert levels(judge(MultipleFaces, held((20, FACE), (seconds, TWO), (20, FACE)))) == level


def test_finding_says_how_long():
    assert only(judge(MultipleFaces, held((9, FACE), (12, TWO), (9, FACE)))).message == (
        "More than one face was visible for 12 s"
    )


def test_unsure_detector_finds_nobody_but_tells_windows_apart():
    """Below a confidence of 0.7 it is no finding, and still more than nothing."""
    assessment = judge(MultipleFaces, held((20, FACE), (10, UNSURE), (20, FACE)))
    assert assessment.findings == []
    assert list(assessment.window_strengths) == [2]


def test_confidence_that_dips_does_not_end_it():
    assessment = judge(MultipleFaces, held((20, FACE), (2, TWO), (4, UNSURE), (2, TWO), (20, FACE)))
    finding = only(assessment)
    assert (finding.start_seconds, finding.end_seconds, finding.observed.value) == (20.0, 28.0, 4.0)


def test_confidence_is_not_needed():
    bare = {"face_present": 1, "no_of_face": 3}
    assert levels(judge(MultipleFaces, held((20, FACE), (5, bare), (20, FACE)))) == ["concern"]


def test_second_short_visit_is_a_concern():
    assessment = judge(MultipleFaces, held((20, FACE), (2, TWO), (60, FACE), (2, TWO), (20, FACE)))
    assert levels(assessment) == ["info", "concern"]


def test_nobody_is_not_somebody_else():
    assert judge(MultipleFaces, held((20, NO_FACE))).observed_windows == [0, 1]


def test_events_stand_in_for_missing_features():
    frames = stored([(0, FACE), *[(5 + second, event("MULTIPLE_FACES")) for second in range(5)], (10, FACE)])
    assert levels(judge(MultipleFaces, frames)) == ["concern"]


@pytest.mark.parametrize(
    ("usual", "seen", "found"), [(90, 60, []), (60, 55, ["concern"]), (60, 45, []), (20, 18, [])]
)
def test_confidence_is_measured_by_what_is_usual_in_this_light(usual, seen, found):
    """A detector that is never surer than 60 of the candidate alone cannot be surer of two."""
    alone, both = {**FACE, "face_conf": usual}, {**FACE, "no_of_face": 2, "face_conf": seen}
    assert levels(judge(MultipleFaces, held((60, alone), (12, both), (30, alone)))) == found


def test_before_anything_is_usual_the_policy_alone_says_what_is_sure():
    faint = {**FACE, "no_of_face": 2, "face_conf": 60}
    assert levels(judge(MultipleFaces, held((12, faint), (60, {**FACE, "face_conf": 62})))) == []
