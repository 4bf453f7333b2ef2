"""SIGTERM in the middle of everything: a farewell to everybody, nothing lost, and an exit in time."""

import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from tests.faults import SCALE
from tests.faults.checker import in_file, judge
from tests.faults.taker import Closed, Taker, masked
from tests.fixtures.process import ServerProcess, serve
from tests.web.raw import read_head, upgrade

pytestmark = [pytest.mark.slow, pytest.mark.no_cover, pytest.mark.timeout(120)]

TAKERS = 100 if SCALE == 1 else 500
DEADLINE_SECONDS = 10.0


async def deaf(stream: trio.SocketStream) -> None:
    """Reads nothing and says nothing, not even goodbye."""
    await stream.send_all(upgrade("/api/v1/session/ws/deaf"))
    await trio.sleep_forever()


async def deaf_flooder(stream: trio.SocketStream) -> None:
    await stream.send_all(upgrade("/api/v1/session/ws/flood"))
    await read_head(stream)
    for seq in range(10**9):
        await stream.send_all(masked(b'{"seq":%d,"extracted_features":{}}' % seq))


async def half_a_handshake(stream: trio.SocketStream) -> None:
    await stream.send_all(upgrade("/api/v1/session/ws/half")[:-2])
    await trio.sleep_forever()


async def half_a_message(stream: trio.SocketStream) -> None:
    await stream.send_all(upgrade("/api/v1/session/ws/half"))
    await read_head(stream)
    await stream.send_all(masked(b'{"extracted_features":{}}')[:-3])
    await trio.sleep_forever()


async def half_a_body(stream: trio.SocketStream) -> None:
    await stream.send_all(
        b"POST /api/v1/session/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b'Content-Length: 1000\r\n\r\n{"exam_session_id":'
    )
    await trio.sleep_forever()


HOSTILE = [deaf, deaf_flooder, half_a_handshake, half_a_message, half_a_body]


async def be(how: Callable[[trio.SocketStream], Awaitable[None]], port: int) -> None:
    with suppress(OSError, trio.BrokenResourceError):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await how(stream)


async def stop(server: ServerProcess) -> float:
    """Send SIGTERM; returns how many seconds the server took to exit, which it must do well."""
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert await server.exited() == 0
    return time.monotonic() - began


async def under_way(server: ServerProcess, session_id: str) -> None:
    """Wait until a session is being ended, or has been."""
    with trio.fail_after(10):
        while True:
            found = await server.http.get(f"/api/v1/session/{session_id}")
            if found.is_success and found.json()["status"] != "active":
                return


async def test_sigterm_among_hostile_and_active_clients(tmp_path: Path):
    """Everybody hears 1012, a request in flight is answered, and what was acknowledged is stored."""
    settings = {
        "SHUTDOWN_TIMEOUT_SECONDS": f"{DEADLINE_SECONDS}",
        "LOG_LEVEL": "error",
        "MAX_FRAMES_PER_SECOND": "0",
    }
    async with serve(tmp_path, **settings) as server:
        port: list[int | None] = [server.port]
        await Taker("ending", lambda: port[0]).run(20)
        takers = [
            Taker(f"exam-{number}", lambda: port[0], window=20, chunk=2, pause_seconds=0.2)
            for number in range(TAKERS)
        ]
        async with trio.open_nursery() as nursery:
            for taker in takers:
                nursery.start_soon(taker.run)
            for how in HOSTILE:
                nursery.start_soon(be, how, server.port)
            with trio.fail_after(30):
                while any(not taker.settled for taker in takers):
                    await takers[-1].progress()
            answers: list[int] = []

            async def end() -> None:
                answers.append((await server.post("ending", "end")).status_code)

            nursery.start_soon(end)
            await under_way(server, "ending")
            port[0] = None
            seconds = await stop(server)
            with trio.fail_after(5):
                while any(not taker.closes for taker in takers):  # noqa: ASYNC110 - any of many
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel(reason="the server has stopped")
    assert seconds < DEADLINE_SECONDS
    assert answers in ([204], [202])
    assert {close.code for taker in takers for close in taker.closes if isinstance(close, Closed)} == {1012}
    for taker in takers:
        judge(taker.ledger, in_file(tmp_path / "proctor-frames.sqlite3", taker.ledger.session_id))
