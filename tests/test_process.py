"""The server as a process: how it starts, refuses to start, stops, is killed and comes back."""

import json
import os
import re
import resource
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed
from typer.testing import CliRunner

from proctor import __version__
from proctor.analysis.api import API_VERSION
from proctor.cli import app
from proctor.settings import Settings
from proctor.storage.frames import open_frame_store
from proctor.storage.sqlite_file import opened
from tests.fixtures.process import ServerProcess, install_rogues, proctor, serve
from tests.fixtures.server import Client
from tests.web.raw import upgrade

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

PHONE: dict[str, Any] = {"face_present": 1, "no_of_face": 1, "phone_present": 1, "phone_conf": 90}
RULES = {
    "clipboard",
    "gaze_off_screen",
    "head_turned",
    "multiple_faces",
    "no_face",
    "phone",
    "speech",
    "window_left",
}


def frame(seq: int) -> dict[str, Any]:
    return {"seq": seq, "extracted_features": {**PHONE, "marker": seq}}


def files(folder: Path) -> dict[str, int]:
    """Every file below a folder, with its permissions."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in found}


async def test_serves_with_nothing_configured_and_stops_on_sigterm(tmp_path: Path):
    """Everything it makes is in the folder where it was started, for its user alone."""
    async with serve(tmp_path) as server:
        assert (await server.http.get("/health")).json()["status"] == "ok"
        async with server.stream("exam") as client:
            assert await client.ask(frame(1)) == {"type": "ack", "seq": 1}
        assert len(await server.frames("exam")) == 1
        server.process.terminate()
        assert await server.exited() == 0
    made = files(tmp_path)
    del made["log"]
    assert {name for name in made if not name.endswith(("-wal", "-shm"))} == {
        "analysis_dumps/exam_frames.json",
        "proctor.sqlite3",
        "proctor-frames.sqlite3",
        "proctor-frames.sqlite3-lock",
    }
    assert set(made.values()) == {0o600}


async def test_settings_come_from_the_env_file_and_the_environment_wins(tmp_path: Path):
    (tmp_path / ".env").write_text("PORT=0\nHEARTBEAT_INTERVAL_SECONDS=0.1\nLOG_FORMAT=text\n")
    async with serve(tmp_path, "--host", "127.0.0.1", LOG_FORMAT="json") as server:
        assert server.port not in (0, 8000)
        async with server.stream("exam") as client:
            assert (await client.receive())["type"] == "heartbeat"
            assert (await server.post("exam", "end")).status_code == 204
        server.process.terminate()
        assert await server.exited() == 0
    events = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert all({"event", "timestamp", "level"} <= set(event) for event in events)
    happened = {event["event"]: event for event in events}
    assert {"serving", "session ended", "stopping", "stopped"} <= set(happened)
    assert happened["session ended"]["session"] == "exam"
    assert happened["serving"]["url"] == server.url


async def hear_out(client: Client, acknowledged: set[int]) -> None:
    while True:
        acknowledged.add((await client.receive())["seq"])


async def say_goodbye(server: ServerProcess, number: signal.Signals) -> set[int]:
    """Signal the server while one client streams and another is silent; returns what was acknowledged."""
    acknowledged = set()
    async with server.stream("exam") as talking, server.stream("exam") as silent:
        for seq in range(200):
            await talking.send(frame(seq))
        acknowledged.add((await talking.receive())["seq"])
        server.signal_all(number)
        for client in (talking, silent):
            with pytest.raises(ConnectionClosed) as closed:
                await hear_out(client, acknowledged)
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1012
    assert await server.exited() == 0
    return acknowledged


async def test_connections_are_as_many_as_the_hard_limit_of_open_files_allows(tmp_path: Path):
    """The soft one, 1,024 on most machines, is for programs that cannot deal with more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with AsyncExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        try:
            server = await stack.enter_async_context(serve(tmp_path))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(250):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        with trio.fail_after(5):
            assert (await server.http.get("/health")).json()["status"] == "ok"


