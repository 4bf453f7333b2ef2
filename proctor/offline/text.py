"""A report as text."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from proctor.analysis.api import Level
from proctor.analysis.compare import Comparison
from proctor.analysis.schema import Report, Status
from proctor.analysis.verdict import Priority
from proctor.analysis.wording import clock, counted, length, speed
from proctor.offline.changes import comparison_parts
from proctor.offline.details import entries
from proctor.offline.output import rendered
from proctor.offline.prose import heading, item, plain, table_of

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


def print_text(told: Report | Comparison, console: Console | None = None) -> None:
    """Print a report or a comparison to standard output, or to `console`, in colours where it has them."""
    console = console or Console(highlight=False)
    narrow = console.width < NARROW_COLUMNS
    for part in comparison_parts(told) if isinstance(told, Comparison) else _parts(told, narrow=narrow):
        console.print(part)


def written(told: Report | Comparison) -> str:
    """Return the text as it stands in a file."""
    return rendered(lambda console: print_text(told, console))


def _parts(report: Report, *, narrow: bool) -> Iterator[RenderableType]:
    yield from _head(report)
    yield heading("What to do")
    yield from map(item, report.recommendations or ["Nothing."])
    if report.contributions:
        yield heading("What adds to the score")
        yield _contributions(report, narrow=narrow)
    if report.findings:
        yield heading("Findings")
        yield _findings(report, narrow=narrow)
    if report.shadow:
        yield heading("On trial, scoring nothing")
        yield from map(item, _shadow(report))
    if report.accommodations:
        yield heading("What was granted")
        yield from map(item, _granted(report))
    for analyzer in report.analyzers.values():
        if analyzer.details:
            yield heading(analyzer.title)
            yield from (item(f"{key}: {value}") for key, value in entries(analyzer.details))
    yield heading("What was observed")
    yield from map(item, _quality(report))
    yield heading("What it follows from")
    yield from map(item, _provenance(report))


def _head(report: Report) -> Iterator[RenderableType]:
    info, verdict = report.session_info, report.verdict
    yield plain(f"Session {info.session_id}", "bold")
    span = f"{info.first_frame_at} to {info.last_frame_at}" if info.total_frames else f"at {info.started_at}"
    yield plain(f"{span} ({clock(info.duration_seconds)}), {info.total_frames} frames, policy {info.policy}")
    priority = plain(verdict.review_priority.upper(), _STYLES[verdict.review_priority])
    yield Text.assemble("\nReview priority ", priority, f", score {verdict.score} of 100.")
    yield plain(verdict.verdict_basis)
    yield plain("It says how soon a human should look, and is no finding of guilt.", "dim")


def _contributions(report: Report, *, narrow: bool) -> Table:
    table = table_of("points", "rule", *([] if narrow else ["at most", "findings"]), "without it")
    for part in report.contributions:
        points = str(part.points) if part.counted else f"({part.points})"
        counts = f"{part.concerns} concern, {part.infos} info"
        without = f"{part.without.score}, {part.without.review_priority}"
        middle = [] if narrow else [f"{part.points_max:g}", counts]
        table.add_row(points, plain(part.title), *middle, without)
    if not all(part.counted for part in report.contributions):
        table.caption = "( ) another rule saw the same cause more clearly and counts for both"
    return table


def _findings(report: Report, *, narrow: bool) -> Table:
    table = table_of("from", "to", "level", *([] if narrow else ["strength"]), "finding")
    for finding in report.findings:
        level = plain(finding.level, "yellow" if finding.level is Level.CONCERN else "dim")
        middle = [] if narrow else [f"{finding.strength:.2f}"]
        times = clock(finding.start_seconds), clock(finding.end_seconds)
        table.add_row(*times, level, *middle, plain(finding.message))
    return table


def _shadow(report: Report) -> Iterator[str]:
    for trial in report.shadow:
        found = f"{counted(len(trial.findings), 'finding')}, {trial.alerts} of them concerns"
        verdict = f"score {trial.with_it.score}, priority {trial.with_it.review_priority}"
        yield f"{trial.title} ({trial.rule}): {found}; with it: {verdict}."
        for finding in trial.findings:
            times = f"{clock(finding.start_seconds)} to {clock(finding.end_seconds)}"
            yield f"  {times}, {finding.level}: {finding.message}"


def _granted(report: Report) -> Iterator[str]:
    for granted in report.accommodations:
        by = f", granted by {granted.accommodation.granted_by}" if granted.accommodation.granted_by else ""
        yield f"{granted.description}, because: {granted.accommodation.reason}{by}."
        for finding in granted.suppressed:
            times = f"{clock(finding.start_seconds)} to {clock(finding.end_seconds)}"
            yield f"  set aside: {times}, {finding.level}: {finding.message}"


def _quality(report: Report) -> Iterator[str]:
    quality = report.data_quality
    enough = "" if quality.sufficient else ", too little for a lack of findings to mean anything"
    seen = f"{length(quality.observed_seconds)} of {length(quality.session_seconds)}"
    yield f"Observed {seen}, {quality.coverage:.0%}{enough}."
    if quality.frames.missing:
        counts = quality.frames
        yield f"{counts.missing} of {counts.stored} stored frames were lost and could not be analysed."
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
        if offset.drift_ppm:
            yield f"It went {speed(offset.drift_ppm)}."
        if offset.jumps:
            yield f"It jumped {offset.jumps} times, or another client's came in."
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
