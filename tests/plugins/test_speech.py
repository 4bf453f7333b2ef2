"""Talking, as events tell it."""

import pytest

from proctor.testing import event, judge, levels, only, stored
from proctor_rules.speech import Speech

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
    assert levels(judge(Speech, talk(20, 24))) == []
    assert levels(judge(Speech, talk(20, 32))) == ["info"]
    assert levels(judge(Speech, talk(20, 44))) == ["concern"]


def reading_aloud(features=ON):
    """Half a minute of every minute, for ten minutes."""
    talks = lambda second: second % 60 < 30 and second % 2 == 0  # noqa: E731
    heard = event("TALKING_DETECTED")
    return stored([(second, features | (heard if talks(second) else {})) for second in range(600)])


@pytest.mark.parametrize("features", [ON, OFF])
def test_reading_aloud_all_the_time_is_no_concern(features):
    """Whatever a camera says that never sees the candidate look at the screen."""
    findings = judge(Speech, reading_aloud(features)).findings
    assert len(findings) == 10
    assert {finding.level for finding in findings} == {"info"}
    assert max(finding.strength for finding in findings) <= 0.5


def test_glance_aside_while_talking_is_no_concern():
    frames = talk(20, 36, lambda second: OFF if second in (30, 31, 32, 33) else ON, until=90)
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
