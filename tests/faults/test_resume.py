"""Connections that break anywhere, clients that repeat themselves: each frame is stored once, in order."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from tests.faults import SCALE
from tests.faults.checker import Ledger, dumped, judge
from tests.faults.taker import Taker
from tests.fixtures.proxy import Proxy, open_proxy
from tests.fixtures.server import Server, open_server, settings_under_load

pytestmark = [pytest.mark.slow, pytest.mark.no_cover, pytest.mark.timeout(60 * SCALE)]

CUTS = 20 * SCALE


@asynccontextmanager
async def streaming(*takers: Taker) -> AsyncIterator[None]:
    """Let exam takers stream; at the block's end each hears of every frame that it sent."""
    async with trio.open_nursery() as nursery:
        for taker in takers:
            nursery.start_soon(taker.run)
        yield
        with trio.fail_after(20):
            for taker in takers:
                await taker.finish()


async def count_cuts(proxy: Proxy, cuts: int) -> None:
    with trio.fail_after(20 * SCALE):
        while True:
            if proxy.cuts >= cuts:
                return
            await trio.sleep(0.01)


async def judge_dump(server: Server, taker: Taker, *, in_order: bool = True) -> None:
    """End the session and judge its dump."""
    await server.frames(taker.ledger.session_id)
    dump = dumped(server.settings.dump_directory, taker.ledger.session_id)
    assert judge(taker.ledger, dump, everything=True, in_order=in_order).acked


