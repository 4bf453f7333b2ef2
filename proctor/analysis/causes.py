"""What two reports on one session follow from that is not the same."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from proctor.accommodations import AnyAccommodation
from proctor.analysis.pairing import TIMES, pair_grants
from proctor.analysis.told import AnalyzerTold, Granted, Told

_Key = TypeVar("_Key", str, tuple[str, ...])


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a report follows from and that is not what it was."""

    kind: Literal["frames", "policy", "plugin", "status", "accommodation", "proctor"]
    rule: str | None
    """The only rule that it can have changed; None: any."""
    what: str
    """In words."""
    changes_findings: bool = True
    """False: it can only have changed what they come to, such as score and priority."""


class Regrant(NamedTuple):
    """An accommodation that came, went, or holds for other times."""

    cause: Cause
    before: Granted | None
    after: Granted | None


def find_causes(old: Told, new: Told, regrants: Sequence[Regrant]) -> Iterator[Cause]:
    """Yield what differs; `regrants` are the accommodations that do."""
    was, now = old.provenance, new.provenance
    if was.frames.digest != now.frames.digest:
        what = f"other frames: {was.frames.count} then, {now.frames.count} now"
        yield Cause(kind="frames", rule=None, what=what)
    if was.policy.digest != now.policy.digest:
        yield from _policy_causes(was.policy.values, now.policy.values)
    if was.plugins is not msgspec.UNSET and now.plugins is not msgspec.UNSET:
        yield from _plugin_causes(was.plugins, now.plugins)
    for name in sorted(old.analyzers.keys() & new.analyzers.keys()):
        then, since = _standing(old.analyzers[name], new.analyzers[name])
        if then != since:
            yield Cause(kind="status", rule=name, what=f"rule {name} was {then}, is {since}")
    yield from (each.cause for each in regrants)
    if was.proctor != now.proctor:
        yield Cause(kind="proctor", rule=None, what=f"Proctor {was.proctor}, now {now.proctor}")


def find_regrants(old: Sequence[Granted], new: Sequence[Granted]) -> Iterator[Regrant]:
    """Yield the accommodations by which rules can have judged otherwise."""
    for place_then, place_since in pair_grants(old, new):
        then = None if place_then is None else old[place_then]
        since = None if place_since is None else new[place_since]
        granted = since or then
        assert granted is not None  # noqa: S101 - one of the two there is
        if then is not None and since is not None:
            if same_times(then, since):
                continue
            word = f"granted {_times(since.accommodation)} (was {_times(then.accommodation)})"
        else:
            word = "granted" if then is None else "no longer granted"
        what = f"{word}: {granted.words}, because: {granted.accommodation.reason}"
        rule = getattr(granted.accommodation, "rule", None)
        yield Regrant(Cause(kind="accommodation", rule=rule, what=what), then, since)


def same_times(one: Granted, other: Granted) -> bool:
    """Return whether two accommodations hold for the same times."""
    return all(getattr(one.accommodation, name) == getattr(other.accommodation, name) for name in TIMES)


def changes_of(before: Mapping[_Key, Any], after: Mapping[_Key, Any]) -> list[_Key]:
    """Return the keys, in order, whose values are not the same or that only one has."""
    return [
        name
        for name in sorted(before.keys() | after.keys())
        if (name in before, before.get(name)) != (name in after, after.get(name))
    ]


def _times(granted: AnyAccommodation) -> str:
    return f"from {granted.effective_from or 'the beginning'} to {granted.effective_until or 'the end'}"


def _plugin_causes(was: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> Iterator[Cause]:
    for name in changes_of(was, now):
        then, since = _versions(was.get(name, ())), _versions(now.get(name, ()))
        if then != since:
            what = f"rule {name}: version {then or 'none'}, now {since or 'none'}"
            yield Cause(kind="plugin", rule=name, what=what)


def _versions(versions: Sequence[str]) -> str:
    # What stands in brackets tells settings apart, which the policy explains better.
    return ", ".join(dict.fromkeys(version.partition(" (")[0] for version in versions))


def _standing(then: AnalyzerTold, since: AnalyzerTold) -> tuple[str, str]:
    if msgspec.UNSET in (then.reason, since.reason):
        return then.status, since.status
    then_told, since_told = (
        f"{each.status} ({each.reason})" if each.reason else each.status for each in (then, since)
    )
    return then_told, since_told


def _policy_causes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Cause]:
    if not before or not after:
        yield Cause(kind="policy", rule=None, what="another policy; the older report does not say which")
        return
    was, now = _flat(before), _flat(after)
    for path in changes_of(was, now):
        place, *within = path
        of_rule = place == "rules" and bool(within)  # rules see none of what is outside their tables
        name = ".".join(part for part in path if part != "settings")
        yield Cause(
            kind="policy",
            rule=within[0] if of_rule else None,
            what=f"policy: {name} was {_value(was, path)}, is {_value(now, path)}",
            changes_findings=of_rule and within[1:] != ["points"],
        )


def _value(values: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> str:
    if path not in values:
        return "not told"
    value = values[path]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(values: Mapping[str, Any], place: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in values.items():
        path = (*place, name)
        flat |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return flat
