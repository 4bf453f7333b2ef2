"""Stores that stop, hang, fill up and come back under load: nothing is lost, nobody is cut off."""

import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from proctor.live import LiveAnalysis
from proctor.storage.schema import upgrade_schema
from tests.faults import SCALE
from tests.faults.checker import dumped, judge
from tests.faults.taker import Taker
from tests.fixtures.postgres import PostgresHandle
from tests.fixtures.redis import RedisServer
from tests.fixtures.server import Server, open_server, settings_under_load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 30 * SCALE)]

OUTAGE_SECONDS = 1.0 * SCALE
BACK_SECONDS = 5.0
"""So soon after the store's return everything that was sent is acknowledged."""
BUFFER = 300
COMMIT = 100


async def standstill(value: Callable[[], int]) -> int:
    """Wait until a number has not changed for a while, and return it."""
    with trio.fail_after(15):
        while True:
            before = value()
            await trio.sleep(0.4)
            if value() == before:
                return before


def sent(takers: list[Taker]) -> int:
    return sum(len(taker.ledger.sent) for taker in takers)


def settled(takers: list[Taker]) -> int:
    return sum(taker.settled for taker in takers)


async def live_through(server: Server, fail: Callable[[], object], cure: Callable[[], object]) -> None:
    """Stream from three exam takers through an outage, and judge everything."""
    takers = [
        Taker(f"exam-{n}", lambda: server.port, window=10**6, chunk=5, pause_seconds=0.01, note_bytes=2000)
        for n in range(3)
    ]
    async with trio.open_nursery() as nursery:
        for taker in takers:
            nursery.start_soon(taker.run)
        for taker in takers:
            await taker.progress()
        await trio.to_thread.run_sync(fail)
        acknowledged = await standstill(lambda: settled(takers))
        stopped_at = await standstill(lambda: sent(takers))
        assert stopped_at > acknowledged + BUFFER, "it is still read from"
        waiting = (await server.metrics())["proctor_ingest_waiting_messages", ""]
        assert 0 < waiting <= BUFFER + COMMIT + len(takers)
        await trio.sleep(OUTAGE_SECONDS)
        assert (settled(takers), sent(takers)) == (acknowledged, stopped_at)
        await trio.to_thread.run_sync(cure)
        with trio.fail_after(BACK_SECONDS):
            while settled(takers) < stopped_at:
                await takers[0].progress()
        with trio.fail_after(20):
            for taker in takers:
                await taker.finish()
    for taker in takers:
        assert taker.connections == 1
        await server.frames(taker.ledger.session_id)
        dump = dumped(server.settings.dump_directory, taker.ledger.session_id)
        judge(taker.ledger, dump, everything=True)


def fill(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)


def make_room(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory", 0)


FAULTS: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "stopped": (RedisServer.stop, RedisServer.start),
    "killed": (RedisServer.kill, RedisServer.start),
    "hanging": (RedisServer.pause, RedisServer.resume),
    "full": (fill, make_room),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_redis(tmp_path: Path, redis_server: RedisServer, fault: str):
    fail, cure = FAULTS[fault]
    settings = settings_under_load(
        tmp_path,
        redis_url=redis_server.url,
        ingest_buffer_messages=BUFFER,
        commit_max_messages=COMMIT,
    )
    async with open_server(settings) as server:
        await live_through(server, lambda: fail(redis_server), lambda: cure(redis_server))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 16 MiB; skips the test where none may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_the_embedded_stores_disk_is_full(tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk:
        ballast = disk / "ballast"

        def fail() -> None:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

        settings = settings_under_load(
            tmp_path,
            frame_store_path=disk / "frames.sqlite3",
            ingest_buffer_messages=BUFFER,
            commit_max_messages=COMMIT,
        )
        async with open_server(settings) as server:
            await live_through(server, fail, ballast.unlink)


async def test_the_embedded_stores_file_is_locked(tmp_path: Path):
    """By a backup, say."""
    settings = settings_under_load(tmp_path, ingest_buffer_messages=BUFFER, commit_max_messages=COMMIT)
    async with open_server(settings) as server:
        other = sqlite3.connect(settings.frame_store_path, isolation_level=None, check_same_thread=False)
        with closing(other):
            await live_through(server, lambda: other.execute("BEGIN IMMEDIATE"), other.rollback)


class Gate:
    """Holds up every report until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self._open = trio.Event()
        report = LiveAnalysis.report

        async def held(*arguments: Any, **keywords: Any) -> bytes:
            self.waiting += 1
            await self._open.wait()
            return await report(*arguments, **keywords)

        monkeypatch.setattr(LiveAnalysis, "report", held)

    async def reached_by(self, number: int) -> None:
        with trio.fail_after(10):
            while self.waiting < number:  # noqa: ASYNC110
                await trio.sleep(0.01)

    def open(self) -> None:
        self._open.set()


@pytest.mark.parametrize(
    ("fail", "cure"),
    [
        (PostgresHandle.stop, PostgresHandle.start),
        (PostgresHandle.kill, PostgresHandle.start),
        (PostgresHandle.pause, PostgresHandle.resume),
    ],
    ids=["stopped", "killed", "hanging"],
)
async def test_postgresql_during_analyze_and_end(
    tmp_path: Path,
    postgres_url: str,
    postgres_server: PostgresHandle,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[PostgresHandle], None],
    cure: Callable[[PostgresHandle], None],
):
    """Streaming goes on; the end is promised and there is one result when the database is back."""
    settings = settings_under_load(tmp_path, database_url=postgres_url, database_timeout_seconds=1)
    await upgrade_schema(settings)
    answers: dict[str, int] = {}
    gate = Gate(monkeypatch)
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        ending, staying = (Taker(name, lambda: server.port, pause_seconds=0.01) for name in ("ends", "stays"))
        nursery.start_soon(staying.run)
        await ending.run(100)

        async def post(session_id: str, action: str) -> None:
            answers[action] = (await server.post(session_id, action)).status_code

        async with trio.open_nursery() as requests:
            requests.start_soon(post, "ends", "end")
            requests.start_soon(post, "stays", "analyze")
            await gate.reached_by(2)
            await trio.to_thread.run_sync(fail, postgres_server)
            gate.open()
        assert answers == {"end": 202, "analyze": 503}
        for _ in range(3 * SCALE):
            await staying.progress()
            await trio.sleep(0.2)
        await trio.to_thread.run_sync(cure, postgres_server)
        await server_says_ended(server, "ends")
        assert (await server.post("ends", "end")).status_code == 204
        await staying.finish()
        assert [taker.connections for taker in (ending, staying)] == [1, 1]
        await server.post("stays", "end")  # 202 where the database needs a moment more
        await server_says_ended(server, "stays")
        name = postgres_url.split("/")[3].split("?")[0]
        count = f"\\connect {name}\nSELECT session_id, count(*) FROM exam_analyses GROUP BY 1 ORDER BY 1"
        rows = await trio.to_thread.run_sync(postgres_server.psql, count)
        assert re.findall(r"(\w+) +\| +(\d+)", rows)[-2:] == [("ends", "1"), ("stays", "1")]
    for taker in (ending, staying):
        judge(taker.ledger, dumped(settings.dump_directory, taker.ledger.session_id), everything=True)


async def server_says_ended(server: Server, session_id: str) -> None:
    with trio.fail_after(15 + 30 * (SCALE > 1)):
        while True:
            found = await server.http.get(f"/api/v1/session/{session_id}")
            if found.is_success and found.json()["status"] == "ended":
                return
            await trio.sleep(0.05)
