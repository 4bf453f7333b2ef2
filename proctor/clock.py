"""Event time: the client's clock, corrected to the server's."""

import math
from copy import copy
from typing import Any

from proctor.errors import InvalidRequest
from proctor.times import ms_from_iso

_LATEST_MS = 10**14
"""Year 5138; anything later is no time in milliseconds."""

_FARTHEST_MS = 24 * 3600 * 1000
"""A frame that seems to lie farther from its receipt tells of a broken clock, not of when it was made."""

_DELAY_MS = 1000
"""Most that the first frame of a connection is taken to have been delayed more than later ones."""

DRIFT_MAX = 500e-6
"""No computer's clock drifts faster: RFC 5905 (appendix A.1.1) bounds its frequency by 500 ppm."""

_BUCKET_MS = 10_000
_BUCKETS_MIN, _SPAN_MS = 20, 300_000
"""What it takes to tell drift from delay: so many points, over so long a time. Before, there is none."""
_HULL_POINTS = 64
_TOLERANCE_MS = 5
"""Lines that differ by less are the same, so that event times do not tremble."""

_STEADY_MS, _STEADY_FRAMES, _STEADY_WITHIN_MS = 10_000, 10, 100
"""Differences are steady when the least of so long a time, and so many, are the same in both its halves."""


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


class _Envelope:
    """The least differences between receipt and client's time, as the lower convex hull of their points.

    Delay only ever adds to a difference, so the clocks' true course lies below all points, and the edge of
    the hull at the middle of the time is the line that fits them best from below (Moon, Skelly and Towsley,
    "Estimation and removal of clock skew from network delay measurements", 1999). One point is kept for each
    ten seconds, and only those on the hull.
    """

    def __init__(self) -> None:
        self._hull: list[tuple[float, float]] = []
        self._closed = 0
        self._bucket = -math.inf
        self._least = (0.0, 0.0)

    def copy(self) -> "_Envelope":
        copied = copy(self)
        copied._hull = list(self._hull)
        return copied

    def add(self, client_ms: float, difference_ms: float) -> bool:
        """Take in a point; return whether `line` may have changed."""
        bucket = client_ms // _BUCKET_MS
        if bucket == self._bucket:
            if difference_ms < self._least[1]:
                self._least = (client_ms, difference_ms)
            return False
        if bucket < self._bucket:
            return False  # a late one, which was delayed more than others were
        closes = self._bucket > -math.inf
        if closes:
            self._push(*self._least)
        self._bucket, self._least = bucket, (client_ms, difference_ms)
        return closes

    def line(self) -> tuple[float, float, float] | None:
        """A point of the line and its slope; None without enough evidence or where no clock is like that."""
        hull = self._hull
        if self._closed < _BUCKETS_MIN or hull[-1][0] - hull[0][0] < _SPAN_MS:
            return None
        middle = (hull[0][0] + hull[-1][0]) / 2
        place = next(place for place, point in enumerate(hull) if point[0] > middle)
        (x0, y0), (x1, y1) = hull[place - 1], hull[place]
        slope = (y1 - y0) / (x1 - x0)
        return (x0, y0, slope) if abs(slope) <= DRIFT_MAX else None

    def _push(self, x: float, y: float) -> None:
        hull = self._hull
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (x - x1) < (y - y1) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
        del hull[:-_HULL_POINTS]
        self._closed += 1


class _Level:
    """Differences that are not what was expected. Do they stay where they are now?"""

    def __init__(self, received_ms: int) -> None:
        self._since_ms = received_ms
        self._frames = self._others = 0
        self._early_ms = self.late_ms = math.inf

    def add(self, difference_ms: float, received_ms: int) -> bool | None:
        """Take in the next one; None while it is too early to tell."""
        self._frames += 1
        age_ms = received_ms - self._since_ms
        if age_ms < _STEADY_MS / 2:
            self._early_ms = min(self._early_ms, difference_ms)
        else:
            self.late_ms = min(self.late_ms, difference_ms)
        if age_ms < _STEADY_MS or self._frames < _STEADY_FRAMES:
            return None
        return abs(self.late_ms - self._early_ms) <= _STEADY_WITHIN_MS

    def is_contradicted(self) -> bool:
        """Count a frame that is as was expected; return whether those are more than chance delays explain."""
        self._others += 1
        return 10 * self._others > self._frames + 10


