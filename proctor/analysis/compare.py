"""Two reports on one session: what changed from one to the other, finding by finding, and why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from proctor.analysis.api import Finding
from proctor.analysis.causes import Cause, Regrant, changes_of, find_causes, find_regrants
from proctor.analysis.elsewhere import Difference, Path, differences, of_grants
from proctor.analysis.pairing import counterparts, pair_findings
from proctor.analysis.told import Granted, Told
from proctor.errors import InvalidRequest

_FOLLOWING = ("message", "frame_ids")
"""What of a finding tells its numbers once more: a change only where they are the same."""

_TOLD: Mapping[str, Sequence[Path]] = {
    "frames": [("provenance", "frames")],
    "policy": [
        ("provenance", "policy", "digest"),
        ("provenance", "policy", "values"),
        ("provenance", "plugins"),
        ("provenance", "plugins_digest"),
    ],
    "plugin": [("provenance", "plugins"), ("provenance", "plugins_digest")],
    "accommodation": [("provenance", "accommodations_digest")],
    "proctor": [("provenance", "proctor")],
}
"""Where a report says what a cause of some kind has said already."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is not what it was."""

    what: str
    before: Any
    after: Any


class FindingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one finding."""

    kind: Literal["gone", "new", "changed"]
    rule: str
    category: str
    before: Finding | None
    after: Finding | None
    changes: list[Change]
    because: list[str]
    """What can have caused it, in words."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What one report says otherwise than another."""

    session_id: str
    same: bool
    """Of all that both tell nothing differs but the time of the analysis, and how grants were entered."""
    verdict: list[Change]
    points: list[Change]
    """By rule."""
    causes: list[Cause]
    findings: list[FindingChange]
    findings_unchanged: int
    elsewhere: list[str]
    """What else differs, by its place in the report, e.g. `data_quality.coverage`."""
    untold: list[str]
    """What the earlier report says nothing of, as those of earlier Proctors: it may or may not differ."""


def compare(before: bytes, after: bytes) -> Comparison:
    """Compare two reports, as JSON; findings belong together that one rule made of one time.

    Raises:
        InvalidRequest: one is no report, or they are on different sessions.
    """
    old, new = Told.read(before), Told.read(after)
    if old.session_info.session_id != new.session_info.session_id:
        raise InvalidRequest(
            f"reports on two sessions, {old.session_info.session_id!r} and {new.session_info.session_id!r}",
            field="report",
        )
    regrants = list(find_regrants(old.accommodations, new.accommodations))
    causes = list(find_causes(old, new, regrants))
    findings = list(_finding_changes(old, new, causes, regrants))
    verdict, points = _verdict_changes(old, new), _changes(_points(old), _points(new))
    differing = _all_differences(before, after, old, new)
    told = [*_told(causes), *(("verdict", change.what) for change in verdict)]
    told += [("findings",)] if findings else []
    told += [("contributions", "points")] if points else []
    elsewhere = sorted({each.name for each in differing if not each.untold and not _is_in(each, told)})
    return Comparison(
        session_id=new.session_info.session_id,
        same=not (causes or findings or verdict or points or elsewhere),
        verdict=verdict,
        points=points,
        causes=causes,
        findings=findings,
        findings_unchanged=len(new.findings) - sum(change.after is not None for change in findings),
        elsewhere=elsewhere,
        untold=sorted({each.name for each in differing if each.untold}),
    )


def _all_differences(before: bytes, after: bytes, old: Told, new: Told) -> list[Difference]:
    was, now = msgspec.json.decode(before), msgspec.json.decode(after)
    grants = (told.get("accommodations", []) for told in (was, now))
    try:
        return [*differences(was, now), *of_grants(old.accommodations, new.accommodations, *grants)]
    except RecursionError as error:
        raise InvalidRequest("not a report: nested too deeply", field="report") from error


def _told(causes: Sequence[Cause]) -> Iterator[Path]:
    yield ("session_info", "analysed_at")
    for cause in causes:
        yield from _TOLD.get(cause.kind, ())
        if cause.kind == "status" and cause.rule is not None:
            yield from (("analyzers", cause.rule, name) for name in ("status", "reason"))
        if cause.kind == "plugin" and cause.rule is not None:
            yield ("analyzers", cause.rule, "version")


def _is_in(difference: Difference, places: Sequence[Path]) -> bool:
    return any(difference.path[: len(place)] == place for place in places)


def _points(told: Told) -> dict[str, int]:
    points: dict[str, int] = {}
    for part in told.contributions:
        points[part.rule] = points.get(part.rule, 0) + part.points
    return points


def _verdict_changes(old: Told, new: Told) -> list[Change]:
    was, now = msgspec.to_builtins(old.verdict), msgspec.to_builtins(new.verdict)
    return [change for change in _changes(was, now) if change.what in was and change.what in now]


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    return [
        Change(what=name, before=before.get(name), after=after.get(name))
        for name in changes_of(before, after)
    ]


def _finding_changes(
    old: Told, new: Told, causes: Sequence[Cause], regrants: Sequence[Regrant]
) -> Iterator[FindingChange]:
    for before, after in pair_findings(old.findings, new.findings):
        finding = after or before
        assert finding is not None  # noqa: S101 - one of the two there is
        granted = [each.cause for each in regrants if _made(each, before, after)]
        yield FindingChange(
            kind="gone" if after is None else "new" if before is None else "changed",
            rule=finding.rule,
            category=finding.category,
            before=before,
            after=after,
            changes=_differences(before, after) if before is not None and after is not None else [],
            because=_because(finding.rule, causes, granted),
        )


def _differences(before: Finding, after: Finding) -> list[Change]:
    was, now = msgspec.to_builtins(before), msgspec.to_builtins(after)
    observed = _changes(was.pop("observed"), now.pop("observed"))
    changes = [
        *_changes(was, now),
        *(msgspec.structs.replace(each, what=f"observed.{each.what}") for each in observed),
    ]
    return [change for change in changes if change.what not in _FOLLOWING] or changes


def _made(regrant: Regrant, before: Finding | None, after: Finding | None) -> bool:
    """Return whether an accommodation sets aside what one report has and the other has not, or not so."""

    def sets_aside(granted: Granted | None, finding: Finding | None) -> bool:
        if granted is None or finding is None:
            return False
        return any(counterparts(finding, each) for each in granted.suppressed)

    return sets_aside(regrant.after, before) or sets_aside(regrant.before, after)


def _because(rule: str, causes: Sequence[Cause], granted: Sequence[Cause]) -> list[str]:
    """Return what can have made a difference to a rule's finding: its own causes and the frames, or any."""
    possible = [cause for cause in causes if cause.changes_findings]
    own = [cause for cause in possible if cause.rule == rule or cause in granted]
    if own:
        return [cause.what for cause in possible if cause in own or cause.kind == "frames"]
    return [cause.what for cause in possible if cause.rule is None]
