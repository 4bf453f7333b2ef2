"""Attempts to copy and paste, by how many and how close together."""

from proctor.testing import FACE, event, judge, levels, only, stored
from proctor_rules.clipboard import Clipboard


def attempts(*times, name="PASTE_ATTEMPT"):
    return [(time, event(name)) for time in times]


def test_one_attempt_is_worth_seeing():
    finding = only(judge(Clipboard, stored([(0, FACE), *attempts(7), (20, FACE)])))
    assert (finding.message, finding.level) == ("Pasting was attempted once", "info")
    assert (finding.start_seconds, finding.end_seconds) == (7.0, 7.0)


def test_three_attempts_within_five_minutes_are_a_concern():
    assert levels(judge(Clipboard, stored(attempts(0, 100, 200)))) == ["info", "info", "concern"]
    assert levels(judge(Clipboard, stored(attempts(0, 200, 501)))) == ["info"] * 3


def test_attempts_close_together_are_one_finding():
    finding = only(judge(Clipboard, stored(attempts(0, 1, 2, 29))))
    assert (finding.message, finding.level) == ("Pasting was attempted 4 times", "concern")
    assert finding.observed.value == 4.0


def test_copying_and_pasting_are_told_apart_in_order_of_time():
    frames = stored([*attempts(5, name="COPY_ATTEMPT"), *attempts(9)])
    messages = [finding.message for finding in judge(Clipboard, frames).findings]
    assert messages == ["Copying was attempted once", "Pasting was attempted once"]


def test_more_attempts_grade_a_window_higher():
    strengths = judge(Clipboard, stored(attempts(1, 101, 102, 103))).window_strengths
    assert 0 < strengths[0] < strengths[10] < 1


def test_whoever_sends_no_events_is_not_observable():
    assert judge(Clipboard, stored([(0, FACE)])).observed_windows == []
    assert judge(Clipboard, stored([(0, event("RIGHT_CLICK"))])).observed_windows is None


def test_batching_never_matters():
    frames = stored(attempts(0, 1, 40, 41, 300))
    assert judge(Clipboard, frames, [1, 2, 3, 4]) == judge(Clipboard, frames)


def test_storm_of_attempts_stays_small():
    frames = stored(attempts(*range(0, 60_000, 31)))
    assert len(judge(Clipboard, frames).findings) <= 101
