"""Event time: the client's clock, corrected to the server's."""

import math
from typing import Any

from proctor.errors import InvalidRequest
from proctor.times import ms_from_iso

_LATEST_MS = 10**14
"""Year 5138; anything later is no time in milliseconds."""

_FARTHEST_MS = 24 * 3600 * 1000
"""A frame that seems to lie farther from its receipt tells of a broken clock, not of when it was made."""

_DELAY_MS = 1000
"""Most that the first frame of a connection is taken to have been delayed more than later ones."""


def client_time_ms(value: Any, field: str) -> float:
    """Read a client's time: milliseconds since any epoch, or ISO 8601.

    Raises:
        InvalidRequest: naming `field`.
    """
    if isinstance(value, str):
        try:
            return float(ms_from_iso(value))
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LATEST_MS:
        return float(value)  # NaN is in no range
    raise InvalidRequest(f"{field} must be milliseconds since the epoch or an ISO 8601 time", field=field)


class ClientClock:
    """Estimates how far one connection's client clock is from the server's.

    A frame is received later than it was made, so the least difference between its receipt and the client's
    time is the best estimate of the offset (the minimum filter of one-way delay measurement, RFC 5905 section
    10). But only within what a network delays: frames whose times run ahead of that were buffered, or are
    replayed faster than they were recorded, and to follow them would squeeze minutes into seconds. They keep
    the distances that the client gave them. A client that says its time in a `clock` message fixes it.
    """

    def __init__(self) -> None:
        self.offset_ms: float | None = None
        """Server time minus client time; None until something was measured."""
        self._least_ms = -math.inf

    def fix(self, client_ms: float, received_ms: int) -> None:
        """Take the client's word for what time it has right now."""
        self.offset_ms = self._least_ms = received_ms - client_ms

    def observe(self, client_ms: float, received_ms: int) -> None:
        """Learn from a frame's client time."""
        difference = received_ms - client_ms
        if self.offset_ms is None:
            self.offset_ms, self._least_ms = difference, difference - _DELAY_MS
        else:
            self.offset_ms = max(min(self.offset_ms, difference), self._least_ms)

    def event_ms(self, client_ms: float | None, received_ms: int) -> int:
        """Return the event time on the server's clock, or that of receipt where the client's says nothing."""
        if client_ms is None or self.offset_ms is None:
            return received_ms
        event_ms = round(client_ms + self.offset_ms)
        return event_ms if abs(received_ms - event_ms) <= _FARTHEST_MS else received_ms
