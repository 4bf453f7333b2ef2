"""The timeline as a plotly figure: one row per kind of signal, over one axis of time.

Built as plain JSON values, which is what plotly's JavaScript takes; its Python objects would only check them.
"""

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any

from proctor.analysis.api import Finding, Level, Observed
from proctor.analysis.schema import Report
from proctor.offline.signals import Diagram, Happening, Line

ROW_PIXELS = 120
_MARGIN_PIXELS = 110
_SPACE = 0.25
"""Of a row's height, left blank above it."""

_LEVEL_COLOURS = {Level.CONCERN: "#d1495b", Level.INFO: "#edae49"}
_LINE_COLOURS = ("#00798c", "#8d6a9f")
_GAP_COLOUR = "#9aa0a6"
_BREAK_COLOUR = "#a8d5ba"

_MIDNIGHT_MS = 946_684_800_000
"""Where the axis begins. It is one of dates, for its labels; plotly takes smaller numbers for years."""

_LEAST_MS = 500
"""Nothing is drawn so short that it cannot be seen."""

_NAME_CHARACTERS = 40

Values = dict[str, Any]


def figure(
    report: Report, diagrams: Sequence[Diagram], happenings: Sequence[Happening], window_threshold: float
) -> Values:
    """Draw findings, confidence, signals and events, with the gaps and findings marked in all of it.

    `window_threshold` is the confidence from which a window is flagged.
    """
    rows: list[tuple[str, list[Values]]] = [
        ("Findings", _finding_bars(report.findings)),
        ("Confidence by window", [_windows(report)]),
        *((_title(each), [_line(each, line, i) for i, line in enumerate(each.lines)]) for each in diagrams),
    ]
    if happenings:
        rows.append(("Events", [_events(happenings)]))
    layout = _layout(report, len(rows))
    traces = []
    for number, (title, row) in enumerate(rows, start=1):
        suffix = "" if number == 1 else str(number)
        top = 1 - (number - 1) / len(rows)
        height = 1 / len(rows)
        layout[f"yaxis{suffix}"] = {
            "title": {"text": title, "font": {"size": 11}},
            "domain": [max(0.0, top - height), top - height * _SPACE],
            "fixedrange": True,
            "automargin": True,
            "zeroline": False,
            "nticks": 5,
        }
        traces += [trace | {"xaxis": "x", "yaxis": f"y{suffix}"} for trace in row]
    layout["yaxis"]["autorange"] = "reversed"
    layout["yaxis2"] |= {"range": [0, 1]}
    layout["shapes"] = [
        *_silence_shapes(report),
        *_finding_shapes(report, diagrams),
        _threshold_shape(window_threshold),
    ]
    return {"data": traces, "layout": layout, "config": {"displaylogo": False, "responsive": True}}


def _title(diagram: Diagram) -> str:
    names = [f'<span style="color:{_colour(i)}">{line.name}</span>' for i, line in enumerate(diagram.lines)]
    return "<br>".join([diagram.plan.title, *names])


def _colour(number: int) -> str:
    return _LINE_COLOURS[number % len(_LINE_COLOURS)]


def _plain(words: str) -> str:
    # Plotly takes text for markup; what clients and plugins wrote is none.
    return html.escape(words if len(words) <= _NAME_CHARACTERS else f"{words[:_NAME_CHARACTERS]}…")


def _layout(report: Report, rows: int) -> Values:
    return {
        "height": rows * ROW_PIXELS + _MARGIN_PIXELS,
        "margin": {"l": 60, "r": 20, "t": 10, "b": 40},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": "zoom",
        "xaxis": {
            "type": "date",
            "tickformat": "%H:%M:%S",
            "hoverformat": "%H:%M:%S.%L",
            "range": [_x(0), _x(max(1.0, report.session_info.duration_seconds))],
            "anchor": "free",
            "position": 0,
            "showspikes": True,
            "spikemode": "across",
            "spikethickness": 1,
            "spikesnap": "cursor",
        },
    }


def _finding_bars(findings: Sequence[Finding]) -> list[Values]:
    return [
        {
            "type": "bar",
            "orientation": "h",
            "name": str(level),
            "base": [_x(each.start_seconds) for each in some],
            "x": [max(_LEAST_MS, _x(each.end_seconds) - _x(each.start_seconds)) for each in some],
            "y": [_plain(each.category) for each in some],
            "text": [html.escape(each.message) for each in some],
            "textposition": "none",
            "hovertemplate": "%{text}<extra>%{y}</extra>",
            "marker": {"color": _LEVEL_COLOURS[level], "line": {"color": _LEVEL_COLOURS[level], "width": 1}},
            "width": 0.7,
            "offset": -0.35,
        }
        for level in (Level.INFO, Level.CONCERN)
        if (some := [each for each in findings if each.level is level])
    ] or [{"type": "scatter", "mode": "lines", "x": [_x(0)], "y": ["none"], "hoverinfo": "skip"}]


