"""Which frames have settled: so much newer ones are there that none is likely to arrive before them."""

from bisect import bisect_right

from proctor.storage.frames import FramePage, frame_id_of

SETTLING_MS = 2_000
"""A frame is settled when one this much newer, by event time, has been stored, and its own time has come."""


def settled_of(page: FramePage, now_ms: int) -> int:
    """Return how many of the frames have settled."""
    if not page.frames:
        return 0
    # Frames that claim to be from the future must not take the cursor past those that are still to come.
    horizon = min(frame_id_of(page.frames[-1]).time_ms - SETTLING_MS, now_ms)
    settled = bisect_right(page.frames, horizon, key=lambda frame: frame_id_of(frame).time_ms)
    # A flood may claim one time for all its frames.
    return max(settled, (len(page.frames) + 1) // 2) if page.more else settled
