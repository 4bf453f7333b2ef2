"""A report as one HTML file that needs nothing from anywhere: to be kept, mailed, printed, read offline."""

import msgspec
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from proctor.analysis.frames import FrameBatch
from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.analysis.wording import clock, length
from proctor.offline.details import entries
from proctor.offline.figure import Values, figure
from proctor.offline.recording import Recording
from proctor.offline.signals import diagrams, happenings

_templates = Environment(
    loader=PackageLoader("proctor.offline", "templates"),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"clock": clock, "length": length, "entries": entries}


def page(report: Report, recording: Recording, policy: Policy) -> str:
    """Return the page. The same report on the same frames is the same page."""
    timeline = _timeline(report, recording, policy)
    return _templates.get_template("report.html").render(
        report=report,
        timeline=_script(msgspec.json.encode(timeline).decode()) if timeline else None,
        plotly=Markup(get_plotlyjs()) if timeline else None,  # noqa: S704  the library itself
    )


def _timeline(report: Report, recording: Recording, policy: Policy) -> Values | None:
    if not recording.frames:
        return None
    batch = FrameBatch.from_json(recording.frames, recording.session.started_ms)
    signals = diagrams(batch, policy.observation.gap_seconds)
    return figure(report, signals, happenings(batch), policy.verdict.window_confidence)


def _script(json: str) -> Markup:
    # Nothing in it can end the script element that it stands in.
    return Markup(json.replace("<", "\\u003c"))  # noqa: S704  escaped just here
