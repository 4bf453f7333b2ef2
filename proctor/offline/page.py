"""A report as a page."""

from proctor.analysis.compare import Comparison
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.analysis.wording import clock, counted, length, speed
from proctor.offline.changes import change_in_words, finding_in_words, nothing_in_words, verdict_in_words
from proctor.offline.details import entries
from proctor.offline.figure import Values, figure
from proctor.offline.html import library, script, templates
from proctor.offline.recording import Recording
from proctor.offline.signals import diagrams, signals
from proctor.review_view import ReviewView

_templates = templates()
_templates.filters |= {
    "clock": clock,
    "length": length,
    "speed": speed,
    "counted": counted,
    "entries": entries,
    "change": change_in_words,
    "verdict_changes": verdict_in_words,
    "finding_change": finding_in_words,
    "nothing": nothing_in_words,
}


def page(
    report: Report,
    recording: Recording,
    policy: Policy,
    comparison: Comparison | None = None,
    review: ReviewView | None = None,
) -> str:
    """Return the page. The same report on the same frames, reviewed alike, is the same page."""
    timeline = _timeline(report, recording, policy)
    return _templates.get_template("report.html").render(
        report=report,
        comparison=comparison,
        review=review,
        timeline=script(timeline) if timeline else None,
        plotly=library() if timeline else None,
    )


def _timeline(report: Report, recording: Recording, policy: Policy) -> Values | None:
    if not recording.frames:
        return None
    drawn = signals(recording.frames, recording.session.started_ms)
    lines = diagrams(drawn, policy.observation.gap_seconds)
    return figure(report, lines, drawn.happenings, policy.verdict.window_confidence)