class ClientClock:
    """Estimates how far one connection's client clock is from the server's, and how fast it goes.

    A frame is received later than it was made, so the least difference between its receipt and the client's
    time is the best estimate of the offset (the minimum filter of one-way delay measurement, RFC 5905 section
    10). But only within what a network delays: frames whose times run ahead of that were buffered, or are
    replayed faster than they were recorded, and to follow them would squeeze minutes into seconds. They keep
    the distances that the client gave them. A client that says its time in a `clock` message fixes the
    offset, and with several of them the drift; else minutes of frames tell the drift.

    Differences that settle somewhere else, as after somebody set the client's clock, start all of this over.
    Otherwise event times never fall while the client's rise.

    A client that comes back sends first what it could not send before, and so has to be known by its earlier
    connection; see `successor`.
    """

    def __init__(self) -> None:
        self.steps = 0
        """How often the client's clock was found to have jumped."""
        self._begin()

    def _begin(self) -> None:
        self.offset_ms: float | None = None
        """Server time minus client time, at the client's time `_anchor_ms`; None until it was measured."""
        self.rate = 0.0
        """What the offset grows by per millisecond, within 500 ppm."""
        self._anchor_ms = 0.0
        self._least_ms = -math.inf
        self._fixed: tuple[float, float] | None = None
        """The first `clock` message since the clock jumped: client's time and difference."""
        self._rate_fixed = False
        self._envelope = _Envelope()
        self._level: _Level | None = None
        self._confirmed = True
        """Whether anything came on this connection that is as was expected."""
        self._latest_ms, self._latest_event_ms = -math.inf, 0

    def successor(self) -> "ClientClock":
        """Return a clock for the client's next connection, unless its frames show that it is another."""
        clock = copy(self)
        clock._envelope = self._envelope.copy()
        clock._level = None
        clock._confirmed = self.offset_ms is None
        return clock

    def fix(self, client_ms: float, received_ms: int) -> None:
        """Take the client's word for what time it has right now."""
        difference = received_ms - client_ms
        if self.offset_ms is not None and abs(difference - self._offset_at(client_ms)) > _DELAY_MS:
            self.steps += 1
            self._begin()
        if self._fixed is None:
            self._fixed = client_ms, difference
        elif client_ms - self._fixed[0] >= _SPAN_MS:
            rate = (difference - self._fixed[1]) / (client_ms - self._fixed[0])
            if abs(rate) <= DRIFT_MAX:
                self.rate, self._rate_fixed = rate, True
        self._confirmed = True
        self._anchor_ms = client_ms
        self.offset_ms = self._least_ms = difference

    def observe(self, client_ms: float, received_ms: int) -> None:
        """Learn from a frame's client time."""
        difference = received_ms - client_ms
        if self.offset_ms is None:
            self._start(client_ms, difference)
        excess = difference - self._offset_at(client_ms)
        if excess > _DELAY_MS:
            if self._level or not self._confirmed or client_ms < self._latest_ms - _DELAY_MS:
                self._doubt(client_ms, received_ms, difference)
            return
        if excess < -_DELAY_MS:
            if self._confirmed:
                self._doubt(client_ms, received_ms, difference)
                return
            # Frames may wait for a connection, but none comes before its time.
            self._step(client_ms, difference)
            excess = 0.0
        self._confirmed = True
        if self._level is not None and not self._level.is_contradicted():
            return
        self._level = None
        if excess < 0:
            self.offset_ms = max((self.offset_ms or 0.0) + excess, self._least_ms)
        if self._envelope.add(client_ms, difference):
            self._straighten(client_ms)

    def event_ms(self, client_ms: float | None, received_ms: int) -> int:
        """Return the event time on the server's clock, or that of receipt where the client's says nothing."""
        if client_ms is None or self.offset_ms is None:
            return received_ms
        event_ms = round(client_ms + self._offset_at(client_ms))
        if abs(received_ms - event_ms) > _FARTHEST_MS:
            return received_ms
        if client_ms >= self._latest_ms:
            event_ms = max(event_ms, self._latest_event_ms)
            self._latest_ms, self._latest_event_ms = client_ms, event_ms
        return event_ms

    def _offset_at(self, client_ms: float) -> float:
        return (self.offset_ms or 0.0) + self.rate * (client_ms - self._anchor_ms)

    def _straighten(self, client_ms: float) -> None:
        """Take the drift from the envelope, if that says anything new."""
        line = self._envelope.line()
        if line is None or self._rate_fixed:
            return
        x, y, slope = line
        if self._fixed is not None:
            self.rate = slope
        elif abs(y + slope * (client_ms - x) - self._offset_at(client_ms)) > _TOLERANCE_MS:
            self._anchor_ms, self.offset_ms, self.rate = x, y, slope
            self._least_ms = y - _DELAY_MS

    def _doubt(self, client_ms: float, received_ms: int, difference_ms: float) -> None:
        """The clock may have jumped, or the frame waited or ran ahead; what comes next tells."""
        if self._level is None:
            self._level = _Level(received_ms)
        steady = self._level.add(difference_ms, received_ms)
        if steady:
            self._step(client_ms, self._level.late_ms)
        elif steady is False:
            self._level = None

    def _step(self, client_ms: float, difference_ms: float) -> None:
        """Forget what was; the clock has jumped, or is another."""
        self.steps += 1
        self._begin()
        self._start(client_ms, difference_ms)

    def _start(self, client_ms: float, difference_ms: float) -> None:
        self._anchor_ms = client_ms
        self.offset_ms, self._least_ms = difference_ms, difference_ms - _DELAY_MS
