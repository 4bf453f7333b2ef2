"""What proctors are told of running exams: all at once, then what changes, whichever process has it."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from proctor.model import ExamSession
from proctor.monitor.board import Board, OwnBoard
from proctor.monitor.feed import TELL_SECONDS, Feed
from proctor.storage.database import Database
from proctor.storage.pool import open_pool
from proctor.storage.redis_board import open_redis_board
from proctor.storage.schema import upgrade_schema
from tests.fixtures.server import Client, Server, open_server, settings_for

CALM = {"face_present": 1, "no_of_face": 1, "phone_present": 0}
PHONE = CALM | {"phone_present": 1}


def story(*parts: tuple[float, dict[str, Any]], fps: float = 2) -> list[dict[str, Any]]:
    """Frames that end now: so many seconds of each part, one after the other."""
    frames = [features for seconds, features in parts for _ in range(round(seconds * fps))]
    now_ms = time.time_ns() // 1_000_000
    first_ms = now_ms - round(1000 * len(frames) / fps)
    return [frame | {"timestamp": first_ms + round(1000 * i / fps)} for i, frame in enumerate(frames)]


async def tell(client: Client, frames: list[dict[str, Any]], seq: int = 1) -> None:
    """Send frames in batches, and wait until they are stored."""
    await client.send({"type": "clock", "timestamp": time.time_ns() // 1_000_000})
    for start in range(0, len(frames), 400):
        last = seq + start // 400
        await client.send({"seq": last, "type": "batch", "frames": frames[start : start + 400]})
    while (await client.receive()).get("seq") != last:
        pass


class Watcher:
    """A proctor's connection: keeps what it was told, as a page does."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.rows: dict[str, dict[str, Any]] = {}
        self.messages = 0

    async def hear(self) -> None:
        """Take in one message."""
        told = await self._client.receive()
        assert told["type"] == "sessions"
        assert told["complete"] == (self.messages == 0)
        self.messages += 1
        self.rows |= {row["session_id"]: row for row in told["sessions"]}
        for name in told["gone"]:
            del self.rows[name]

    async def until(self, session_id: str, **expected: Any) -> dict[str, Any]:
        """Wait until a row has these values, of its own or of its glance; returns it."""
        with trio.fail_after(20):
            while True:
                row = self.rows.get(session_id)
                if row is not None and expected.items() <= {**(row["glance"] or {}), **row}.items():
                    return row
                await self.hear()


@asynccontextmanager
async def watching(server: Server) -> AsyncIterator[Watcher]:
    async with server.socket("/api/v1/monitor/ws") as client:
        yield Watcher(client)


async def test_a_session_from_its_start_to_its_end(server: Server):
    await server.start("s", candidate_id="c", exam_id="e")
    async with watching(server) as watcher:
        row = await watcher.until("s", line="waiting", glance=None)
        assert (row["candidate_id"], row["exam_id"], row["ended_ms"]) == ("c", "e", None)
        async with server.stream("s") as client:
            frames = story((400, CALM), (60, PHONE))
            await tell(client, frames[:800])
            calm = await watcher.until("s", priority="none", concerns=0)
            # Nothing has come of the last minute.
            assert set(calm["glance"]["bars"][:-7]) == {"0"}
            assert calm["glance"]["bars"].endswith("0.....") or calm["glance"]["bars"].endswith("0......")
            await tell(client, frames[800:], 10)
            high = await watcher.until("s", priority="high")
            newest, *_ = high["glance"]["newest"]
            assert newest["rule"] == "phone"
            assert abs(newest["start_ms"] - frames[800]["timestamp"]) < 3000
            assert high["glance"]["bars"][-3:] != "000"
            assert len(high["glance"]["bars"]) <= 60
        assert (await server.post("s", "end")).status_code == 204
        over = await watcher.until("s", line="ended")
        assert over["ended_ms"] is not None
        assert over["glance"]["priority"] == "high"


async def test_what_happens_in_the_last_moment_is_seen(server: Server, monkeypatch):
    """Of a session that ends before its turn comes."""
    await server.start("s")
    async with watching(server) as watcher:
        await watcher.until("s", line="waiting")
        monkeypatch.setattr("proctor.monitor.looking.LOOK_SECONDS", 3600)
        await trio.sleep(1)
        async with server.stream("s") as client:
            await tell(client, story((330, CALM), (30, PHONE)))
            assert (await server.post("s", "end")).status_code == 204
        row = await watcher.until("s", line="ended", priority="high")
        assert row["glance"]["rules"] == {"phone": "Phone in view"}


