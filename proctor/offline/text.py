"""A report as text."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from proctor.analysis.api import Level
from proctor.analysis.schema import Report, Status
from proctor.analysis.verdict import Priority
from proctor.analysis.wording import clock, length
from proctor.offline.output import heading as _heading
from proctor.offline.output import plain as _text
from proctor.offline.output import rendered

NARROW_COLUMNS = 70
"""Below this, tables leave out what a reader misses least."""

_GAPS_MAX = 5
_STYLES = {
    Priority.NONE: "bold green",
    Priority.LOW: "bold green",
    Priority.MEDIUM: "bold yellow",
    Priority.HIGH: "bold red",
    Priority.INSUFFICIENT: "bold magenta",
}


def print_report(report: Report, console: Console | None = None) -> None:
    """Print to standard output, or to `console`, in colours where it has them."""
    console = console or Console(highlight=False)
    for part in _parts(report, narrow=console.width < NARROW_COLUMNS):
        console.print(part)


def written(report: Report) -> str:
    """Return the text as it stands in a file."""
    return rendered(lambda console: print_report(report, console))


def _parts(report: Report, *, narrow: bool) -> Iterator[RenderableType]:
    yield from _head(report)
    yield _heading("What to do")
    yield from map(_item, report.recommendations or ["Nothing."])
    if report.contributions:
        yield _heading("What adds to the score")
        yield _contributions(report, narrow=narrow)
    if report.findings:
        yield _heading("Findings")
        yield _findings(report, narrow=narrow)
    yield _heading("What was observed")
    yield from map(_item, _quality(report))
    yield _heading("What it follows from")
    yield from map(_item, _provenance(report))


def _head(report: Report) -> Iterator[RenderableType]:
    info, verdict = report.session_info, report.verdict
    yield _text(f"Session {info.session_id}", "bold")
    span = f"{info.first_frame_at} to {info.last_frame_at}" if info.total_frames else f"at {info.started_at}"
    yield _text(f"{span} ({clock(info.duration_seconds)}), {info.total_frames} frames, policy {info.policy}")
    priority = _text(verdict.review_priority.upper(), _STYLES[verdict.review_priority])
    yield Text.assemble("\nReview priority ", priority, f", score {verdict.score} of 100.")
    yield _text(verdict.verdict_basis)
    yield _text("It says how soon a human should look, and is no finding of guilt.", "dim")


def _contributions(report: Report, *, narrow: bool) -> Table:
    table = _table("points", "rule", *([] if narrow else ["at most", "findings"]), "without it")
    for part in report.contributions:
        points = str(part.points) if part.counted else f"({part.points})"
        counts = f"{part.concerns} concern, {part.infos} info"
        without = f"{part.without.score}, {part.without.review_priority}"
        middle = [] if narrow else [f"{part.points_max:g}", counts]
        table.add_row(points, _text(part.title), *middle, without)
    if not all(part.counted for part in report.contributions):
        table.caption = "( ) another rule saw the same cause more clearly and counts for both"
    return table


def _findings(report: Report, *, narrow: bool) -> Table:
    table = _table("from", "to", "level", *([] if narrow else ["strength"]), "finding")
    for finding in report.findings:
        level = _text(finding.level, "yellow" if finding.level is Level.CONCERN else "dim")
        middle = [] if narrow else [f"{finding.strength:.2f}"]
        times = clock(finding.start_seconds), clock(finding.end_seconds)
        table.add_row(*times, level, *middle, _text(finding.message))
    return table


def _quality(report: Report) -> Iterator[str]:
    quality = report.data_quality
    enough = "" if quality.sufficient else ", too little for a lack of findings to mean anything"
    seen = f"{length(quality.observed_seconds)} of {length(quality.session_seconds)}"
    yield f"Observed {seen}, {quality.coverage:.0%}{enough}."
    if quality.frames_per_second is not None:
        yield f"{quality.frames_per_second:g} frames per second."
    if quality.gaps.count:
        longest = sorted(quality.gaps.longest, key=lambda gap: gap.start_seconds - gap.end_seconds)
        shown = sorted(longest[:_GAPS_MAX], key=lambda gap: gap.start_seconds)
        times = ", ".join(f"{clock(gap.start_seconds)} to {clock(gap.end_seconds)}" for gap in shown)
        which = "" if len(shown) == quality.gaps.count else "the longest "
        total = length(quality.gaps.total_seconds)
        yield f"{quality.gaps.count} times without frames, {total} in all: {which}{times}."
    if (offset := quality.clock_offset) is not None:
        yield (
            "The client's clock was corrected by "
            f"{offset.least_seconds:g} s to {offset.greatest_seconds:g} s."
        )
    if quality.features_never_seen:
        yield f"Never seen: {', '.join(quality.features_never_seen)}."
    for name, analyzer in report.analyzers.items():
        if analyzer.status is not Status.OK or analyzer.reason:
            yield f"Analyzer {name}: {analyzer.status}, {analyzer.reason}."


def _provenance(report: Report) -> Iterator[str]:
    provenance = report.provenance
    yield f"Frames {provenance.frames.digest[:16] or 'none'} ({provenance.frames.count})"
    yield f"Policy {provenance.policy.name} {provenance.policy.digest[:16]}"
    yield f"Analyzers {provenance.plugins_digest[:16]}, Proctor {provenance.proctor}"


def _table(*columns: str) -> Table:
    *others, last = columns
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), caption_justify="left")
    for name in others:
        right = name in ("from", "to", "points", "at most", "strength")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "rule")
    table.add_column(last, overflow="fold")
    return table


def _item(words: str) -> RenderableType:
    return Padding(_text(words), (0, 0, 0, 2), expand=False)
