"""Which finding, and which accommodation, of one report is which of another report on the same session."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from proctor.analysis.api import Finding
from proctor.analysis.told import Granted

BOOKKEEPING = frozenset({"id", "granted_at", "withdrawn"})
"""How an accommodation was entered; reports that differ in nothing else do not differ."""

WORDS = frozenset({"reason", "granted_by"})
"""Why and by whom it was granted, from which nothing follows."""

TIMES = frozenset({"effective_from", "effective_until"})


class _Candidate(NamedTuple):
    """Two findings that may be one; the least is the likeliest."""

    shared_seconds: float
    """Negative, for most come first."""
    shift_seconds: float
    old: int
    new: int


def counterparts(one: Finding, other: Finding) -> bool:
    """Return whether one rule made both of the same time; spans that merely touch have none in common."""
    if (one.rule, one.category) != (other.rule, other.category):
        return False
    shared = _shared_seconds(one, other)
    return shared > 0 or (shared == 0 and (_is_instant(one) or _is_instant(other)))


def pair_findings(
    old: Sequence[Finding], new: Sequence[Finding]
) -> list[tuple[Finding | None, Finding | None]]:
    """Return what differs: pairs of counterparts, in the order of `old`, then what only `new` has.

    Equal findings belong together and are left out; of the others those that share most time do.
    """
    spare = Counter(new)
    old_left = []
    for finding in old:
        if spare[finding]:
            spare[finding] -= 1
        else:
            old_left.append(finding)
    new_left = list(spare.elements())
    matches: dict[int, int] = {}
    taken: set[int] = set()
    for each in sorted(_candidates(old_left, new_left)):
        if each.old not in matches and each.new not in taken:
            matches[each.old] = each.new
            taken.add(each.new)
    told = [
        (finding, new_left[matches[place]] if place in matches else None)
        for place, finding in enumerate(old_left)
    ]
    return [*told, *((None, finding) for place, finding in enumerate(new_left) if place not in taken)]


def _candidates(old: Sequence[Finding], new: Sequence[Finding]) -> Iterator[_Candidate]:
    by_subject: defaultdict[tuple[str, str], list[tuple[Finding, bool, int]]] = defaultdict(list)
    for is_new, findings in ((False, old), (True, new)):
        for place, finding in enumerate(findings):
            by_subject[finding.rule, finding.category].append((finding, is_new, place))
    for some in by_subject.values():
        # Of each report those that reach up to here, so that not all are held to all.
        reaching: dict[bool, list[tuple[Finding, int]]] = {False: [], True: []}
        for finding, is_new, place in sorted(some, key=lambda each: each[0].start_seconds):
            others = [each for each in reaching[not is_new] if each[0].end_seconds >= finding.start_seconds]
            reaching[not is_new] = others
            reaching[is_new].append((finding, place))
            for other, its_place in others:
                if counterparts(finding, other):
                    places = (its_place, place) if is_new else (place, its_place)
                    yield _Candidate(-_shared_seconds(finding, other), _shift(finding, other), *places)


def _shared_seconds(one: Finding, other: Finding) -> float:
    return min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)


def _shift(one: Finding, other: Finding) -> float:
    return abs(one.start_seconds - other.start_seconds) + abs(one.end_seconds - other.end_seconds)


def _is_instant(finding: Finding) -> bool:
    return finding.start_seconds == finding.end_seconds


def pair_grants(old: Sequence[Granted], new: Sequence[Granted]) -> list[tuple[int | None, int | None]]:
    """Return the places in both lists of what is the same grant, though for other times or reasons.

    The most alike are taken first; None stands where there is no counterpart.
    """
    pairs: dict[int, int] = {}
    for unlike in (BOOKKEEPING, BOOKKEEPING | WORDS, BOOKKEEPING | WORDS | TIMES):
        places: defaultdict[bytes, list[int]] = defaultdict(list)
        for place, granted in enumerate(new):
            if place not in pairs.values():
                places[_essence(granted, unlike)].append(place)
        for place, granted in enumerate(old):
            alike = places[_essence(granted, unlike)]
            if place not in pairs and alike:
                pairs[place] = alike.pop(0)
    olds: list[tuple[int | None, int | None]] = [(place, pairs.get(place)) for place in range(len(old))]
    return [*olds, *((None, place) for place in range(len(new)) if place not in pairs.values())]


def _essence(granted: Granted, unlike: frozenset[str]) -> bytes:
    values = msgspec.to_builtins(granted.accommodation)
    return msgspec.json.encode(
        {name: value for name, value in values.items() if name not in unlike}, order="sorted"
    )
