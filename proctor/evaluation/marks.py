"""The marks that plots of evaluations are made of, as plotly's JSON values."""

import html
from collections.abc import Sequence
from typing import Any

from proctor.offline.figure import Values


def plain(words: str) -> str:
    """Return words as plotly shows them; it takes text for markup, which names of kinds are not."""
    return html.escape(words)


def line(name: str, x: Sequence[float], y: Sequence[float | None], line: Values) -> Values:
    """Join points with a line; `y` is shares of 1."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": line,
        "hovertemplate": "%{y:.0%}<extra>" + name + "</extra>",
    }


def dots(name: str, x: Sequence[float | None], y: Sequence[Any], marker: Values) -> Values:
    """Mark points."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "marker": marker,
        "hovertemplate": "%{x:.2f}<extra>" + name + "</extra>",
    }


def bars(name: str, y: Sequence[str], x: Sequence[float | None], colour: str, place: int) -> Values:
    """Draw a bar to the right for each row `y`; `place` is that of the policy within a row."""
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": list(x),
        "y": list(y),
        "marker": {"color": colour},
        "offsetgroup": str(place),
        "hovertemplate": "%{y}: %{x:.2f}<extra>" + name + "</extra>",
    }


def strip(name: str, dots: Sequence[tuple[str, float, str]], colour: str, place: int, symbol: str) -> Values:
    """Put a dot for each (row, value, words), spread a little within the row's part for the policy."""
    clear = "rgba(0,0,0,0)"
    return {
        "type": "box",
        "orientation": "h",
        "name": name,
        "x": [value for _, value, _ in dots],
        "y": [plain(kind) for kind, _, _ in dots],
        "text": [plain(words) for _, _, words in dots],
        "boxpoints": "all",
        "jitter": 0.7,
        "pointpos": 0,
        "fillcolor": clear,
        "line": {"color": clear},
        "marker": {"color": colour, "symbol": symbol, "size": 6, "opacity": 0.85},
        "offsetgroup": str(place),
        "hoveron": "points",
        "hovertemplate": "%{text}: %{x:.0f}<extra>" + name + "</extra>",
    }


def upright(x: float, colour: str, dash: str) -> Values:
    """Mark a value of the x axis over the whole height."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": 1, "dash": dash},
        "opacity": 0.7,
    }


def layout(height: int, *, x: str, shapes: Sequence[Values] = ()) -> Values:
    """Return what all plots have in common; `height` is in pixels."""
    return {
        "height": height,
        "margin": {"l": 50, "r": 15, "t": 10, "b": 40},
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 11}},
        "xaxis": {"title": {"text": x, "font": {"size": 12}}, "automargin": True, "zeroline": False},
        "yaxis": {"automargin": True, "zeroline": False},
        "shapes": list(shapes),
    }


def figure(traces: Sequence[Values], layout: Values) -> Values:
    """Return a figure that fits its page and has no buttons."""
    return {
        "data": list(traces),
        "layout": layout,
        "config": {"displaylogo": False, "displayModeBar": False, "responsive": True},
    }
