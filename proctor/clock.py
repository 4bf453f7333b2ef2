"""Event time: the client's clock, corrected to the server's."""

from typing import Any

from proctor.errors import InvalidRequest
from proctor.model import ms_from_iso

_LATEST_MS = 10**14
"""Year 5138; anything later is no time in milliseconds."""

_OLDEST_MS = 24 * 3600 * 1000
"""A frame that seems to have waited longer to be sent tells of a broken clock, not of when it was made."""


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

    A message is received later than it was sent, so the smallest difference seen between the time of receipt
    and the client's time is the best estimate of the offset (the minimum filter of one-way delay measurement,
    RFC 5905 section 10). A client that says its time in a `clock` message fixes the offset by it: frames
    that it had buffered, or that are replayed faster than they were recorded, then keep their distances.
    """

    def __init__(self) -> None:
        self.offset_ms: float | None = None
        """Server time minus client time; None until something was measured."""
        self._fixed = False

    def fix(self, client_ms: float, received_ms: int) -> None:
        """Take the client's word for what time it has right now."""
        self.offset_ms = received_ms - client_ms
        self._fixed = True

    def observe(self, client_ms: float, received_ms: int) -> None:
        """Learn from a frame's client time."""
        if not self._fixed:
            difference = received_ms - client_ms
            self.offset_ms = difference if self.offset_ms is None else min(self.offset_ms, difference)

    def event_ms(self, client_ms: float | None, received_ms: int) -> int:
        """Return the event time on the server's clock; never later than the time of receipt.

        Where the client's time says nothing plausible, it is the time of receipt.
        """
        if client_ms is None or self.offset_ms is None:
            return received_ms
        event_ms = min(round(client_ms + self.offset_ms), received_ms)
        return event_ms if received_ms - event_ms <= _OLDEST_MS else received_ms
