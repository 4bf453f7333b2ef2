"""An exam's figures: right, of what stands, and with an interval as wide as the little that is known."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.analysis.identity import digest_of
from proctor.analysis.review_policy import ReviewPolicy
from proctor.analysis.verdict import Priority
from proctor.exam_statistics import Tally, distribution, wilson
from proctor.review import Act, Decision, ReviewState, fold
from proctor.review_acts import Subject, Wish, add
from proctor.reviewing import findings_by_key
from tests.reviewed import report_on


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Worked out by hand from the formula, and as statsmodels' proportion_confint(method="wilson") has them.
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(successes, trials, low, high):
    found = wilson(successes, trials)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_and_narrows(trials, data):
    successes = data.draw(st.integers(0, trials))
    found, wide = wilson(successes, trials), wilson(2 * successes, 2 * trials)
    assert 0 <= found.low <= successes / trials <= found.high <= 1
    assert wide.high - wide.low < found.high - found.low
    assert wilson(0, 0) is None


def test_scores_are_spread_over_ten_bars():
    found = distribution([0, 9.9, 10, 55, 99, 100])
    assert found.bins == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert (found.sessions, found.median, found.p90) == (6, 32.5, 99.5)
    empty, one = distribution([]), distribution([7])
    assert (empty.mean, empty.p90, one.mean, one.p90) == (None, None, 7, 7)


def reviewed(report: bytes, *wishes: tuple[str, Wish]) -> list:
    findings = findings_by_key(report)
    subject = Subject(version=1, findings=digest_of(findings), keys=findings)
    events: list = []
    for reviewer, wish in wishes:
        review = fold(events, subject.findings)
        events.append(add(review, wish, subject, ReviewPolicy(), reviewer=reviewer, at_ms=0))
    return events


def test_findings_count_once_by_the_last_word():
    report = report_on("a", "high")
    key, other, *_ = findings_by_key(report)
    dismissed = Wish(act=Act.DISMISS, finding=key, reason="technical")
    events = reviewed(
        report,
        ("ann", Wish(act=Act.CONFIRM, finding=key)),
        ("ann", Wish(act=Act.CONFIRM, finding=other)),
        ("ann", Wish(act=Act.DECIDE, decision=Decision.REFERRED)),
        ("bob", dismissed),
        ("bob", Wish(act=Act.DECIDE, decision=Decision.NO_ISSUE)),
    )
    tally = Tally()
    tally.add(report, events)
    tally.add(report_on("b", "none"), [])
    tally.add(report_on("c", "short"), [])
    told = tally.statistics("algebra")
    phone = next(rule for rule in told.rules if rule.rule == "phone")
    assert (phone.title, phone.sessions, phone.confirmed, phone.dismissed) == ("Phone in view", 1, 1, 1)
    assert (told.second_looks, told.second_looks_agreed) == (1, 0)
    assert told.reviews == {ReviewState.OPEN: 2, ReviewState.AWAITING_SECOND: 0, ReviewState.DECIDED: 1}
    assert (told.priorities[Priority.HIGH], told.priorities[Priority.INSUFFICIENT]) == (1, 1)
    assert phone.concerns_per_hour == pytest.approx(phone.concerns / told.hours_observed, rel=1e-2)
    assert told.rules[0].concerns >= told.rules[-1].concerns


def test_rules_on_trial_are_told_apart():
    tally = Tally()
    tally.add(report_on("a", "high", "algebra", "phone"), [])
    tally.add(report_on("b", "none", "algebra", "phone"), [])
    told = tally.statistics("algebra")
    [trial] = told.shadow
    assert (trial.rule, trial.sessions, trial.alerted, trial.alerts) == ("phone", 2, 1, 2)
    assert all(rule.rule != "phone" for rule in told.rules)
    assert msgspec.json.encode(told)
