"""Until when sessions need not be looked at, which lets those be looked at soon that do.

Analyzers say what another concern takes (:class:`proctor.analysis.api.Calm`). A session is calm as long as
that holds for all of them; then, or if anything else comes of it than they expect, it is looked at at once.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from proctor.analysis.api import Calm
from proctor.analysis.facts import Facts
from proctor.analysis.schema import Status


class SessionCalm(msgspec.Struct, frozen=True, array_like=True):
    """What frames may come without anybody having to look at them at once."""

    until_ms: int
    """Those before this, in milliseconds since the epoch, event time …"""
    names: tuple[str, ...]
    values: tuple[Any, ...]
    """… that are no events and say this of these features."""

    def ended_by(self, time_ms: int, frame: bytes) -> bool:
        """Tell whether a frame, a JSON object of this event time, wants a look."""
        return time_ms >= self.until_ms or _read(self.names, frame) != (None, *self.values)


def sooner(*calms: Calm | None) -> Calm | None:
    """Return what ends any of them; None if one is none."""
    given = [each for each in calms if each is not None]
    if len(given) < len(calms) or not given:
        return None
    names = dict.fromkeys(name for each in given for name in each.unless)
    return Calm(seconds=min(each.seconds for each in given), unless=tuple(names))


def session_calm(facts: Facts, newest: bytes) -> SessionCalm | None:
    """Return how long a session is calm after its newest frame, a JSON object; None if it is not at all."""
    last = facts.observation.last
    judging = [
        section.assessment.calm
        for section in facts.sections
        if section.status is Status.OK and not facts.policy.on_trial(section.plugin.name)
    ]
    calm = sooner(*judging)
    if calm is None or last is None:
        return None
    return calm_after(calm, last.time_ms, newest)


def calm_after(calm: Calm, time_ms: int, newest: bytes) -> SessionCalm:
    """Return what `calm` says after the newest frame, a JSON object of this event time."""
    return SessionCalm(time_ms + round(calm.seconds * 1000), calm.unless, _read(calm.unless, newest)[1:])


def _read(names: tuple[str, ...], frame: bytes) -> tuple[Any, ...]:
    """Return a frame's event and these features, None for what it lacks."""
    return msgspec.structs.astuple(_decoder(names)(frame))


@lru_cache(maxsize=100)
def _decoder(names: Sequence[str]) -> Callable[[bytes], Any]:
    fields = {"event": "event"} | {f"feature_{place}": name for place, name in enumerate(names)}
    row = msgspec.defstruct("Row", [(field, Any, None) for field in fields], rename=fields, gc=False)
    return msgspec.json.Decoder(row).decode
