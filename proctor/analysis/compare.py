"""Two reports on one session: what changed from one to the other, finding by finding, and why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from proctor.accommodations import AnyAccommodation
from proctor.analysis.api import Finding
from proctor.errors import InvalidRequest

_NUMBERS = ("start_seconds", "end_seconds", "level", "strength")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is not what it was."""

    what: str
    before: Any
    after: Any


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a report follows from and that is not what it was."""

    kind: Literal["frames", "policy", "plugin", "status", "accommodation", "proctor"]
    rule: str | None
    """The only rule that it can have changed; None: any."""
    what: str
    """In words."""


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
    """Nothing but the time of the analysis differs."""
    verdict: list[Change]
    points: list[Change]
    """By rule."""
    causes: list[Cause]
    findings: list[FindingChange]
    findings_unchanged: int


class _Granted(msgspec.Struct):
    accommodation: AnyAccommodation
    suppressed: list[Finding] = []


class _SessionInfo(msgspec.Struct):
    session_id: str
    policy: str


class _Verdict(msgspec.Struct):
    score: float
    review_priority: str
    is_cheating: bool
    confidence: float | None = None


class _Contribution(msgspec.Struct):
    rule: str
    points: int


class _Analyzer(msgspec.Struct):
    status: str
    reason: str | None = None


class _Frames(msgspec.Struct):
    count: int
    digest: str


class _PolicyTold(msgspec.Struct):
    digest: str
    values: dict[str, Any] = {}


class _Provenance(msgspec.Struct):
    proctor: str
    frames: _Frames
    policy: _PolicyTold
    plugins: dict[str, list[str]] = {}


class Told(msgspec.Struct):
    """What is read of a report, which may be one of an earlier Proctor."""

    session_info: _SessionInfo
    verdict: _Verdict
    findings: list[Finding]
    contributions: list[_Contribution]
    analyzers: dict[str, _Analyzer]
    provenance: _Provenance
    accommodations: list[_Granted] = []

    @classmethod
    def read(cls, report: bytes) -> "Told":
        """Read a report. Raises InvalidRequest for what is none."""
        try:
            return msgspec.json.decode(report, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"not a report: {error}", field="report") from error


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
    causes = list(_causes(old, new))
    findings = list(_finding_changes(old, new, causes))
    verdict = _changes(msgspec.to_builtins(old.verdict), msgspec.to_builtins(new.verdict))
    points = _changes(_points(old), _points(new))
    return Comparison(
        session_id=new.session_info.session_id,
        same=not (causes or findings or verdict or points),
        verdict=verdict,
        points=points,
        causes=causes,
        findings=findings,
        findings_unchanged=len(new.findings) - sum(change.after is not None for change in findings),
    )


def _points(told: Told) -> dict[str, int]:
    points: dict[str, int] = {}
    for part in told.contributions:
        points[part.rule] = points.get(part.rule, 0) + part.points
    return points


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    return [
        Change(what=name, before=before.get(name), after=after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _causes(old: Told, new: Told) -> Iterator[Cause]:
    was, now = old.provenance, new.provenance
    if was.frames.digest != now.frames.digest:
        what = f"other frames: {was.frames.count} then, {now.frames.count} now"
        yield Cause(kind="frames", rule=None, what=what)
    if was.policy.digest != now.policy.digest:
        yield from _policy_causes(was.policy.values, now.policy.values)
    for name in sorted(was.plugins.keys() | now.plugins.keys()):
        then, since = _versions(was.plugins.get(name)), _versions(now.plugins.get(name))
        if then != since:
            what = f"rule {name}: version {then or 'none'}, now {since or 'none'}"
            yield Cause(kind="plugin", rule=name, what=what)
    for name in sorted(old.analyzers.keys() & new.analyzers.keys()):
        then, since = old.analyzers[name].status, new.analyzers[name].status
        if then != since:
            reason = old.analyzers[name].reason or new.analyzers[name].reason
            what = f"rule {name} was {then}, is {since}" + (f" ({reason})" if reason else "")
            yield Cause(kind="status", rule=name, what=what)
    yield from _accommodation_causes(old, new)
    if was.proctor != now.proctor:
        yield Cause(kind="proctor", rule=None, what=f"Proctor {was.proctor}, now {now.proctor}")


def _versions(versions: Sequence[str] | None) -> str:
    # What stands in brackets tells settings apart, which the policy explains better.
    return ", ".join(dict.fromkeys(version.partition(" (")[0] for version in versions or ()))


def _policy_causes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Cause]:
    if not before or not after:
        yield Cause(kind="policy", rule=None, what="another policy; the older report does not say which")
        return
    for change in _changes(_flat(before), _flat(after)):
        path = change.what.split(".")
        rule = path[1] if path[0] == "rules" else None
        name = ".".join(part for part in path if part != "settings")
        yield Cause(
            kind="policy",
            rule=rule,
            what=f"policy: {name} was {_value(change.before)}, is {_value(change.after)}",
        )


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{place}{name}.") if isinstance(value, dict) else {f"{place}{name}": value}
    return flat


def _accommodation_causes(old: Told, new: Told) -> Iterator[Cause]:
    def granted(told: Told) -> dict[str, AnyAccommodation]:
        bare = [msgspec.structs.replace(each.accommodation, id="") for each in told.accommodations]
        return {msgspec.json.encode(each, order="sorted").decode(): each for each in bare}

    then, since = granted(old), granted(new)
    for key in sorted(then.keys() ^ since.keys()):
        each, word = (since[key], "granted") if key in since else (then[key], "no longer granted")
        kind = type(each).__struct_config__.tag
        yield Cause(kind="accommodation", rule=None, what=f"{word}: {kind}, because: {each.reason}")


def _finding_changes(old: Told, new: Told, causes: Sequence[Cause]) -> Iterator[FindingChange]:
    left = list(new.findings)
    for finding in old.findings:
        match = _counterpart(finding, left)
        if match is not None:
            left.remove(match)
        changes = _differences(finding, match) if match is not None else []
        if match is None or changes:
            yield FindingChange(
                kind="gone" if match is None else "changed",
                rule=finding.rule,
                category=finding.category,
                before=finding,
                after=match,
                changes=changes,
                because=_because(finding, causes, new),
            )
    for finding in left:
        yield FindingChange(
            kind="new",
            rule=finding.rule,
            category=finding.category,
            before=None,
            after=finding,
            changes=[],
            because=_because(finding, causes, old),
        )


def _counterpart(finding: Finding, others: Sequence[Finding]) -> Finding | None:
    """Return the finding of the same rule that shares most of a finding's time."""

    def shared(other: Finding) -> float:
        return min(finding.end_seconds, other.end_seconds) - max(finding.start_seconds, other.start_seconds)

    alike = [
        other
        for other in others
        if (other.rule, other.category) == (finding.rule, finding.category) and shared(other) >= 0
    ]
    return max(alike, key=shared, default=None)


def _differences(before: Finding, after: Finding) -> list[Change]:
    was, now = msgspec.to_builtins(before), msgspec.to_builtins(after)
    observed = _changes(was["observed"], now["observed"])
    return [
        *_changes({name: was[name] for name in _NUMBERS}, {name: now[name] for name in _NUMBERS}),
        *(msgspec.structs.replace(each, what=f"observed.{each.what}") for each in observed),
    ]


def _because(finding: Finding, causes: Sequence[Cause], other: Told) -> list[str]:
    """Return what can have made one report say something that `other` does not."""
    for granted in other.accommodations:
        if any(_counterpart(finding, [each]) for each in granted.suppressed):
            return [f"an accommodation, because: {granted.accommodation.reason}"]
    own = [cause.what for cause in causes if cause.rule == finding.rule]
    return own or [cause.what for cause in causes if cause.rule is None]
