"""An evaluation as text: policies side by side, then each by kind of person."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table

from proctor.analysis.verdict import Priority
from proctor.evaluation.summary import Calibration, Evaluation, Figures, PolicyResult
from proctor.offline.output import heading, plain

_SHOWN_THRESHOLDS = range(10, 101, 10)

REVIEWED = (Priority.MEDIUM, Priority.HIGH)
"""Priorities for which somebody looks soon."""


def number(value: float | None, digits: int = 2) -> str:
    """Write a figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """Write a share of 1 as per cent."""
    return "-" if value is None else f"{value:.0%}"


def reviewed(figures: Figures) -> str:
    """Write how many sessions rank medium or high."""
    return f"{sum(figures.priorities[rank] for rank in REVIEWED)} of {figures.sessions}"


def unseen(figures: Figures) -> str:
    """Write how many sessions could not be judged."""
    return f"{figures.priorities[Priority.INSUFFICIENT]} of {figures.sessions}"


def place(figures: Figures) -> str:
    """Write the middle place in the review queue."""
    return f"{figures.places.median:.0f} of {figures.places.of}"


COLUMNS: Mapping[str, Callable[[Figures], str]] = {
    "F1": lambda figures: number(figures.second_f1),
    "found": lambda figures: share(figures.interval_recall),
    "false/h": lambda figures: number(figures.false_per_hour),
    "alert s": lambda figures: number(figures.alerts.median_seconds, 0),
    "reviewed": reviewed,
    "told apart": lambda figures: number(figures.told_apart),
    "place": place,
    "window AUC": lambda figures: number(figures.window_auc),
    "alert 90 %": lambda figures: number(figures.alerts.slow_seconds, 0),
    "precision": lambda figures: number(figures.second_precision),
    "recall": lambda figures: number(figures.second_recall),
    "unseen": unseen,
}
"""What is shown of figures, by column; where there is little room, the first of them."""

EXPLAINED: Mapping[str, str] = {
    "F1, precision, recall": "concern time against labelled time, by the second",
    "found": "labelled intervals of which concerns cover half",
    "false/h": "separate concerns outside labelled time, per hour of it",
    "alert s, alert 90 %": (
        "seconds from the start of a labelled interval until a report on the running session first had a "
        "concern in it: median, and for nine of ten of those that came"
    ),
    "reviewed": "sessions of priority medium or high",
    "told apart": "how likely a session scores on the right side of one of the other sort, honest or not",
    "place": "the middle one in a queue of all sessions by score",
    "window AUC": "how likely the confidence of ten labelled seconds is above that of ten others",
    "unseen": "sessions of which too little was observed",
}
"""What the columns mean."""


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print in colours where the console has them."""
    for part in _parts(evaluation, console.width):
        console.print(part)


def _parts(evaluation: Evaluation, width: int) -> Iterator[RenderableType]:
    yield plain(evaluation.source, "bold")
    yield heading("Overall")
    rows = {each.policy: each.overall for each in evaluation.policies}
    yield _figures("policy", rows, width)
    for each in evaluation.policies:
        yield heading(f"By kind, {each.policy}")
        yield _figures("kind", each.kinds, width)
    yield heading("What a review threshold sends to reviewers")
    yield _thresholds(evaluation)
    for each in evaluation.policies:
        yield heading(f"Window confidence, {each.policy}")
        yield _calibration(each.window_calibration)
    for name, meaning in EXPLAINED.items():
        yield plain(f"{name}: {meaning}.", "dim")


def _figures(first: str, rows: Mapping[str, Figures], width: int) -> Table:
    cells = {name: [show(figures) for figures in rows.values()] for name, show in COLUMNS.items()}
    left = width - max(map(len, [first, *rows])) - 2
    shown = []
    for name, column in cells.items():
        left -= max(map(len, [name, *column])) + 2
        if left >= 0:
            shown.append(name)
    table = _table(first, *shown)
    for title, row in zip(rows, zip(*(cells[name] for name in shown), strict=True), strict=True):
        table.add_row(plain(title), *row)
    return table


def _thresholds(evaluation: Evaluation) -> Table:
    table = _table(
        "score from", *(name for each in evaluation.policies for name in _headers(each, evaluation))
    )
    for row in zip(*(each.thresholds for each in evaluation.policies), strict=True):
        if row[0].score in _SHOWN_THRESHOLDS:
            cells = (
                share(value)
                for each in row
                for value in (each.honest_sent, each.others_sent, each.right_at_prevalence)
            )
            table.add_row(str(row[0].score), *cells)
    return table


def _headers(result: PolicyResult, evaluation: Evaluation) -> Sequence[str]:
    many = len(evaluation.policies) > 1
    names = ("honest sent", "others sent", f"right if {evaluation.prevalence:.1%}")
    return [f"{result.policy}\n{name}" if many else name for name in names]


def _calibration(calibration: Calibration) -> Table:
    table = _table("confidence", "windows", "mean", "labelled")
    for each in calibration.bins:
        span = f"{each.start:.1f} to {each.end:.1f}"
        table.add_row(span, str(each.count), number(each.mean_confidence), share(each.share))
    table.caption = f"off by {number(calibration.error, 3)} on average"
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), caption_justify="left")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
