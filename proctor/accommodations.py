"""Accommodations: what an institution grants one candidate, and what follows from it for the rules.

An accommodation changes what rules get to see or the settings they judge by, from one point in event time to
another; never what was stored. Rules run a second time without it, so that a report can list what it
suppressed. What it hid scores nothing and is no counterfactual score either: nobody should be looked at more
closely for having been granted something.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from proctor.features import VOCABULARY
from proctor.times import ms_from_iso

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]

ALWAYS_MS = 2**62
"""Later than any event; its negative is earlier."""


class Signal(NamedTuple):
    """Features and engine events that show one thing."""

    features: frozenset[str]
    events: frozenset[str]


def _features(*prefixes: str) -> frozenset[str]:
    return frozenset(name for name in VOCABULARY if name.startswith(prefixes))


PRESENCE = "presence"

SIGNALS: Mapping[str, Signal] = {
    "gaze": Signal(
        _features("gaze", "pupil_"), frozenset({"GAZE_AWAY", "PROLONGED_GAZE_AWAY", "EYES_OFF_SCREEN"})
    ),
    "head": Signal(_features("head_"), frozenset({"HEAD_TURNED"})),
    PRESENCE: Signal(frozenset({"face_present", "no_of_face"}), frozenset({"NO_FACE", "PERSON_LEFT"})),
    "phone": Signal(_features("phone_") | {"hand_obj_interaction"}, frozenset({"SUSPICIOUS_OBJECT"})),
    "hands": Signal(_features("hand_", "left_hand_", "right_hand_"), frozenset()),
    "window": Signal(
        frozenset(),
        frozenset(
            {"TAB_SWITCHED", "TAB_RETURNED", "WINDOW_FOCUS_LOST", "WINDOW_FOCUS_RESTORED"}
            | {"EXITED_FULLSCREEN", "MOUSE_LEFT_WINDOW", "MOUSE_ENTERED_WINDOW"}
        ),
    ),
    "clipboard": Signal(
        frozenset(), frozenset({"COPY_ATTEMPT", "PASTE_ATTEMPT", "SUSPICIOUS_KEY_PRESS", "RIGHT_CLICK"})
    ),
    "speech": Signal(
        frozenset(),
        frozenset(
            {"TALKING_DETECTED", "WHISPERING_DETECTED", "PROLONGED_MOUTH_MOVEMENT"}
            | {"MOUTH_MOVING", "MOUTH_COVERED"}
        ),
    ),
}
"""What `exempt` can name. `presence` exempts from being seen, and leaves it to be told how many are seen."""


EVENTS = frozenset().union(*(signal.events for signal in SIGNALS.values()))
"""The engine's events that `exempt` can name; a rule about other ones can be named itself."""