async def test_signals_close_with_1012_and_keep_what_was_acknowledged(tmp_path: Path):
    """Also if the workers get them, and within the deadline although a client neither reads nor answers."""
    acknowledged = set()
    async with serve(tmp_path, SHUTDOWN_TIMEOUT_SECONDS="5") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as deaf, trio.fail_after(8):
            deaf.sendall(upgrade("/api/v1/session/ws/exam"))
            acknowledged |= await say_goodbye(server, signal.SIGTERM)
    async with serve(tmp_path) as server:
        acknowledged |= await say_goodbye(server, signal.SIGINT)
    assert not re.search(r"\[(warning|error)", server.log.read_text())
    settings = Settings(_env_file=None, frame_store_path=tmp_path / "proctor-frames.sqlite3")
    async with open_frame_store(settings) as store:
        stored = {msgspec.json.decode(body)["marker"] for body in (await store.read("exam")).frames}
    assert acknowledged <= stored


async def test_an_end_under_way_survives_its_client_and_sigterm(tmp_path: Path):
    """Its analysis takes a second here, so both come in the middle of it."""
    hanging = install_rogues(tmp_path, "rogue_hangs")
    async with serve(tmp_path, pythonpath=[hanging], ANALYSIS_TIMEOUT_SECONDS="0.5") as server:
        await send_frames(server, "abandoned", 3)
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(
                b"POST /api/v1/session/abandoned/end HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
            )
            await trio.sleep(0.05)
        await server.becomes("abandoned", "ending")
        await server.becomes("abandoned", "ended")
        await send_frames(server, "waited-for", 3)
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                assert (await server.post("waited-for", "end")).status_code == 204

            nursery.start_soon(end)
            await server.becomes("waited-for", "ending")
            server.signal_all(signal.SIGTERM)
        assert await server.exited() == 0
    for session_id in ("abandoned", "waited-for"):
        dump, report = everything_of(tmp_path, session_id)
        assert len(msgspec.json.decode(dump)) == 3
        assert msgspec.json.decode(report)["analyzers"]["rogue_hangs"]["status"] == "timed_out"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def mistakes(folder: Path, taken_port: int) -> list[tuple[dict[str, str], list[str]]]:
    """Settings that cannot be served with, and words of the answer."""
    bad_policy, in_use = folder / "policies", folder / "in-use.sqlite3"
    bad_policy.mkdir()
    (bad_policy / "strict.toml").write_text("[rules.phone]\ninfo_seconds = -1\n")
    return [
        ({"PORT": "many"}, ["PORT: ", "valid integer"]),
        ({"ALLOWED_ORIGINS": "https://a.example"}, ["allowed_origins", "JSON"]),
        ({"PORT": str(taken_port)}, [f"PORT: cannot listen on 127.0.0.1:{taken_port}", "in use"]),
        ({"HOST": "0.0.0.0"}, ["HOST: ", "127.0.0.1"]),
        (
            {"FRAME_STORE_PATH": str(in_use)},
            ["FRAME_STORE_PATH: ", str(in_use), "another server", "REDIS_URL"],
        ),
        (
            {"POLICY_DIRECTORY": str(bad_policy)},
            [str(bad_policy / "strict.toml"), "rules.phone.info_seconds"],
        ),
        ({"POLICY_DIRECTORY": "typo"}, ["POLICY_DIRECTORY: typo"]),
        ({"REQUIRED_ANALYZERS": '["house_rule"]'}, ["REQUIRED_ANALYZERS: ", "house_rule", "installed are"]),
    ]


def told(status: int, stdout: str, stderr: str, expected: list[str]) -> None:
    assert (status, stdout) == (2, ""), stderr
    (line,) = stderr.splitlines()
    assert all(words in line for words in expected), line


