"""A dump as a session: what never came through a server is taken in as a server would have done."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from proctor.errors import InvalidRequest
from proctor.features import take_in
from proctor.model import ExamSession, FrameId, iso_from_ms
from proctor.storage.dumps import read_dump

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
        session_id=intake.session_id or path.stem.removesuffix("_frames"),
        started_ms=_time_ms(frames[0]) if frames else now_ms,
        ended_ms=_time_ms(frames[-1]) if frames else now_ms,
    )
    return Recording(session, frames)


class _Read(msgspec.Struct):
    """What is read of a frame besides its features."""

    frame_id: Any = None
    received_at: str | None = None
    session_id: str | None = None
    client_timestamp: str | float | None = None
    event: dict[str, Any] | None = None


class _Identified(msgspec.Struct):
    frame_id: str


class _Intake:
    """Takes in the frames of one session."""

    def __init__(self) -> None:
        self.session_id: str | None = None

    def take(self, element: bytes, frame_id: FrameId) -> bytes:
        if not 0 <= frame_id.time_ms < _END_MS:
            raise InvalidRequest("timestamp is not between the years 1970 and 9999", field="timestamp")
        frame: dict[str, Any] = msgspec.json.decode(element)
        read = msgspec.convert(frame, _Read)
        self.session_id = self.session_id or read.session_id
        if read.session_id not in (None, self.session_id):
            detail = f"session_id is {read.session_id!r}, of frames before it {self.session_id!r}"
            raise InvalidRequest(detail, field="session_id")
        taken = take_in(frame)
        if read.received_at and read.frame_id == str(frame_id) and _is_taken_in(frame, taken):
            return element
        taken |= {"timestamp": iso_from_ms(frame_id.time_ms)}
        taken.pop("frame_id", None)
        return msgspec.json.encode(taken | {"frame_id": str(frame_id)})


def _is_taken_in(frame: dict[str, Any], taken: dict[str, Any]) -> bool:
    # By type, for values may change each time: a share of 0.005 was stored as 0.5 %, which reads as a share.
    return all(type(taken.get(name)) is type(value) for name, value in frame.items())


def _time_ms(frame: bytes) -> int:
    return FrameId.parse(msgspec.json.decode(frame, type=_Identified).frame_id).time_ms
