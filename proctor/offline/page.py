"""A report as one HTML file that needs nothing from anywhere: to be kept, mailed, printed, read offline."""

import msgspec
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from proctor.analysis.compare import Comparison
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.analysis.wording import clock, length
from proctor.offline.changes import change_in_words, finding_in_words
from proctor.offline.details import entries
from proctor.offline.figure import Values, figure
from proctor.offline.recording import Recording
from proctor.offline.signals import diagrams, signals

_templates = Environment(
    loader=PackageLoader("proctor.offline", "templates"),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "clock": clock,
    "length": length,
    "entries": entries,
    "change": change_in_words,
    "finding_change": finding_in_words,
}


def page(report: Report, recording: Recording, policy: Policy, comparison: Comparison | None = None) -> str:
    """Return the page. The same report on the same frames is the same page."""
    timeline = _timeline(report, recording, policy)
    return _templates.get_template("report.html").render(
        report=report,
        comparison=comparison,
        timeline=_script(msgspec.json.encode(timeline).decode()) if timeline else None,
        plotly=Markup(get_plotlyjs()) if timeline else None,  # noqa: S704  the library itself
    )


def _timeline(report: Report, recording: Recording, policy: Policy) -> Values | None:
    if not recording.frames:
        return None
    drawn = signals(recording.frames, recording.session.started_ms)
    lines = diagrams(drawn, policy.observation.gap_seconds)
    return figure(report, lines, drawn.happenings, policy.verdict.window_confidence)


def _script(json: str) -> Markup:
    # Nothing in it can end the script element that it stands in.
    return Markup(json.replace("<", "\\u003c"))  # noqa: S704  escaped just here