@pytest.fixture(params=["embedded", "redis"])
async def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    """The server on either store."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    async with open_server(settings_under_load(tmp_path, redis_url=url)) as server:
        yield server


async def test_connections_cut_at_any_byte_lose_and_double_nothing(anywhere: Server):
    """Cut within the handshake, a frame or an acknowledgement, with all bytes in small pieces."""
    async with open_proxy(lambda: anywhere.port, seed=random.getrandbits(32)) as proxy:
        proxy.in_pieces, proxy.cut_within_bytes = True, 8_000
        taker = Taker("exam", lambda: proxy.port, window=100)
        async with streaming(taker):
            await count_cuts(proxy, CUTS)
            proxy.cut_within_bytes = None
        assert taker.connections > CUTS // 2
    await judge_dump(anywhere, taker)


async def test_a_slow_network_and_one_that_goes_silent(tmp_path: Path):
    """Who is behind a half-open connection is let go and holds nobody up; he goes on when he is back."""
    settings = settings_under_load(tmp_path, liveness_timeout_seconds=0.6)
    async with open_server(settings) as server, open_proxy(lambda: server.port) as proxy:
        proxy.in_pieces, proxy.delay_seconds = True, 0.001
        silent = Taker("silent", lambda: proxy.port, window=20)
        other = Taker("other", lambda: server.port, pause_seconds=0.01)
        async with streaming(silent, other):
            for taker in (silent, other):
                await taker.progress()
            proxy.stall()
            with trio.fail_after(5):
                while (await server.http.get("/health")).json()["connections"] == 2:
                    await other.progress()
            assert silent.connections == 1, "the client has not noticed"
            proxy.resume()
            proxy.cut()
            await silent.progress()
            assert silent.connections == 2
        for taker in (silent, other):
            await judge_dump(server, taker)


async def test_redis_behind_a_network_that_cuts(tmp_path: Path, redis_url: str):
    """Whether a commit happened whose answer was lost is not known, and does not matter."""
    redis_port = int(redis_url.rsplit(":", 1)[1].split("/")[0])
    async with open_proxy(lambda: redis_port, seed=random.getrandbits(32)) as proxy:
        settings = settings_under_load(tmp_path, redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        async with open_server(settings) as server:
            taker = Taker("exam", lambda: server.port, pause_seconds=0.005)
            async with streaming(taker):
                await taker.progress()
                proxy.cut_within_bytes = 40_000
                proxy.cut()
                await count_cuts(proxy, 4 * SCALE)
                proxy.cut_within_bytes = None
                proxy.stall()
                await trio.sleep(0.3)
                settled = taker.settled
                await trio.sleep(0.5 * SCALE)
                assert taker.settled == settled, "acknowledged what Redis cannot have confirmed"
                proxy.resume()
            assert taker.connections == 1
            await judge_dump(server, taker)


async def send_all(server: Server, messages: list[dict[str, Any]], ledger: Ledger) -> None:
    """Send messages over one connection, without waiting, and hear each acknowledged."""
    async with server.stream("exam") as client, trio.open_nursery() as nursery:

        async def listen() -> None:
            missing = Counter(message["seq"] for message in messages)
            while missing.total():
                message = await client.receive()
                assert message["type"] != "error", message
                if message["type"] == "ack":
                    assert missing[message["seq"]] > 0
                    missing[message["seq"]] -= 1
                    ledger.ack([message["seq"]])

        nursery.start_soon(listen)
        for message in messages:
            await client.send(message)


@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_repeated_and_shuffled_over_sockets_and_a_restart_each_is_stored_once(
    tmp_path: Path, request: pytest.FixtureRequest, store: str
):
    """Each frame is sent one to five times."""
    noise = random.Random()
    ledger = Ledger("exam")
    for seq in range(1, 101):
        ledger.send(seq, {"face_present": 1, "marker": seq, "note": f"{noise.getrandbits(64):x}"})
    copies = [seq for seq in ledger.sent for _ in range(noise.randint(1, 5))]
    noise.shuffle(copies)
    messages = [{"seq": seq, "extracted_features": ledger.sent[seq]} for seq in copies]
    url = request.getfixturevalue("redis_url") if store == "redis" else ""
    half = len(messages) // 2
    for part in (messages[:half], messages[half:]):
        async with (
            open_server(settings_under_load(tmp_path, redis_url=url)) as server,
            trio.open_nursery() as nursery,
        ):
            for place in range(3):
                nursery.start_soon(send_all, server, part[place::3], ledger)
    async with open_server(settings_under_load(tmp_path, redis_url=url)) as server:
        await server.frames("exam")
    judge(ledger, dumped(tmp_path / "dumps", "exam"), everything=True, in_order=False)


async def flush(redis_url: str) -> None:
    """Empty Redis, as an operator does by mistake."""
    with redis.Redis.from_url(redis_url) as client:
        await trio.to_thread.run_sync(client.flushdb)


async def test_an_emptied_redis_is_said_and_everything_is_sent_again(tmp_path: Path, redis_url: str):
    """To those who are connected at once, to another as he comes back."""
    async with open_server(settings_under_load(tmp_path, redis_url=redis_url)) as server:
        online = Taker("online", lambda: server.port, pause_seconds=0.005)
        door: list[int | None] = [None]
        async with open_proxy(lambda: server.port) as proxy:
            away = Taker("away", lambda: door[0], pause_seconds=0.005)
            door[0] = proxy.port
            async with streaming(online, away):
                for taker in (online, away):
                    await taker.progress()
                door[0] = None
                proxy.cut()
                await flush(redis_url)
                with trio.fail_after(5):
                    while len(online.ledger.epochs) == 1:
                        await online.progress()
                door[0] = proxy.port
        assert (online.connections, away.connections) == (1, 2)
        for taker in (online, away):
            assert len(taker.ledger.epochs) == 2
            await judge_dump(server, taker, in_order=False)


@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_after_a_restart_clients_hear_once_where_they_are(
    tmp_path: Path, request: pytest.FixtureRequest, store: str
):
    """The first commit of a server is no news about its store."""
    url = request.getfixturevalue("redis_url") if store == "redis" else ""
    async with (
        open_server(settings_under_load(tmp_path, redis_url=url)) as server,
        server.stream("exam") as client,
    ):
        first = client.resumed
        assert first is not None
        assert first["last_seq"] is None
        for seq in (1, 2, 4):
            assert (await client.ask({"seq": seq, "extracted_features": {}}))["seq"] == seq
    async with (
        open_server(settings_under_load(tmp_path, redis_url=url)) as server,
        server.stream("exam") as client,
    ):
        assert client.resumed == {**first, "last_seq": 2}
        for seq in (3, 5):
            assert await client.ask({"seq": seq, "extracted_features": {}}) == {"type": "ack", "seq": seq}
