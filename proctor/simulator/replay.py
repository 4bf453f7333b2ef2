"""Recorded sessions: a dump streamed again, at its own pace or faster."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from proctor.errors import InvalidRequest
from proctor.model import ms_from_iso
from proctor.simulator.people import Truth
from proctor.simulator.scene import Span

_SERVER_KEYS = ("session_id", "frame_id", "timestamp", "received_at", "client_timestamp")
"""Keys of a stored frame that the server wrote."""


@dataclass(frozen=True)
class Recording:
    """A dump, ready to be streamed like an exam taker."""

    kind: str
    """The name of the session that was recorded."""
    start_ms: int
    """Event time of its first frame, milliseconds since the epoch."""
    seconds: float
    _frames: Sequence[dict[str, Any]]
    _times_ms: Sequence[int]

    truth: Sequence[Truth] = ()
    outages: Sequence[Span] = ()

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Read a dump: a JSON array of stored frames.

        Raises:
            InvalidRequest: the file is not there or no dump.
        """
        try:
            frames = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
            timed = sorted(
                ((ms_from_iso(frame["timestamp"]), frame) for frame in frames), key=lambda item: item[0]
            )
        except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError) as failure:
            raise InvalidRequest(f"{path} is no dump of frames: {failure}", field="dump") from failure
        if not timed:
            raise InvalidRequest(f"{path} has no frames", field="dump")
        times_ms = [time_ms for time_ms, _ in timed]
        name = str(timed[0][1].get("session_id", path.stem))
        seconds = (times_ms[-1] - times_ms[0]) / 1000
        return cls(name, times_ms[0], seconds, [frame for _, frame in timed], times_ms)

    @property
    def ended(self) -> bool:
        """Whether all of it lies in the past, so that a server takes its times as they are."""
        return self._times_ms[-1] <= time.time() * 1000

    def __len__(self) -> int:
        return len(self._frames)

    def frames(self, start_ms: int) -> Iterator[dict[str, Any]]:
        """Yield the frames as a browser sent them, moved in time so that the first is at `start_ms`."""
        for time_ms, frame in zip(self._times_ms, self._frames, strict=True):
            moved_ms = time_ms - self.start_ms + start_ms
            features = {name: value for name, value in frame.items() if name not in _SERVER_KEYS}
            event = features.pop("event", None)
            if isinstance(event, dict):
                yield {**event, "ts": moved_ms, "extractedFeatures": features}
            else:
                yield {**features, "timestamp": moved_ms}
