"""Scores are sums, priorities have limits, and neither depends on the order of the findings."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.analysis.api import Finding, Group, Level
from proctor.analysis.api import Observed as Measured
from proctor.analysis.policy import Policy, Rule
from proctor.analysis.verdict import Observed, Priority, judge

POLICY = Policy()
HOUR = Observed(3600.0, 1.0)
MEASURED = Measured(signal="x", value=1.0, threshold=0.5, unit="s")
RULES = {
    "phone": Group.DEVICE,
    "faces": Group.PEOPLE,
    "gaze": Group.ATTENTION,
    "head": Group.ATTENTION,
    "absent": Group.PRESENCE,
    "window": Group.WORKSPACE,
    "speech": Group.SPEECH,
    "camera": Group.TECHNICAL,
}


def seen(rule, level=Level.CONCERN, strength=0.5, start=0.0, seconds=5.0, group=None):
    return Finding(
        category=rule,
        group=group or RULES[rule],
        level=level,
        start_seconds=start,
        end_seconds=start + seconds,
        strength=strength,
        message="Something was seen",
        frame_ids=("0-0", "0-0", "0-0"),
        observed=MEASURED,
        rule=rule,
        plugin="test",
    )


def priority(*findings, observed=HOUR, policy=POLICY):
    return judge(findings, observed, policy).priority


def score(*findings, observed=HOUR, policy=POLICY):
    return judge(findings, observed, policy).score


some_findings = st.lists(
    st.builds(
        seen,
        st.sampled_from(sorted(RULES)),
        st.sampled_from(Level),
        st.floats(0, 1),
        st.floats(0, 3000),
        st.floats(0, 600),
    ),
    max_size=30,
)


@given(some_findings, st.integers())
def test_points_add_up_to_the_score_exactly(findings, seed):
    """In whole points, so in any language; and whatever the order of the findings."""
    verdict = judge(findings, HOUR, POLICY)
    assert sum(share.points for share in verdict.shares) == verdict.score
    assert 0 <= verdict.score <= 100
    shuffled = random.Random(seed).sample(findings, len(findings))
    assert judge(shuffled, HOUR, POLICY) == verdict


@given(some_findings)
def test_no_rule_exceeds_its_bound(findings):
    for share in judge(findings, HOUR, POLICY).shares:
        assert share.points <= share.points_max + 1
        assert share.exact <= share.points_max


@given(some_findings, some_findings)
def test_more_evidence_never_lowers_the_score(findings, more):
    """Below the maximum of 100."""
    assert judge(findings + more, HOUR, POLICY).score >= judge(findings, HOUR, POLICY).score


@given(some_findings)
def test_one_rule_per_group_counts(findings):
    groups = [share.group for share in judge(findings, HOUR, POLICY).shares if share.counted]
    assert len(groups) == len(set(groups))


@given(some_findings)
def test_high_is_never_without_grounds(findings):
    verdict = judge(findings, HOUR, POLICY)
    assert verdict.priority is not Priority.HIGH or verdict.grounds


def test_nothing_found_is_none():
    assert judge([], HOUR, POLICY) == (0, Priority.NONE, Priority.NONE, "", ())


def test_technical_trouble_scores_nothing():
    """Not even a day of it."""
    verdict = judge([seen("camera", strength=1.0, seconds=3000)] * 50, HOUR, POLICY)
    assert (verdict.score, verdict.priority, verdict.shares) == (0, Priority.NONE, ())


def test_correlated_signals_count_once_and_the_stronger_of_them():
    gaze, head = seen("gaze", strength=0.9), seen("head", strength=0.2)
    assert score(gaze, head) == score(gaze) > score(head)
    shares = {share.rule: share for share in judge([gaze, head], HOUR, POLICY).shares}
    assert (shares["gaze"].counted, shares["head"].counted) == (True, False)
    assert shares["head"].points == 0


def test_independent_signals_add():
    gaze, absent = seen("gaze"), seen("absent")
    assert score(gaze, absent) == pytest.approx(score(gaze) + score(absent), abs=1)


def test_repetition_saturates():
    """The first finding says most, and no number of them exceeds the rule's points."""
    once, twice, often = (score(*[seen("gaze")] * times) for times in (1, 2, 1000))
    assert once > twice - once
    assert often == POLICY.verdict.points.attention


