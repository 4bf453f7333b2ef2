"""`proctor serve --workers`: several processes that are one server."""

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import trio
from trio_websocket import ConnectionClosed

from tests.fixtures.process import ServerProcess, proctor, serve
from tests.fixtures.server import Client
from tests.test_processes import acknowledged_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@asynccontextmanager
async def serve_two(folder: Path, redis_url: str, **chosen: str) -> AsyncIterator[ServerProcess]:
    """Two workers, on a SQLite database."""
    arguments = ("--port", "0", "--workers", "2")
    async with serve(folder, *arguments, REDIS_URL=redis_url, **chosen) as server:
        yield server


def workers(server: ServerProcess) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


async def answers(server: ServerProcess, path: str) -> list[httpx.Response]:
    """Ask until each of the workers is sure to have been asked, on a new connection each time."""
    async with httpx.AsyncClient(base_url=server.url, headers={"Connection": "close"}, verify=False) as http:
        return [await http.get(path) for _ in range(20)]


async def metric(server: ServerProcess, name: str) -> set[float]:
    found = [
        re.search(rf"^{name} (.*)$", each.text, re.MULTILINE) for each in await answers(server, "/metrics")
    ]
    return {float(match[1]) for match in found if match is not None}


async def until_healthy(server: ServerProcess) -> None:
    with trio.fail_after(30):
        while not all(answer.is_success for answer in await answers(server, "/health")):  # noqa: ASYNC110
            await trio.sleep(0.1)


async def hear_out(client: Client) -> ConnectionClosed:
    try:
        while True:
            await client.receive()
    except ConnectionClosed as closed:
        return closed


async def test_two_workers_are_one_server(tmp_path: Path, redis_url: str):
    """Figures are of both; one that dies is missed by the other, costs its own clients, and comes back."""
    features: dict[str, Any] = {"face_present": 1}
    async with serve_two(tmp_path, redis_url) as server:
        await until_healthy(server)
        async with AsyncExitStack() as streams:
            names = [f"exam-{number}" for number in range(24)]
            for client in [await streams.enter_async_context(server.stream(name)) for name in names]:
                await client.send({"seq": 1, "extracted_features": features})
                await acknowledged_until(client, 1)
            assert await metric(server, "proctor_connections") == {24.0}
            assert await metric(server, "proctor_frames_stored_total") == {24.0}
            shares = {answer.json()["connections"] for answer in await answers(server, "/health")}
            assert sum(shares) in (24, 12)  # 12, if it is so many each
            victim = workers(server)[0]
            victim.kill()
            with trio.fail_after(10):
                while all(answer.is_success for answer in await answers(server, "/health")):  # noqa: ASYNC110
                    await trio.sleep(0.02)
        await until_healthy(server)
        assert len(workers(server)) == 2
        assert await metric(server, "proctor_connections") == {0.0}
        assert await metric(server, "proctor_frames_stored_total") == {24.0}
        # Whoever lost its connection goes on with another worker, in the same session.
        async with server.stream("exam-0") as client:
            for seq in (1, 2):
                await client.send({"seq": seq, "extracted_features": features})
            await acknowledged_until(client, 2)
        assert len(await server.frames("exam-0")) == 2
        async with server.stream("exam-1") as client:
            server.process.terminate()
            reason = (await hear_out(client)).reason
            assert reason is not None
            assert reason.code == 1012
        assert await server.exited() == 0


@pytest.mark.no_cover
async def test_workers_say_goodbye_whoever_is_signalled(tmp_path: Path, redis_url: str):
    """A terminal signals the parent's group; where the parent is killed, nobody tells them."""
    for number in (signal.SIGINT, signal.SIGKILL):
        async with serve_two(tmp_path, redis_url) as server, server.stream("exam") as client:
            await until_healthy(server)
            everybody = workers(server)
            assert len(everybody) == 2
            if number is signal.SIGINT:
                server.signal_all(number)
            else:
                os.kill(server.process.pid, number)
            reason = (await hear_out(client)).reason
            assert reason is not None
            assert reason.code == 1012
            assert await server.exited() == (0 if number is not signal.SIGKILL else -number)
            _, alive = await trio.to_thread.run_sync(psutil.wait_procs, everybody, 10)
            assert not alive


async def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path, redis_url: str):
    async with serve_two(tmp_path, redis_url, SHUTDOWN_TIMEOUT_SECONDS="0.2") as server:
        await until_healthy(server)
        stuck = workers(server)[0]
        stuck.suspend()
        server.process.terminate()
        assert await server.exited() == 1
        assert not stuck.is_running() or stuck.status() == psutil.STATUS_ZOMBIE


async def test_what_several_workers_cannot_serve_with_is_told_once(tmp_path: Path, redis_url: str):
    alone = await proctor(tmp_path, "serve", "--workers", "2", PORT="0")
    assert alone.returncode == 2
    (line,) = alone.stderr.splitlines()
    assert line.startswith("Misconfigured: WORKERS: ")
    assert "REDIS_URL" in line
    wrong = await proctor(tmp_path, "serve", PORT="0", WORKERS="3", REDIS_URL=redis_url, DATABASE_URL="x")
    assert wrong.returncode == 2
    assert wrong.stderr.count("DATABASE_URL") == 1
