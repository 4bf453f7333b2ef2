"""What the reports on an exam and their reviews tell together. Pure; one session after the other."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median, quantiles
from typing import Annotated

import msgspec

from proctor.analysis.api import Finding, Level
from proctor.analysis.identity import digest_of, finding_keys
from proctor.analysis.verdict import Priority
from proctor.review import Act, ReviewEvent, ReviewState, fold

BIN_POINTS = 10
"""Width of the bars of the distribution of scores."""
_Z = 1.959963984540054
"""Quantile of the normal distribution for 95 %."""


class Interval(msgspec.Struct, frozen=True):
    """Between which shares the true one lies, 95 times in a hundred."""

    low: Annotated[float, msgspec.Meta(ge=0, le=1)]
    high: Annotated[float, msgspec.Meta(ge=0, le=1)]


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of the sessions of which enough was observed."""

    sessions: int
    bins: list[int]
    """How many scored 0 to 9, 10 to 19 … 90 to 100."""
    mean: float | None
    median: float | None
    p90: float | None
    """Nine of ten are no higher."""


class RuleStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule found, and what reviewers thought of it."""

    rule: str
    title: str
    sessions: int
    """With a concern of this rule."""
    concerns: int
    infos: int
    concerns_per_hour: float | None
    """Of observed time of all sessions."""
    confirmed: int
    dismissed: int
    precision: float | None
    """Of the findings that were judged, the share that was confirmed: not of all that there were."""
    interval: Interval | None
    """Wilson's, of the precision; as if findings of one session were independent."""


class ShadowStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule on trial would have done."""

    rule: str
    title: str
    sessions: int
    """Judged by it."""
    alerted: int
    """Sessions with a concern of this rule."""
    alerts: int
    moved: dict[str, int]
    """Sessions whose priority would be another, by `from>to`."""


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """An exam in figures."""

    exam_id: str
    sessions: int
    """That have ended."""
    policies: dict[str, int]
    """How many sessions were judged by each policy, by its name."""
    priorities: dict[Priority, int]
    scores: Distribution
    hours_observed: float
    rules: list[RuleStatistics]
    """Those with the most concerns first."""
    shadow: list[ShadowStatistics]
    reviews: dict[ReviewState, int]
    decisions: dict[str, int]
    """What decided reviews have come to."""
    second_looks: int
    second_looks_agreed: int
    """Of these, how many came to what the first did."""


class _Named(msgspec.Struct):
    title: str = ""


class _Verdict(msgspec.Struct):
    score: float
    review_priority: Priority


class _With(msgspec.Struct):
    review_priority: Priority


class _Shadow(msgspec.Struct):
    rule: str
    alerts: int
    with_it: _With
    title: str = ""


class _Quality(msgspec.Struct):
    observed_seconds: float = 0.0


class _Info(msgspec.Struct):
    policy: str


class _Report(msgspec.Struct):
    session_info: _Info
    verdict: _Verdict
    findings: list[Finding] = []
    shadow: list[_Shadow] = []
    analyzers: dict[str, _Named] = {}
    data_quality: _Quality = msgspec.field(default_factory=_Quality)


def wilson(successes: int, trials: int) -> Interval | None:
    """Return the 95 % interval of a share, from how often something was so; None without trials.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927), 209 to
    212; what Brown, Cai and DasGupta recommend for few trials, Statistical Science 16 (2001), 101 to 133.
    """
    if trials == 0:
        return None
    share, z2 = successes / trials, _Z * _Z
    middle = share + z2 / (2 * trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    scale = 1 + z2 / trials
    # At the ends it is exact, which the difference of two rounded numbers is not.
    low = (middle - half) / scale if successes else 0.0
    high = (middle + half) / scale if successes < trials else 1.0
    return Interval(low, high)


class _Rule:
    """What has been counted of one rule."""

    def __init__(self) -> None:
        self.sessions = self.concerns = self.infos = self.confirmed = self.dismissed = 0

    def add(self, finding: Finding, judgement: ReviewEvent | None) -> None:
        if finding.level is Level.CONCERN:
            self.concerns += 1
        else:
            self.infos += 1
        if judgement is not None:
            self.confirmed += judgement.act is Act.CONFIRM
            self.dismissed += judgement.act is Act.DISMISS


class _Trial:
    """What has been counted of one rule on trial."""

    def __init__(self) -> None:
        self.sessions = self.alerted = self.alerts = 0
        self.moved: Counter[str] = Counter()


class Tally:
    """Takes in an exam session by session; keeps a few numbers of each."""

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._policies: Counter[str] = Counter()
        self._priorities: Counter[Priority] = Counter()
        self._seconds = 0.0
        self._rules: dict[str, _Rule] = {}
        self._trials: dict[str, _Trial] = {}
        self._titles: dict[str, str] = {}
        self._states: Counter[ReviewState] = Counter()
        self._decisions: Counter[str] = Counter()
        self._second = self._agreed = 0

    def add(self, report: bytes, events: Sequence[ReviewEvent]) -> None:
        """Take in a session's report and its review."""
        told = msgspec.json.decode(report, type=_Report)
        self._policies[told.session_info.policy] += 1
        self._priorities[told.verdict.review_priority] += 1
        if told.verdict.review_priority is not Priority.INSUFFICIENT:
            self._scores.append(told.verdict.score)
        self._seconds += told.data_quality.observed_seconds
        self._titles |= {name: each.title or name for name, each in told.analyzers.items()}
        self._add_review(told.findings, events)
        for shadow in told.shadow:
            self._add_trial(shadow, told.verdict.review_priority)

    def _add_review(self, findings: Sequence[Finding], events: Sequence[ReviewEvent]) -> None:
        keys = finding_keys(findings)
        review = fold(events, digest_of(keys))
        for key, finding in zip(keys, findings, strict=True):
            self._rules.setdefault(finding.rule, _Rule()).add(finding, review.judgement(key))
        for rule in {finding.rule for finding in findings if finding.level is Level.CONCERN}:
            self._rules[rule].sessions += 1
        self._states[review.state] += 1
        if review.closing is None or review.closing.decision is None:
            return
        self._decisions[review.closing.decision] += 1
        if review.second.decision is review.closing and review.first.decision is not None:
            self._second += 1
            self._agreed += review.first.decision.decision is review.closing.decision

    def _add_trial(self, shadow: _Shadow, priority: Priority) -> None:
        trial = self._trials.setdefault(shadow.rule, _Trial())
        self._titles.setdefault(shadow.rule, shadow.title or shadow.rule)
        trial.sessions += 1
        trial.alerts += shadow.alerts
        trial.alerted += shadow.alerts > 0
        if shadow.with_it.review_priority is not priority:
            trial.moved[f"{priority}>{shadow.with_it.review_priority}"] += 1

    def statistics(self, exam_id: str) -> Statistics:
        """Return what there is in all."""
        rules = [self._rule(name, rule) for name, rule in self._rules.items()]
        return Statistics(
            exam_id=exam_id,
            sessions=self._priorities.total(),
            policies=dict(sorted(self._policies.items())),
            priorities={priority: self._priorities[priority] for priority in Priority},
            scores=distribution(self._scores),
            hours_observed=round(self._seconds / 3600, 3),
            rules=sorted(rules, key=lambda rule: (-rule.concerns, -rule.infos, rule.rule)),
            shadow=[self._trial(name, trial) for name, trial in sorted(self._trials.items())],
            reviews={state: self._states[state] for state in ReviewState},
            decisions=dict(sorted(self._decisions.items())),
            second_looks=self._second,
            second_looks_agreed=self._agreed,
        )

    def _rule(self, name: str, rule: _Rule) -> RuleStatistics:
        judged = rule.confirmed + rule.dismissed
        return RuleStatistics(
            rule=name,
            title=self._titles.get(name, name),
            sessions=rule.sessions,
            concerns=rule.concerns,
            infos=rule.infos,
            concerns_per_hour=round(rule.concerns * 3600 / self._seconds, 3) if self._seconds else None,
            confirmed=rule.confirmed,
            dismissed=rule.dismissed,
            precision=rule.confirmed / judged if judged else None,
            interval=wilson(rule.confirmed, judged),
        )

    def _trial(self, name: str, trial: _Trial) -> ShadowStatistics:
        return ShadowStatistics(
            rule=name,
            title=self._titles[name],
            sessions=trial.sessions,
            alerted=trial.alerted,
            alerts=trial.alerts,
            moved=dict(sorted(trial.moved.items())),
        )


def distribution(scores: Sequence[float]) -> Distribution:
    """Return how scores from 0 to 100 are spread."""
    bins = [0] * (100 // BIN_POINTS)
    for score in scores:
        bins[min(int(score // BIN_POINTS), len(bins) - 1)] += 1
    inclusive = len(scores) > 1
    deciles = quantiles(scores, n=10, method="inclusive") if inclusive else list(scores) * 9
    return Distribution(
        sessions=len(scores),
        bins=bins,
        mean=fmean(scores) if scores else None,
        median=median(scores) if scores else None,
        p90=deciles[8] if scores else None,
    )
