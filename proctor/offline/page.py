"""A report as a page."""

from proctor.analysis.frames import FrameBatch
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.analysis.wording import clock, length
from proctor.offline.figure import Values, figure
from proctor.offline.html import library, script, templates
from proctor.offline.recording import Recording
from proctor.offline.signals import diagrams, happenings

_templates = templates()
_templates.filters |= {"clock": clock, "length": length}


def page(report: Report, recording: Recording, policy: Policy) -> str:
    """Return the page. The same report on the same frames is the same page."""
    timeline = _timeline(report, recording, policy)
    return _templates.get_template("report.html").render(
        report=report,
        timeline=script(timeline) if timeline else None,
        plotly=library() if timeline else None,
    )


def _timeline(report: Report, recording: Recording, policy: Policy) -> Values | None:
    if not recording.frames:
        return None
    batch = FrameBatch.from_json(recording.frames, recording.session.started_ms)
    signals = diagrams(batch, policy.observation.gap_seconds)
    return figure(report, signals, happenings(batch), policy.verdict.window_confidence)
