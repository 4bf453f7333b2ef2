"""The life of exam sessions, above all that they end once and whole, whatever happens on the way."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import proctor.endings
import proctor.farewells
from proctor.errors import Conflict, SessionEnded, Throttled, Unavailable, UnknownSession
from proctor.model import ExamSession, SessionStatus
from proctor.settings import Settings
from proctor.storage.dumps import read_dump, write_dump
from proctor.storage.frames import Outcome
from tests.fakes import FailingStore, Held, Troubled
from tests.house import House, house_settings, open_house
from tests.test_live import exam, without_time

T0 = 1_767_603_600_000

pytestmark = pytest.mark.usefixtures("hard_limit")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return house_settings(tmp_path, analyze_interval_seconds=0)


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with open_house(settings) as house:
        yield house


Frames = AsyncGenerator[bytes, None]


def dump_path(settings: Settings, session_id: str = "exam") -> Path:
    return settings.dump_directory / f"{session_id}_frames.json"


def files_in(directory: Path) -> list[str]:
    """Names of all files, however deep."""
    return [path.name for path in directory.rglob("*") if path.is_file()]


async def until_ended(house: House, session_id: str = "exam") -> None:
    # Nothing tells when: this waits for what another process, or a restart, does by itself.
    while True:
        session = await house.database.get_session(session_id)
        if session is not None and session.status is SessionStatus.ENDED:
            return
        await trio.sleep(0.02)


async def assert_ended_whole(house: House, frames: int = 60) -> None:
    """A report on all frames, a dump with all frames, an empty buffer that takes no more, and the status."""
    session = await house.sessions.get("exam")
    assert session.status is SessionStatus.ENDED
    assert session.dumped
    report = await house.database.get_report("exam")
    assert report is not None
    info = json.loads(report)["session_info"]
    assert info["final"] is True
    assert info["total_frames"] == frames
    dump = read_dump(dump_path(house.settings))
    assert [json.loads(frame)["ts_index"] for frame in dump] == list(range(frames))
    assert (await house.store.read("exam")).frames == []
    assert await house.store.load_state("exam") is None
    assert files_in(house.settings.dump_directory) == ["exam_frames.json"]
    with pytest.raises(SessionEnded):
        await house.sessions.admit("exam")


def numbered(start_seconds: float = 0, end_seconds: float = 30) -> list[dict[str, Any]]:
    frames = exam(start_seconds, end_seconds)
    return [{**frame, "ts_index": round(2 * start_seconds) + place} for place, frame in enumerate(frames)]


class TestStarting:
    async def test_a_session_starts_once_and_again_is_the_same(self, house):
        asked = ExamSession(session_id="exam", candidate_id="c", exam_id="e", started_ms=T0)
        again = ExamSession(session_id="exam", candidate_id="c", exam_id="e", started_ms=T0 + 5000)
        assert await house.sessions.start(asked) == asked
        assert await house.sessions.start(again) == asked
        assert await house.sessions.get("exam") == asked

    @pytest.mark.parametrize("field", ["candidate_id", "exam_id"])
    async def test_somebody_elses_session_is_a_conflict(self, house, field):
        ids = {"candidate_id": "c", "exam_id": "e"}
        await house.sessions.start(ExamSession(session_id="exam", **ids, started_ms=T0))
        with pytest.raises(Conflict, match=field) as caught:
            await house.sessions.start(ExamSession(session_id="exam", **ids | {field: "x"}, started_ms=T0))
        assert caught.value.field == field

    async def test_what_is_over_cannot_be_started_again(self, house):
        await house.stream("exam", *numbered())
        await house.sessions.end("exam")
        with pytest.raises(SessionEnded, match="start one with another id"):
            await house.sessions.start(ExamSession(session_id="exam", started_ms=T0))

    async def test_a_session_that_nobody_started_begins_when_it_is_used(self, house):
        session = await house.sessions.admit("demo_session")
        assert (session.status, session.candidate_id) == (SessionStatus.ACTIVE, None)
        assert await house.sessions.admit("demo_session") == session

    @pytest.mark.parametrize("call", ["get", "analyze", "end"])
    async def test_an_unknown_session_is_unknown_and_stays_so(self, house, call):
        for _ in range(2):
            with pytest.raises(UnknownSession, match="'nobody'"):
                await getattr(house.sessions, call)("nobody")

    async def test_sessions_are_listed_newest_first_by_filter(self, house):
        for number in range(4):
            session = ExamSession(session_id=f"s{number}", exam_id="ab"[number % 2], started_ms=T0 + number)
            await house.sessions.start(session)
        await house.sessions.end("s1")
        listing = partial(house.sessions.list, candidate_id=None, limit=3)
        page = await listing(status=None, exam_id=None, before=None)
        assert [session.session_id for session in page.sessions] == ["s3", "s2", "s1"]
        rest = await listing(status=None, exam_id=None, before=page.next)
        assert [session.session_id for session in rest.sessions] == ["s0"]
        page = await listing(status=SessionStatus.ACTIVE, exam_id="b", before=None)
        assert [session.session_id for session in page.sessions] == ["s3"]


class TestAnalyzing:
    async def test_a_running_sessions_report_is_live(self, house):
        await house.stream("exam", *numbered())
        info = json.loads(await house.sessions.analyze("exam"))["session_info"]
        assert (info["final"], info["total_frames"]) == (False, 60)
        await house.stream("exam", *numbered(30, 40))
        info = json.loads(await house.sessions.analyze("exam"))["session_info"]
        assert (info["final"], info["total_frames"]) == (False, 80)

    async def test_an_ended_sessions_report_is_the_stored_one(self, house):
        """The same bytes each time, and what the live analysis would have said."""
        await house.stream("exam", *numbered())
        live = without_time(await house.sessions.analyze("exam"))
        await house.sessions.end("exam")
        report = await house.sessions.analyze("exam")
        assert report == await house.database.get_report("exam") == await house.sessions.analyze("exam")
        final = without_time(report)
        assert final["findings"] == live["findings"]
        assert final["contributions"] == live["contributions"]
        assert final["provenance"] == live["provenance"]

    async def test_asking_too_often_is_throttled_per_session(self, tmp_path):
        """Also for an ended session; the time to wait is said and is enough."""
        async with open_house(house_settings(tmp_path, analyze_interval_seconds=0.5)) as house:
            await house.stream("exam", *numbered())
            await house.stream("other", *numbered())
            await house.sessions.analyze("exam")
            await house.sessions.analyze("other")
            with pytest.raises(Throttled) as caught:
                await house.sessions.analyze("exam")
            assert 0 < caught.value.retry_after_seconds <= 0.5
            await trio.sleep(caught.value.retry_after_seconds)
            await house.sessions.end("exam")
            await house.sessions.analyze("exam")
            with pytest.raises(Throttled):
                await house.sessions.analyze("exam")

    async def test_a_session_that_ends_while_it_is_analyzed_gives_its_final_report(self, settings):
        """Its frames are cleared meanwhile; a report on none of them would be a lie."""
        gate = trio.Event()

        class SlowLive:
            """Makes live reports only when the session has ended."""

            def __init__(self, inner: Any) -> None:
                self.inner = inner

            async def report(self, session: ExamSession, *, final: bool) -> bytes:
                if not final:
                    await gate.wait()
                return await self.inner.report(session, final=final)

        reports: list[bytes] = []
        async with open_house(settings, live=SlowLive) as house:
            await house.stream("exam", *numbered())

            async def analyze() -> None:
                reports.append(await house.sessions.analyze("exam"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(analyze)
                await trio.sleep(0.1)
                assert await house.sessions.end("exam")
                gate.set()
            assert reports == [await house.database.get_report("exam")]

    async def test_an_ending_session_has_its_final_report_made_or_says_it_is_not_there(self, settings):
        trouble: list[Troubled] = []

        def troubled(database: Any) -> Troubled:
            trouble.append(Troubled(database, "save_report", 1, Unavailable("database: down on purpose")))
            return trouble[0]

        async with open_house(settings, database=troubled) as house:
            await house.stream("exam", *numbered())
            assert await house.sessions.end("exam") is False
            with pytest.raises(Unavailable, match="still being made"):
                await house.sessions.analyze("exam")
            await until_ended(house)
            assert json.loads(await house.sessions.analyze("exam"))["session_info"]["final"]


class TestEnding:
    async def test_an_end_leaves_a_report_a_dump_and_an_empty_buffer(self, house):
        await house.stream("exam", *numbered())
        assert await house.sessions.end("exam") is True
        await assert_ended_whole(house)
        assert "proctor_sessions_ended_total 1.0" in house.metrics.render().decode()

    async def test_an_end_again_changes_nothing(self, house):
        await house.stream("exam", *numbered())
        await house.sessions.end("exam")
        report, dump = await house.database.get_report("exam"), dump_path(house.settings).stat().st_mtime_ns
        assert await house.sessions.end("exam") is True
        assert await house.database.get_report("exam") == report
        assert dump_path(house.settings).stat().st_mtime_ns == dump

    async def test_a_session_without_frames_ends_too(self, house):
        await house.sessions.admit("exam")
        assert await house.sessions.end("exam") is True
        await assert_ended_whole(house, frames=0)
        report = json.loads(await house.sessions.analyze("exam"))
        assert report["verdict"]["review_priority"] == "insufficient"

    async def test_many_ends_at_once_are_one(self, house, monkeypatch):
        dumps: list[str] = []

        async def noted(
            directory: Path, session_id: str, frames: AsyncGenerator[bytes, None], *keys: Any
        ) -> Path:
            dumps.append(session_id)
            return await write_dump(directory, session_id, frames, *keys)

        monkeypatch.setattr(proctor.endings, "write_dump", noted)
        await house.stream("exam", *numbered())
        done: list[bool] = []

        async def end() -> None:
            done.append(await house.sessions.end("exam"))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(end)
        assert done == [True] * 20
        assert dumps == ["exam"]
        await assert_ended_whole(house)
        assert "proctor_sessions_ended_total 1.0" in house.metrics.render().decode()

    async def test_many_sessions_end_at_once_with_few_in_memory(self, house, monkeypatch):
        """As many are dumped at the same time as may be, and never more."""
        most = proctor.endings._REPORTS_AT_ONCE
        at_once: list[int] = []
        under_way = 0
        full = trio.Event()

        async def counted(
            directory: Path, session_id: str, frames: AsyncGenerator[bytes, None], *keys: Any
        ) -> Path:
            nonlocal under_way
            under_way += 1
            at_once.append(under_way)
            if under_way == most:
                full.set()
            await full.wait()
            path = await write_dump(directory, session_id, frames, *keys)
            under_way -= 1
            return path

        monkeypatch.setattr(proctor.endings, "write_dump", counted)
        names = [f"exam-{number}" for number in range(20)]
        for name in names:
            await house.stream(name, *numbered(0, 1))
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(house.sessions.end, name)
        assert max(at_once) == most
        assert len(files_in(house.settings.dump_directory)) == 20

    async def test_who_hangs_up_does_not_keep_the_session_from_ending(self, house):
        await house.stream("exam", *numbered())
        with trio.CancelScope() as scope:
            scope.cancel()
            await house.sessions.end("exam")
        await until_ended(house)
        await assert_ended_whole(house)

    async def test_clients_learn_of_the_end_after_their_acknowledgements(self, house):
        """What they had sent before it counts; silent ones are told too, and those that join too late."""
        talker, silent, other = [await house.connect(name) for name in ("exam", "exam", "other")]
        for seq, frame in enumerate(numbered()):
            talker.say({"seq": seq, "extracted_features": {**frame, "ts": None}})
        assert await house.sessions.end("exam") is True
        await trio.sleep(0.05)
        assert talker.acked == list(range(60))
        for socket in (talker, silent):
            assert socket.received[-1][1].keys() == {"type", "session_id", "timestamp"}
            assert socket.received[-1][1]["type"] == "session_ended"
            assert socket.closed == (1000, "session_ended")
        assert [message["type"] for _, message in other.received] == ["resume"]
        assert len(read_dump(dump_path(house.settings))) == 60

    async def test_a_frame_after_the_end_is_refused_by_the_store_as_well(self, house):
        """A connection that had been admitted before, in this process or another, cannot slip one in."""
        await house.sessions.admit("exam")
        await house.sessions.end("exam")
        house.sessions.admit = _admit_anything  # type: ignore[method-assign]
        assert await house.stream("exam", *numbered()) is Outcome.SEALED

    async def test_a_report_that_was_saved_before_stands(self, house):
        """Another process, or an earlier attempt, may have finished it."""
        await house.stream("exam", *numbered())
        session = await house.sessions.get("exam")
        early = await house.live.report(session, final=True)
        await house.database.save_report("exam", early)
        await trio.sleep(0.005)
        assert await house.sessions.end("exam") is True
        assert await house.database.get_report("exam") == early


async def _admit_anything(_session_id: str) -> None:
    await trio.lowlevel.checkpoint()


class TestTrouble:
    """Faults on the way to an end: nothing is lost, and clients are told at once."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch) -> None:
        retry = partial(proctor.endings._RETRY, wait_initial=0.05, wait_max=0.05, wait_jitter=0)
        monkeypatch.setattr(proctor.endings, "_RETRY", retry)

    @pytest.mark.parametrize(
        ("part", "method"),
        [
            ("database", "get_session"),
            ("store", "seal"),
            ("live", "report"),
            ("database", "get_report"),
            ("database", "save_report"),
            ("archive", "recording"),
            ("database", "mark_dumped"),
            ("store", "clear"),
            ("archive", "remove"),
            ("database", "mark_ended"),
        ],
    )
    async def test_what_is_down_for_a_while_delays_the_end(self, settings, part, method):
        """The caller learns that it is under way; its retries need no caller."""
        parts: list[Troubled] = []

        def troubled(inner: Any) -> Troubled:
            parts.append(Troubled(inner, method, 0, Unavailable("down on purpose")))
            return parts[0]

        async with open_house(settings, **{part: troubled}) as house:
            socket = await house.connect("exam")
            await house.stream("exam", *numbered())
            parts[0].times = 2
            assert await house.sessions.end("exam") is False
            await trio.sleep(0.05)
            assert socket.closed == (1000, "session_ended")
            assert await house.sessions.end("exam") is False
            await until_ended(house)
            await assert_ended_whole(house)
            assert await house.sessions.end("exam") is True

    async def test_while_the_database_is_down_nothing_ends_and_nobody_is_told_so(self, settings):
        parts: list[Troubled] = []

        def troubled(inner: Any) -> Troubled:
            parts.append(Troubled(inner, "begin_ending", 1, Unavailable("down on purpose")))
            return parts[0]

        async with open_house(settings, database=troubled) as house:
            socket = await house.connect("exam")
            await house.stream("exam", *numbered())
            with pytest.raises(Unavailable, match="down on purpose"):
                await house.sessions.end("exam")
            assert (await house.sessions.get("exam")).status is SessionStatus.ACTIVE
            assert socket.closed is None
            assert await house.sessions.end("exam") is True

    async def test_a_full_disk_delays_the_end(self, house, monkeypatch):
        async def fail(*_: object) -> Path:
            monkeypatch.undo()
            raise Unavailable("cannot write the dump: disk full")

        monkeypatch.setattr(proctor.endings, "write_dump", fail)
        await house.stream("exam", *numbered())
        assert await house.sessions.end("exam") is False
        await until_ended(house)
        await assert_ended_whole(house)

    async def test_who_asks_while_another_attempt_is_under_way_waits_for_it(self, house, monkeypatch):
        """A session that is marked as ended is not answered as one whose end is still being tried."""

        async def fail(*_: object) -> Path:
            monkeypatch.setattr(proctor.endings, "write_dump", write_dump)
            raise Unavailable("cannot write the dump: disk full")

        farewells, told = house.endings._farewells, trio.Event()
        announce = farewells.announce

        async def hold(session_id: str) -> None:
            await told.wait()
            await announce(session_id)

        write_dump = proctor.endings.write_dump
        monkeypatch.setattr(proctor.endings, "write_dump", fail)
        monkeypatch.setattr(farewells, "announce", hold)
        await house.stream("exam", *numbered())
        assert await house.sessions.end("exam") is False
        await until_ended(house)
        done: list[bool] = []

        async def end() -> None:
            done.append(await house.sessions.end("exam"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            await trio.sleep(0.05)
            assert done == []
            told.set()
        assert done == [True]

    async def test_while_the_frame_store_is_down_an_end_is_answered_and_waits(self, settings, monkeypatch):
        """What was received but not stored is in the report and the dump when it is back."""
        monkeypatch.setattr(proctor.farewells, "_INTAKE_SECONDS", 0.1)
        async with open_house(settings) as house:
            store = FailingStore(house.store)
            house.ingest._store = store  # type: ignore[assignment]
            await house.stream("exam", *numbered(0, 20))
            store.down = True
            socket = await house.connect("exam")
            socket.say(*({"session_id": "exam", **frame, "ts": None} for frame in numbered(20, 30)))
            await trio.sleep(0.05)
            assert await house.sessions.end("exam") is False
            store.down = False
            await until_ended(house)
            await assert_ended_whole(house)
            assert socket.closed == (1000, "session_ended")

    async def test_a_bug_in_one_end_is_answered_and_stops_no_other(self, settings):
        """The session stays ending; asked again, or restarted, it is finished."""
        parts: list[Troubled] = []

        def troubled(inner: Any) -> Troubled:
            parts.append(Troubled(inner, "seal", 1, ZeroDivisionError("on purpose")))
            return parts[0]

        async with open_house(settings, store=troubled) as house:
            await house.stream("exam", *numbered())
            with pytest.raises(Unavailable, match="see the server's log"):
                await house.sessions.end("exam")
            assert (await house.sessions.get("exam")).status is SessionStatus.ENDING
            assert await house.sessions.end("exam") is True
            await assert_ended_whole(house)

    async def test_an_end_asked_for_while_finalization_is_down_is_carried_out_when_it_is_back(self, settings):
        """Its caller waits; neither is forgotten."""
        async with open_house(settings, finalize=False) as house:
            await house.stream("exam", *numbered())
            done: list[bool] = []

            async def end() -> None:
                done.append(await house.sessions.end("exam"))

            house.nursery.start_soon(end)
            await trio.sleep(0.05)
            assert done == []
            house.nursery.start_soon(house.endings.finalize)
            await until_ended(house)
            await trio.sleep(0.05)
            assert done == [True]

    async def test_when_too_many_ends_wait_the_next_is_turned_away(self, settings, monkeypatch):
        """It has not happened and may be asked for again; those that wait are carried out."""
        monkeypatch.setattr(proctor.endings, "_ENDINGS_WAITING", 2)
        async with open_house(settings, finalize=False) as house:
            for session_id in "abc":
                await house.sessions.admit(session_id)
            for session_id in "ab":
                house.nursery.start_soon(house.sessions.end, session_id)
            await trio.sleep(0.05)
            with pytest.raises(Unavailable, match="too many"):
                await house.sessions.end("c")
            house.nursery.start_soon(house.endings.finalize)
            for session_id in "ab":
                await until_ended(house, session_id)
            assert await house.sessions.end("c") is True

    async def test_ends_go_on_while_the_unfinished_ones_cannot_be_looked_up(self, settings):
        database = partial(Troubled, method="unfinished_sessions", times=50, error=Unavailable("on purpose"))
        async with open_house(settings, database=database) as house:
            await house.stream("exam", *numbered())
            assert await house.sessions.end("exam") is True

    async def test_an_end_cut_short_before_it_began_says_so(self, settings):
        """When the server stops just then, nothing has happened and the caller must not believe it has."""
        holds: list[Held] = []

        def hold(database: Any) -> Held:
            holds.append(Held(database, "begin_ending", after=False))
            return holds[0]

        async with open_house(settings, finalize=False, database=hold) as house:
            await house.stream("exam", *numbered())
            async with trio.open_nursery() as nursery:
                finalizing = trio.CancelScope()

                async def finalize() -> None:
                    with finalizing:
                        await house.endings.finalize()

                async def end() -> None:
                    with pytest.raises(Unavailable, match="stopping"):
                        await house.sessions.end("exam")

                nursery.start_soon(finalize)
                nursery.start_soon(end)
                await holds[0].reached.wait()
                finalizing.cancel()


class TestCrash:
    """The process dies between two steps of an end; a new one finishes it without being asked."""

    STEPS = (
        ("database", "begin_ending", True),
        ("roster", "stop_intake", True),
        ("ingest", "flush", True),
        ("store", "seal", False),
        ("store", "seal", True),
        ("live", "report", True),
        ("database", "save_report", True),
        ("archive", "recording", True),
        ("database", "mark_dumped", False),
        ("database", "mark_dumped", True),
        ("store", "clear", False),
        ("store", "clear", True),
        ("archive", "remove", False),
        ("archive", "remove", True),
        ("database", "mark_ended", False),
    )

    @pytest.mark.parametrize(("part", "method", "after"), STEPS)
    async def test_a_restart_completes_an_end_from_wherever_it_was(self, settings, part, method, after):
        """A report that was saved before is the one that stands."""
        holds: list[Held] = []

        def hold(inner: Any) -> Held:
            holds.append(Held(inner, method, after=after))
            return holds[0]

        async with open_house(settings, **{part: hold}) as house:
            await house.stream("exam", *numbered())
            house.nursery.start_soon(house.sessions.end, "exam")
            await holds[0].reached.wait()
            assert (await house.database.get_session("exam")).status is SessionStatus.ENDING
            saved = await house.database.get_report("exam")

        async with open_house(settings) as house:
            await until_ended(house)
            await assert_ended_whole(house)
            assert saved in (None, await house.database.get_report("exam"))
            assert await house.sessions.end("exam") is True

    async def test_a_crash_while_the_dump_is_written_leaves_a_whole_one(self, settings, monkeypatch):
        reached = trio.Event()

        async def never_done(
            directory: Path, session_id: str, frames: AsyncGenerator[bytes, None], *keys: Any
        ) -> Path:
            async def dribble() -> AsyncIterator[bytes]:
                async with aclosing(frames) as each:
                    yield await anext(each)
                reached.set()
                await trio.sleep_forever()

            return await write_dump(directory, session_id, dribble(), *keys)

        monkeypatch.setattr(proctor.endings, "write_dump", never_done)
        async with open_house(settings) as house:
            await house.stream("exam", *numbered())
            house.nursery.start_soon(house.sessions.end, "exam")
            await reached.wait()
        assert not dump_path(settings).exists()
        monkeypatch.undo()
        async with open_house(settings) as house:
            await until_ended(house)
            await assert_ended_whole(house)

    async def test_a_crash_after_the_last_step_leaves_nothing_to_do(self, settings):
        async with open_house(settings) as house:
            await house.stream("exam", *numbered())
            await house.sessions.end("exam")
        async with open_house(settings, finalize=False) as house:
            assert await house.database.unfinished_sessions() == []
            await assert_ended_whole(house)

    async def test_a_restart_completes_every_unfinished_end(self, settings):
        async with open_house(settings, finalize=False) as house:
            for number in range(10):
                await house.stream(f"exam-{number}", *numbered(0, 1))
                await house.database.begin_ending(f"exam-{number}", T0)
        async with open_house(settings) as house:
            for number in range(10):
                await until_ended(house, f"exam-{number}")
