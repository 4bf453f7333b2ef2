"""Trio in a thread, for state machines of hypothesis, whose steps are plain functions."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
import trio.testing

T = TypeVar("T")


class TrioThread:
    """Runs async functions one after another. Close it.

    With `clock`, time passes only when told to; threads and files need the real one.
    """

    def __init__(self, clock: trio.testing.MockClock | None = None) -> None:
        self._clock = clock
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=[self._main], kwargs={"clock": clock})
        self._thread.start()
        self._ready.wait()

    async def _main(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self.nursery:
            self._ready.set()
            await self._stop.wait()
            self.nursery.cancel_scope.cancel(reason="the machine stops")

    def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run to the end and then until every task waits for something."""

        async def settled() -> T:
            result = await function(*arguments)
            await trio.testing.wait_all_tasks_blocked()
            return result

        return trio.from_thread.run(settled, trio_token=self._token)

    def do(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a plain function in there, then as `call`."""

        async def run() -> T:
            return function(*arguments)

        return self.call(run)

    def pass_time(self, seconds: float, step_seconds: float = 0.5) -> None:
        """Let time pass in steps, each of which everybody notices."""
        assert self._clock is not None
        while seconds > 0:
            self.do(self._clock.jump, min(seconds, step_seconds))
            seconds -= step_seconds

    def close(self) -> None:
        """End everything that runs in there."""
        trio.from_thread.run_sync(self._stop.set, trio_token=self._token)
        self._thread.join()