def test_what_cannot_be_served_with_is_told_in_one_line(
    tmp_path: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
):
    """With what to do about it, and exit status 2."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.lower() in Settings.model_fields]:
        monkeypatch.delenv(name)
    expected = mistakes(tmp_path, taken_port)
    with opened(tmp_path / "in-use.sqlite3"):
        for chosen, words in expected:
            done = CliRunner().invoke(app, ["serve"], env={"PORT": "0", **chosen})
            told(done.exit_code, done.stdout, done.stderr, words)


async def test_a_missing_schema_is_told_in_one_line(tmp_path: Path, postgres_url: str):
    """By the process, too."""
    done = await proctor(tmp_path, "serve", PORT="0", DATABASE_URL=postgres_url)
    expected = ["DATABASE_URL: ", "schema is missing", "`proctor db upgrade`"]
    told(done.returncode, done.stdout, done.stderr, expected)


async def test_a_postgresql_schema_is_made_by_hand(tmp_path: Path, postgres_url: str):
    """By the administrator, for several processes share it."""
    database = {"DATABASE_URL": postgres_url}
    assert (await proctor(tmp_path, "db", "status", **database)).returncode == 1
    upgraded = await proctor(tmp_path, "db", "upgrade", **database)
    assert (upgraded.returncode, "current" in upgraded.stdout) == (0, True)
    assert (await proctor(tmp_path, "db", "status", **database)).returncode == 0
    async with serve(tmp_path, **database) as server:
        assert (await server.http.get("/health")).json()["database"] == "postgresql"


async def test_plugins_are_listed(tmp_path: Path):
    done = await proctor(tmp_path, "plugins", COLUMNS="200")
    assert done.returncode == 0
    _, _, *rows = done.stdout.split("\n\n")[0].strip().splitlines()
    assert {row.split()[0] for row in rows} == RULES
    assert all(__version__ in row for row in rows)
    assert all(row.split()[-2:] == [str(API_VERSION), "ok"] for row in rows)


async def send_frames(server: ServerProcess, session_id: str, count: int) -> None:
    async with server.stream(session_id) as client:
        for seq in range(count):
            assert (await client.ask(frame(seq)))["seq"] == seq


def everything_of(folder: Path, session_id: str) -> tuple[bytes, bytes]:
    """The session's dump and report."""
    with sqlite3.connect(folder / "proctor.sqlite3") as database:
        query = "SELECT report FROM exam_analyses WHERE session_id = ?"
        ((report,),) = database.execute(query, (session_id,)).fetchall()
    database.close()
    return (folder / "analysis_dumps" / f"{session_id}_frames.json").read_bytes(), report.encode()


async def test_an_end_that_was_killed_is_finished_without_a_client(tmp_path: Path):
    """Killed during the analysis, then when the dump cannot be written, then before the last mark."""
    hanging = install_rogues(tmp_path, "rogue_hangs")
    async with serve(tmp_path, pythonpath=[hanging], ANALYSIS_TIMEOUT_SECONDS="60") as server:
        await send_frames(server, "exam", 20)
        with trio.move_on_after(0.5):
            await server.post("exam", "end")
        await server.becomes("exam", "ending")
        await server.kill()
    obstacle = tmp_path / "analysis_dumps" / "exam_frames.json"
    obstacle.mkdir()
    async with serve(tmp_path) as server:
        answer = await server.post("exam", "end")
        assert answer.status_code == 202
        assert answer.json() == {"status": "ending", "session_id": "exam"}
        await server.kill()
    obstacle.rmdir()
    async with serve(tmp_path) as server:
        await server.becomes("exam", "ended")
        first = everything_of(tmp_path, "exam")
        await server.kill()
    with sqlite3.connect(tmp_path / "proctor.sqlite3") as database:
        database.execute("UPDATE exam_sessions SET status = 'ending'")
    database.close()
    async with serve(tmp_path) as server:
        await server.becomes("exam", "ended")
        report = (await server.post("exam", "analyze")).content
    dump, kept = first
    assert everything_of(tmp_path, "exam") == first
    assert report == kept
    assert [stored["marker"] for stored in msgspec.json.decode(dump)] == list(range(20))
    assert msgspec.json.decode(report)["session_info"]["final"] is True
