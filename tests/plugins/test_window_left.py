"""Absences between events, however few frames come in between."""

import pytest

from proctor.testing import FACE, event, judge, levels, only, stored
from proctor_rules.window_left import WindowLeft

LEFT, BACK = event("TAB_SWITCHED"), event("TAB_RETURNED")
BLUR, FOCUS = event("WINDOW_FOCUS_LOST"), event("WINDOW_FOCUS_RESTORED")


@pytest.mark.parametrize(("seconds", "level"), [(0.5, []), (5, ["info"]), (11, ["concern"])])
def test_levels_by_seconds(seconds, level):
    assert (
        levels(judge(WindowLeft, stored([(0, FACE), (50, LEFT), (50 + seconds, BACK), (90, FACE)]))) == level
    )


def test_absence_needs_no_frames_in_between():
    """Both of its ends are known, so a client that sends events only loses nothing."""
    finding = only(judge(WindowLeft, stored([(0, BACK), (10, LEFT), (150, BACK)])))
    assert finding.message == "Another tab or window was in front for 2 min 20 s"
    assert (finding.start_seconds, finding.end_seconds) == (10.0, 150.0)
    assert [name.rpartition("-")[2] for name in finding.frame_ids] == ["1", "1", "2"]


def test_tab_and_focus_together_are_one_absence():
    frames = stored([(10, LEFT), (10.1, BLUR), (30, BACK), (30.2, FOCUS), (60, FACE)])
    assert only(judge(WindowLeft, frames)).observed.value == 20.0


def test_second_absence_is_a_concern():
    frames = stored([(10, LEFT), (13, BACK), (90, LEFT), (93, BACK)])
    assert levels(judge(WindowLeft, frames)) == ["info", "concern"]


def test_notifications_that_take_the_focus_are_no_second_absence():
    """Nor do they make a tab that is switched once the second."""
    blurs = [moment for time in range(10, 900, 60) for moment in ((time, BLUR), (time + 4, FOCUS))]
    found = judge(WindowLeft, stored([*blurs, (1000, LEFT), (1003, BACK)])).findings
    assert {finding.level for finding in found} == {"info"}
    assert found[0].message == "The exam window was without the focus for 4 s"


def test_focus_lost_for_longer_counts_like_a_tab():
    frames = stored([(10, BLUR), (16, FOCUS), (90, BLUR), (96, FOCUS)])
    assert levels(judge(WindowLeft, frames)) == ["info", "concern"]


def test_focus_lost_on_the_way_to_another_tab_is_that_tab():
    frames = stored([(10, BLUR), (10.1, LEFT), (13, BACK), (90, BLUR), (90.1, LEFT), (93, BACK)])
    assert levels(judge(WindowLeft, frames)) == ["info", "concern"]


def test_severity_that_the_client_claims_is_ignored():
    def score(lv):
        frames = stored([(10, event("TAB_SWITCHED", lv=lv)), (15, BACK)])
        return judge(WindowLeft, frames)

    assert score(1) == score(10)


def test_absence_that_still_goes_on_lasts_until_the_newest_frame():
    assert only(judge(WindowLeft, stored([(10, LEFT), (22, FACE)]))).observed.value == 12.0


def test_absence_without_a_reported_return_is_limited():
    """Some browsers never report coming back; another departure shows that there was a return."""
    frames = stored([(10, LEFT), *[(second, FACE) for second in range(11, 600)]])
    assert only(judge(WindowLeft, frames)).observed.value == 30.0
    again = judge(WindowLeft, stored([(10, LEFT), (310, LEFT), (320, BACK)]))
    assert [finding.observed.value for finding in again.findings] == [30.0, 10.0]


def test_return_without_a_departure_is_nothing():
    assert judge(WindowLeft, stored([(10, BACK), (20, FOCUS)])).findings == []


def test_leaving_full_screen_counts_by_times():
    exits = stored([(time, event("EXITED_FULLSCREEN")) for time in (10, 12, 100)])
    first, second = judge(WindowLeft, exits).findings
    assert (first.message, first.level) == ("Full screen was left twice", "info")
    assert (second.level, second.observed.value, second.observed.unit) == ("concern", 3.0, "events")


def test_windows_of_an_absence_are_graded():
    strengths = judge(WindowLeft, stored([(0, FACE), (8, LEFT), (30, BACK), (50, FACE)])).window_strengths
    assert set(strengths) == {0, 1, 2}
    assert strengths[0] < strengths[1] == strengths[2]


def test_whoever_sends_no_events_is_not_observable():
    assert judge(WindowLeft, stored([(0, FACE), (9, FACE)])).observed_windows == []
    assert judge(WindowLeft, stored([(0, FACE), (9, BACK)])).observed_windows is None


def test_absence_goes_on_across_batches():
    frames = stored([(10, LEFT), (12, FACE), (14, FACE), (40, BACK)])
    assert judge(WindowLeft, frames, [1, 2, 3]) == judge(WindowLeft, frames)
