"""Several processes on one Redis and one PostgreSQL are as one, also when some of them die or stop."""

import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from trio_websocket import ConnectionClosed

import proctor.endings
from proctor.analysis.fold import progress
from proctor.settings import Settings
from proctor.storage.dumps import read_dump
from proctor.storage.schema import upgrade_schema
from tests.fixtures.doomed import LEASE_SECONDS, Doom, impending, reaches
from tests.fixtures.process import ServerProcess, serve
from tests.fixtures.server import Client
from tests.house import House, house_settings, open_house
from tests.test_sessions import assert_ended_whole, dump_path, numbered, until_ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STEPS = (
    ("database", "begin_ending", True),
    ("store", "seal", False),
    ("archive", "complete", True),
    ("live", "report", True),
    ("database", "save_report", True),
    ("archive", "recording", True),
    ("dump", "write_dump", False),
    ("dump", "write_dump", True),
    ("database", "mark_dumped", True),
    ("store", "clear", False),
    ("store", "clear", True),
    ("archive", "remove", True),
    ("database", "mark_ended", True),
)
"""Where an end is struck: part, method, before or after it."""


@pytest.fixture(scope="module")
def doom() -> Iterator[Doom]:
    with impending() as doom:
        yield doom


@pytest.fixture
async def settings(tmp_path: Path, postgres_url: str, redis_url: str) -> Settings:
    chosen = house_settings(
        tmp_path, database_url=postgres_url, redis_url=redis_url, analyze_interval_seconds=0
    )
    await upgrade_schema(chosen)
    return chosen