def test_a_sum_beyond_100_is_shared_out():
    verdict = judge([seen(rule, strength=1.0) for rule in RULES for _ in range(9)], HOUR, POLICY)
    assert verdict.score == 100
    assert sum(share.points for share in verdict.shares) == 100


@pytest.mark.parametrize("rule", ["phone", "faces"])
def test_direct_evidence_of_some_seconds_is_high(rule):
    assert priority(seen(rule, strength=0.5, seconds=8)) is Priority.HIGH


def test_direct_evidence_counts_the_same_in_a_long_exam():
    """It is not diluted by hours without."""
    phone = seen("phone", strength=0.5, seconds=8)
    assert judge([phone], Observed(3 * 3600.0, 1.0), POLICY) == judge([phone], HOUR, POLICY)


def test_a_long_absence_from_the_window_is_direct_evidence_and_a_short_one_is_not():
    limit = POLICY.verdict.absence_seconds
    many = [seen("window", strength=1.0, seconds=limit - 1)] * 9
    assert priority(*many) is Priority.MEDIUM
    assert priority(seen("window", strength=1.0, seconds=limit)) is Priority.HIGH


def test_gaze_alone_tops_out_at_medium():
    """However much of it, and with the head turned as well; even if a policy gives it all points."""
    generous = Policy(rules={"gaze": Rule(points=100)})
    looks = [seen("gaze", strength=1.0), seen("head", strength=1.0)] * 50
    verdict = judge(looks, HOUR, generous)
    assert (verdict.band, verdict.priority) == (Priority.HIGH, Priority.MEDIUM)


def test_two_independent_groups_can_be_high():
    assert priority(seen("gaze", strength=0.8), seen("absent", strength=0.8)) is Priority.HIGH


def test_a_clear_absence_is_at_least_medium():
    assert priority(seen("absent", strength=0.5, seconds=30)) is Priority.MEDIUM


def test_a_concern_is_at_least_low():
    """Even if its rule adds hardly anything."""
    modest = Policy(rules={"gaze": Rule(points=1)})
    assert priority(seen("gaze"), policy=modest) is Priority.LOW


def test_without_a_concern_nothing_ranks_above_low():
    infos = [seen(rule, Level.INFO, strength=1.0) for rule in RULES for _ in range(500)]
    assert priority(*infos) is Priority.LOW


def test_info_findings_weigh_by_how_often_they_come():
    """Ten glances in ten minutes say more than ten in an hour, and a short session is no special case."""
    glances = [seen("gaze", Level.INFO, strength=0.2)] * 10
    by_minutes = [score(*glances, observed=Observed(minutes * 60.0, 1.0)) for minutes in (6, 10, 60)]
    assert by_minutes[0] == by_minutes[1] > by_minutes[2]


@pytest.mark.parametrize("observed", [Observed(3600.0, 0.59), Observed(299.0, 1.0), Observed(0.0, 0.0)])
def test_too_little_observed_is_insufficient(observed):
    """In either direction: neither clean nor suspicious on weak grounds."""
    assert priority(observed=observed) is Priority.INSUFFICIENT
    assert priority(seen("gaze", Level.INFO), observed=observed) is Priority.INSUFFICIENT
    assert priority(seen("gaze", strength=1.0), observed=observed) is Priority.INSUFFICIENT


def test_direct_evidence_stands_however_little_was_observed():
    """A phone in a demo of a minute is not hidden."""
    assert priority(seen("phone", seconds=8), observed=Observed(60.0, 1.0)) is Priority.HIGH


def test_just_enough_observed_is_enough():
    assert priority(observed=Observed(300.0, 0.6)) is Priority.NONE


def test_a_rule_without_points_is_no_ground_for_anything():
    silent = Policy(rules={"phone": Rule(points=0)})
    verdict = judge([seen("phone", strength=1.0)], HOUR, silent)
    assert (verdict.score, verdict.priority, verdict.concerns) == (0, Priority.NONE, 0)


def test_a_rule_may_speak_through_several_groups():
    """Each is bounded and counted by itself."""
    findings = [seen("watch", group=Group.SPEECH), seen("watch", group=Group.WORKSPACE)]
    verdict = judge(findings, HOUR, POLICY)
    assert {share.group for share in verdict.shares if share.counted} == {Group.SPEECH, Group.WORKSPACE}
    assert "independent evidence" in verdict.grounds
