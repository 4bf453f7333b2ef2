"""Many sessions in several processes at once. Ctrl+C ends them all."""

import math
from collections.abc import Callable, Sequence

import trio
import trio_parallel

from proctor.errors import Unavailable
from proctor.evaluation.alerts import Judge
from proctor.evaluation.measure import Measured, measure
from proctor.evaluation.sittings import Sitting

_CLOSE_SECONDS = 2.0
"""Longest that idle processes may take to exit."""


async def measure_all(
    sittings: Sequence[Sitting], judges: Sequence[Judge], workers: int, done: Callable[[], object]
) -> list[list[Measured]]:
    """Return what :func:`measure` says of each, in their order, however many workers there are.

    `done` is called after each. Cancelling it ends the workers.

    Raises:
        InvalidRequest: there is a mistake in a recording, perhaps in a group with others.
        Unavailable: an analyzer ended its process, perhaps in a group.
    """
    results: list[list[Measured]] = [[]] * len(sittings)
    places = trio.CapacityLimiter(workers)

    async with (
        trio_parallel.open_worker_context(idle_timeout=math.inf, grace_period=_CLOSE_SECONDS) as context,
        trio.open_nursery() as nursery,
    ):

        async def one(place: int) -> None:
            try:
                results[place] = await context.run_sync(
                    measure, sittings[place], judges, kill_on_cancel=True, limiter=places
                )
            except trio_parallel.BrokenWorkerError as error:
                raise Unavailable(
                    f"{sittings[place].name}: an analyzer ended its process; --only RULE tells which"
                ) from error
            done()

        for place in range(len(sittings)):
            nursery.start_soon(one, place)
    return results
