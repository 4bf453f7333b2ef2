"""Work that one process at a time does, and another goes on with when that process dies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from proctor.errors import Unavailable
from proctor.storage.frames import FrameStore

_GIVE_UP_SECONDS = 1.0


@asynccontextmanager
async def leased(store: FrameStore, name: str, holder: str, seconds: float) -> AsyncIterator[bool]:
    """Hold `name` inside the block, if nobody else does; yields whether it is held.

    It is prolonged as long as this process runs. A process that dies holds it for `seconds` at most; one that
    is stopped for longer loses it without learning so, and what it does then must do no harm.

    Raises:
        Unavailable: the store does not answer. While the block runs that is no trouble.
    """
    if await store.claim(name, seconds, holder) > 0:
        yield False
        return

    async def prolong() -> None:
        while True:
            await trio.sleep(seconds / 3)
            with suppress(Unavailable):
                await store.claim(name, seconds, holder)

    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prolong)
            try:
                yield True
            except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery's group
                failure = error
            nursery.cancel_scope.cancel(reason="done")
    finally:
        with trio.move_on_after(_GIVE_UP_SECONDS, shield=True), suppress(Unavailable):
            await store.claim(name, 0, holder)
    if failure is not None:
        raise failure
