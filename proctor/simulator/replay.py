"""Dumps and exams turned into each other: a recording streamed again, an exam taker's frames as stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from proctor.clock import ClientClock
from proctor.errors import InvalidRequest
from proctor.ingest import frame_message
from proctor.model import FrameId
from proctor.simulator.client import frame_ms, wrapped
from proctor.simulator.exam import Exam
from proctor.simulator.people import Truth
from proctor.simulator.scene import Span
from proctor.storage.dumps import dump_name, read_dump
from proctor.times import ms_from_iso
from proctor.wire import Frames, read_message

_SERVER_KEYS = ("session_id", "frame_id", "timestamp", "received_at", "client_timestamp")
"""Keys of a stored frame that the server wrote."""


@dataclass(frozen=True)
class Recording:
    """A dump, ready to be streamed as an exam taker is."""

    kind: str
    """The session that was recorded."""
    start_ms: int
    """Event time of its first frame, milliseconds since the epoch."""
    seconds: float
    _frames: Sequence[bytes]

    truth: Sequence[Truth] = ()
    outages: Sequence[Span] = ()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a dump. Blocks.

        Raises:
            InvalidRequest: the file is not there, no dump, or empty.
        """
        frames = read_dump(path)
        if not frames:
            raise InvalidRequest(f"{path} has no frames", field="dump")
        first, last = msgspec.json.decode(frames[0]), msgspec.json.decode(frames[-1])
        name = str(first.get("session_id", dump_name(path)))
        start_ms = _stored_ms(first)
        return cls(name, start_ms, (_stored_ms(last) - start_ms) / 1000, frames)

    def __len__(self) -> int:
        return len(self._frames)

    def frames(self, start_ms: int) -> Iterator[dict[str, Any]]:
        """Yield the frames as a browser sent them, moved in time so that the first is at `start_ms`."""
        for stored in self._frames:
            features = msgspec.json.decode(stored)
            moved_ms = _stored_ms(features) - self.start_ms + start_ms
            for name in _SERVER_KEYS:
                features.pop(name, None)
            event = features.pop("event", None)
            if isinstance(event, dict):
                yield {**event, "ts": moved_ms, "extractedFeatures": features}
            else:
                yield {**features, "timestamp": moved_ms}


def stored_frames(exam: Exam, session_id: str, start_ms: int) -> Iterator[bytes]:
    """Yield an exam's frames as a server that received each at once would store and dump them.

    For judging without a server, and for tests of what reads stored frames.
    """
    clock = ClientClock()
    clock.fix(0, 0)
    for number, frame in enumerate(exam.frames(start_ms)):
        received_ms = frame_ms(frame)
        message = read_message(wrapped(frame), session_id, batch_max_frames=1)
        if isinstance(message, Frames):
            [unnumbered] = frame_message(session_id, message, clock, received_ms).frames
            frame_id = FrameId(unnumbered.time_ms, number)
            yield unnumbered.head + f'{frame_id}"}}'.encode()


def _stored_ms(frame: dict[str, Any]) -> int:
    stamp = frame["timestamp"]
    return ms_from_iso(stamp) if isinstance(stamp, str) else round(stamp)
