"""Measured sessions put together: all of them and by kind, for each policy. What `--format json` writes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from statistics import median

import msgspec

from proctor.analysis.policy import Policy
from proctor.analysis.verdict import SCORE_MAX, Priority
from proctor.evaluation.measure import Measured
from proctor.evaluation.metrics import (
    Bin,
    SecondCounts,
    at_prevalence,
    auc,
    calibration_error,
    places,
    reliability,
)

THRESHOLD_STEP = 5
"""Between the scores for which a review threshold is tried."""

SLOW_SHARE = 0.9
"""So many of the alerts come within `Alerts.slow_seconds`."""


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """How long until a concern could first be raised, from the start of labelled intervals."""

    raised: int
    missed: int
    median_seconds: float | None
    slow_seconds: float | None
    """Nine of ten alerts came within so long; those missed are not among them."""


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where sessions stand in the queue of all sessions by score: 1 is looked at first."""

    first: float
    median: float
    last: float
    of: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy makes of some sessions. A figure is null where there is nothing to tell it from."""

    sessions: int
    honest_sessions: int
    intervals: int
    window_auc: float | None
    second_precision: float | None
    second_recall: float | None
    second_f1: float | None
    interval_recall: float | None
    false_per_hour: float | None
    """Separate concerns wholly outside labelled time, per hour of it."""
    verdict_auc: float | None
    """How likely one of these sessions that is dishonest scores above one of these that is honest."""
    told_apart: float | None
    """How likely one of these sessions is on the right side of one of all those of the other sort."""
    alerts: Alerts
    places: Places | None
    priorities: dict[str, int]
    """Sessions by review priority."""


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """What happens if sessions from this score on are sent to a reviewer."""

    score: int
    honest_sent: float | None
    """Share of the honest sessions, 0 to 1."""
    others_sent: float | None
    """Share of the others."""
    right_at_prevalence: float | None
    """Share of those sent that is dishonest, if as many are as `prevalence` says."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Whether confidence is as often right as it says, among these sessions."""

    bins: list[Bin]
    error: float | None
    """Mean distance of confidence from the share of positives, over all cases."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One session's result."""

    name: str
    kind: str
    honest: bool
    score: int
    priority: Priority
    place: float
    false_concerns: int
    intervals: list["Interval"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """One labelled interval, in seconds since the first frame."""

    start_seconds: float
    end_seconds: float
    found: bool
    alert_seconds: float | None


class PolicyResult(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's results."""

    policy: str
    digest: str
    rules: list[str]
    """Those that judged and score."""
    on_trial: list[str] = []
    """Those that judged too, and add nothing to scores."""
    failures: list[str]
    """Rules that failed, in how many sessions and why; what they would have found is missing."""
    low_score: float
    medium_score: float
    high_score: float
    overall: Figures
    honest_places: Places | None
    other_places: Places | None
    kinds: dict[str, Figures]
    thresholds: list[Threshold]
    window_calibration: Calibration
    """Confidence of windows against their being inside labelled time."""
    verdict_calibration: Calibration
    """Confidence of verdicts against the session's not being honest."""
    sessions: list[Session]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All results, one policy after the other, and what they follow from."""

    proctor: str
    source: str
    """Which sessions, in words."""
    prevalence: float
    policies: list[PolicyResult]


def policy_result(policy: Policy, name: str, measured: Sequence[Measured], prevalence: float) -> PolicyResult:
    """Put one policy's sessions together; `name` is what it is told apart by."""
    queue = dict(zip(map(id, measured), places([each.score for each in measured]), strict=True))
    kinds = dict.fromkeys(each.kind for each in measured)
    grouped = {kind: [each for each in measured if each.kind == kind] for kind in kinds}
    # Those with something to find first.
    grouped = dict(sorted(grouped.items(), key=lambda item: all(each.honest for each in item[1])))
    enabled = sorted(rule for rule, settings in policy.rules.items() if settings.enabled)
    return PolicyResult(
        policy=name,
        digest=policy.digest,
        rules=[rule for rule in enabled if not policy.on_trial(rule)],
        on_trial=[rule for rule in enabled if policy.on_trial(rule)],
        failures=_failures(measured),
        low_score=policy.verdict.low_score,
        medium_score=policy.verdict.medium_score,
        high_score=policy.verdict.high_score,
        overall=_figures(measured, measured, queue),
        honest_places=_places([queue[id(each)] for each in measured if each.honest], len(measured)),
        other_places=_places([queue[id(each)] for each in measured if not each.honest], len(measured)),
        kinds={kind: _figures(some, measured, queue) for kind, some in grouped.items()},
        thresholds=thresholds(measured, prevalence),
        window_calibration=_calibration(
            (window.confidence, window.positive) for each in measured for window in each.windows
        ),
        verdict_calibration=_calibration((each.confidence, not each.honest) for each in measured),
        sessions=[_session(each, queue[id(each)]) for each in measured],
    )


def _failures(measured: Sequence[Measured]) -> list[str]:
    """Tell of each rule that failed, with the first reason."""
    counts = Counter(rule for each in measured for rule in each.failures)
    reasons = {rule: reason for each in reversed(measured) for rule, reason in each.failures.items()}
    return [
        f"{rule} failed in {count} of {len(measured)} sessions: {reasons[rule]}"
        for rule, count in sorted(counts.items())
    ]


def thresholds(measured: Sequence[Measured], prevalence: float) -> list[Threshold]:
    """Try a review threshold at every fifth score."""
    honest = [each.score for each in measured if each.honest]
    others = [each.score for each in measured if not each.honest]
    tried = []
    for score in range(THRESHOLD_STEP, SCORE_MAX + 1, THRESHOLD_STEP):
        disturbed, found = _share_from(honest, score), _share_from(others, score)
        known = disturbed is not None and found is not None
        tried.append(
            Threshold(
                score=score,
                honest_sent=disturbed,
                others_sent=found,
                right_at_prevalence=at_prevalence(found or 0.0, disturbed or 0.0, prevalence)
                if known
                else None,
            )
        )
    return tried


def _share_from(scores: Sequence[int], least: int) -> float | None:
    return sum(score >= least for score in scores) / len(scores) if scores else None


def _figures(some: Sequence[Measured], everything: Sequence[Measured], queue: Mapping[int, float]) -> Figures:
    counts = SecondCounts(*map(sum, zip(*(each.seconds for each in some), strict=True)))
    labelled = any(each.labels.intervals for each in some)
    found = [hit for each in some for hit in each.found]
    hours = sum(each.labels.honest_seconds for each in some) / 3600
    windows = [window for each in some for window in each.windows]
    return Figures(
        sessions=len(some),
        honest_sessions=sum(each.honest for each in some),
        intervals=len(found),
        window_auc=auc((window.confidence or 0.0, window.positive) for window in windows),
        second_precision=counts.precision if labelled else None,
        second_recall=counts.recall if labelled else None,
        second_f1=counts.f1 if labelled else None,
        interval_recall=sum(found) / len(found) if found else None,
        false_per_hour=sum(each.false_concerns for each in some) / hours if hours > 0 else None,
        verdict_auc=auc((each.score, not each.honest) for each in some),
        told_apart=_told_apart(some, everything),
        alerts=_alerts([alert for each in some for alert in each.alerts]),
        places=_places([queue[id(each)] for each in some], len(everything)),
        priorities={rank.value: sum(each.priority is rank for each in some) for rank in Priority},
    )


def _told_apart(some: Sequence[Measured], everything: Sequence[Measured]) -> float | None:
    """Return the mean AUC of the honest among `some` against all others, and the other way round."""
    parts = []
    for honest in (True, False):
        own = [(each.score, not honest) for each in some if each.honest is honest]
        other = [(each.score, honest) for each in everything if each.honest is not honest]
        value = auc([*own, *other])
        if value is not None:
            parts.append((len(own), value))
    total = sum(count for count, _ in parts)
    return sum(count * value for count, value in parts) / total if total else None


def _alerts(alerts: Sequence[float | None]) -> Alerts:
    raised = sorted(seconds for seconds in alerts if seconds is not None)
    slow = raised[ceil(SLOW_SHARE * len(raised)) - 1] if raised else None
    return Alerts(
        raised=len(raised),
        missed=len(alerts) - len(raised),
        median_seconds=median(raised) if raised else None,
        slow_seconds=slow,
    )


def _places(some: Sequence[float], of: int) -> Places | None:
    if not some:
        return None
    return Places(first=min(some), median=median(some), last=max(some), of=of)


def _calibration(cases: Iterable[tuple[float | None, bool]]) -> Calibration:
    bins = reliability((confidence, positive) for confidence, positive in cases if confidence is not None)
    return Calibration(bins=bins, error=calibration_error(bins))


def _session(each: Measured, place: float) -> Session:
    return Session(
        name=each.name,
        kind=each.kind,
        honest=each.honest,
        score=each.score,
        priority=each.priority,
        place=place,
        false_concerns=each.false_concerns,
        intervals=[
            Interval(start_seconds=start, end_seconds=end, found=found, alert_seconds=alert)
            for (start, end), found, alert in zip(each.labels.intervals, each.found, each.alerts, strict=True)
        ],
    )
