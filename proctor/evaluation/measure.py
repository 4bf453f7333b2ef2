"""One session judged by one or several policies, and held to its truth."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import msgspec

from proctor.accommodations import in_force
from proctor.analysis.api import WINDOW_SECONDS
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.schema import Status
from proctor.analysis.verdict import Priority
from proctor.evaluation.alerts import Judge, Seen, concern_spans, seconds_to_alert
from proctor.evaluation.metrics import (
    Labels,
    SecondCounts,
    WindowTruth,
    false_concerns,
    intervals_found,
    merged,
    second_counts,
    window_truths,
)
from proctor.evaluation.sittings import Sitting
from proctor.offline.recording import Recording


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy makes of one session, next to the truth."""

    name: str
    kind: str
    labels: Labels
    score: int
    confidence: float | None
    priority: Priority
    windows: list[WindowTruth]
    seconds: SecondCounts
    found: list[bool]
    """By interval: whether concerns cover half of it."""
    alerts: list[float | None]
    """By interval: seconds from its start until a concern could first be raised; None if none was."""
    false_concerns: int
    failures: dict[str, str] = {}
    """Analyzers that failed, and why: what they would have found is missing."""

    @property
    def honest(self) -> bool:
        """Whether there is nothing to find."""
        return not self.labels.intervals


class _Window(msgspec.Struct):
    start_seconds: float
    confidence: float | None


class _Windows(msgspec.Struct):
    predictions_per_window: list[_Window]


class _Verdict(msgspec.Struct):
    score: int
    confidence: float | None
    review_priority: Priority


class _Analyzer(msgspec.Struct):
    status: Status
    reason: str | None


class _Report(msgspec.Struct):
    """What is read of a report; the rest is passed over."""

    verdict: _Verdict
    window_analysis: _Windows
    findings: list[Seen]
    analyzers: dict[str, _Analyzer]


def measure(sitting: Sitting, judges: Sequence[Judge]) -> list[Measured]:
    """Judge a session by each and hold what they say to the truth. Blocks for a second or so.

    Raises:
        InvalidRequest: as `sitting.load`, and for frames that no store holds.
    """
    # Standard output is for results only, whatever analyzers print.
    with redirect_stdout(sys.stderr):
        recording, labels = sitting.load()
        return [_measured(sitting, recording, labels, each) for each in judges]


def _measured(sitting: Sitting, recording: Recording, labels: Labels, by: Judge) -> Measured:
    told = msgspec.json.decode(_final_report(recording, by), type=_Report)
    concerns = merged(concern_spans(told.findings))
    windows = told.window_analysis.predictions_per_window
    confidences = {round(each.start_seconds / WINDOW_SECONDS): each.confidence for each in windows}
    return Measured(
        name=sitting.name,
        kind=sitting.kind,
        labels=labels,
        score=told.verdict.score,
        confidence=told.verdict.confidence,
        priority=told.verdict.review_priority,
        windows=window_truths(labels, confidences),
        seconds=second_counts(labels, concerns),
        found=intervals_found(labels, concerns),
        alerts=seconds_to_alert(recording, by, labels.intervals, concerns),
        false_concerns=false_concerns(labels, concerns),
        failures={
            name: analyzer.reason or ""
            for name, analyzer in told.analyzers.items()
            if analyzer.status in (Status.FAILED, Status.TIMED_OUT)
        },
    )


def _final_report(recording: Recording, by: Judge) -> bytes:
    """Return what :func:`proctor.offline.judge.judge` does, with the guard around each call."""
    session = recording.session
    plugins = tuple(loaded.plugin for loaded in by.analyzers)
    granted = in_force(session.accommodations)
    job = Job(plugins, by.policy, frames=recording.frames, accommodations=granted)
    return report(ReportRequest(session, final=True, analysed_ms=0), job, by.guard)
