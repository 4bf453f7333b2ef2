"""The core's own fold: what of a session could be observed, whatever the analyzers make of it.

Everything here is evidence about the data, never about the candidate.
"""

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.accommodations import outside, overlap_ms
from proctor.analysis.api import WINDOW_SECONDS
from proctor.analysis.cadence import Cadence
from proctor.analysis.columns import differences
from proctor.analysis.frames import FrameBatch
from proctor.analysis.sealed import Sealed
from proctor.clock import DRIFT_MAX, client_time_ms
from proctor.errors import InvalidRequest
from proctor.features import VOCABULARY
from proctor.model import FrameId

LONGEST_GAPS = 50
"""How many gaps are kept one by one; all of them are counted."""

WINDOWS_MAX = 8_640
"""Most windows that are kept: a day with frames in each. Later ones are observed, but not told apart."""

WINDOW_MS = round(WINDOW_SECONDS * 1000)
_JUMP_MS = 1000
_DRIFT_SHOWS_MS = 600_000
_ROUNDED_MS = 1
_BLANK = (None, "", "None")


class Span(msgspec.Struct, frozen=True, array_like=True):
    """From one point in time to another, in milliseconds since the first frame."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        """How long it is."""
        return self.end_ms - self.start_ms


class Window(msgspec.Struct, frozen=True, array_like=True):
    """The frames of one of the report's windows."""

    frames: int
    first: FrameId
    last: FrameId


class ClockCourse(msgspec.Struct, array_like=True):
    """How the correction of the client's clock went on, from one window's first frame to the next one's."""

    last_ms: int = 0
    """Event time of the last of these frames."""
    last_offset_ms: int = 0
    drift_ms: int = 0
    """By how much the correction grew, as clocks drift, …"""
    drifted_ms: int = 0
    """… in so much time."""
    jumps: int = 0

    @property
    def drift_ppm(self) -> float | None:
        """What the client's clock lost; None while that is too little to tell from rounding."""
        long_enough = self.drifted_ms >= _DRIFT_SHOWS_MS
        return round(1e6 * self.drift_ms / self.drifted_ms, 1) if long_enough else None

    def follow(self, event_ms: int, offset_ms: int) -> None:
        """Take in the next frame."""
        if self.last_ms:
            step, time = offset_ms - self.last_offset_ms, event_ms - self.last_ms
            # More than that is no drift, but a better estimate, or another clock.
            if abs(step) <= DRIFT_MAX * time + _ROUNDED_MS:
                self.drift_ms += step
                self.drifted_ms += time
            elif abs(step) > _JUMP_MS:
                self.jumps += 1
        self.last_ms, self.last_offset_ms = event_ms, offset_ms


