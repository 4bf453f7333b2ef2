"""Stored frames as columns: what an analyzer reads."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.features import VOCABULARY, Kind

UNKNOWN_TEXT = "None"
"""The browser engine's word for a text that it could not compute."""


def _starting(*prefixes: str) -> frozenset[str]:
    return frozenset(name for name in VOCABULARY if name.startswith(prefixes))


FACE_GROUPS = (
    _starting("face_") - {"face_present"},
    _starting("head_"),
    _starting("gaze"),
    _starting("left_eye_", "right_eye_", "nose_tip_", "mouth_"),
    _starting("pupil_"),
)
"""Features read off a face, in groups that the browser computes, or fails to, together."""

_GROUP_OF = {name: group for group in FACE_GROUPS for name in group}


def _row_decoder() -> Callable[[bytes], Any]:
    """Make a decoder of a frame into a row with the vocabulary's names, `event` and `frame_id`."""
    # A field is found quickest after the one before it, and browsers send the vocabulary in its order.
    fields: list[Any] = [
        (name, str | None if kind is Kind.TEXT else float | None, None) for name, kind in VOCABULARY.items()
    ]
    fields += [("event", dict[str, Any] | None, None), ("frame_id", str)]
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, kw_only=True, gc=False)).decode


_decode_row = _row_decoder()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max  # integers may be larger


class EngineEvent(NamedTuple):
    """An event of the browser engine, e.g. `TAB_SWITCHED`."""

    place: int
    """Index in the batch of the frame that it is."""
    name: str
    body: Mapping[str, Any]
    """As the client sent it, less its features. Its severity `lv` is the client's opinion, not evidence."""


class FrameBatch:
    """Some frames of one session in time order, a column per feature.

    `batch["face_w"]` is an array of one float per frame, NaN where the feature is unknown; `batch.text(…)` is
    the same for texts. A name that no frame has is unknown throughout, never a KeyError. Columns are made
    when first asked for and are read-only, for all analyzers share them.

    Browsers fill in zeros and "None" for what they could not compute. Where that is recognisable it is
    unknown here: a whole group of `FACE_GROUPS`, blank in a frame without a face or with "None" in the group.
    """

    def __init__(self, frames: Sequence[bytes], origin_ms: int) -> None:
        self._source = frames
        self._rows = list(map(_decode_row, frames))
        self._columns: dict[str, NDArray[np.float64]] = {}
        self._texts: dict[str, tuple[str | None, ...]] = {}
        self._blanks: dict[frozenset[str], NDArray[np.bool_]] = {}
        self.ids: Sequence[str] = tuple(row.frame_id for row in self._rows)
        times = [int(name.rpartition("-")[0]) for name in self.ids]
        self.milliseconds: NDArray[np.int64] = np.array(times, dtype=np.int64) - origin_ms
        self.milliseconds.flags.writeable = False
        """Event time since the session's first frame, exact."""

    @classmethod
    def from_json(cls, frames: Sequence[bytes], origin_ms: int) -> Self:
        """Decode stored frames; `origin_ms` is the event time of the session's first, since the epoch.

        Raises:
            msgspec.MsgspecError: a frame that no store holds, e.g. a vocabulary feature of the wrong type.
        """
        return cls(frames, origin_ms)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """The column of a feature: numbers as they are, true and false as 1 and 0, anything else NaN."""
        column = self._numbers(name)
        group = _GROUP_OF.get(name)
        return column if group is None else np.where(self._blank(group), np.nan, column)

    def text(self, name: str) -> Sequence[str | None]:
        """The column of a text feature, None where it is unknown: no text, an empty one, or "None"."""
        if name not in self._texts:
            self._texts[name] = tuple(
                value if isinstance(value, str) and value not in ("", UNKNOWN_TEXT) else None
                for value in self.values(name)
            )
        return self._texts[name]

    def values(self, name: str) -> list[Any]:
        """A feature's JSON values as they were stored, None where a frame lacks it."""
        if name in VOCABULARY:
            return list(map(attrgetter(name), self._rows))
        field = msgspec.defstruct("Field", [("value", Any, None)], rename={"value": name}, gc=False)
        rows: Iterator[Any] = map(msgspec.json.Decoder(field).decode, self._source)
        return [row.value for row in rows]

    def hidden(self, name: str) -> Sequence[tuple[int, int]]:
        """When a feature or event is hidden from this rule, in milliseconds since the first frame.

        Candidates may be granted breaks and exemptions. What is hidden is unknown in the columns and missing
        among the events anyway; only a rule that measures from one event to another needs to leave it out.
        """
        return ()

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """Event time since the session's first frame."""
        seconds = self.milliseconds / 1000.0
        seconds.flags.writeable = False
        return seconds

    @cached_property
    def events(self) -> Sequence[EngineEvent]:
        """The browser engine's events, in the order of their frames."""
        return tuple(self._each_event())

    @cached_property
    def faceless(self) -> NDArray[np.bool_]:
        """Frames that say that there is no face; False where nothing is said."""
        stated: NDArray[np.bool_] = (self._numbers("face_present") == 0) | (self._numbers("no_of_face") == 0)
        return stated

    def _each_event(self) -> Iterator[EngineEvent]:
        for place, row in enumerate(self._rows):
            name = None if row.event is None else row.event.get("event")
            if isinstance(name, str):
                yield EngineEvent(place, name, row.event)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        if name not in self._columns:
            values = self.values(name)
            if VOCABULARY.get(name, Kind.TEXT) is Kind.TEXT:  # anything may have been stored under it
                values = [float(value) if _is_number(value) else None for value in values]
            self._columns[name] = np.array(values, dtype=np.float64)  # None becomes NaN
            self._columns[name].flags.writeable = False
        return self._columns[name]

    def _blank(self, group: frozenset[str]) -> NDArray[np.bool_]:
        """Frames in which the browser filled in what it did not know of this group."""
        if group not in self._blanks:
            blank, failed = np.ones(len(self), dtype=np.bool_), self.faceless
            for name in group:
                if VOCABULARY[name] is Kind.TEXT:
                    blank &= np.array([text is None for text in self.text(name)], dtype=np.bool_)
                    failed = failed | np.array([value == UNKNOWN_TEXT for value in self.values(name)])
                else:
                    numbers = self._numbers(name)
                    blank &= (numbers == 0) | np.isnan(numbers)
            self._blanks[group] = blank & failed
        return self._blanks[group]