async def test_who_comes_late_or_again_is_told_everything(server: Server):
    """So that nothing which happened meanwhile is missed, not even of who is gone by now."""
    for name in ("a", "b"):
        await server.start(name)
    async with server.stream("a") as client:
        async with watching(server) as watcher:
            await watcher.until("b", line="waiting")
        await tell(client, story((330, CALM), (30, PHONE)))
        async with watching(server) as first, watching(server) as second:
            for watcher in (first, second):
                await watcher.until("a", priority="high")
                assert watcher.rows.keys() == {"a", "b"}
    assert (await server.post("a", "end")).status_code == 204
    await trio.sleep(2 * TELL_SECONDS)
    async with watching(server) as watcher:
        await watcher.until("a", line="ended", priority="high")
        await watcher.until("b", line="waiting")


async def test_a_lost_connection_and_a_quiet_one_are_told_apart(server: Server, monkeypatch):
    monkeypatch.setattr("proctor.monitor.feed._QUIET_MS", 0)
    async with watching(server) as watcher:
        async with server.stream("s") as client:
            await tell(client, story((5, CALM)))
            await watcher.until("s", line="quiet")
        await watcher.until("s", line="lost")
        async with server.stream("s"):
            await watcher.until("s", line="quiet")


async def test_who_is_gone_is_lost_before_the_frames_are_old(server: Server, monkeypatch):
    """Also who went before the first of them."""
    monkeypatch.setattr("proctor.monitor.feed._LOST_MS", 0)
    async with watching(server) as watcher:
        async with server.stream("s") as client:
            await tell(client, story((5, CALM)))
            await watcher.until("s", line="live")
        await watcher.until("s", line="lost")
        await server.start("t")
        async with server.stream("t"):
            await watcher.until("t", line="waiting")
            await trio.sleep(2 * TELL_SECONDS)
        await watcher.until("t", line="lost")


async def test_who_ended_long_ago_is_not_shown_any_more(server: Server, monkeypatch):
    await server.start("s")
    async with watching(server) as watcher:
        await watcher.until("s", line="waiting")
        await server.post("s", "end")
        await watcher.until("s", line="ended")
        monkeypatch.setattr("proctor.monitor.feed._ENDED_MS", 0)
        with trio.fail_after(20):
            while watcher.rows:
                await watcher.hear()


async def test_what_ended_while_nobody_watched_is_taken_off_the_board(tmp_path):
    """Else the board would hold findings about people for as long as the server runs."""
    settings = settings_for(tmp_path)
    await upgrade_schema(settings)
    async with open_pool(settings) as pool:
        await Database(pool).start_session(ExamSession(session_id="runs", started_ms=1))
        board = OwnBoard()
        feed = Feed(board, Database(pool), lambda: 1000)
        await board.put(
            {"glance:over": b"x", "connected:over": b"", "connected:runs": b"1", "erased:x": b"1"}
        )
        with feed.joined(lambda _: None, lambda: 0):
            await feed._update()
            await board.put({"connected:over": b""})
            feed._asked_at = -10
            await feed._update()
        assert (await board.since(0))[1] == {"connected:runs": b"1"}


async def test_who_reads_too_slowly_is_told_everything_anew_instead_of_more_and_more(tmp_path):
    heard: list[dict[str, Any]] = []
    unsent = 0
    settings = settings_for(tmp_path)
    await upgrade_schema(settings)
    async with open_pool(settings) as pool:
        database = Database(pool)
        feed = Feed(OwnBoard(), database, lambda: 1000)

        async def update(name: str) -> None:
            await database.start_session(ExamSession(session_id=name, started_ms=1))
            feed._asked_at = -10
            await feed._update()

        with feed.joined(lambda text: heard.append(json.loads(text)), lambda: unsent):
            await update("a")
            unsent = 2**20 + 1
            await update("b")
            unsent = 1
            await update("c")
            assert [told["complete"] for told in heard] == [True]
            unsent = 0
            await update("d")
    assert [told["complete"] for told in heard] == [True, True]
    assert {row["session_id"] for row in heard[1]["sessions"]} == set("abcd")


@pytest.fixture(params=["own", "redis"])
async def board(request, tmp_path) -> AsyncIterator[Board]:
    if request.param == "own":
        yield OwnBoard()
    else:
        url = request.getfixturevalue("redis_url")
        async with open_redis_board(settings_for(tmp_path, redis_url=url)) as opened:
            yield opened


