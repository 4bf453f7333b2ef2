"""A session's spool and the frame buffer together: what the one lacks, the other has."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import trio

from proctor.model import FrameId
from proctor.storage.frames import FrameStore, frame_id_of
from proctor.storage.numbers import Numbers
from proctor.storage.recording import Recording
from proctor.storage.spool import Spool, spool_path, spools_of

PAGE_FRAMES, PAGE_BYTES = 1000, 2**20
_NEAR_MS = 60_000
"""What a spool lacks is mostly no older than its latest frames, less so much."""


async def epoch_of(store: FrameStore, session_id: str) -> str:
    """Ask the store for its epoch. Raises Unavailable."""
    return (await store.resume_point(session_id)).epoch


async def append_lacking(store: FrameStore, spool: Spool) -> int:
    """Append what the buffer has and the spool lacks. Returns how many frames were ever stored.

    Raises:
        Unavailable: the store does not answer.
        OSError: the disk refuses.
    """
    await trio.to_thread.run_sync(spool.refresh)
    stored = (await store.read(spool.session_id, limit=0)).stored
    async with aclosing(_lacking(store, spool.session_id, spool, stored)) as pages:
        async for page in pages:
            numbers = [(number, number + 1) for _, number in map(frame_id_of, page)]
            await trio.to_thread.run_sync(spool.append, page, numbers)
    await trio.to_thread.run_sync(spool.refresh)
    return stored


async def recorded(store: FrameStore, directory: Path, session_id: str) -> Recording:
    """Return the whole session, whose spools are at `directory`; to be closed by the caller.

    Raises:
        Unavailable: the store does not answer.
        OSError: the disk refuses.
    """
    while True:
        epoch = await epoch_of(store, session_id)
        # Counted first, so that of what comes meanwhile nothing is taken for lost.
        stored = (await store.read(session_id, limit=0)).stored
        path = spool_path(directory, session_id, epoch)
        recording = await trio.to_thread.run_sync(Recording, path, stored)
        try:
            found = []
            async with aclosing(_lacking(store, session_id, recording, stored)) as pages:
                async for page in pages:
                    found += page
            recording.add(found)
            older = set(await trio.to_thread.run_sync(spools_of, directory, session_id)) - {path}
            await trio.to_thread.run_sync(recording.leave_out, older)
            if await epoch_of(store, session_id) == epoch:
                return recording
        except BaseException:
            recording.close()
            raise
        recording.close()  # the store was emptied meanwhile


async def _lacking(
    store: FrameStore, session_id: str, spooled: Spool | Recording, stored: int
) -> AsyncGenerator[list[bytes], None]:
    """Yield the frames numbered below `stored` that the buffer has and the spool lacks, page by page.

    What the caller adds to the spool meanwhile makes no difference.
    """
    lacking = Numbers(spooled.numbers.lacking(stored))
    got = Numbers()
    for start in (FrameId(spooled.latest_ms - _NEAR_MS, 0), None):
        after, more = start, True
        while more and len(got) < len(lacking):
            page = await store.read(session_id, after, PAGE_FRAMES, PAGE_BYTES)
            more = page.more
            found = []
            for frame in page.frames:
                after = frame_id_of(frame)
                if after.number in lacking and after.number not in got:
                    got.add(after.number, after.number + 1)
                    found.append(frame)
            if found:
                yield found
