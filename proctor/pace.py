"""How much a client may send: frames per second, by a token bucket, and unusable messages. No I/O.

Times are seconds on any one clock that never goes back.
"""

import math
from collections import deque

from proctor.errors import Throttled
from proctor.latest import Latest
from proctor.settings import Settings

BURST_SECONDS = 30.0
"""A client saves up what it may send in so long, or one largest batch if that is more.

For whoever was offline sends what it had to keep, and may not have long before the exam ends. At ten frames
per second and the default limit, what three minutes offline have left behind comes at once, and the rest at
six times the pace at which it was made.
"""
_FLOOD_SECONDS = 60.0
_EPISODE_SECONDS = 10.0
"""A client that has owed nothing for so long has come to rest; until then it is one and the same episode."""
KNOWN_SESSIONS = 10_000
"""Those that sent something last; of others nothing is known, as of one that has sent nothing yet."""


class Allowance:
    """What one session may send, over all its connections and requests. Whatever it sends counts."""

    __slots__ = ("burst_seconds", "frame_seconds", "full_at", "per_second")

    def __init__(self, settings: Settings) -> None:
        self.per_second = settings.max_frames_per_second
        self.frame_seconds = 1 / self.per_second if self.per_second else 0.0
        """Time that pays for a frame; nothing without a limit."""
        self.burst_seconds = max(BURST_SECONDS, settings.batch_max_frames * self.frame_seconds)
        self.full_at = -math.inf
        """When everything is paid and saved up that can be, if nothing more is sent."""


class Pace:
    """How fast one client may go. What goes beyond the savings of its session is owed.

    It should not be read while it owes anything, and again from `paid_at` on. So a message is taken whole as
    long as anything is left, also a batch that is larger than that. Several clients of one session draw on
    the same allowance, and take turns once it is used up: each pays for all that was sent before its turn.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._frame_seconds = allowance.frame_seconds
        self._burst_seconds = allowance.burst_seconds
        self._behind_until = -math.inf
        self.owes = False
        self.paid_at = math.inf
        """When the debt is paid; infinite as long as there is none."""

    def spend(self, frames: int, now: float) -> bool:
        """Count so many frames; return whether the client owes anything now."""
        allowance = self._allowance
        full_at = allowance.full_at
        if full_at < now:
            full_at = now
        allowance.full_at = full_at = full_at + frames * self._frame_seconds
        if full_at - now <= self._burst_seconds:
            return False
        self.owes, self.paid_at = True, full_at - self._burst_seconds
        return True

    def is_behind(self, now: float) -> bool:
        """Return whether an episode goes on: what comes now may have waited a long time to be read."""
        return now < self._behind_until

    def falls_behind(self, now: float) -> bool:
        """Note that the client is slowed down for what it owes; return whether that begins an episode."""
        begins = not self.is_behind(now)
        self._behind_until = self.paid_at + _EPISODE_SECONDS
        return begins

    @property
    def complaint(self) -> str:
        """What a client is told that is too fast."""
        return (
            f"more than {self._allowance.per_second:g} frames per second (MAX_FRAMES_PER_SECOND): you are "
            "read more slowly until that is made up for; nothing is lost, but send fewer"
        )

    def settle(self) -> None:
        """Note that what was owed is paid."""
        self.owes, self.paid_at = False, math.inf

    def lift(self) -> bool:
        """Hold the client up no more, and forgive it what it owes; return whether it did owe anything.

        What it sends still counts for the other clients of its session, and for those that come after it.
        """
        owed = self.owes
        self._burst_seconds = math.inf
        self.settle()
        return owed


class Allowances:
    """The allowances of the sessions that sent something last, so that no reconnect renews them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowances: Latest[Allowance] = Latest(KNOWN_SESSIONS)

    def of(self, session_id: str) -> Allowance:
        """Return what all clients of the session share."""
        found = self._allowances.get(session_id)
        if found is None:
            found = Allowance(self._settings)
        self._allowances.put(session_id, found)
        return found

    def spend(self, session_id: str, frames: int, now: float) -> None:
        """Count the frames of a single request.

        Raises:
            Throttled: the session owes something, and they must not be taken; they are not counted.
        """
        allowance = self.of(session_id)
        owed_seconds = allowance.full_at - now - allowance.burst_seconds
        if owed_seconds > 0:
            most = f"{allowance.per_second:g} frames per second (MAX_FRAMES_PER_SECOND)"
            detail = f"session {session_id!r} sends more than {most}; send the message again later"
            raise Throttled(detail, retry_after_seconds=owed_seconds)
        Pace(allowance).spend(frames, now)


class Unusable:
    """The unusable messages of one client."""

    def __init__(self, settings: Settings) -> None:
        self._times: deque[float] = deque(maxlen=settings.invalid_messages_max)

    def is_flood(self, now: float) -> bool:
        """Count one more; return whether `invalid_messages_max` came within a minute."""
        self._times.append(now)
        return len(self._times) == self._times.maxlen and now - self._times[0] < _FLOOD_SECONDS
