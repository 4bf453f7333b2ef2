"""The border to asyncio: the one place where its libraries run, on an event loop that Trio hosts."""

import asyncio  # noqa: TID251 - this module is the border
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio_asyncio  # noqa: TID251 - this module is the border

from proctor.errors import Unavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Bridge:
    """Runs asyncio coroutines for Trio tasks, whichever nursery those belong to."""

    def __init__(self, loop: trio_asyncio.TrioEventLoop) -> None:
        self._loop = loop

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call()` as one asyncio task and return what it returns.

        Every call is a task of its own, and libraries such as `databases` tie a connection to its task, so a
        unit of work must be one call. Cancellation throws one CancelledError into the coroutine, then waits
        until it has cleaned up, however long that takes.

        Raises:
            Unavailable: the coroutine was cancelled from the asyncio side, e.g. by a pool that closes.
        """
        try:
            result: T = await trio_asyncio.aio_as_trio(call, loop=self._loop)()
        except asyncio.CancelledError as error:
            # No Exception: let through, it would pass every handler and stop the server.
            raise Unavailable("the operation was broken off from the other side") from error
        return result


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """Host an event loop; inside of another bridge, share that one's. On leaving, its tasks are cancelled.

    Errors of the body leave as they are, without a group around them.
    """
    loop = trio_asyncio.current_loop.get()
    if loop is not None:
        yield Bridge(loop)
        return
    failure: Exception | None = None
    async with trio_asyncio.open_loop() as loop:
        # By default trio-asyncio raises what nobody awaits, e.g. the failure of a driver's own clean-up task,
        # out of the loop, and so would end everything that runs inside of it.
        loop.set_exception_handler(_log_stray_error)
        try:
            yield Bridge(loop)
        except Exception as error:  # noqa: BLE001 - raised below, outside of the loop's nurseries
            failure = error
    if failure is not None:
        raise failure


def _log_stray_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _log.warning("asyncio: %s", context["message"], exc_info=context.get("exception"))
