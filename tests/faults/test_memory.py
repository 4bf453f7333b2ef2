"""Whatever peers send, or do not read, the server's memory stays within 64 MiB of what it was."""

import gc
import sqlite3
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import msgspec
import pytest
import trio

from proctor.settings import Settings
from proctor.web.framing import Framing
from tests.faults import SCALE
from tests.faults.taker import Taker, masked
from tests.fixtures.process import ServerProcess, serve
from tests.fixtures.server import Server
from tests.web.raw import client_frame, read_head, upgrade

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.slow,
    pytest.mark.timeout(100 + 20 * SCALE),
    pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory from /proc"),
]

ALLOWED_BYTES = 64 * 1024 * 1024
ATTACK_SECONDS = 0.6 * SCALE
ATTACKERS = 50

Attack = Callable[[trio.SocketStream], Awaitable[None]]


def peak_bytes(server: ServerProcess) -> int:
    """The most memory that the server has had resident since `forget_peak`."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def forget_peak(server: ServerProcess) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


async def for_ever(stream: trio.SocketStream, data: bytes) -> None:
    while True:
        await stream.send_all(data)


async def many_empty_fragments(stream: trio.SocketStream) -> None:
    await stream.send_all(client_frame(b"{", fin=False))
    await for_ever(stream, bytes([0x00, 0x80, 0, 0, 0, 0]) * 2000)


async def many_small_fragments(stream: trio.SocketStream) -> None:
    """Just below the largest message, which is then held for as long as the connection."""
    await stream.send_all(client_frame(b"{", fin=False))
    await stream.send_all(client_frame(b"xy", 0, fin=False) * 32_000)
    await trio.sleep_forever()


async def fragments_without_end(stream: trio.SocketStream) -> None:
    await stream.send_all(client_frame(b"x" * 60_000, fin=False))
    await for_ever(stream, client_frame(b"x" * 60_000, 0, fin=False))


async def brackets(stream: trio.SocketStream) -> None:
    """What costs a parser most per byte."""
    await for_ever(stream, masked(b"[" + b"[]," * 21_000 + b"[]]"))


async def deep(stream: trio.SocketStream) -> None:
    await for_ever(stream, masked(b'{"a":' * 13_000))


async def pings_without_reading(stream: trio.SocketStream) -> None:
    await for_ever(stream, client_frame(b"p" * 125, 9) * 100)


async def frames_without_reading(stream: trio.SocketStream) -> None:
    """Each is acknowledged, and nobody listens."""
    for seq in range(10**9):
        await stream.send_all(masked(msgspec.json.encode({"seq": seq, "extracted_features": {}})) * 50)


async def large_batches(stream: trio.SocketStream) -> None:
    frame = {"face_present": 1, "no_of_face": 1, "note": "x" * 60}
    await for_ever(stream, masked(msgspec.json.encode({"type": "batch", "frames": [frame] * 500})))


async def half_a_request(stream: trio.SocketStream) -> None:
    await stream.send_all(b"POST /api/v1/session/start HTTP/1.1\r\nHost: x\r\nContent-Length: 260000\r\n\r\n")
    await stream.send_all(b"x" * 259_000)
    await trio.sleep_forever()


FRAMED = [
    many_empty_fragments,
    many_small_fragments,
    fragments_without_end,
    brackets,
    deep,
    pings_without_reading,
    frames_without_reading,
    large_batches,
]


async def attack(server: ServerProcess, how: Attack, number: int) -> None:
    """One peer that attacks, again and again as it is thrown out."""
    while True:
        with suppress(OSError, trio.BrokenResourceError, AssertionError):
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                if how in FRAMED:
                    await stream.send_all(upgrade(f"/api/v1/session/ws/bad-{number}"))
                    await read_head(stream)
                await how(stream)
        await trio.sleep(0.01)


@asynccontextmanager
async def under_attack(server: ServerProcess, how: Attack) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for number in range(ATTACKERS):
            nursery.start_soon(attack, server, how, number)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def warm(folder: Path) -> AsyncIterator[ServerProcess]:
    """A server that has done everything once, so that its memory is what it needs for itself."""
    async with serve(folder, LOG_LEVEL="error", MAX_FRAMES_PER_SECOND="0") as server:
        await Taker("warm", lambda: server.port).run(2000)
        for action in ("analyze", "end"):
            await server.post("warm", action)
        yield server


async def test_attacks_cost_little_memory_and_nobody_elses_service(tmp_path: Path):
    async with warm(tmp_path) as server, trio.open_nursery() as nursery:
        base = peak_bytes(server)
        other = Taker("other", lambda: server.port, pause_seconds=0.05)
        nursery.start_soon(other.run)
        costs = {}
        for how in [*FRAMED, half_a_request]:
            before = peak_bytes(server)
            forget_peak(server)
            async with under_attack(server, how):
                await trio.sleep(ATTACK_SECONDS)
            costs[how.__name__] = (peak_bytes(server) - before) // 2**20
            with trio.fail_after(10):
                await other.progress()
        assert peak_bytes(server) - base < ALLOWED_BYTES, costs
        await other.finish()
        assert other.connections == 1


async def test_a_flood_fills_a_buffer_and_no_more(tmp_path: Path):
    """With the largest messages there are, while the store is down and while it catches up."""
    full = Settings(_env_file=None).ingest_buffer_bytes
    async with warm(tmp_path) as server:
        forget_peak(server)
        base = peak_bytes(server)
        with closing(sqlite3.connect(tmp_path / "proctor-frames.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with under_attack(server, large_batches):
                with trio.fail_after(60):
                    while (await server.metrics())["proctor_ingest_waiting_bytes", ""] < full:  # noqa: ASYNC110
                        await trio.sleep(0.1)
                await trio.sleep(2 * ATTACK_SECONDS)
                other.rollback()
                await trio.sleep(8 * ATTACK_SECONDS)
        assert peak_bytes(server) - base < ALLOWED_BYTES


@pytest.mark.parametrize("fragment", [b"", b"xy"], ids=["empty", "small"])
def test_a_message_in_tiny_fragments_costs_no_more_than_in_one(fragment: bytes):
    """Each client may have one, for as long as it likes."""
    framing = Framing(message_max_bytes=65_536)
    fragments = bytes([0x00, 0x80 | len(fragment), 0, 0, 0, 0]) + fragment
    tracemalloc.start()
    assert not list(framing.messages(client_frame(b"{", fin=False)))
    for _ in range(8):
        assert not list(framing.messages(fragments * 1000))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 48_000


@pytest.mark.parametrize("behind", [True, False], ids=["behind the handshake", "later"])
async def test_peers_that_come_again_and_again_leave_nothing_to_the_garbage_collector(
    server: Server, behind: bool
):
    """Which comes late: what keeps a connection's objects in a cycle must not keep what it had received."""
    fragment = client_frame(b"x" * 60_000, fin=False)

    async def come_and_go() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            request = upgrade("/api/v1/session/ws/exam")
            await stream.send_all(request + fragment if behind else request)
            await read_head(stream)
            if not behind:
                await stream.send_all(fragment)
            await trio.sleep(0.01)

    await come_and_go()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(30):
            await come_and_go()
        while (await server.metrics())["proctor_connections", ""]:  # noqa: ASYNC110
            await trio.sleep(0.01)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < 30 * 50_000
