"""The report's form, field by field, and the JSON schema of it that frontends and tests hold reports to."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from proctor.accommodations import AnyAccommodation
from proctor.analysis.api import Finding, Group, Level, Share
from proctor.analysis.schema_data import Count, DataQuality, Duration, Part, Provenance, Seconds, Time
from proctor.analysis.verdict import Priority

Score = Annotated[int, msgspec.Meta(ge=0, le=100)]
Percentage = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Status(StrEnum):
    """What became of an analyzer in a session."""

    OK = "ok"
    FAILED = "failed"
    """It raised, killed its process, used up its memory or said something that makes no sense."""
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    """Switched off, gone, or without frames to judge."""


class SessionInfo(Part, frozen=True, kw_only=True):
    """Which session this is about, and when it was looked at."""

    session_id: str
    candidate_id: str | None
    exam_id: str | None
    policy: str
    started_at: Time
    ended_at: Time | None
    first_frame_at: Time | None
    last_frame_at: Time | None
    duration_seconds: Duration
    """From the first frame to the last."""
    total_frames: Count
    final: bool
    """False while the exam runs."""
    analysed_at: Time
    """The only thing that differs between two reports on the same frames, policy and plugins."""


class Verdict(Part, frozen=True, kw_only=True):
    """A recommendation for whom to review first; a human decides what happened."""

    is_cheating: Annotated[
        bool,
        msgspec.Meta(description="True for review priority high, and only then. Not a finding of guilt."),
    ]
    score: Score
    review_priority: Priority
    confidence: Annotated[
        Share | None,
        msgspec.Meta(
            description="How often sessions of such a score had something worth a look, by the policy's "
            "calibration; null where nothing was observed."
        ),
    ]
    confidence_level: Annotated[
        Priority, msgspec.Meta(description="Where the score alone would rank; the priority has limits.")
    ]
    verdict_basis: Annotated[str, msgspec.Meta(description="Why, in sentences.")]


class WindowVerdict(Part, frozen=True, kw_only=True):
    """Ten seconds of the session."""

    window_id: Count
    start_seconds: Seconds
    end_seconds: Seconds
    is_cheating: bool
    confidence: Annotated[
        Share | None,
        msgspec.Meta(
            description="How often windows with such evidence, of the strongest rule, were rightly flagged, "
            "by the policy's calibration; null where no rule could judge."
        ),
    ]
    start_frame: str | None
    end_frame: str | None
    frames: Count
    rules: Annotated[dict[str, Share], msgspec.Meta(description="Evidence by rule, of those that had any.")]


class WindowAnalysis(Part, frozen=True, kw_only=True):
    """The session window by window."""

    window_seconds: Duration
    total_windows: Count
    windows_observed: Count
    windows_flagged: Count
    percentage_flagged: Annotated[
        Percentage | None, msgspec.Meta(description="Of the windows that could be judged.")
    ]
    max_confidence: Share | None
    mean_confidence: Share | None
    predictions_per_window: Annotated[
        list[WindowVerdict],
        msgspec.Meta(description="All windows; of sessions longer than a day those with frames."),
    ]


class Tally(Part, frozen=True, kw_only=True):
    """How much there was of one kind of suspicious event."""

    count: Count
    concerns: Count
    total_seconds: Duration


class SuspiciousEvents(Part, frozen=True, kw_only=True):
    """The findings of the usual categories, each under its own key."""

    phone_detections: list[Finding]
    multiple_faces: list[Finding]
    gaze_off_screen: list[Finding]
    extreme_head_movements: list[Finding]
    no_face_detected: list[Finding]
    summary: Annotated[
        dict[str, Tally], msgspec.Meta(description="By category, those without a key of their own too.")
    ]


class TimelineEntry(Part, frozen=True, kw_only=True):
    """One thing that happened; in order of time."""

    kind: Literal["first_frame", "finding", "gap", "break", "last_frame"]
    timestamp: Time
    start_seconds: Seconds
    end_seconds: Seconds
    event: Annotated[str, msgspec.Meta(description="A finding's category, or the kind again.")]
    level: Level | None
    rule: str | None
    message: str


class Counterfactual(Part, frozen=True, kw_only=True):
    """What the verdict would be otherwise."""

    score: Score
    review_priority: Priority


class Contribution(Part, frozen=True, kw_only=True):
    """What one rule adds to the score; all points together are the score."""

    rule: str
    plugin: str
    title: str
    group: Group
    points: Score
    points_max: Percentage
    counted: Annotated[
        bool, msgspec.Meta(description="False where a stronger rule of the same group counts instead.")
    ]
    concerns: Count
    infos: Count
    without: Counterfactual


class ShadowReport(Part, frozen=True, kw_only=True):
    """A rule on trial: what it found, which scored nothing, and what it would have changed."""

    rule: str
    plugin: str
    title: str
    findings: list[Finding]
    alerts: Annotated[
        Count, msgspec.Meta(description="Concerns that would have asked for a reviewer's look.")
    ]
    with_it: Annotated[Counterfactual, msgspec.Meta(description="The verdict if the rule counted.")]


class Granted(Part, frozen=True, kw_only=True):
    """An accommodation and what it suppressed."""

    description: Annotated[str, msgspec.Meta(description="In words, with times from the first frame.")]
    accommodation: AnyAccommodation
    suppressed: Annotated[
        list[Finding],
        msgspec.Meta(description="Findings that would be there, or would be concerns, without it."),
    ]


class AnalyzerReport(Part, frozen=True, kw_only=True):
    """One analyzer's own section."""

    title: str
    plugin: str
    version: str
    status: Status
    reason: str | None
    findings: Count
    details: dict[str, Any]


class Report(Part, frozen=True, kw_only=True):
    """Proctor's report on one exam session."""

    session_info: SessionInfo
    verdict: Verdict
    window_analysis: WindowAnalysis
    suspicious_events: SuspiciousEvents
    timeline: list[TimelineEntry]
    recommendations: list[str]
    findings: list[Finding]
    contributions: list[Contribution]
    shadow: Annotated[list[ShadowReport], msgspec.Meta(description="Rules on trial; they score nothing.")]
    accommodations: list[Granted]
    data_quality: DataQuality
    analyzers: dict[str, AnalyzerReport]
    provenance: Provenance


def report_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of the report."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Report)}
