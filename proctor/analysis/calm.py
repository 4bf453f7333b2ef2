"""Until when sessions need not be looked at, which lets those be looked at soon that do.

Analyzers say what another concern takes (:class:`proctor.analysis.api.Calm`). A session is calm as long as
that holds for all of them; then, and at any event, it is looked at at once.
"""

from collections.abc import Callable, Iterable
from enum import IntEnum
from functools import lru_cache
from typing import Any

import msgspec

from proctor.analysis.api import Calm
from proctor.analysis.facts import Facts
from proctor.analysis.schema import Status

_NEVER_MS = 2**53


class Want(IntEnum):
    """How much a session wants to be looked at."""

    NONE = 0
    TURN = 1
    """There may be a concern by now, for all that is known."""
    HASTE = 2
    """Something has happened that may be one."""


class SessionCalm(msgspec.Struct, array_like=True):
    """Follows a session's frames, each a JSON object, and tells when one of them wants a look."""

    turn_ms: int = _NEVER_MS
    """Frames before this, in milliseconds since the epoch, event time, want none …"""
    haste_ms: int = _NEVER_MS
    """… or before this, which what goes on takes."""
    names: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    """What the last frame said of these features …"""
    seconds: tuple[float, ...] = ()
    """… and how long after another word of each of them the session is still calm."""

    def after(self, time_ms: int, frame: bytes) -> Want:
        """Take in the next frame, of this event time."""
        event, *values = _read(self.names, frame)
        for before, value, seconds in zip(self.values, values, self.seconds, strict=True):
            if before != value:
                self.haste_ms = min(self.haste_ms, time_ms + round(seconds * 1000))
        if event is not None or time_ms >= self.haste_ms:
            return Want.HASTE
        return Want.TURN if time_ms >= self.turn_ms else Want.NONE


def sooner(*calms: Calm | None) -> Calm | None:
    """Return one that holds no longer than any of them does; None if one is none."""
    given = [each for each in calms if each is not None]
    if len(given) < len(calms) or not given:
        return None
    # Waiting for a change is waiting longer.
    least = min(given, key=lambda each: (each.seconds, bool(each.after_change_of)))
    if all(each == least for each in given):
        return least
    return Calm(seconds=least.seconds, under_way=least.under_way)


def session_calm(facts: Facts, newest: bytes) -> SessionCalm | None:
    """Return how long a session is calm after its newest frame, a JSON object; None if it is not at all."""
    last = facts.observation.last
    judging = [
        section.assessment.calm
        for section in facts.sections
        if section.status is Status.OK and not facts.policy.on_trial(section.plugin.name)
    ]
    calms = [each for each in judging if each is not None]
    if last is None or not calms or len(calms) < len(judging):
        return None
    return calm_after(calms, last.time_ms, newest)


def calm_after(calms: Iterable[Calm], time_ms: int, newest: bytes) -> SessionCalm:
    """Return what these say together after the newest frame, a JSON object of this event time."""
    seconds, turn_ms, haste_ms = dict[str, float](), _NEVER_MS, _NEVER_MS
    for calm in calms:
        for name in calm.after_change_of:
            seconds[name] = min(calm.seconds, seconds.get(name, calm.seconds))
        over_ms = time_ms + round(calm.seconds * 1000)
        if calm.under_way:
            haste_ms = min(haste_ms, over_ms)
        elif not calm.after_change_of:
            turn_ms = min(turn_ms, over_ms)
    names = tuple(seconds)
    values = tuple(_read(names, newest)[1:])
    return SessionCalm(turn_ms, haste_ms, names, values, tuple(seconds.values()))


def _read(names: tuple[str, ...], frame: bytes) -> tuple[Any, ...]:
    """Return a frame's event and these features, None for what it lacks."""
    return msgspec.structs.astuple(_decoder(names)(frame))


@lru_cache(maxsize=100)
def _decoder(names: tuple[str, ...]) -> Callable[[bytes], Any]:
    fields = {"event": "event"} | {f"feature_{place}": name for place, name in enumerate(names)}
    row = msgspec.defstruct("Row", [(field, Any, None) for field in fields], rename=fields, gc=False)
    return msgspec.json.Decoder(row).decode
