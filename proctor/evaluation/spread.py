"""Many sessions in several processes at once. Ctrl+C ends them all."""

import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import trio
import trio_parallel

from proctor.analysis.worker import alarm, ready
from proctor.errors import Unavailable
from proctor.evaluation.alerts import Judge
from proctor.evaluation.measure import Measured, measure
from proctor.evaluation.sittings import Sitting

_CLOSE_SECONDS = 2.0
"""Longest that idle processes may take to exit."""


async def measure_all(
    sittings: Sequence[Sitting],
    judges: Sequence[Judge],
    workers: int,
    seconds: float,
    done: Callable[[], object],
) -> list[list[Measured]]:
    """Return what :func:`measure` says of each, in their order, however many workers there are.

    `done` is called after each. Cancelling it ends the workers. An analyzer may take as many
    `seconds` over a call, as on a server.

    Raises:
        InvalidRequest: there is a mistake in a recording, perhaps in a group with others.
        Unavailable: an analyzer took longer or ended its process, perhaps in a group.
    """
    guarded = [each._replace(guard=partial(alarm, seconds)) for each in judges]
    results: list[list[Measured]] = [[]] * len(sittings)
    places = trio.CapacityLimiter(workers)

    async with (
        trio_parallel.open_worker_context(idle_timeout=math.inf, grace_period=_CLOSE_SECONDS) as context,
        trio.open_nursery() as nursery,
    ):
        with _interrupts_held():
            async with trio.open_nursery() as starting:
                for _ in range(workers):
                    starting.start_soon(partial(context.run_sync, ready, kill_on_cancel=True, limiter=places))

        async def one(place: int) -> None:
            try:
                results[place] = await context.run_sync(
                    measure, sittings[place], guarded, kill_on_cancel=True, limiter=places
                )
            except trio_parallel.BrokenWorkerError as error:
                raise Unavailable(
                    f"{sittings[place].name}: an analyzer took longer than {seconds:g} s or ended its "
                    "process; --only RULE tells which"
                ) from error
            done()

        for place in range(len(sittings)):
            nursery.start_soon(one, place)
    return results


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let processes start without SIGINT, which a terminal sends to all of them; here it comes afterwards.

    They would answer it with a traceback each while they import, and are ended by this one anyway.
    """
    if sys.platform == "win32":
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