def _windows(report: Report) -> Values:
    windows = report.window_analysis.predictions_per_window
    return {
        "type": "bar",
        "name": "confidence",
        "x": [_x((window.start_seconds + window.end_seconds) / 2) for window in windows],
        "width": [_x(window.end_seconds) - _x(window.start_seconds) for window in windows],
        "y": [window.confidence for window in windows],
        "marker": {"color": [_LEVEL_COLOURS[_level(window.is_cheating)] for window in windows]},
        "hovertemplate": "%{y:.2f}<extra></extra>",
    }


def _level(flagged: bool) -> Level:
    return Level.CONCERN if flagged else Level.INFO


def _line(diagram: Diagram, line: Line, number: int) -> Values:
    shape = "hv" if diagram.plan.steps else "linear"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": line.name,
        "x": [_x(seconds) for seconds in line.seconds.tolist()],
        "y": [None if math.isnan(value) else value for value in line.values.tolist()],
        "line": {"shape": shape, "width": 1.2, "color": _colour(number)},
        "hovertemplate": "%{y}<extra>" + line.name + "</extra>",
    }


def _events(happenings: Sequence[Happening]) -> Values:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "events",
        "x": [_x(each.seconds) for each in happenings],
        "y": [_plain(each.name) for each in happenings],
        "marker": {"color": _LINE_COLOURS[0], "symbol": "diamond", "size": 7},
        "hovertemplate": "%{y}<extra></extra>",
    }


def _silence_shapes(report: Report) -> Iterator[Values]:
    """Mark the times of which nothing is known, and those that were granted as breaks."""
    gaps = [("gap", gap.start_seconds, gap.end_seconds) for gap in report.data_quality.gaps.longest]
    breaks = [
        ("break", each.start_seconds, each.end_seconds) for each in report.timeline if each.kind == "break"
    ]
    for name, start, end in [*gaps, *breaks]:
        yield {
            "type": "rect",
            "name": name,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            **_span(start, end),
            "fillcolor": _GAP_COLOUR if name == "gap" else _BREAK_COLOUR,
            "opacity": 0.35,
            "line": {"width": 0},
        }


def _finding_shapes(report: Report, diagrams: Sequence[Diagram]) -> Iterator[Values]:
    """Mark findings in the diagram of what they were seen in, and what is normal for this person there."""
    for number, diagram in enumerate(diagrams, start=3):
        for finding in report.findings:
            if finding.observed.signal not in diagram.plan.names:
                continue
            yield {
                "type": "rect",
                "name": "finding",
                "yref": f"y{number} domain",
                "y0": 0,
                "y1": 1,
                **_span(finding.start_seconds, finding.end_seconds),
                "fillcolor": _LEVEL_COLOURS[finding.level],
                "opacity": 0.25,
                "line": {"width": 0},
                "layer": "below",
            }
            for name, value in _levels(finding.observed):
                yield {
                    "type": "line",
                    "name": name,
                    "yref": f"y{number}",
                    "y0": value,
                    "y1": value,
                    **_span(finding.start_seconds, finding.end_seconds),
                    "line": {"width": 1.5, "dash": "dash" if name == "baseline" else "dot"},
                }


def _levels(observed: Observed) -> Iterator[tuple[str, float]]:
    """Yield what is normal, and from where on it is not."""
    if observed.baseline is not None:
        yield "baseline", observed.baseline
        if observed.deviation is not None:
            yield "threshold", observed.baseline - observed.deviation
            yield "threshold", observed.baseline + observed.deviation


def _threshold_shape(window_threshold: float) -> Values:
    return {
        "type": "line",
        "name": "threshold",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": "y2",
        "y0": window_threshold,
        "y1": window_threshold,
        "line": {"width": 1, "dash": "dot"},
    }


def _span(start_seconds: float, end_seconds: float) -> Values:
    return {"xref": "x", "x0": _x(start_seconds), "x1": max(_x(start_seconds) + _LEAST_MS, _x(end_seconds))}


def _x(seconds: float) -> int:
    return _MIDNIGHT_MS + round(seconds * 1000)
