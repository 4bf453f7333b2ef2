"""Talking, as events tell it."""

import pytest

from proctor_rules.speech import Speech
from tests.plugins.recording import FACE, event, judge, levels, only, stored

ON = {"face_present": 1, "gaze_on_script": 1}
OFF = {"face_present": 1, "gaze_on_script": 0, "gaze_direction": "left"}


def talk(begin, end, features=ON, until=60):
    """A frame a second, every other one in between with an event of talking."""
    return stored(
        [
            (
                second,
                (features(second) if callable(features) else features)
                | (event("TALKING_DETECTED") if begin <= second < end and second % 2 == 0 else {}),
            )
            for second in range(until)
        ]
    )


def test_levels_by_seconds():
    """Where nobody knows what the candidate looked at."""
    assert levels(judge(Speech, talk(20, 24, FACE))) == []
    assert levels(judge(Speech, talk(20, 32, FACE))) == ["info"]
    assert levels(judge(Speech, talk(20, 44, FACE))) == ["concern"]


def test_reading_aloud_from_the_screen_is_no_concern():
    [finding] = judge(Speech, talk(20, 140, ON, until=180)).findings
    assert (finding.level, finding.observed.value) == ("info", pytest.approx(121, abs=2))
    assert finding.strength <= 0.5


def test_camera_that_never_sees_the_screen_makes_reading_aloud_no_concern():
    assert levels(judge(Speech, talk(60, 100, OFF, until=180))) == ["info"]


def test_glance_aside_while_talking_is_no_concern():
    frames = talk(20, 60, lambda second: OFF if second in (30, 31, 32, 33) else ON, until=90)
    assert levels(judge(Speech, frames)) == ["info"]


def test_single_event_is_nothing():
    assert judge(Speech, talk(20, 21)).findings == []


def test_finding_says_how_long():
    assert only(judge(Speech, talk(20, 32))).message == "Talking went on for 13 s"


def test_talking_with_the_gaze_off_the_screen_is_a_concern():
    aside = lambda second: OFF if 20 <= second < 34 else ON  # noqa: E731
    finding = only(judge(Speech, talk(20, 32, aside)))
    assert finding.level == "concern"
    assert finding.message == "Talking went on for 13 s, with the gaze off the screen"


def test_nothing_is_observable_before_the_first_event():
    """Silence of a client that sends no events proves nothing."""
    assert judge(Speech, talk(0, 0)).observed_windows == []
    assert judge(Speech, talk(20, 24)).observed_windows == [2, 3, 4, 5]


def test_batching_never_matters():
    frames = talk(20, 44, OFF)
    assert judge(Speech, frames, list(range(1, 60))) == judge(Speech, frames)
