"""Retention shorter than an exam loses nothing: spool and buffer together are always the whole session."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from proctor import archive as archive_module
from proctor.archive import Archive
from proctor.errors import Unavailable
from proctor.metrics import Metrics
from proctor.settings import Settings
from proctor.storage.database import open_database
from proctor.storage.dumps import read_dump
from proctor.storage.frames import FramePage, Outcome, frame_id_of, open_frame_store
from proctor.storage.spool import Spool, remove_spools, spool_path, spooled_sessions
from tests.fakes import ForgetfulStore, Troubled
from tests.fixtures.process import serve
from tests.fixtures.redis import RedisServer
from tests.house import House, house_settings, open_house
from tests.test_frame_stores import T0, message
from tests.test_live import exam, without_time
from tests.test_sqlite_frames import aged

pytestmark = pytest.mark.usefixtures("hard_limit")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return house_settings(tmp_path)


class Desk:
    """A store and one process's archive of it; `frames` counts those that were stored."""

    def __init__(self, store: Any, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self.metrics = Metrics()
        self.archive = Archive(store, settings, self.metrics)

    async def take(self, *times_ms: int, session_id: str = "exam", note: bool = True) -> None:
        """Store a message, and let the archive know unless the process dies just then."""
        taken = message(session_id, *times_ms)
        [receipt] = await self.store.append([taken])
        if note:
            self.archive.add(taken, receipt.number, self.store.epoch)

    def restarted(self) -> "Desk":
        """Another process on the same store and disk."""
        return Desk(self.store, self.settings)

    def forget(self, before_ms: int) -> None:
        """Let frames from before then expire."""
        self.archive._store = ForgetfulStore(self.store, before_ms)  # type: ignore[assignment]

    async def whole(self) -> list[int]:
        """Arrival numbers of what the archive can read back, in time order."""
        with await self.archive.recording("exam") as recording:
            return [frame_id_of(frame).number async for frame in recording.frames()]

    @property
    def spool_path(self) -> Path:
        return spool_path(self.settings.dump_directory, "exam", self.store.epoch)

    def spooled(self) -> list[int]:
        """Arrival numbers of what is on disk."""
        spool = Spool(self.settings.dump_directory, "exam", self.store.epoch)
        spool.refresh()
        return [number for number in range(10_000) if number in spool.numbers]


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_frame_store(settings) as store:
        yield Desk(store, settings)


async def test_what_is_stored_is_spooled_as_the_store_has_it(desk):
    await desk.take(T0 + 5, T0)
    await desk.take(T0 + 3)
    await desk.archive.flush()
    lines = desk.spool_path.read_bytes().split(b"\n")
    assert sorted(filter(None, lines), key=frame_id_of) == (await desk.store.read("exam")).frames


async def test_spool_and_buffer_are_the_whole_session_each_frame_once(desk):
    """In order of time, of frames that are in both, or in one alone, or came while the spool was read."""
    for number in range(10):
        await desk.take(T0 + 10 * number)
    await desk.archive.flush()
    desk.forget(T0 + 50)
    await desk.take(T0 + 45, note=False)
    await desk.take(T0 + 77, note=False)
    desk.forget(T0 + 45)
    assert await desk.whole() == [0, 1, 2, 3, 4, 10, 5, 6, 7, 11, 8, 9]


async def test_what_a_dead_process_left_in_the_buffer_is_spooled_by_the_next(desk):
    """Noticed at the first frame that comes; what is spooled already is not written again."""
    await desk.take(*range(T0, T0 + 50))
    await desk.archive.flush()
    await desk.take(*range(T0 + 50, T0 + 60), note=False)
    heir = desk.restarted()
    await heir.take(T0 + 60)
    await heir.archive.flush()
    assert heir.spooled() == list(range(61))
    lines = desk.spool_path.read_bytes().split(b"\n")
    assert len(list(filter(None, lines))) == 61


async def test_frames_that_are_far_from_the_latest_are_found_too(desk):
    """Only then is the whole buffer read."""
    await desk.take(T0 + 3_600_000)
    await desk.archive.flush()
    await desk.take(*range(T0, T0 + 2500), note=False)
    heir = desk.restarted()
    await heir.archive.complete("exam")
    assert heir.spooled() == list(range(2501))


async def test_what_expired_before_it_was_spooled_is_counted_once(desk):
    await desk.take(*range(T0, T0 + 10), note=False)
    desk.forget(T0 + 7)
    for _ in range(2):
        await desk.archive.complete("exam")
    assert desk.spooled() == [7, 8, 9]
    assert "proctor_frames_lost_total 7.0" in desk.metrics.render().decode()


async def test_a_spool_that_is_taken_away_is_written_again_from_the_buffer(desk):
    await desk.take(*range(T0, T0 + 10))
    await desk.archive.flush()
    remove_spools(desk.settings.dump_directory, "exam")
    await desk.take(T0 + 10)
    await desk.archive.flush()
    assert desk.spooled() == [10]
    await desk.archive.complete("exam")
    assert desk.spooled() == list(range(11))


async def test_while_the_disk_refuses_frames_wait_and_then_all_are_there(desk, monkeypatch):
    """First in memory, and when that is full in the buffer; nobody who streams notices."""
    monkeypatch.setattr(archive_module, "PENDING_BYTES", 4000)
    folder = desk.spool_path
    folder.mkdir(parents=True)
    for number in range(40):
        await desk.take(T0 + number)
    assert 0 < len(desk.archive._pending) < 20
    for _ in range(2):
        with pytest.raises(Unavailable, match="Is a directory"):
            await desk.archive.flush()
    assert "proctor_spools_behind 1.0" in desk.metrics.render().decode()
    folder.rmdir()
    assert await desk.whole() == list(range(40))
    await desk.archive.flush()
    assert desk.spooled() == list(range(40))
    assert "proctor_spools_behind 0.0" in desk.metrics.render().decode()


async def test_what_waits_in_memory_outlives_the_buffer(desk):
    folder = desk.spool_path
    folder.mkdir(parents=True)
    await desk.take(T0)
    with pytest.raises(Unavailable):
        await desk.archive.flush()
    desk.forget(T0 + 1)
    folder.rmdir()
    assert await desk.whole() == [0]


async def test_a_burst_is_spooled_without_waiting(desk, nursery, monkeypatch):
    monkeypatch.setattr(archive_module, "WRITE_BYTES", 3000)
    nursery.start_soon(desk.archive.write)
    await trio.testing.wait_all_tasks_blocked()
    for number in range(20):
        await desk.take(T0 + number)
    while len(desk.spooled()) < 10:  # noqa: ASYNC110 - nothing tells when
        await trio.sleep(0.01)


async def test_what_was_written_is_synced_before_it_can_expire(desk, monkeypatch):
    synced = []
    monkeypatch.setattr(Spool, "sync", lambda spool: synced.append(spool.path.name))
    archive = Archive(
        desk.store, desk.settings.model_copy(update={"frame_buffer_retention_seconds": 0.2}), desk.metrics
    )
    desk.archive = archive
    await desk.take(T0)
    await archive.flush()
    await archive.flush()
    assert synced == [desk.spool_path.name]
    await trio.sleep(0.06)
    await archive.flush()
    assert len(synced) == 1, "there was nothing new to sync"
    await desk.take(T0)
    await archive.flush()
    assert len(synced) == 2


async def test_while_the_store_is_down_spools_stay_behind_without_harm(desk):
    await desk.take(T0, note=False)
    desk.archive._behind.add("exam")
    desk.archive._store = Troubled(desk.store, "read", 1, Unavailable("down on purpose"))  # type: ignore[assignment]
    await desk.archive.flush()
    assert desk.spooled() == []
    await desk.archive.flush()
    assert desk.spooled() == [0]


async def test_a_process_remembers_few_spools_and_reads_the_others_again(desk, monkeypatch):
    monkeypatch.setattr(archive_module, "_KNOWN_SPOOLS", 2)
    for number in range(3):
        for session_id in ("exam", "b", "c", "d"):
            await desk.take(T0 + number, session_id=session_id)
            await desk.archive.flush()
    assert len(desk.archive._spools) == 2
    assert desk.spooled() == [0, 1, 2]


class TestSweeping:
    """Sessions whose process died are completed by another, and what is left over goes."""

    async def test_active_sessions_are_completed_without_a_frame(self, settings, nursery):
        async with open_house(settings) as house:
            await house.stream("exam", *exam(0, 5))
            house.archive._pending.clear()
            nursery.start_soon(house.archive.sweep, house.database)
            spool = Spool(settings.dump_directory, "exam", house.store.epoch)
            while len(spool.numbers) < 10:
                spool.refresh()
                await trio.sleep(0.01)

    async def test_spools_of_ended_sessions_are_removed_and_of_others_kept(self, settings):
        async with open_house(settings) as house:
            await house.stream("exam", *exam(0, 5))
            await house.stream("other", *exam(0, 5))
            await house.sessions.end("exam")
            for session_id in ("exam", "other", "unknown"):
                Spool(settings.dump_directory, session_id, "e1").append([b'{"frame_id":"5-0"}'], [(0, 1)])
            await house.archive._sweep(house.database)
            assert spooled_sessions(settings.dump_directory) == ["other", "unknown"]

    async def test_one_process_at_a_time_is_enough_and_trouble_waits(self, settings, nursery):
        swept = []

        class Noted(Archive):
            async def _sweep(self, database: Any) -> None:
                swept.append(self)
                if len(swept) == 1:
                    raise Unavailable("down on purpose")

        async with open_frame_store(settings) as store:
            short = settings.model_copy(update={"frame_buffer_retention_seconds": 0.4})
            for _ in range(2):
                nursery.start_soon(Noted(store, short, Metrics()).sweep, None)
            await trio.sleep(0.25)
        assert 2 <= len(swept) <= 3


@pytest.fixture(params=["sqlite", "redis"])
def hasty(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of one store or the other, in which frames live for a second only."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    settings = house_settings(
        tmp_path, redis_url=url, analysis_refresh_seconds=0.1, analyze_interval_seconds=0
    )
    return settings.model_copy(update={"frame_buffer_retention_seconds": 1})


async def streamed(house: House, sleep_seconds: float) -> None:
    """A minute of exam, one frame of which comes late, at the very end."""
    frames = exam(0, 60)
    for start in range(0, 120, 24):
        await house.stream(
            "exam", *(frame for frame in frames[start : start + 24] if frame is not frames[50])
        )
        await trio.sleep(sleep_seconds)
    await house.stream("exam", frames[50])


async def test_an_exam_longer_than_the_retention_is_judged_and_dumped_whole(hasty, tmp_path):
    """With a report that is, byte for byte, that of a long retention, and which can be made again."""
    async with open_house(hasty) as house:
        house.nursery.start_soon(house.live.follow, house.database.active_sessions)
        await streamed(house, 0.3)
        assert len((await house.store.read("exam")).frames) < 120, "nothing has expired"
        live = json.loads(await house.sessions.analyze("exam"))
        assert await house.sessions.end("exam")
        report = await house.database.get_report("exam")
        assert report is not None
        dump = read_dump(hasty.dump_directory / "exam_frames.json")
        judged = await house.engine.judge(dump, await house.sessions.get("exam"), analysed_ms=0)
        assert spooled_sessions(hasty.dump_directory) == []
    (tmp_path / "patient").mkdir()
    async with open_house(house_settings(tmp_path / "patient")) as house:
        await streamed(house, 0)
        assert await house.sessions.end("exam")
        assert read_dump(house.settings.dump_directory / "exam_frames.json") == dump
    assert without_time(report) == without_time(judged)
    assert json.loads(report)["data_quality"]["frames"] == {"stored": 120, "analysed": 120, "missing": 0}
    assert live["provenance"] == json.loads(report)["provenance"]


@pytest.mark.slow
async def test_what_a_killed_server_had_not_spooled_its_next_life_spools(tmp_path):
    """Before any client is back, and long before the frames expire."""
    async with serve(tmp_path) as server:
        for place in range(40):
            # One by one, and then it is killed before it has written the last of them to disk.
            frame = {"session_id": "exam", "place": place}
            sent = await server.http.post("/api/v1/session/ws/fallback", json=frame)
            assert sent.is_success
        await server.kill()
    with closing(sqlite3.connect(tmp_path / "proctor-frames.sqlite3")) as db:
        (epoch,) = db.execute("SELECT name FROM epoch").fetchone()
    spool = Spool(tmp_path / "analysis_dumps", "exam", epoch)
    spool.refresh()
    assert len(spool.numbers) < 40
    async with serve(tmp_path) as server:
        with trio.fail_after(10):
            while len(spool.numbers) < 40:
                spool.refresh()
                await trio.sleep(0.05)
        frames = await server.frames("exam")
    assert [frame["place"] for frame in frames] == list(range(40))


@pytest.mark.slow
async def test_a_server_that_is_down_for_longer_than_the_retention_loses_nothing(tmp_path):
    """Killed before it has spooled the last frames, and started again when all would have expired."""
    async with serve(tmp_path, frame_buffer_retention_seconds="10") as server:
        for place in range(20):
            frame = {"session_id": "exam", "place": place}
            assert (await server.http.post("/api/v1/session/ws/fallback", json=frame)).is_success
        await server.kill()
    aged(tmp_path / "proctor-frames.sqlite3", 3_600_000)
    async with serve(tmp_path, frame_buffer_retention_seconds="10") as server:
        frames = await server.frames("exam")
        report = (await server.post("exam", "analyze")).json()
    assert [frame["place"] for frame in frames] == list(range(20))
    assert report["data_quality"]["frames"]["missing"] == 0


class TestEmptied:
    """Frames of before a FLUSHDB count only if they are sent again; then they are in the dump once."""

    @pytest.fixture
    def flushable(self, tmp_path: Path, redis_server: RedisServer) -> Settings:
        return house_settings(tmp_path, redis_url=redis_server.url)

    @staticmethod
    async def resent(
        settings: Settings, redis_server: RedisServer, again: range, *, late: bool = False
    ) -> None:
        """Stream ten messages, empty the store, and send those `again`, then ten more; end the exam.

        `late` sends one of them after everything else was folded.
        """
        async with open_house(settings) as house:

            async def send(number: int, seq: int) -> None:
                frame = {"face_x": number / 100, "ts": T0 + 10_000 * number}
                assert await house.stream("exam", frame, seq=seq) is Outcome.STORED

            for number in range(10):
                await send(number, number + 1)
            await house.archive.flush()
            with redis_server.client() as client:
                client.flushdb()
            for seq, number in enumerate(chain(again, range(11, 20)), 1):
                await send(number, seq)
                if number % 4 == 0:
                    await house.archive.flush()
            if late:
                await house.live.advance(await house.sessions.get("exam"))
            await send(10, 20)
            assert await house.sessions.end("exam")

    async def test_what_is_sent_again_is_dumped_once(self, flushable, redis_server, tmp_path):
        await self.resent(flushable, redis_server, range(10))
        dump = [json.loads(frame) for frame in read_dump(tmp_path / "dumps" / "exam_frames.json")]
        assert [frame["face_x"] for frame in dump] == [number / 100 for number in range(20)]
        assert spooled_sessions(tmp_path / "dumps") == []
        assert await self.missing(flushable) == 0

    @pytest.mark.parametrize("late", [False, True])
    async def test_what_is_not_sent_again_is_missing_in_the_report(
        self, flushable, redis_server, tmp_path, late
    ):
        await self.resent(flushable, redis_server, range(3, 10), late=late)
        dump = [json.loads(frame) for frame in read_dump(tmp_path / "dumps" / "exam_frames.json")]
        assert [frame["face_x"] for frame in dump] == [number / 100 for number in range(3, 20)]
        assert await self.missing(flushable) == 3

    @staticmethod
    async def missing(settings: Settings) -> object:
        async with open_database(settings) as database:
            report = await database.get_report("exam")
        assert report is not None
        return json.loads(report)["data_quality"]["frames"]["missing"]

    async def test_the_store_is_emptied_while_it_is_read(self, desk, monkeypatch):
        """What comes of it is the new content alone, with what was spooled of that."""
        await desk.take(*range(T0, T0 + 10))
        await desk.archive.flush()
        real, epochs = desk.store.read, ["second"]

        async def read(*arguments: Any, **named: Any) -> FramePage:
            page: FramePage = await real(*arguments, **named)
            if epochs:
                await desk.store.clear("exam")
                desk.store.epoch = epochs.pop()
                await desk.take(*range(T0 + 100, T0 + 103), note=False)
            return page

        monkeypatch.setattr(desk.store, "read", read)
        assert await desk.whole() == [0, 1, 2]
        epochs.append("third")
        await desk.archive.complete("exam")
        assert desk.spooled() == [0, 1, 2]
        assert "proctor_frames_lost_total 0.0" in desk.metrics.render().decode()

    async def test_whatever_was_spooled_is_behind_then(self, desk):
        """Also what this process thought to belong to the epoch before."""
        await desk.take(T0)
        await desk.archive.flush()
        await desk.store.clear("exam")
        desk.store.epoch = "another"
        await desk.take(T0 + 1, note=False)
        desk.archive.renew()
        await desk.archive.flush()
        assert desk.spooled() == [0]

    async def test_what_waits_goes_where_it_was_stored_and_what_is_in_doubt_is_looked_up(self, desk):
        await desk.take(T0, T0 + 1)
        old = desk.spool_path
        await desk.store.clear("exam")
        desk.store.epoch = "another"
        desk.archive.renew()
        doubtful = message("exam", T0 + 2)
        [receipt] = await desk.store.append([doubtful])
        desk.archive.add(doubtful, receipt.number, "")
        await desk.take(T0 + 3)
        await desk.archive.flush()
        assert [frame_id_of(line).number for line in old.read_bytes().split()] == [0, 1]
        assert desk.spooled() == [0, 1]
        with await desk.archive.recording("exam") as recording:
            assert recording.left_out == 0, "all of them have the same content"