class Observation(msgspec.Struct):
    """What was received so far. It does not grow with the number of frames, only with the time they span."""

    frames: int = 0
    first: FrameId | None = None
    last: FrameId | None = None
    """The cursor: frames up to here were folded."""
    digest: bytes = b""
    """SHA-256 of the digest before the last frame, followed by that frame's JSON."""
    observed_ms: int = 0
    """Time from frame to frame, without gaps; a client that sends on changes only has none while it waits."""
    cadence: Cadence = msgspec.field(default_factory=Cadence)
    gaps: int = 0
    gaps_ms: int = 0
    longest_gaps: list[Span] = msgspec.field(default_factory=list)
    """In order of time."""
    seen: list[str] = msgspec.field(default_factory=list)
    """Features that at least one frame knew, sorted."""
    clock_offsets_ms: tuple[int, int] | None = None
    """Least and greatest event time minus client's time, sampled at the first frame of each window."""
    clock_course: ClockCourse = msgspec.field(default_factory=ClockCourse)
    rest_ms: int = 0
    """Time of breaks between the first frame and the last."""
    resting_frames: int = 0
    """Frames that came during breaks."""
    past_windows: Sealed = msgspec.field(default_factory=Sealed)
    window: tuple[int, Window] | None = None
    """The last of those that are kept, with its index."""

    @property
    def windows(self) -> dict[int, Window]:
        """The windows that had frames, by index."""
        rows = self.past_windows.rows(tuple[int, Window])
        return dict(rows if self.window is None else [*rows, self.window])

    @property
    def length_ms(self) -> int:
        """Time from the first frame to the last."""
        return 0 if self.first is None or self.last is None else self.last.time_ms - self.first.time_ms

    @property
    def never_seen(self) -> list[str]:
        """The features that no frame knew."""
        return sorted(VOCABULARY.keys() - set(self.seen))

    def fold(
        self,
        frames: Sequence[bytes],
        batch: FrameBatch,
        gap_seconds: float,
        breaks: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Take in the next frames, at least one, as JSON and as columns.

        Time in `breaks`, in milliseconds since the epoch, is neither observed nor a gap.
        """
        before = self.last
        self._fold_windows(frames, batch)
        self._fold_time(before, batch.milliseconds, gap_seconds, breaks)
        self.frames += len(batch)
        self.last = FrameId.parse(batch.ids[-1])
        self.seen = sorted([*self.seen, *(name for name in self.never_seen if _is_seen(batch, name))])
        digest = self.digest
        for frame in frames:
            digest = hashlib.sha256(digest + frame).digest()
        self.digest = digest

    def _fold_time(
        self,
        before: FrameId | None,
        times: NDArray[np.int64],
        gap_seconds: float,
        breaks: Sequence[tuple[int, int]],
    ) -> None:
        origin = self.first.time_ms if self.first is not None else 0
        frame_times = times
        if before is not None:
            times = np.concatenate(([before.time_ms - origin], times))
        steps = differences(times)
        silent = self.cadence.lasted(times, round(gap_seconds * 1000))[0] < steps
        self.observed_ms += int(steps[~silent].sum())
        starts, ends = times[:-1], times[1:]
        silences = list(zip(starts[silent].tolist(), ends[silent].tolist(), strict=True))
        if breaks:
            rest = [(start - origin, end - origin) for start, end in breaks]
            self._take_out(rest, frame_times, starts[~silent], ends[~silent])
            self.rest_ms += overlap_ms(rest, int(times[0]), int(times[-1]))
            parts = [part for start, end in silences for part in outside(start, end, rest)]
            silences = [(start, end) for start, end in parts if end - start > gap_seconds * 1000]
            self.observed_ms += sum(end - start for start, end in set(parts) - set(silences))
        self.gaps += len(silences)
        self.gaps_ms += sum(end - start for start, end in silences)
        gaps = self.longest_gaps + [Span(*silence) for silence in silences]
        # Of equally long ones the earlier stay, wherever the batches were cut.
        longest = sorted(gaps, key=lambda gap: (-gap.length_ms, gap.start_ms))[:LONGEST_GAPS]
        self.longest_gaps = sorted(longest, key=lambda gap: gap.start_ms)

    def _take_out(
        self,
        breaks: Sequence[tuple[int, int]],
        times: NDArray[np.int64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> None:
        """Take the breaks out of the time from frame to frame, which runs from `starts` to `ends`."""
        for begin, stop in breaks:
            self.resting_frames += int(((times >= begin) & (times < stop)).sum())
            shared = np.minimum(ends, stop) - np.maximum(starts, begin)
            self.observed_ms -= int(shared[shared > 0].sum())

    def _fold_windows(self, frames: Sequence[bytes], batch: FrameBatch) -> None:
        indices, starts, counts = np.unique(
            batch.milliseconds // WINDOW_MS, return_index=True, return_counts=True
        )
        past: list[tuple[int, Window]] = []
        for index, start, count in zip(indices.tolist(), starts.tolist(), counts.tolist(), strict=True):
            first, last = FrameId.parse(batch.ids[start]), FrameId.parse(batch.ids[start + count - 1])
            self.first = first if self.first is None else self.first
            if self.window is not None and self.window[0] == index:
                kept = self.window[1]
                self.window = (index, Window(kept.frames + count, kept.first, last))
            elif self.past_windows.count + len(past) < WINDOWS_MAX - 1:
                past += [] if self.window is None else [self.window]
                self.window = (index, Window(count, first, last))
                self._sample_clock(frames[start], first.time_ms)
        self.past_windows.add(past)

    def _sample_clock(self, frame: bytes, event_ms: int) -> None:
        claimed = msgspec.json.decode(frame, type=_Claim).client_timestamp
        if claimed is None:
            return
        try:
            offset = event_ms - round(client_time_ms(claimed, "client_timestamp"))
        except InvalidRequest:
            return
        least, greatest = self.clock_offsets_ms or (offset, offset)
        self.clock_offsets_ms = (min(least, offset), max(greatest, offset))
        self.clock_course.follow(event_ms, offset)


class _Claim(msgspec.Struct):
    client_timestamp: str | float | None = None


def _is_seen(batch: FrameBatch, name: str) -> bool:
    return any(value not in _BLANK for value in batch.values(name))