class Accommodation(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What all of them have: why, on whose word, and from when to when in event time (ISO 8601, UTC)."""

    id: str = ""
    """`a1`, `a2` …, given by the server in the order of granting."""
    reason: Words
    granted_by: Words | None = None
    effective_from: str | None = None
    """None: from the session's beginning."""
    effective_until: str | None = None
    """None: to its end."""
    granted_at: str | None = None
    """When the server took it in; None where no server did."""
    withdrawn: str | None = None
    """When it was taken back, from when on it is as if it had never been granted."""

    @property
    def span_ms(self) -> tuple[int, int]:
        """From when (inclusive) to when (exclusive), in milliseconds since the epoch."""
        start, end = self.effective_from, self.effective_until
        return (
            -ALWAYS_MS if start is None else ms_from_iso(start),
            ALWAYS_MS if end is None else ms_from_iso(end),
        )

    def concerns(self, rule: str) -> bool:
        """Return whether a rule could judge differently because of it."""
        return True

    def hides(self, name: str) -> bool:
        """Return whether the rules that it concerns do not get to see a feature or event at all."""
        return False


class Exempt(Accommodation, frozen=True, kw_only=True, tag="exempt"):
    """A signal is unknown to all rules, or one rule sees nothing."""

    signal: Name | None = None
    """One of `SIGNALS`, a feature of the vocabulary, or one of `EVENTS`."""
    rule: Name | None = None

    def concerns(self, rule: str) -> bool:
        """Return whether a rule could judge differently because of it."""
        return self.rule in (None, rule)

    def hides(self, name: str) -> bool:
        """Return whether the rules that it concerns do not get to see a feature or event at all."""
        return self.rule is not None or name in self.hidden.features | self.hidden.events

    @property
    def hidden(self) -> Signal:
        """What it hides from all rules."""
        if self.signal is None:
            return Signal(frozenset(), frozenset())
        one = frozenset({self.signal})
        return SIGNALS.get(self.signal) or (
            Signal(one, frozenset()) if self.signal in VOCABULARY else Signal(frozenset(), one)
        )


class AllowPeople(Accommodation, frozen=True, kw_only=True, tag="allow_people"):
    """So many people may be in the picture besides the candidate: a scribe, an interpreter, an assistant."""

    people: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1


class Scale(Accommodation, frozen=True, kw_only=True, tag="scale"):
    """One number among a rule's settings is multiplied, e.g. twice the seconds until a concern."""

    rule: Name
    setting: Name
    factor: Annotated[float, msgspec.Meta(ge=0.1, le=10)]

    def concerns(self, rule: str) -> bool:
        """Return whether a rule could judge differently because of it."""
        return self.rule == rule


class Break(Accommodation, frozen=True, kw_only=True, tag="break"):
    """Nothing is judged meanwhile, and the time does not count as part of the session."""

    def hides(self, name: str) -> bool:
        """Return whether the rules that it concerns do not get to see a feature or event at all."""
        return True


AnyAccommodation = Exempt | AllowPeople | Scale | Break


def digest(accommodations: Sequence[AnyAccommodation]) -> str:
    """SHA-256 of what follows from them for the rules; empty if there are none."""
    if not accommodations:
        return ""
    none = {"id": "", "reason": "-", "granted_by": None, "granted_at": None}
    bare = [msgspec.structs.replace(each, **none) for each in accommodations]
    return hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()


def breaks_of(accommodations: Iterable[AnyAccommodation]) -> list[tuple[int, int]]:
    """Return the breaks in milliseconds since the epoch, in order and without overlaps."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(each.span_ms for each in accommodations if isinstance(each, Break)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def overlap_ms(spans: Iterable[tuple[int, int]], start_ms: int, end_ms: int) -> int:
    """Return how much of a time the spans, which do not overlap each other, take up."""
    return sum(max(0, min(end, end_ms) - max(start, start_ms)) for start, end in spans)


def outside(start_ms: int, end_ms: int, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of a time that lie outside of all spans, in order."""
    left = []
    for begin, end in sorted(spans):
        if begin < end_ms and end > start_ms:
            left.append((start_ms, begin))
            start_ms = end
    left.append((start_ms, end_ms))
    return [(start, end) for start, end in left if start < end]


def scaled(settings: Mapping[str, Any], accommodations: Iterable[AnyAccommodation]) -> dict[str, Any]:
    """Return a rule's settings with its numbers scaled; whole ones stay whole, and above 0 if they were."""
    changed = dict(settings)
    for each in accommodations:
        if isinstance(each, Scale) and each.setting in changed:
            before = changed[each.setting]
            value = before * each.factor
            changed[each.setting] = max(round(value), min(before, 1)) if isinstance(before, int) else value
    return changed


def granted(accommodations: Iterable[AnyAccommodation]) -> set[AnyAccommodation]:
    """Return what was granted, whenever that was and whether or not it still is."""
    none = {"id": "", "granted_at": None, "withdrawn": None}
    return {msgspec.structs.replace(each, **none) for each in accommodations}


def in_force(accommodations: Iterable[AnyAccommodation]) -> tuple[AnyAccommodation, ...]:
    """Return those that were not withdrawn."""
    return tuple(each for each in accommodations if each.withdrawn is None)
