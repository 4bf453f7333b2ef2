"""An evaluation as text: policies side by side, then each by kind of person."""

from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table

from proctor.evaluation.columns import COLUMNS, EXPLAINED, judging, number, queue, share
from proctor.evaluation.summary import Calibration, Evaluation, Figures, PolicyResult
from proctor.offline.prose import heading, plain

_BETWEEN = 3
"""Characters between two columns."""

_EDGES = 2

_SHOWN_THRESHOLDS = range(10, 101, 10)


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print in colours where the console has them."""
    for part in _parts(evaluation, console.width):
        console.print(part)


def _parts(evaluation: Evaluation, width: int) -> Iterator[RenderableType]:
    yield plain(evaluation.source, "bold")
    yield heading("Overall")
    rows = {each.policy: each.overall for each in evaluation.policies}
    yield _figures("policy", rows, width, [name for name in COLUMNS if name != "place"])
    for each in evaluation.policies:
        yield plain(f"{each.policy}: {queue(each)}")
        yield plain(f"{each.policy}: rules {judging(each)}", "dim")
        for failure in each.failures:
            yield plain(f"{each.policy}: {failure}", "bold red")
    for each in evaluation.policies:
        yield heading(f"By kind, {each.policy}")
        yield _figures("kind", each.kinds, width, list(COLUMNS))
    yield heading("What a review threshold sends to reviewers")
    yield _thresholds(evaluation)
    for each in evaluation.policies:
        yield heading(f"Window confidence, {each.policy}")
        yield _calibration(each.window_calibration)
    for name, meaning in EXPLAINED.items():
        yield plain(f"{name}: {meaning}.", "dim")


def _figures(first: str, rows: Mapping[str, Figures], width: int, columns: Sequence[str]) -> Table:
    """Show as many columns as there is room for."""
    cells = {name: [COLUMNS[name](figures) for figures in rows.values()] for name in columns}
    left = width - max(map(len, [first, *rows])) - _EDGES
    shown = []
    for name, column in cells.items():
        left -= max(map(len, [name, *column])) + _BETWEEN
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
