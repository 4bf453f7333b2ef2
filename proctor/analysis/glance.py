"""What a proctor sees of a session while it runs: the verdict so far, its concerns, and ten minutes of it.

It follows from the same facts as the report, and costs a fraction of it.
"""

import math

import msgspec

from proctor.analysis.api import Finding, Level
from proctor.analysis.calm import SessionCalm
from proctor.analysis.facts import Facts
from proctor.analysis.observation import WINDOW_MS
from proctor.analysis.report import data_quality
from proctor.analysis.verdict import Observed, Priority, judge
from proctor.analysis.windows import window_evidence

BARS = 60
"""Windows shown: ten minutes."""
UNSEEN = "."
"""Stands for a window that nothing could be judged in; the others are digits."""
FINDINGS_MAX = 5
"""Newest concerns that are told; the report has them all."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A concern. Times are milliseconds since the epoch, event time."""

    rule: str
    title: str
    message: str
    start_ms: int
    end_ms: int


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """A running session in a line."""

    score: float
    priority: Priority
    last_ms: int | None
    """Event time of the last frame."""
    concerns: int
    """How many there are in all."""
    newest: list[Sighting]
    """The latest concerns, the newest first."""
    rules: dict[str, str]
    """All rules that have a concern, with their titles."""
    bars: str
    """The last windows of ten seconds, the oldest first: a digit says how strong the evidence is in it, 0 for
    none to 9, and `.` that nothing could be judged."""


class Look(msgspec.Struct, frozen=True, array_like=True):
    """What a worker answers."""

    glance: Glance
    calm: SessionCalm | None
    """None: the session is to be looked at again as soon as it has more frames."""


def build_glance(facts: Facts) -> Glance:
    """Judge what was observed so far."""
    observation, findings, quality = facts.observation, facts.findings, data_quality(facts)
    first = observation.first.time_ms if observation.first else facts.session.started_ms
    verdict = judge(findings, Observed(quality.observed_seconds, quality.coverage), facts.policy)
    concerns = [each for each in findings if each.level is Level.CONCERN]
    newest = sorted(concerns, key=lambda each: (each.end_seconds, each.start_seconds), reverse=True)
    return Glance(
        score=verdict.score,
        priority=verdict.priority,
        last_ms=observation.last.time_ms if observation.last else None,
        concerns=len(concerns),
        newest=[_sighting(each, facts, first) for each in newest[:FINDINGS_MAX]],
        rules={rule: facts.titles[rule] for rule in sorted({each.rule for each in concerns})},
        bars=_bars(facts) if observation.frames else "",
    )


def _sighting(finding: Finding, facts: Facts, first_ms: int) -> Sighting:
    return Sighting(
        rule=finding.rule,
        title=facts.titles[finding.rule],
        message=finding.message,
        start_ms=first_ms + round(finding.start_seconds * 1000),
        end_ms=first_ms + round(finding.end_seconds * 1000),
    )


def _bars(facts: Facts) -> str:
    last = facts.observation.length_ms // WINDOW_MS
    shown = range(max(0, last + 1 - BARS), last + 1)
    strengths, observable = window_evidence(facts, facts.observation.windows.keys() & shown)
    return "".join(
        str(math.ceil(9 * max(strengths.get(index, {}).values(), default=0.0)))
        if index in observable
        else UNSEEN
        for index in shown
    )
