"""Absence from the picture, and what must not be taken for it."""

import pytest

from proctor.testing import FACE, NO_FACE, event, held, judge, levels, only, stored
from proctor_rules.no_face import NoFace


@pytest.mark.parametrize(("seconds", "level"), [(2, []), (5, ["info"]), (12, ["concern"])])
@pytest.mark.parametrize("fps", [1, 5, 30])
def test_levels_by_seconds_at_any_rate(seconds, level, fps):
    assert levels(judge(NoFace, held((20, FACE), (seconds, NO_FACE), (20, FACE), fps=fps))) == level


def test_finding_is_a_plain_sentence_with_its_evidence():
    finding = only(judge(NoFace, held((20, FACE), (12, NO_FACE), (20, FACE))))
    assert finding.message == "No face was visible for 12 s"
    assert (finding.start_seconds, finding.end_seconds, finding.category) == (20.0, 32.0, "no_face")
    assert (finding.observed.value, finding.observed.threshold, finding.observed.unit) == (12.0, 10.0, "s")


def test_irregular_frames_give_the_same_finding():
    spans = [(20, FACE), (12, NO_FACE), (20, FACE)]
    for seed in range(5):
        finding = only(judge(NoFace, held(*spans, fps=3, jitter=seed)))
        assert finding.level == "concern"
        assert finding.observed.value == pytest.approx(12, abs=1)


def test_flickering_detector_is_nobodys_absence():
    """A detector that misses the face in two frames of five, for ten minutes."""
    assert judge(NoFace, held(*[(0.6, FACE), (0.4, NO_FACE)] * 600)).findings == []


def test_lost_connection_is_no_absence():
    """The camera saw nobody in the last frame before a minute without any."""
    frames = stored([(0, FACE), (1, NO_FACE), (61, FACE), (62, FACE)])
    assert judge(NoFace, frames).findings == []


def test_faces_count_where_presence_is_not_given():
    assert levels(judge(NoFace, held((20, {"no_of_face": 1}), (12, {"no_of_face": 0}), (5, FACE)))) == [
        "concern"
    ]


def test_contradiction_is_no_absence():
    assert judge(NoFace, held((60, {"face_present": 1, "no_of_face": 0}))).findings == []


def test_events_stand_in_for_missing_features():
    """A client that sends events only, one every second while nobody is there."""
    frames = stored([(0, FACE), *[(5 + second, event("NO_FACE")) for second in range(12)], (17, FACE)])
    assert only(judge(NoFace, frames)).observed.value == 12.0


def test_other_features_alone_are_not_observable():
    assessment = judge(NoFace, held((60, {"phone_present": 0})))
    assert (assessment.findings, assessment.observed_windows) == ([], [])


def test_third_absence_within_five_minutes_escalates():
    spans = [(60, FACE), (6, NO_FACE)] * 3
    assert levels(judge(NoFace, held(*spans, (10, FACE)))) == ["info", "info", "concern"]


def test_face_that_is_lost_for_moments_never_escalates():
    """In dim light for up to four seconds as a slow client counts them, all the time."""
    assert set(levels(judge(NoFace, held(*[(31, FACE), (4, NO_FACE)] * 30, (10, FACE))))) == {"info"}


def test_windows_are_graded_by_how_long_nobody_was_there():
    strengths = judge(
        NoFace, held((10, FACE), (4, NO_FACE), (6, FACE), (10, NO_FACE), (10, FACE))
    ).window_strengths
    assert set(strengths) == {1, 2}
    assert 0 < strengths[1] < strengths[2] < 1