@pytest.fixture
async def house(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """This process's part. It ends nothing unless a test has it do so."""
    monkeypatch.setattr(proctor.endings, "_LEASE_SECONDS", LEASE_SECONDS)
    monkeypatch.setattr(proctor.endings, "_LOOK_SECONDS", LEASE_SECONDS)
    async with open_house(settings, finalize=False) as house:
        yield house


async def reports(house: House) -> list[bytes | None]:
    return [
        await house.database.get_report("exam", analysis.version)
        for analysis in await house.database.list_analyses("exam")
    ]


@pytest.mark.parametrize(("part", "method", "after"), STEPS)
async def test_an_end_whose_process_is_killed_is_finished_by_another(
    house: House, doom: Doom, tmp_path: Path, part: str, method: str, after: bool
):
    """At whichever step; without a client that asks, and without a restart."""
    await house.stream("exam", *numbered())
    owner = doom.run(house.settings, "end", tmp_path / "answer", step=(part, method, after))
    await reaches(owner, psutil.STATUS_ZOMBIE)
    before = await reports(house)
    house.nursery.start_soon(house.endings.finalize)
    await until_ended(house)
    # What a killed process had begun of a dump is no dump, and in nobody's way.
    for part_of_dump in house.settings.dump_directory.glob(".exam_frames.json.*"):
        part_of_dump.unlink()
    await assert_ended_whole(house)
    assert len(await reports(house)) == 1
    assert before in ([], await reports(house))
    assert not (tmp_path / "answer").exists()


@pytest.mark.parametrize(("part", "method", "after"), STEPS)
async def test_an_owner_that_wakes_late_changes_nothing(
    house: House, doom: Doom, tmp_path: Path, part: str, method: str, after: bool
):
    """It was stopped in the middle of an end, which another process has finished meanwhile."""
    await house.stream("exam", *numbered())
    owner = doom.run(
        house.settings, "end", tmp_path / "answer", step=(part, method, after), signal=signal.SIGSTOP
    )
    await reaches(owner, psutil.STATUS_STOPPED)
    assert owner.is_running()
    house.nursery.start_soon(house.endings.finalize)
    assert await house.sessions.end("exam") is True
    report, dump = await reports(house), dump_path(house.settings).read_bytes()
    owner.resume()
    await reaches(owner, psutil.STATUS_ZOMBIE)
    assert json.loads((tmp_path / "answer").read_text()) == [True]
    assert await reports(house) == report
    assert dump_path(house.settings).read_bytes() == dump
    await assert_ended_whole(house)


async def test_many_ends_over_four_processes_are_one(house: House, doom: Doom, tmp_path: Path):
    """Each is told that it is done."""
    await house.stream("exam", *numbered())
    house.nursery.start_soon(house.endings.finalize)
    answers = [tmp_path / str(number) for number in range(3)]
    others = [doom.run(house.settings, "end_often", answer) for answer in answers]
    done: list[bool] = []

    async def once() -> None:
        done.append(await house.sessions.end("exam"))

    async with trio.open_nursery() as nursery:
        for _ in range(14):
            nursery.start_soon(once)
    for other in others:
        await reaches(other, psutil.STATUS_ZOMBIE)
    for answer in answers:
        done += json.loads(answer.read_text())
    assert done == [True] * 50
    assert len(await reports(house)) == 1
    await assert_ended_whole(house)


async def test_a_fold_that_was_stopped_is_taken_over_and_saves_nothing(
    house: House, doom: Doom, tmp_path: Path
):
    """Until it has lapsed, nobody else folds, but reports are made; what wakes up then is too late."""
    await house.stream("exam", *numbered(0, 30))
    session = await house.sessions.get("exam")
    step = ("store", "save_state", False)
    owner = doom.run(house.settings, "advance", tmp_path / "answer", step=step, signal=signal.SIGSTOP)
    await reaches(owner, psutil.STATUS_STOPPED)
    report = json.loads(await house.live.report(session, final=False))
    assert report["session_info"]["total_frames"] == 60
    with trio.fail_after(5):
        while not await house.live.advance(session):  # noqa: ASYNC110 - nothing tells when it has lapsed
            await trio.sleep(0.02)
    await house.stream("exam", *numbered(30, 60))
    assert await house.live.advance(session)
    state = await house.store.load_state("exam")
    owner.resume()
    await reaches(owner, psutil.STATUS_ZOMBIE)
    assert (tmp_path / "answer").exists()
    assert await house.store.load_state("exam") == state
    assert progress(state).frames > 60


async def test_frames_of_a_dead_process_are_folded_by_another(
    house: House, tmp_path: Path, nursery: trio.Nursery
):
    """And looked at. A sweep finds them, though nothing was stored here since."""
    await house.stream("exam", *numbered(0, 30))
    house.ingest.touched.clear()
    house.ingest.unseen.clear()
    house.live._settings = house.settings.model_copy(
        update={"frame_buffer_retention_seconds": 0.2, "analysis_refresh_seconds": 0.05}
    )
    nursery.start_soon(house.live.follow, house.database.active_sessions)
    nursery.start_soon(house.live.sweep, house.database.running_sessions)
    with trio.fail_after(5):
        while not await house.store.load_state("exam"):  # noqa: ASYNC110
            await trio.sleep(0.02)
    assert house.ingest.unseen.take(5) == ["exam"]


class TestTwoServers:
    """As an operator runs them, behind any load balancer."""

    @pytest.fixture
    async def servers(self, settings: Settings, tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
        chosen = {
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "ANALYZE_INTERVAL_SECONDS": "60",
        }
        async with serve(tmp_path, **chosen) as one, serve(tmp_path, **chosen) as two:
            yield [one, two]

    async def test_clients_of_one_session_may_be_with_either(self, servers: list[ServerProcess]):
        """Frames are stored once, whoever takes them; throttled is throttled, and an end ends it for all."""
        one, two = servers
        async with one.stream("exam") as first, two.stream("exam") as second, two.stream("exam") as silent:
            for client in (first, second):
                for seq in range(1, 51):
                    await client.send(frame(seq))
            assert await acknowledged_until(first, 50) <= set(range(1, 51))
            assert await acknowledged_until(second, 50) <= set(range(1, 51))
            assert (await one.post("exam", "analyze")).json()["session_info"]["total_frames"] == 50
            throttled = await two.post("exam", "analyze")
            assert throttled.status_code == 429
            assert int(throttled.headers["Retry-After"]) > 30
            acknowledged = set(range(1, 51))
            told: list[float] = []

            async def stream(client: Client, seqs: range) -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_all, client, seqs)
                    acknowledged.update(await hear_to_the_end(client))
                    told.append(time.monotonic())
                    nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream, first, range(1001, 10**6, 2))
                nursery.start_soon(stream, second, range(1002, 10**6, 2))
                nursery.start_soon(stream, silent, range(0))
                await trio.sleep(0.2)
                assert (await one.post("exam", "end")).status_code == 204
                ended = time.monotonic()
            assert max(told) - ended < 1
            assert (await two.post("exam", "end")).status_code == 204
        dump = one.settings.dump_directory / "exam_frames.json"
        stored = [json.loads(each)["marker"] for each in read_dump(dump)]
        assert len(acknowledged) > 50
        assert acknowledged <= set(stored)
        assert len(stored) == len(set(stored))

    async def test_a_killed_servers_clients_go_on_with_another(self, servers: list[ServerProcess]):
        one, two = servers
        async with one.stream("exam") as client:
            for seq in range(1, 21):
                await client.send(frame(seq))
            acknowledged = await acknowledged_until(client, 20)
            await one.kill()
        async with two.stream("exam") as client:
            for seq in range(1, 41):
                await client.send(frame(seq))
            acknowledged |= await acknowledged_until(client, 40)
        stored = [each["marker"] for each in await two.frames("exam")]
        assert acknowledged <= set(stored) == set(range(1, 41))
        assert len(stored) == 40


def frame(seq: int) -> dict[str, Any]:
    return {"seq": seq, "extracted_features": {"face_present": 1, "marker": seq}}


async def send_all(client: Client, seqs: range) -> None:
    with suppress(ConnectionClosed):
        for seq in seqs:
            await client.send(frame(seq))
            await trio.sleep(0.001)


async def acknowledged_until(client: Client, last: int) -> set[int]:
    """Hear acknowledgements up to one."""
    seqs: set[int] = set()
    while last not in seqs:
        message = await client.receive()
        if message["type"] == "ack":
            seqs.add(message["seq"])
    return seqs


async def hear_to_the_end(client: Client) -> set[int]:
    """Hear acknowledgements until the session has ended."""
    seqs: set[int] = set()
    while (message := await client.receive())["type"] != "session_ended":
        if message["type"] == "ack":
            seqs.add(message["seq"])
    return seqs
