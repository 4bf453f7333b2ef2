"""From findings to a score and a review priority.

The score is a sum. A rule adds `points * (1 - exp(-weight))`, where its weight grows with every finding:
the first says most, and no number of them adds more than the rule's points. Concerns weigh by their
strength; info findings weigh by how often they come, for everybody looks away now and then. Of the rules
in one group only the one that adds most counts, because they see one cause several times.

The priority follows the score, within limits: high needs grounds (see :func:`_grounds`), and without a single
concern it is low at most. It says how soon a reviewer should look, never that somebody cheated.
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from proctor.analysis.api import Finding, Group, Level
from proctor.analysis.policy import ObservationPolicy, Policy, VerdictPolicy

SCORE_MAX = 100
_DIRECT = (Group.DEVICE, Group.PEOPLE)


class Priority(StrEnum):
    """How soon a human should look at a session."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    INSUFFICIENT = "insufficient"
    """Too little was observed to say anything, in either direction."""


class Observed(NamedTuple):
    """How much of a session was seen."""

    seconds: float
    """Without gaps."""
    coverage: float
    """Share of the session, 0 to 1."""

    def suffices(self, policy: ObservationPolicy) -> bool:
        """Return whether the absence of findings means anything."""
        return self.seconds >= policy.observed_minutes_min * 60 and self.coverage >= policy.coverage_min


class Share(NamedTuple):
    """What one rule adds to the score through the findings of one group."""

    rule: str
    group: Group
    concerns: int
    infos: int
    points_max: float
    """The bound that the policy sets."""
    exact: float
    """Before rounding, and before it gives way to a stronger rule of its group."""
    points: int
    """What it adds; 0 where another rule of the group is stronger."""
    counted: bool


class Judgement(NamedTuple):
    """The verdict on a set of findings."""

    score: int
    """0 to 100: the sum of all points."""
    priority: Priority
    band: Priority
    """Where the score alone would put it."""
    grounds: str
    """What allows a high priority, in words; empty if nothing does."""
    shares: tuple[Share, ...]
    """By points, the most first."""

    @property
    def concerns(self) -> int:
        """How many findings were concerns, of those that can score."""
        return sum(share.concerns for share in self.shares)


def judge(findings: Iterable[Finding], observed: Observed, policy: Policy) -> Judgement:
    """Judge findings of any order."""
    scoring = [finding for finding in findings if policy.points(finding.rule, finding.group) > 0]
    shares = _rounded(_strongest(_shares(scoring, observed, policy)))
    score = sum(share.points for share in shares)
    band = _band(score, policy.verdict)
    concerns = [finding for finding in scoring if finding.level is Level.CONCERN]
    grounds = _grounds(concerns, policy.verdict)
    if not grounds and not observed.suffices(policy.observation):
        priority = Priority.INSUFFICIENT
    elif not concerns:
        priority = min(band, Priority.LOW, key=_ORDER.index)
    elif not grounds:
        priority = min(max(band, Priority.LOW, key=_ORDER.index), Priority.MEDIUM, key=_ORDER.index)
    else:
        priority = max(band, Priority.LOW, key=_ORDER.index)
    return Judgement(score, priority, band, grounds, shares)


_ORDER: Sequence[Priority] = tuple(Priority)


def _band(score: int, policy: VerdictPolicy) -> Priority:
    if score >= policy.high_score:
        return Priority.HIGH
    if score >= policy.medium_score:
        return Priority.MEDIUM
    return Priority.LOW if score >= policy.low_score else Priority.NONE


def _grounds(concerns: Sequence[Finding], policy: VerdictPolicy) -> str:
    """Direct evidence is a device, other people, or a long absence from the exam window; else two groups.

    Each of them suffices for a high priority and for a verdict on a session of which little was observed.
    """
    groups = {finding.group for finding in concerns}
    for group in _DIRECT:
        if group in groups:
            return f"direct evidence ({group})"
    for finding in concerns:
        length = finding.end_seconds - finding.start_seconds
        if finding.group is Group.WORKSPACE and length >= policy.absence_seconds:
            return "direct evidence (long absence from the exam window)"
    return f"independent evidence ({', '.join(sorted(groups))})" if len(groups) > 1 else ""


def _shares(findings: Sequence[Finding], observed: Observed, policy: Policy) -> list[Share]:
    spaces = max(1.0, observed.seconds / (policy.verdict.rate_floor_minutes * 60))
    by_source: dict[tuple[str, Group], list[Finding]] = {}
    for finding in findings:
        by_source.setdefault((finding.rule, finding.group), []).append(finding)
    return [_share(rule, group, by_source[rule, group], spaces, policy) for rule, group in sorted(by_source)]


def _share(rule: str, group: Group, findings: Sequence[Finding], spaces: float, policy: Policy) -> Share:
    verdict = policy.verdict
    concerns = [finding.strength for finding in findings if finding.level is Level.CONCERN]
    infos = [finding.strength for finding in findings if finding.level is Level.INFO]
    # fsum does not depend on the order, so neither does the score.
    rate = math.fsum(infos) * verdict.info_weight / spaces
    weight = math.fsum(verdict.concern_weight + verdict.strength_weight * strength for strength in concerns)
    most = policy.points(rule, group)
    exact = most * -math.expm1(-weight - min(rate, verdict.info_weight_max))
    return Share(rule, group, len(concerns), len(infos), most, exact, 0, counted=True)


def _strongest(shares: Iterable[Share]) -> list[Share]:
    strongest: dict[Group, Share] = {}
    ordered = sorted(shares, key=lambda share: (-share.exact, share.rule, share.group))
    for share in ordered:
        strongest.setdefault(share.group, share)
    return [share._replace(counted=strongest[share.group] is share) for share in ordered]


def _rounded(shares: Sequence[Share]) -> tuple[Share, ...]:
    """Give out whole points that add up exactly: the largest remainders are rounded up."""
    total = math.fsum(share.exact for share in shares if share.counted)
    scale = min(1.0, SCORE_MAX / total) if total else 0.0
    exact = [share.exact * scale if share.counted else 0.0 for share in shares]
    points = [math.floor(value) for value in exact]
    left = round(min(total, SCORE_MAX)) - sum(points)
    by_remainder = sorted(range(len(shares)), key=lambda i: (points[i] - exact[i], i))
    for index in by_remainder[: max(left, 0)]:
        points[index] += 1
    return tuple(share._replace(points=value) for share, value in zip(shares, points, strict=True))
