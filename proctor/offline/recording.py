"""A dump as a session: what never came through a server is taken in as a server would have done."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from proctor.errors import InvalidRequest
from proctor.features import VOCABULARY, Kind, take_in
from proctor.model import ExamSession, FrameId
from proctor.storage.dumps import dump_name, read_dump
from proctor.times import iso_from_ms

_END_MS = 253_402_300_800_000
"""The year 10000, which no ISO 8601 time of four digits reaches."""


class Recording(NamedTuple):
    """A session as far as its dump tells it."""

    session: ExamSession
    """From the first frame to the last; what only a database knows of it is unknown."""
    frames: list[bytes]
    """As a server stores them, in time order."""


def read_recording(path: Path, now_ms: int) -> Recording:
    """Read a dump, Proctor's own or any that :func:`read_dump` reads. Blocks.

    Frames that a server stored stay byte for byte as they are, so that their digest does. A session without
    frames begins and ends at `now_ms`.

    Raises:
        InvalidRequest: naming the file, and the element and feature at fault.
    """
    intake = _Intake()
    frames = read_dump(path, intake.take)
    session = ExamSession(
        session_id=intake.session_id or dump_name(path),
        started_ms=_time_ms(frames[0]) if frames else now_ms,
        ended_ms=_time_ms(frames[-1]) if frames else now_ms,
    )
    return Recording(session, frames)


class _Read(msgspec.Struct):
    """What is read of a frame besides its features."""

    session_id: str | None = None
    client_timestamp: str | float | None = None
    event: dict[str, Any] | None = None


_STORED_AS: Mapping[Kind, Any] = {
    Kind.FLAG: Annotated[int, msgspec.Meta(ge=0, le=1)],
    Kind.COUNT: Annotated[int, msgspec.Meta(ge=0)],
    Kind.NUMBER: float,
    Kind.CONFIDENCE: Annotated[float, msgspec.Meta(ge=0, le=100)],
    Kind.TEXT: str,
}
_Stored = msgspec.defstruct(
    "_Stored",
    [
        ("frame_id", str),
        ("received_at", str),
        *((name, _STORED_AS[kind] | None, None) for name, kind in VOCABULARY.items()),
    ],
    bases=(_Read,),
    kw_only=True,
    gc=False,
)
_read_stored = msgspec.json.Decoder(_Stored).decode
"""Reads what a server has stored, and little else."""


class _Identified(msgspec.Struct):
    frame_id: str


class _Intake:
    """Takes in the frames of one session."""

    def __init__(self) -> None:
        self.session_id: str | None = None

    def take(self, element: bytes, frame_id: FrameId) -> bytes:
        if not 0 <= frame_id.time_ms < _END_MS:
            raise InvalidRequest("timestamp is not between the years 1970 and 9999", field="timestamp")
        # Not by taking it in once more: a share of 0.005 was stored as 0.5 %, which would be a share again.
        with suppress(msgspec.ValidationError):
            stored: Any = _read_stored(element)
            if stored.frame_id == str(frame_id):
                self._check_session(stored)
                return element
        frame: dict[str, Any] = msgspec.json.decode(element)
        self._check_session(msgspec.convert(frame, _Read))
        taken = take_in(frame) | {"timestamp": iso_from_ms(frame_id.time_ms)}
        taken.pop("frame_id", None)
        return msgspec.json.encode(taken | {"frame_id": str(frame_id)})

    def _check_session(self, read: _Read) -> None:
        self.session_id = self.session_id or read.session_id
        if read.session_id not in (None, self.session_id):
            detail = f"session_id is {read.session_id!r}, of frames before it {self.session_id!r}"
            raise InvalidRequest(detail, field="session_id")


def _time_ms(frame: bytes) -> int:
    return FrameId.parse(msgspec.json.decode(frame, type=_Identified).frame_id).time_ms
