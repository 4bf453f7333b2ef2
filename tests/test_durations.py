"""What episodes amount to: findings, their levels and their sentences, and the grading of windows."""

import pytest

from proctor.analysis.api import Group
from proctor.analysis.durations import Durations, extent, grade, in_words, spread
from proctor.analysis.episodes import EPISODES_MAX, Episode, Episodes, Hysteresis


def durations(**changes):
    fields = {
        "category": "test",
        "group": Group.PRESENCE,
        "signal": "face_present",
        "hysteresis": Hysteresis(persist_seconds=3.0),
        "concern_seconds": 10.0,
    }
    return Durations(**fields | changes)


def episode(start, end, on=None):
    on = end - start if on is None else on
    return Episode(round(start * 1000), round(end * 1000), round(on * 1000), 1.0, "1-1", "2-2", "3-3")


def levels(judge, *episodes):
    return [finding.level.value for finding in judge.findings(episodes, str)]


def test_short_is_info_and_long_is_a_concern():
    assert levels(durations(), episode(0, 5), episode(100, 110)) == ["info", "concern"]


def test_finding_says_what_was_measured_against_what():
    [finding] = durations().findings([episode(1, 21, 12)], lambda words: f"It was so for {words}", 0.5)
    assert finding.message == "It was so for 12 s out of 20 s"
    assert (finding.start_seconds, finding.end_seconds) == (1.0, 21.0)
    assert finding.frame_ids == ("1-1", "2-2", "3-3")
    observed = finding.observed
    assert (observed.signal, observed.value, observed.threshold) == ("face_present", 12.0, 10.0)
    assert (observed.baseline, observed.unit) == (0.5, "s")


def test_strength_grows_with_time_and_never_reaches_1():
    strengths = [durations().findings([episode(0, end)], str)[0].strength for end in (3, 10, 30, 9000)]
    assert strengths == sorted(strengths)
    assert strengths[1] == 0.5
    assert strengths[-1] < 1


def test_repeated_alerts_escalate_within_five_minutes():
    """The second alert of two is a concern; once five minutes have passed it is a first one again."""
    judge = durations(repeats=2)
    [first, second] = judge.findings([episode(0, 4), episode(60, 64)], lambda words: f"So for {words}")
    assert (first.level, second.level) == ("info", "concern")
    assert second.message == "So for 4 s, the second time in 5 min"
    assert second.strength >= 0.5
    assert levels(judge, episode(0, 4), episode(301, 305)) == ["info", "info"]


def test_no_second_alert_within_30_seconds():
    assert levels(durations(repeats=2), episode(0, 4), episode(20, 24), episode(25, 29)) == ["info"] * 3


def test_time_adds_up_over_episodes_within_a_minute():
    """Three times 5 s in a minute are 15 s; spread over more than that they are not."""
    judge = durations(concern_seconds=15.0, within_seconds=60.0)
    near = [episode(0, 5), episode(25, 30), episode(55, 60)]
    far = [episode(0, 5), episode(40, 45), episode(80, 85)]
    assert levels(judge, *near) == ["concern"] * 3
    assert levels(judge, *far) == ["info"] * 3
    assert levels(judge) == []


def test_episodes_that_only_together_are_a_concern_are_one_behaviour():
    """From the first to the last; one that no minute with enough evidence reaches stays by itself."""
    judge = durations(concern_seconds=15.0, within_seconds=60.0)
    looks = [episode(0, 5), episode(25, 30), episode(55, 60), episode(116, 121)]
    assert [(whole.start_ms, whole.end_ms, whole.on_ms) for whole in judge.whole(looks)] == [
        (0, 60_000, 15_000),
        (116_000, 121_000, 5_000),
    ]
    assert judge.whole(looks[1:]) == looks[1:]
    assert durations(concern_seconds=15.0).whole(looks) == looks
    assert judge.whole([]) == []


def test_long_thin_episode_is_judged_by_its_densest_minute():
    judge = durations(concern_seconds=15.0, within_seconds=60.0)
    assert levels(judge, episode(0, 600, 60)) == ["info"]
    assert levels(judge, episode(0, 600, 200)) == ["concern"]


def test_evidence_spreads_evenly_over_the_windows_of_an_episode():
    assert spread([episode(5, 25, 10)]) == {0: 2.5, 1: 5.0, 2: 2.5}
    assert spread([episode(0, 10)]) == {0: 10.0}


def test_grades_rise_with_evidence():
    assert grade(0, 10) == 0
    assert grade(5, 10) == 0.5
    assert grade(3, 3) > grade(1, 3) > grade(1, 10)
    assert grade(10, 60) == grade(10, 10) < 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0 s"), (3.42, "3.4 s"), (9.0, "9 s"), (12.4, "12 s"), (60, "1 min"), (125, "2 min 5 s")],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words


def test_extent_mentions_the_length_only_of_what_came_and_went():
    assert extent(episode(0, 12)) == "12 s"
    assert extent(episode(0, 30, 12)) == "12 s out of 30 s"


def test_episodes_far_apart_do_not_add_up():
    """Seven seconds three times in a minute are a concern, unless too much lies between them."""
    seven = [episode(0, 7), episode(19, 26), episode(38, 45)]
    together = durations(concern_seconds=15.0, within_seconds=60.0, apart_seconds=12.0)
    apart = durations(concern_seconds=15.0, within_seconds=60.0, apart_seconds=11.9)
    assert levels(together, *together.whole(seven)) == ["concern"]
    assert levels(apart, *apart.whole(seven)) == ["info", "info", "info"]
    assert levels(apart, *apart.whole([*seven, episode(60, 76)])) == ["info", "info", "info", "concern"]


def test_what_is_too_short_is_no_alert():
    judge = durations(repeats=2, repeats_from_seconds=5.0)
    assert levels(judge, episode(0, 4), episode(60, 65), episode(120, 124)) == ["info"] * 3
    assert levels(judge, episode(0, 5), episode(60, 64), episode(120, 125)) == ["info", "info", "concern"]


def test_few_frames_are_neither_a_concern_nor_an_alert():
    judge = durations(repeats=2, frames_min=3)
    long, short = episode(0, 20), episode(60, 64)
    assert levels(judge, long, short) == ["info", "info"]
    long.frames = short.frames = 3
    assert levels(judge, long, short) == ["concern", "concern"]


def test_details_say_how_many_episodes_are_not_listed():
    state = Episodes()
    assert durations().assess(state, str).details == {}
    for place in range(EPISODES_MAX + 4):
        state.log.add(episode(10 * place, 10 * place + 4))
    assert durations().assess(state, str).details == {"episodes_not_listed": 4}
