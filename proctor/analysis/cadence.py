"""How long a frame speaks for: until the next, unless the connection was lost in between.

A browser that streams is silent because frames were lost. One that sends a frame only when something changes
is silent because nothing did, and what it said last still holds. The two are told apart by how often the
client pauses; nothing in a frame says which it is.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

HOLD_MS = 60_000
"""Longer than this nothing holds: without any change for so long even an event-driven client may be gone."""

_PAUSE_MS = 2000  # streams send at least a frame a second
_PAUSES_SHARE = 5  # one step in five is a pause: a stream over a bad network has one in twenty
_STEPS_MIN = 8


class Cadence(msgspec.Struct, array_like=True):
    """Tells event-driven clients from streams by the steps between their frames so far."""

    steps: int = 0
    pauses: int = 0
    """Steps of over two seconds."""

    def lasted(self, times: NDArray[np.int64], gap_ms: int) -> NDArray[np.int64]:
        """Take in the steps between these frames and return how long each lasted, 0 for a gap.

        `times` are milliseconds in rising order, one more than there are steps, beginning with the last frame
        of the call before. A step of over `gap_ms` is a gap to a stream, and to others beyond `HOLD_MS`.
        """
        steps = np.diff(times)
        seen = self.steps + np.arange(1, len(steps) + 1)
        pauses = self.pauses + np.cumsum(steps > _PAUSE_MS)
        self.steps, self.pauses = int(seen[-1]), int(pauses[-1])
        waits = (seen >= _STEPS_MIN) & (pauses * _PAUSES_SHARE >= seen)
        return np.where(steps <= np.where(waits, max(HOLD_MS, gap_ms), gap_ms), steps, 0)
