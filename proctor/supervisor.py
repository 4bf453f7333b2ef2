"""Tasks that live as long as the server: restarted when they fail, and seen when they do."""

from collections.abc import Awaitable, Callable, Mapping

import structlog
import trio

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 60.0
"""A task that ran so long without failing starts again with the first pause."""


class Supervisor:
    """Runs long-lived tasks and knows which of them are down."""

    def __init__(self) -> None:
        self._failures: dict[str, str | None] = {}
        self.elsewhere: Mapping[str, str] = {}
        """What is down in other processes of this server, and why; kept by whoever knows."""

    @property
    def failures(self) -> dict[str, str]:
        """Names of the tasks that are down right now, with why. A task counts from its first failure until it
        has run for a second again."""
        return {name: why for name, why in self._failures.items() if why is not None} | {**self.elsewhere}

    async def run(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        """Run `task` until cancelled, again and again whenever it raises or returns."""
        pause = _FIRST_PAUSE_SECONDS
        self._failures[name] = None
        while True:
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._clear_after_a_second, name)
                why = await self._failure_of(name, task)
                nursery.cancel_scope.cancel(reason="task is down")
            self._failures[name] = why
            if trio.current_time() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _failure_of(self, name: str, task: Callable[[], Awaitable[None]]) -> str:
        try:
            await task()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the task is down and must come back
            _log.exception("task failed", task=name)
            return _in_a_line(failure)
        _log.error("task returned", task=name)
        return "returned"

    async def _clear_after_a_second(self, name: str) -> None:
        await trio.sleep(1)
        self._failures[name] = None


def _in_a_line(failure: Exception) -> str:
    """Say what failed; nurseries put errors into groups, whose own text says nothing."""
    if isinstance(failure, ExceptionGroup):
        return "; ".join(map(_in_a_line, failure.exceptions))
    return f"{type(failure).__name__}: {failure}"
