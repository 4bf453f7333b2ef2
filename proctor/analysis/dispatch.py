"""Hands calls to analysis workers, those that wait together to one.

Only when a worker dies is each of its calls made alone, so that it is known which is to blame.
"""

import signal
from collections.abc import Callable, Sequence
from functools import partial

import trio
import trio_parallel
from outcome import Error, Outcome

from proctor.analysis import worker
from proctor.analysis.schema import Status
from proctor.together import Call, Together

TOGETHER_MAX = 16
"""Most calls that one worker is given together, …"""
TOGETHER_BYTES = 2**20
"""… and most bytes of them all."""


class WorkerLost(Exception):
    """A worker died, or had to be killed, before it answered."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Dispatch:
    """As many workers as there are places are busy; the calls of others wait, the first first."""

    def __init__(self, workers: trio_parallel.WorkerContext, places: int, analyzer_seconds: float) -> None:
        self._workers = workers
        self._analyzer_seconds = analyzer_seconds
        self._together = Together(
            self._make, places=places, most=TOGETHER_MAX, most_bytes=TOGETHER_BYTES, ends=False
        )

    async def call(self, function: Callable[[], bytes], *, size: int, limit_seconds: float) -> bytes:
        """Call a function in a worker, which must not take longer once it has begun.

        `size` is about how many bytes go there. Cancelled, it ends the worker that is busy with it; calls
        that this one had taken along are made again.

        Raises:
            WorkerLost: its worker died of it.
            Exception: whatever the function raises.
        """
        answer: bytes = await self._together.call(function, size=size, limit_seconds=limit_seconds)
        return answer

    async def _make(self, calls: Sequence[Call]) -> None:
        try:
            answers = await self._within_limit(calls)
        except WorkerLost as lost:
            if len(calls) == 1:
                calls[0].settle(Error(lost))
                return
            for each in calls:
                if not each.given_up:
                    await self._make([each])
            return
        for each, answer in zip(calls, answers, strict=True):
            starved = isinstance(answer, Error) and isinstance(answer.error, MemoryError)
            each.settle(Error(_starved()) if starved else answer)

    async def _within_limit(self, calls: Sequence[Call]) -> Sequence[Outcome[bytes]]:
        limit = sum(each.limit_seconds for each in calls)
        with trio.move_on_after(limit):
            return await self._in_worker([each.function for each in calls])
        raise WorkerLost(Status.TIMED_OUT, f"gave no answer within {limit:.0f} s")

    async def _in_worker(self, functions: Sequence[Callable[[], bytes]]) -> Sequence[Outcome[bytes]]:
        try:
            # Its own limiter is no limit: this call has its turn.
            answers: Sequence[Outcome[bytes]] = await self._workers.run_sync(
                partial(worker.answers, functions), kill_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )
        except trio_parallel.BrokenWorkerError as error:
            exitcode = error.args[-1].exitcode
            if exitcode == -signal.SIGALRM:
                reason = f"took longer than {self._analyzer_seconds:g} s"
                raise WorkerLost(Status.TIMED_OUT, reason) from error
            raise WorkerLost(Status.FAILED, f"ended its process ({_exit(exitcode)})") from error
        except MemoryError as error:
            raise _starved() from error
        return answers


def _starved() -> WorkerLost:
    return WorkerLost(Status.FAILED, "used up the memory of its process")


def _exit(exitcode: int) -> str:
    return f"exit status {exitcode}" if exitcode >= 0 else signal.Signals(-exitcode).name