async def test_a_board_tells_what_has_changed(board: Board):
    assert await board.since(0) == (0, {})
    await board.put({"a": b"1", "b": b"1"})
    number, notes = await board.since(0)
    assert (number, notes) == (2, {"a": b"1", "b": b"1"})
    await board.put({"a": b"2"})
    await board.put({})
    assert await board.since(number) == (3, {"a": b"2"})
    assert await board.since(3) == (3, {})
    assert await board.since(99) == (3, {"a": b"2", "b": b"1"}), "another board than the one before"
    await board.remove(["a", "unknown"])
    await board.remove([])
    assert await board.since(0) == (3, {"b": b"1"})
    many = {str(i): b"x" * 100 for i in range(3000)}
    await board.put(many)
    assert (await board.since(3))[1] == many


async def test_a_board_is_watched_for_a_while(board: Board, monkeypatch):
    assert not await board.is_watched()
    for module in ("proctor.monitor.board", "proctor.storage.redis_board"):
        monkeypatch.setattr(f"{module}.WATCHED_SECONDS", 0.05)
    await board.watch()
    with trio.fail_after(5):
        while await board.is_watched():  # noqa: ASYNC110 - time alone ends it
            await trio.sleep(0.02)
    monkeypatch.undo()
    await board.watch()
    assert await board.is_watched()


@pytest.mark.slow
async def test_a_proctor_sees_the_sessions_of_every_process(tmp_path, redis_url):
    settings = settings_for(tmp_path, redis_url=redis_url)
    async with open_server(settings) as one, open_server(settings) as other:
        await one.start("s")
        async with watching(other) as watcher, one.stream("s") as client:
            await tell(client, story((330, CALM), (30, PHONE)))
            await watcher.until("s", line="live", priority="high")
        async with watching(other) as watcher:
            await watcher.until("s", priority="high")


async def test_a_candidate_reads_what_a_proctor_writes(tmp_path, redis_url):
    """On every connection, to whichever process."""
    settings = settings_for(tmp_path, redis_url=redis_url)
    async with open_server(settings) as one, open_server(settings) as other:
        await one.start("s")
        path = "/api/v1/session/s/message"
        assert (await one.http.post(path, json={"text": "anybody?"})).json()["connections"] == 0
        async with one.stream("s") as here, other.stream("s") as there:
            answer = await other.http.post(path, json={"text": "Please look up. <b>"})
            assert answer.json() == {"session_id": "s", "connections": 2}
            for client in (here, there):
                told = await client.receive()
                assert (told["type"], told["text"]) == ("message", "Please look up. <b>")
        for text in ("", "x" * 1001, 7):
            assert (await one.http.post(path, json={"text": text})).status_code == 400
        await one.post("s", "end")
        assert (await one.http.post(path, json={"text": "late"})).status_code == 409


async def test_a_candidate_is_alerted_once_where_the_policy_says_so(tmp_path):
    """Also while no proctor watches."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "kind.toml").write_text('[rules.phone]\nalert = "Please put the phone away."\n')
    async with open_server(settings_for(tmp_path, policy_directory=policies)) as server:
        for name, policy in (("told", "kind"), ("untold", "default")):
            await server.start(name, policy=policy)
        async with server.stream("untold") as other, server.stream("told") as client:
            frames = story((30, CALM), (20, PHONE), (20, CALM))
            await tell(other, frames)
            for number, part in enumerate((frames[:80], frames[80:110], frames[110:]), 1):
                await tell(client, part, number)
                if number == 1:
                    alert = await client.receive()
            expected = {"type": "alert", "rule": "phone", "message": "Please put the phone away."}
            assert expected.items() <= alert.items()
            await server.http.post("/api/v1/session/told/message", json={"text": "no more alerts"})
            await server.http.post("/api/v1/session/untold/message", json={"text": "no alerts"})
            assert (await client.receive())["type"] == "message"
            assert (await other.receive())["type"] == "message"


async def test_nothing_of_an_erased_session_is_shown(server: Server):
    await server.start("s")
    async with server.stream("s") as client:
        await tell(client, story((330, CALM), (30, PHONE)))
        async with watching(server) as watcher:
            await watcher.until("s", priority="high")
            assert (await server.http.delete("/api/v1/session/s")).status_code == 204
            with trio.fail_after(20):
                while watcher.rows:
                    await watcher.hear()
    async with watching(server) as watcher:
        await server.start("another")
        await watcher.until("another", line="waiting")
        assert watcher.rows.keys() == {"another"}
