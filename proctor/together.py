"""Calls to another thread or process: those that wait at the same time are made together.

To get there and back takes a call of a millisecond longer than what it does there, the more so in a busy
server, in which a task has to wait for its turn at every step.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio
from outcome import Outcome, capture

THREAD_CALLS = 32
"""Most calls that a thread makes in one go."""

END_SECONDS = 30.0
"""How long the end of a call is waited for that was begun and then given up. A disk may hang for ever."""


@dataclass(eq=False)
class Call:
    """One call, which somebody waits for unless it is given up."""

    function: Callable[[], Any]
    size: int
    limit_seconds: float
    given_up: bool = False
    begun: bool = False
    outcome: Outcome[Any] | None = None
    woken: trio.Event = field(default_factory=trio.Event)
    """It has its turn, or its outcome."""

    def settle(self, outcome: Outcome[Any]) -> None:
        """Have it return or raise this."""
        self.outcome = outcome
        self.woken.set()


class Together:
    """Makes calls in a number of places; where all are taken the calls wait, the first first.

    Args:
        make: Makes some calls and settles each. If it is cancelled, those that it has not settled are made
            again, but for the first.
        places: How many groups of calls are made at the same time.
        most: Calls in one of them, at the most.
        most_bytes: Their sizes together, at the most.
        ends: Whether a call that was begun is waited for although it is cancelled.
    """

    def __init__(
        self,
        make: Callable[[Sequence[Call]], Awaitable[None]],
        *,
        places: int,
        most: int,
        most_bytes: int,
        ends: bool,
    ) -> None:
        self._make = make
        self._places = self._free = places
        self._most = most
        self._most_bytes = most_bytes
        self._ends = ends
        self._waiting: deque[Call] = deque()

    async def call(self, function: Callable[[], Any], *, size: int = 0, limit_seconds: float = 0.0) -> Any:
        """Make a call, of about so many bytes, and return what it returns or raise what it raises."""
        call = Call(function, size, limit_seconds)
        try:
            if self._free:
                self._free -= 1
            else:
                self._waiting.append(call)
                await self._woken(call)
            if call.outcome is None:
                await self._take_turn(call)
        finally:
            call.given_up = True
            if call in self._waiting:
                self._waiting.remove(call)
        if call.outcome is None:
            raise AssertionError("a call had its turn and no outcome")
        return call.outcome.unwrap()

    async def _woken(self, call: Call) -> None:
        try:
            await call.woken.wait()
        except trio.Cancelled:
            if not (call.begun and self._ends):
                raise
            with trio.move_on_after(END_SECONDS, shield=True):
                await call.woken.wait()
            raise

    async def _take_turn(self, first: Call) -> None:
        """Make this call, and others that wait; then it is somebody else's turn."""
        calls = [first, *self._taken_along(first.size)]
        for each in calls:
            each.begun = True
        try:
            await self._make(calls)
        finally:
            undone = [each for each in calls[1:] if each.outcome is None and not each.given_up]
            self._waiting.extendleft(reversed(undone))
            if self._waiting:
                self._waiting.popleft().woken.set()
            else:
                self._free += 1

    def _taken_along(self, size: int) -> list[Call]:
        # Some are left to the places whose turn comes next.
        most = min(self._most, -(-(len(self._waiting) + 1) // self._places)) - 1
        taken: list[Call] = []
        while self._waiting and len(taken) < most and size + self._waiting[0].size <= self._most_bytes:
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        return taken


def in_threads(places: int) -> Together:
    """Make calls in so many threads, up to `THREAD_CALLS` in one go; one that was begun is waited for."""
    limiter = trio.CapacityLimiter(places)

    async def make(calls: Sequence[Call]) -> None:
        outcomes = await trio.to_thread.run_sync(
            lambda: [capture(call.function) for call in calls], limiter=limiter
        )
        for call, outcome in zip(calls, outcomes, strict=True):
            call.settle(outcome)

    return Together(make, places=places, most=THREAD_CALLS, most_bytes=0, ends=True)
