"""How long a frame speaks for: until the next, unless the connection was lost in between.

A browser that streams is silent because frames were lost. One that sends a frame only when something changes
is silent because nothing did, and what it said last still holds. Nothing in a frame says which it is; how
often the client pauses does.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.columns import differences

HOLD_MS = 60_000
"""Longer than this nothing holds: without any change for so long even an event-driven client may be gone."""

_PAUSE_MS = 2000  # streams send a frame a second at the least
_PAUSES_MIN, _PAUSES_MAX = 10, 90
"""Percentage of steps that are pauses. A stream over a bad network has five, one whose frames hardly ever
arrive a hundred; of changes some come soon after another."""
_STEPS_MIN = 8
_PIECE_MS = 1000


class Cadence(msgspec.Struct, array_like=True):
    """Tells event-driven clients from streams by the steps between their frames so far."""

    steps: int = 0
    pauses: int = 0
    """Steps of over two seconds."""

    def lasted(
        self, times: NDArray[np.int64], gap_ms: int, hold_ms: int = HOLD_MS
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Take in the steps between these frames; return how long each lasted, 0 for a gap, and if it waited.

        `times` are milliseconds in rising order, one more than there are steps, beginning with the last frame
        of the call before. A step of over `gap_ms` is a gap to a stream, to other clients beyond `hold_ms`.
        """
        steps = differences(times)
        paused = steps > _PAUSE_MS
        before, pauses_before = self.steps, self.pauses
        self.steps += len(steps)
        self.pauses += int(np.count_nonzero(paused))
        if self.pauses * 100 < _PAUSES_MIN * (before + 1):  # a stream, whichever of the steps is looked at
            waits = np.zeros(len(steps), dtype=np.bool_)
            return np.where(steps <= gap_ms, steps, 0), waits
        seen = before + np.arange(1, len(steps) + 1)
        pauses = pauses_before + np.cumsum(paused)
        bursty = (pauses * 100 >= _PAUSES_MIN * seen) & (pauses * 100 <= _PAUSES_MAX * seen)
        waits = bursty & (seen >= _STEPS_MIN) & (steps <= hold_ms)
        return np.where(waits | (steps <= gap_ms), steps, 0), waits


def pieces(
    times: NDArray[np.int64], waits: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.intp]] | None:
    """Repeat each frame that waited every second until the next one; None if none did for so long.

    Returns the times, one for each repetition and the last of `times`, and of which frame each is.
    """
    if not waits.any():
        return None
    counts = np.where(waits, -(-differences(times) // _PIECE_MS), 1).clip(1)
    if counts.max(initial=1) == 1:
        return None
    places = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    offsets = (np.arange(len(places)) - first[places]) * _PIECE_MS
    return np.append(times[places] + offsets, times[-1]), places
