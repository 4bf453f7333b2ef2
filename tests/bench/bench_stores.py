"""Frames per second into each frame store by size of the group commit, and back out of it.

Run by hand: `python -m tests.bench.bench_stores`. Generator, store and Redis share the machine.
"""

import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from proctor.settings import Settings
from proctor.storage.frames import FrameMessage, FrameStore, UnnumberedFrame, open_frame_store
from tests.fixtures.redis import running_redis

COMMIT_FRAMES = (1, 10, 100, 500)
SESSIONS = 20
FRAME_BYTES = 410
MEASURED_SECONDS = 2.0
LONG_SESSION_FRAMES = 100_000


def messages(start: int, count: int, sessions: int) -> list[FrameMessage]:
    """Single-frame messages with a seq each, dealt out to the sessions in turn."""
    filling = b"x" * (FRAME_BYTES - 60)
    head = b'{"filling":"%b","frame_id":"' % filling
    return [
        FrameMessage(
            f"session-{number % sessions}",
            (UnnumberedFrame(1_700_000_000_000 + number, head),),
            number,
            number.to_bytes(8, "big"),
        )
        for number in range(start, start + count)
    ]


async def writing(store: FrameStore, size: int, sessions: int) -> float:
    """Frames stored per second, without the time it takes to make them."""
    spent, stored, start = 0.0, 0, size * 10_000_000
    while spent < MEASURED_SECONDS:
        commit = messages(start + stored, size, sessions)
        began = time.perf_counter()
        await store.append(commit)
        spent += time.perf_counter() - began
        stored += size
    return stored / spent


async def long_session(store: FrameStore) -> str:
    """Times of reading all of a long session, its last second, and of clearing it."""
    for start in range(0, LONG_SESSION_FRAMES, 1000):
        await store.append(messages(start, 1000, sessions=1))
    began = time.perf_counter()
    page = await store.read("session-0")
    read = time.perf_counter() - began
    assert len(page.frames) == LONG_SESSION_FRAMES
    began = time.perf_counter()
    await store.clear("session-0")
    return f"{LONG_SESSION_FRAMES} frames: read {read:.2f} s, clear {time.perf_counter() - began:.2f} s"


async def measure(name: str, settings: Settings) -> None:
    """Print one store's figures."""
    async with open_frame_store(settings) as store:
        print(f"{name} ({store.durability})")
        print("  ", await long_session(store))
        for sessions in (1, SESSIONS):
            for size in COMMIT_FRAMES:
                rate = await writing(store, size, sessions)
                print(f"   {sessions:3} sessions, {size:4} frames per commit: {rate:9,.0f} frames/s")


async def main() -> None:
    """Measure SQLite, then Redis as it is usually deployed."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        await measure("SQLite", Settings(frame_store_path=directory / "frames.sqlite3"))
        for fsync in ("everysec", "always"):
            home = directory / fsync
            home.mkdir()
            options = ("--appendonly", "yes", "--appendfsync", fsync)
            server = stack.enter_context(running_redis(home, *options))
            await measure(f"Redis, AOF {fsync}", Settings(redis_url=server.url))
            server.kill()


if __name__ == "__main__":
    trio.run(main)
