"""An evaluation as plotly figures, built as plain JSON values as those of reports are."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from proctor.evaluation import marks
from proctor.evaluation.summary import Calibration, Evaluation, Figures, PolicyResult, Session
from proctor.offline.figure import Values

_COLOURS = ("#1a9aa0", "#d1495b", "#c98a12", "#8d6a9f", "#2e7d5b", "#5b7bd5")
"""One for each policy, in turn."""

_KIND_PIXELS = 26
_MARGIN_PIXELS = 90
_PLOT_PIXELS = 380
_DOT_PIXELS = (7.0, 26.0)
"""Smallest and largest dot of a reliability diagram."""


class Plot(NamedTuple):
    """One figure and what is to be known about it."""

    name: str
    title: str
    about: str
    figure: Values


def plots(evaluation: Evaluation) -> Iterator[Plot]:
    """Yield what a page shows, in its order."""
    yield _thresholds(evaluation)
    yield _scores(evaluation)
    yield _found(evaluation)
    yield _false(evaluation)
    yield _alerts(evaluation)
    yield _reliability(
        evaluation,
        "windows",
        "Confidence of windows",
        "how many of the windows of a confidence lie in labelled time",
        lambda result: result.window_calibration,
    )
    yield _reliability(
        evaluation,
        "verdicts",
        "Confidence of verdicts",
        "how many of the sessions of a confidence are not honest, of those evaluated here",
        lambda result: result.verdict_calibration,
    )


def _thresholds(evaluation: Evaluation) -> Plot:
    traces: list[Values] = []
    for result, colour in _coloured(evaluation):
        scores = [each.score for each in result.thresholds]
        lines = (
            ("honest", "solid", [each.honest_sent for each in result.thresholds]),
            ("others", "dash", [each.others_sent for each in result.thresholds]),
            (
                f"right, at {evaluation.prevalence:.1%}",
                "dot",
                [each.right_at_prevalence for each in result.thresholds],
            ),
        )
        for words, dash, shares in lines:
            name = _named(evaluation, result, words)
            line = {"color": colour, "dash": dash, "width": 2, "shape": "hv"}
            traces.append(marks.line(name, scores, shares, line))
    layout = marks.layout(_PLOT_PIXELS, x="review sessions from this score on", shapes=_ranks(evaluation))
    layout["xaxis"] |= {"range": [0, 101]}
    layout["yaxis"] |= {"range": [-0.02, 1.02], "tickformat": ".0%"}
    about = (
        "Share of honest sessions that reviewers are sent (solid), of the others (dashed), and of those sent "
        f"that are not honest if {evaluation.prevalence:.1%} of all candidates are not (dotted). Upright: "
        "where a policy begins to rank medium (dotted) and high (dashed)."
    )
    return Plot("thresholds", "What a review threshold does", about, marks.figure(traces, layout))


def _scores(evaluation: Evaluation) -> Plot:
    traces = [
        marks.strip(
            _named(evaluation, result, "honest" if honest else "others"),
            [(each.kind, each.score, each.name) for each in result.sessions if each.honest is honest],
            colour,
            place,
            "circle-open" if honest else "circle",
        )
        for place, (result, colour) in enumerate(_coloured(evaluation))
        for honest in (True, False)
    ]
    layout = _by_kind(evaluation, x="score", shapes=_ranks(evaluation))
    layout["xaxis"] |= {"range": [-3, 103]}
    about = (
        "A dot for each session, open for honest ones. Upright: from where a policy ranks medium and high."
    )
    return Plot("scores", "Scores", about, marks.figure(traces, layout))


def _found(evaluation: Evaluation) -> Plot:
    def labelled(result: PolicyResult) -> list[tuple[str, Figures]]:
        return [(kind, figures) for kind, figures in result.kinds.items() if figures.intervals]

    traces = []
    for place, (result, colour) in enumerate(_coloured(evaluation)):
        rows = labelled(result)
        kinds = [marks.plain(kind) for kind, _ in rows]
        bar = marks.bars(
            _named(evaluation, result, "F1"), kinds, [each.second_f1 for _, each in rows], colour, place
        )
        aucs = [each.window_auc for _, each in rows]
        # Filled, so that they are seen on bars of their own colour.
        mark = {"color": "#fff", "symbol": "diamond", "size": 8, "line": {"width": 2, "color": colour}}
        diamonds = marks.dots(_named(evaluation, result, "window AUC"), aucs, kinds, mark)
        traces += [bar, diamonds | {"offsetgroup": str(place), "orientation": "h"}]
    layout = _by_kind(evaluation, x="", kinds=[kind for kind, _ in labelled(evaluation.policies[0])])
    layout["xaxis"] |= {"range": [0, 1.03]}
    about = "F1 of concern time by the second (bars) and AUC of window confidence (diamonds); 1 is best."
    return Plot("found", "What is found", about, marks.figure(traces, layout))


def _false(evaluation: Evaluation) -> Plot:
    traces = [
        marks.bars(
            _named(evaluation, result, ""),
            [marks.plain(kind) for kind in result.kinds],
            [figures.false_per_hour for figures in result.kinds.values()],
            colour,
            place,
        )
        for place, (result, colour) in enumerate(_coloured(evaluation))
    ]
    layout = _by_kind(evaluation, x="concerns per hour")
    layout["xaxis"] |= {"rangemode": "tozero"}
    about = "Separate concerns outside labelled time, per hour of it; 0 is best."
    return Plot("false", "False alarms", about, marks.figure(traces, layout))


def _alerts(evaluation: Evaluation) -> Plot:
    def seconds(sessions: Sequence[Session]) -> list[tuple[str, float, str]]:
        return [
            (each.kind, interval.alert_seconds, f"{each.name} at {interval.start_seconds:.0f} s")
            for each in sessions
            for interval in each.intervals
            if interval.alert_seconds is not None
        ]

    traces = [
        marks.strip(_named(evaluation, result, ""), seconds(result.sessions), colour, place, "circle")
        for place, (result, colour) in enumerate(_coloured(evaluation))
    ]
    kinds = [kind for kind, figures in evaluation.policies[0].kinds.items() if figures.intervals]
    layout = _by_kind(evaluation, x="seconds", kinds=kinds)
    layout["xaxis"] |= {"rangemode": "tozero"}
    about = (
        "From the start of a labelled interval until a report on the running session first had a concern in "
        "it: a dot for each interval that had one."
    )
    return Plot("alerts", "Time to alert", about, marks.figure(traces, layout))


def _reliability(
    evaluation: Evaluation, name: str, title: str, about: str, of: Callable[[PolicyResult], Calibration]
) -> Plot:
    most = max((each.count for result in evaluation.policies for each in of(result).bins), default=1)
    traces: list[Values] = [
        marks.line("calibrated", [0, 1], [0, 1], {"color": "#9aa0a6", "dash": "dot", "width": 1})
    ]
    for result, colour in _coloured(evaluation):
        bins = of(result).bins
        least, largest = _DOT_PIXELS
        sizes = [least + (largest - least) * (each.count / most) ** 0.5 for each in bins]
        trace = marks.dots(
            _named(evaluation, result, ""),
            [each.mean_confidence for each in bins],
            [each.share for each in bins],
            {"color": colour, "size": sizes, "opacity": 0.75},
        )
        trace |= {
            # Numbers of several policies would lie on top of each other; hovering tells them.
            "mode": "lines+markers" if len(evaluation.policies) > 1 else "lines+markers+text",
            "line": {"color": colour, "width": 1},
            "text": [f"{each.count}" for each in bins],
            "textposition": "top center",
            "textfont": {"size": 10},
            "cliponaxis": False,
            "hovertemplate": "%{text} of confidence %{x:.2f}: %{y:.0%}<extra></extra>",
        }
        traces.append(trace)
    layout = marks.layout(_PLOT_PIXELS, x="confidence")
    layout["xaxis"] |= {"range": [-0.03, 1.03]}
    layout["yaxis"] |= {"range": [-0.05, 1.1], "tickformat": ".0%"}
    words = f"Dots, larger for more, say {about}; on the dotted line confidence is right as often as it says."
    return Plot(name, title, words, marks.figure(traces, layout))


def _ranks(evaluation: Evaluation) -> list[Values]:
    """Mark from where each policy ranks medium and high."""
    return [
        marks.upright(score, colour, dash)
        for result, colour in _coloured(evaluation)
        for score, dash in ((result.medium_score, "dot"), (result.high_score, "dash"))
    ]


def _coloured(evaluation: Evaluation) -> list[tuple[PolicyResult, str]]:
    return [(each, _COLOURS[i % len(_COLOURS)]) for i, each in enumerate(evaluation.policies)]


def _named(evaluation: Evaluation, result: PolicyResult, words: str) -> str:
    many = len(evaluation.policies) > 1 or not words
    return ", ".join(filter(None, [marks.plain(result.policy) if many else "", words]))


def _by_kind(
    evaluation: Evaluation,
    *,
    x: str,
    kinds: Sequence[str] | None = None,
    shapes: Sequence[Values] = (),
) -> Values:
    """Lay out a row for each kind."""
    shown = list(evaluation.policies[0].kinds if kinds is None else kinds)
    rows = len(shown) * (1 + 0.4 * (len(evaluation.policies) - 1))
    layout = marks.layout(round(rows * _KIND_PIXELS) + _MARGIN_PIXELS, x=x, shapes=shapes)
    layout["yaxis"] |= {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [marks.plain(kind) for kind in shown],
        # Of a kind that nothing was found of there is a row all the same.
        "range": [len(shown) - 0.5, -0.5],
        "tickfont": {"size": 11},
        "dtick": 1,
    }
    return layout | {
        "barmode": "group",
        "boxmode": "group",
        "scattermode": "group",
        "bargap": 0.25,
        "boxgap": 0.1,
    }
