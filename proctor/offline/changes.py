"""What changed between two reports, as text for a terminal."""

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType

from proctor.analysis.compare import Change, Comparison, FindingChange
from proctor.analysis.wording import clock
from proctor.offline.prose import heading, item, plain

_STYLES = {"gone": "green", "new": "yellow", "changed": "cyan"}


def comparison_parts(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield what is to be printed: the verdict, why, and finding by finding."""
    yield plain(f"Session {comparison.session_id}, compared with the earlier report", "bold")
    if comparison.same:
        yield item(nothing_in_words(comparison))
        return
    yield heading("Verdict")
    yield from map(item, verdict_in_words(comparison) or ["As before."])
    if comparison.points:
        yield heading("Points")
        yield from map(item, map(change_in_words, comparison.points))
    yield heading("Why")
    yield from map(item, [cause.what for cause in comparison.causes] or ["The reports tell of no cause."])
    yield from _findings(comparison)
    if comparison.elsewhere:
        yield heading("What else differs")
        yield item(", ".join(comparison.elsewhere))
    if comparison.untold:
        yield heading("What the earlier report does not tell")
        yield item(", ".join(comparison.untold))


def _findings(comparison: Comparison) -> Iterator[RenderableType]:
    yield heading(f"Findings ({comparison.findings_unchanged} unchanged)")
    for change in comparison.findings:
        yield item(finding_in_words(change), _STYLES[change.kind])
        for reason in change.because:
            yield item(f"because {reason}", indent=4)
    if not comparison.findings:
        yield item("None has changed." if comparison.findings_unchanged else "Neither report has any.")


def nothing_in_words(comparison: Comparison) -> str:
    """Say that nothing has changed, and of what that is not known."""
    words = "Nothing has changed but the time of the analysis"
    if not comparison.untold:
        return f"{words}."
    return f"{words}, as far as the earlier report tells; it does not tell {', '.join(comparison.untold)}."


def verdict_in_words(comparison: Comparison) -> list[str]:
    """Say what the verdict was and is; the priority says all that `is_cheating` does, and says it better."""
    return [change_in_words(each) for each in comparison.verdict if each.what != "is_cheating"]


def finding_in_words(change: FindingChange) -> str:
    """Say which finding, and what became of it."""
    finding = change.after or change.before
    assert finding is not None  # noqa: S101 - one of the two there is
    times = f"{clock(finding.start_seconds)} to {clock(finding.end_seconds)}"
    words = f"{change.kind}: {times}, {finding.level}: {finding.message} ({change.rule})"
    return "; ".join([words, *map(change_in_words, change.changes)])


def change_in_words(change: Change) -> str:
    """Write `score: 12, was 30`."""
    return f"{change.what}: {_value(change.after)}, was {_value(change.before)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
