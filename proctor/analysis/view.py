"""Frames as a rule sees them that accommodations concern: some signals unknown, some frames not there."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proctor.accommodations import PRESENCE, AllowPeople, AnyAccommodation, Break, Exempt, Scale
from proctor.analysis.frames import FACE_GROUPS, EngineEvent, FrameBatch

Flags = NDArray[np.bool_]

_PEOPLE = "no_of_face"


class _Hidden(NamedTuple):
    """What a batch's frames, a flag each, are not to show."""

    frames: Flags
    features: Mapping[str, Flags]
    events: Mapping[str, Flags]
    company: NDArray[np.int64]
    """How many people besides the candidate each frame may show."""


class View(FrameBatch):
    """Some of a batch's frames, with some of their features and events unknown; else as it is."""

    def __init__(
        self, frames: FrameBatch, hidden: _Hidden, hiding: Sequence[AnyAccommodation], origin_ms: int
    ) -> None:
        self._frames = frames
        self._hidden = hidden
        self._hiding = hiding
        self._origin_ms = origin_ms
        self._kept = np.flatnonzero(~hidden.frames)
        self.ids = tuple(frames.ids[place] for place in self._kept.tolist())
        self.milliseconds = frames.milliseconds[self._kept]
        self.milliseconds.flags.writeable = False

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The column of a feature, as of any batch."""
        column = self._frames[name]
        if name == _PEOPLE:
            column = np.where(column > 1, np.maximum(column - self._hidden.company, 1), column)
        if name in self._hidden.features:
            column = np.where(self._hidden.features[name], np.nan, column)
        return column[self._kept]

    def text(self, name: str) -> Sequence[str | None]:
        """The column of a text feature, as of any batch."""
        return self._shown(name, self._frames.text(name))

    def values(self, name: str) -> list[Any]:
        """A feature's JSON values, None where it is hidden."""
        if name == _PEOPLE:
            counts = self[name]
            return [None if np.isnan(count) else int(count) for count in counts.tolist()]
        return self._shown(name, self._frames.values(name))

    def hidden(self, name: str) -> Sequence[tuple[int, int]]:
        """When a feature or event is hidden, as of any batch."""
        return [
            (each.span_ms[0] - self._origin_ms, each.span_ms[1] - self._origin_ms)
            for each in self._hiding
            if each.hides(name)
        ]

    @cached_property
    def events(self) -> Sequence[EngineEvent]:
        """The engine's events that are not hidden."""
        places = {place: number for number, place in enumerate(self._kept.tolist())}
        return tuple(
            event._replace(place=places[event.place])
            for event in self._frames.events
            if event.place in places
            and not (event.name in self._hidden.events and self._hidden.events[event.name][event.place])
        )

    @cached_property
    def faceless(self) -> Flags:
        """Frames that say that there is no face, where that is not hidden."""
        faceless = self._frames.faceless
        hidden = self._hidden.features.get("face_present")
        return (faceless if hidden is None else faceless & ~hidden)[self._kept]

    def _shown(self, name: str, values: Sequence[Any]) -> list[Any]:
        hidden = self._hidden.features.get(name)
        return [
            None if hidden is not None and hidden[place] else values[place] for place in self._kept.tolist()
        ]


def view(
    frames: FrameBatch, origin_ms: int, rule: str, accommodations: Sequence[AnyAccommodation]
) -> FrameBatch:
    """Return the frames as `rule` is to see them; perhaps none.

    `origin_ms` is the event time of the session's first frame, in milliseconds since the epoch.
    """
    times = frames.milliseconds + origin_ms
    hidden = _Hidden(np.zeros(len(frames), dtype=np.bool_), {}, {}, np.zeros(len(frames), dtype=np.int64))
    hiding = [each for each in accommodations if each.concerns(rule) and not isinstance(each, Scale)]
    for each in hiding:
        start, end = each.span_ms
        within = (times >= start) & (times < end)
        if within.any():
            hidden = _hide(each, rule, frames, within, hidden)
    return View(frames, hidden, hiding, origin_ms) if hiding else frames


def _hide(
    accommodation: AnyAccommodation, rule: str, frames: FrameBatch, within: Flags, hidden: _Hidden
) -> _Hidden:
    match accommodation:
        case Break():
            return hidden._replace(frames=hidden.frames | within)
        case Exempt(rule=None):
            signal = accommodation.hidden
            # Whether the browser filled in zeros is told by the frames without a face: only those are hidden.
            where = within & frames.faceless if accommodation.signal == PRESENCE else within
            return hidden._replace(
                features=_more(hidden.features, signal.features, where),
                events=_more(hidden.events, signal.events, within),
            )
        case Exempt():
            return hidden._replace(frames=hidden.frames | within) if accommodation.rule == rule else hidden
        case AllowPeople():
            # Whose face the rest of such a frame describes, nobody knows.
            several = within & (frames[_PEOPLE] > 1)
            return hidden._replace(
                company=hidden.company + np.where(within, accommodation.people, 0),
                features=_more(hidden.features, frozenset().union(*FACE_GROUPS), several),
                events=_more(hidden.events, {"MULTIPLE_FACES"}, within),
            )
    return hidden


def _more(hidden: Mapping[str, Flags], names: frozenset[str] | set[str], where: Flags) -> Mapping[str, Flags]:
    return {**hidden, **{name: hidden[name] | where if name in hidden else where for name in names}}
