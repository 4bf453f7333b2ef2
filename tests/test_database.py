"""One suite for the database, whichever of the two it is, and the faults of each."""

import hashlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import trio

from proctor.errors import InvalidRequest, Misconfigured, Unavailable, UnknownSession
from proctor.model import ExamSession, SessionStatus
from proctor.settings import Settings
from proctor.storage.database import Database, open_database
from proctor.storage.listing import SessionPage
from proctor.storage.schema import upgrade_schema
from tests.fixtures.postgres import PostgresHandle

ODD_TEXTS = [
    "O'Brien \"; DROP TABLE exam_sessions; --",
    "😀 Zoë",
    "$1 %s %(x)s :y ?",
    "\\x00 \\u0000",
    "",
    " ",
]


def settings_for(url: str, **changes: object) -> Settings:
    return Settings(_env_file=None, database_url=url, **changes)


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "a folder, 100 %" / "proctor.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest) -> Settings:
    if request.param == "sqlite":
        path = request.getfixturevalue("sqlite_path")
        path.parent.mkdir()
        return settings_for(f"sqlite:///{path}")
    return settings_for(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    await upgrade_schema(settings)
    async with open_database(settings) as database:
        yield database


@pytest.fixture
def postgres_settings(postgres_url: str) -> Settings:
    return settings_for(postgres_url, database_timeout_seconds=1.0, database_connections_max=3)


@pytest.fixture
async def postgres(postgres_settings: Settings) -> AsyncIterator[Database]:
    await upgrade_schema(postgres_settings)
    async with open_database(postgres_settings) as database:
        yield database


def session(session_id: str = "s", **changes: object) -> ExamSession:
    return ExamSession(**{"session_id": session_id, "started_ms": 1_736_067_600_000} | changes)


def report(**changes: object) -> bytes:
    verdict = {
        "score": 12.5,
        "review_priority": "low",
        "is_cheating": False,
        "confidence": 0.25,
        "confidence_level": "low",
        "verdict_basis": "one short look aside",
    }
    info = {"policy": "default", "total_frames": 3, "analysed_at": "2026-01-05T09:00:00.123Z", "final": True}
    return msgspec.json.encode({"session_info": info, "verdict": verdict | changes, "timeline": ["ü", 1]})


async def sqlite_threads_to_end() -> None:
    """Wait for what aiosqlite leaves to itself after a connection that was closed or could not be opened."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await trio.to_thread.run_sync(thread.join, 2)
            assert not thread.is_alive()


async def all_pages(database: Database, limit: int) -> list[ExamSession]:
    found: list[ExamSession] = []
    page = await database.list_sessions(limit=limit)
    found += page.sessions
    while page.next is not None:
        page = await database.list_sessions(limit=limit, before=page.next)
        found += page.sessions
    return found


async def test_a_session_comes_back_as_it_went_in(database: Database) -> None:
    """Every field survives, also at the ends of its range, and a second opening still finds it."""
    full = session(
        candidate_id="c",
        exam_id="e",
        policy="strict",
        metadata={"seat": 7, "nested": {"a": [None, True, 1.5, "😀"]}, "big": 2**70, "nul": "a\0b"},
        started_ms=2**62,
    )
    bare = session("bare", started_ms=-1)
    assert await database.start_session(full) == full
    assert await database.start_session(bare) == bare
    assert await database.get_session("s") == full
    assert await database.get_session("bare") == bare
    assert await database.get_session("other") is None


async def test_the_first_start_stands(database: Database) -> None:
    first = session(candidate_id="one")
    await database.start_session(first)
    assert await database.start_session(session(candidate_id="two", metadata={"x": 1})) == first
    assert (await database.list_sessions(limit=10)).total == 1


async def test_fifty_starts_at_once_make_one_session(database: Database) -> None:
    """All of them get the same session, the one that won."""
    results: list[ExamSession] = []

    async def start(number: int) -> None:
        results.append(await database.start_session(session(candidate_id=str(number))))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(start, number)
    assert len(results) == 50
    assert set(map(msgspec.json.encode, results)) == {msgspec.json.encode(await database.get_session("s"))}
    assert (await database.list_sessions(limit=10)).total == 1


async def test_twenty_ends_at_once_agree_on_when_it_ended(database: Database) -> None:
    await database.start_session(session())
    results: list[ExamSession | None] = []

    async def end(ended_ms: int) -> None:
        results.append(await database.begin_ending("s", ended_ms))

    async with trio.open_nursery() as nursery:
        for ended_ms in range(20):
            nursery.start_soon(end, ended_ms)
    assert results == [await database.get_session("s")] * 20
    assert results[0] is not None
    assert results[0].status is SessionStatus.ENDING


async def test_a_session_only_moves_forward(database: Database) -> None:
    """Each step repeated, or taken too early or too late, changes nothing."""
    await database.start_session(session())
    assert await database.mark_ended("s") == session()
    ending = session(status=SessionStatus.ENDING, ended_ms=5)
    assert await database.begin_ending("s", 5) == ending
    assert await database.begin_ending("s", 6) == ending
    assert await database.unfinished_sessions() == [ending]
    dumped = msgspec.structs.replace(ending, dumped=True)
    assert await database.mark_dumped("s") == dumped
    assert await database.mark_dumped("s") == dumped
    ended = msgspec.structs.replace(dumped, status=SessionStatus.ENDED)
    assert await database.mark_ended("s") == ended
    assert await database.mark_ended("s") == ended
    assert await database.begin_ending("s", 7) == ended
    assert await database.start_session(session()) == ended
    assert await database.unfinished_sessions() == []


async def test_steps_of_an_unknown_session_do_nothing(database: Database) -> None:
    assert await database.begin_ending("s", 1) is None
    assert await database.mark_dumped("s") is None
    assert await database.mark_ended("s") is None
    assert await database.get_report("s") is None
    with pytest.raises(UnknownSession):
        await database.save_report("s", report())


async def test_unfinished_sessions_come_in_the_order_of_their_ends(database: Database) -> None:
    for session_id, ended_ms in (("late", 30), ("early", 10), ("middle", 20)):
        await database.start_session(session(session_id))
        await database.begin_ending(session_id, ended_ms)
    await database.start_session(session("running"))
    assert [s.session_id for s in await database.unfinished_sessions()] == ["early", "middle", "late"]


async def test_running_sessions_are_told_from_those_that_are_over(database: Database) -> None:
    """Whoever is asked about; one that nobody knows is not over."""
    for session_id in ("running", "ending", "ended"):
        await database.start_session(session(session_id))
    for session_id in ("ending", "ended"):
        await database.begin_ending(session_id, 10)
    await database.mark_ended("ended")
    assert await database.running_sessions() == ["running"]
    asked = ["running", "ended", "ending", "unknown", *(f"other-{number}" for number in range(1000))]
    assert set(await database.no_longer_active(asked)) == {"ended", "ending"}
    assert await database.no_longer_active(["ended"]) == ["ended"]
    assert await database.no_longer_active([]) == []


async def test_the_first_report_stands_byte_for_byte(database: Database) -> None:
    await database.start_session(session())
    first = b" " + report() + b"\n"
    assert await database.save_report("s", first)
    assert not await database.save_report("s", report(score=99.0))
    assert await database.get_report("s") == first


async def test_twenty_reports_at_once_leave_one(database: Database) -> None:
    """Exactly one call is told that its report is kept, and that one is."""
    await database.start_session(session())
    kept: list[bytes] = []

    async def save(score: float) -> None:
        mine = report(score=score)
        if await database.save_report("s", mine):
            kept.append(mine)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(save, float(number))
    assert kept == [await database.get_report("s")]


async def test_a_report_that_could_not_judge_is_kept(database: Database) -> None:
    """One without frames has no confidence."""
    await database.start_session(session())
    insufficient = report(score=0, confidence=None, review_priority="insufficient")
    assert await database.save_report("s", insufficient)
    assert await database.get_report("s") == insufficient


async def test_large_reports_and_metadata_are_kept(database: Database) -> None:
    large = session(metadata={f"key {n}": "ä😀\"'\\" * 1000 for n in range(50)})
    assert await database.start_session(large) == large
    long_report = report(verdict_basis="ü" * 2_000_000)
    assert await database.save_report("s", long_report)
    assert await database.get_report("s") == long_report


async def test_odd_texts_are_kept_and_found(database: Database) -> None:
    """Also the longest name, four bytes a character that do not compress, in every index at once."""
    longest = "".join(chr(0x20000 + n * 37) for n in range(512))
    for number, text in enumerate([*ODD_TEXTS, longest]):
        session_id = f"{number}{'x' * 127}"
        odd = session(session_id, candidate_id=text, exam_id=text, policy=text, metadata={text: text * 20})
        assert await database.start_session(odd) == odd
        found = await database.list_sessions(exam_id=text, candidate_id=text, limit=1)
        assert found == SessionPage([odd], 1, None)


async def test_texts_that_postgresql_refuses_are_refused(database: Database) -> None:
    """By both databases, naming the field, in writing and in looking for them."""

    async def refused(call: Awaitable[object], field: str) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            await call
        assert refusal.value.field == field

    for text in ("a\0b", "\ud800", "x" * 10_000):
        for field in ("candidate_id", "exam_id", "policy"):
            await refused(database.start_session(session(**{field: text})), field)
        for field in ("candidate_id", "exam_id"):
            await refused(database.list_sessions(limit=1, **{field: text}), field)
    for value in ("\ud800", object()):
        await refused(database.start_session(session(metadata={"x": value})), "metadata")
    assert (await database.list_sessions(limit=1)).total == 0


async def test_a_session_id_that_is_none_is_refused(database: Database) -> None:
    for session_id in ("", "a\0b", "..", "a'b", "x" * 129, "\ud800"):
        for call in (
            database.get_session(session_id),
            database.start_session(session(session_id)),
            database.begin_ending(session_id, 1),
            database.mark_dumped(session_id),
            database.mark_ended(session_id),
            database.save_report(session_id, report()),
            database.get_report(session_id),
        ):
            with pytest.raises(InvalidRequest):
                await call


async def test_a_listing_is_newest_first_and_counts_all(database: Database) -> None:
    """Those of one millisecond come by id, in byte order on both databases."""
    ids = ["B", "a", "_", "b", "A", "a-", "a.", "aa", "0"]
    for number, session_id in enumerate(ids):
        await database.start_session(session(session_id, started_ms=1000 + number // 5))
    expected = sorted(ids[5:], reverse=True) + sorted(ids[:5], reverse=True)
    for limit in (1, 2, 3, 8, 9, 10):
        assert [s.session_id for s in await all_pages(database, limit)] == expected
    assert (await database.list_sessions(limit=2)).total == len(ids)


async def test_pages_stay_in_place_while_sessions_start(database: Database) -> None:
    """None of those that were there at first is repeated or skipped; `total` counts the new ones."""
    for number in range(10):
        await database.start_session(session(f"old-{number}", started_ms=number))
    page = await database.list_sessions(limit=3)
    seen = page.sessions
    while page.next is not None:
        await database.start_session(session(f"new-{len(seen)}", started_ms=100 + len(seen)))
        page = await database.list_sessions(limit=3, before=page.next)
        seen += page.sessions
    assert [s.session_id for s in seen] == [f"old-{n}" for n in reversed(range(10))]
    assert page.total == 13


async def test_filters_combine_and_page(database: Database) -> None:
    for number in range(12):
        await database.start_session(
            session(f"s{number}", exam_id=f"e{number % 2}", candidate_id=f"c{number % 3}", started_ms=number)
        )
    for number in range(0, 12, 4):
        await database.begin_ending(f"s{number}", 50)

    async def found(**filters: object) -> list[str]:
        first = await database.list_sessions(limit=1, **filters)
        rest = await database.list_sessions(limit=50, before=first.next, **filters) if first.next else None
        sessions = first.sessions + (rest.sessions if rest else [])
        assert first.total == len(sessions)
        return [s.session_id for s in sessions]

    assert await found(exam_id="e0") == ["s10", "s8", "s6", "s4", "s2", "s0"]
    assert await found(candidate_id="c0") == ["s9", "s6", "s3", "s0"]
    assert await found(status=SessionStatus.ENDING) == ["s8", "s4", "s0"]
    assert await found(status=SessionStatus.ENDING, exam_id="e0", candidate_id="c2") == ["s8"]
    assert await found(status=SessionStatus.ENDED) == []


async def test_a_place_that_is_none_is_refused(database: Database) -> None:
    for before in ("", "x", "1", "1.", ".s", "1.a b", f"{2**63}.s", f"-{2**63}.s", "1.\0", "9" * 5000 + ".s"):
        with pytest.raises(InvalidRequest) as refusal:
            await database.list_sessions(limit=1, before=before)
        assert refusal.value.field == "before"


async def test_cancelled_calls_leave_the_pool_usable(settings: Settings) -> None:
    """However early or late in its work a call is cancelled, afterwards all connections can be had."""
    await upgrade_schema(settings)
    async with open_database(settings) as database:
        await database.start_session(session())
        for step in range(60):
            with trio.move_on_after(step * 0.0002):
                await database.start_session(session(f"s{step}"))
        async with trio.open_nursery() as nursery:
            for _ in range(2 * settings.database_connections_max):
                nursery.start_soon(database.ping)
        assert await database.get_session("s") == session()
    await sqlite_threads_to_end()


async def test_leaving_right_after_a_cancelled_call_leaves_nothing_behind(settings: Settings) -> None:
    """No thread or task goes on and then finds the loop closed: pytest would fail this test for it."""
    await upgrade_schema(settings)
    for step in range(12):
        async with open_database(settings) as database:
            with trio.move_on_after(step * 0.0004):
                await database.start_session(session(f"s{step}"))


async def test_a_call_cancelled_beforehand_writes_nothing(database: Database) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await database.start_session(session())
    assert scope.cancelled_caught
    assert await database.get_session("s") is None


async def test_many_calls_at_once_share_the_connections(settings: Settings) -> None:
    """More calls than connections wait their turn instead of failing."""
    await upgrade_schema(settings)
    settings = settings.model_copy(update={"database_connections_max": 2})
    async with open_database(settings) as database, trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(database.start_session, session(str(number)))
    async with open_database(settings) as database:
        assert (await database.list_sessions(limit=1)).total == 30


async def test_two_servers_see_each_others_writes(settings: Settings) -> None:
    await upgrade_schema(settings)
    async with open_database(settings) as one, open_database(settings) as other:
        await one.start_session(session())
        assert await other.begin_ending("s", 9) == await one.get_session("s")


def test_a_database_url_that_is_none_says_so() -> None:
    for url in (
        "",
        "mysql://x",
        "proctor.sqlite3",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///x?mode=ro",
        "postgresql://somebody:secret/@host/name",
        "postgresql://host/name?sslmode=sometimes",
    ):

        async def open_it(url: str = url) -> None:
            async with open_database(settings_for("x").model_copy(update={"database_url": url})):
                pass

        with pytest.raises(Misconfigured) as refusal:
            trio.run(open_it)
        assert refusal.value.field == "database_url"
        assert "secret" not in refusal.value.detail


async def test_sqlite_is_created_for_its_owner_only(sqlite_path: Path) -> None:
    """Log and index beside the file too, whatever the umask."""
    sqlite_path.parent.mkdir()
    before = os.umask(0)
    try:
        async with open_database(settings_for(f"sqlite:///{sqlite_path}")) as database:
            await database.start_session(session())
            with closing(sqlite3.connect(sqlite_path)) as reader:
                reader.execute("SELECT * FROM exam_sessions").fetchall()
                modes = {
                    path.name: stat.S_IMODE(path.stat().st_mode) for path in sqlite_path.parent.iterdir()
                }
                assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        os.umask(before)
    assert modes == {sqlite_path.name + suffix: 0o600 for suffix in ("", "-wal", "-shm")}


async def test_sqlite_in_a_missing_folder_is_a_mistake_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file or directory"):
        async with open_database(settings_for(f"sqlite:///{tmp_path}/missing/x.sqlite3")):
            pass


async def test_a_file_that_is_no_database_is_a_mistake_of_the_settings(tmp_path: Path) -> None:
    """And stays as it is."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 1000)
    with pytest.raises(Misconfigured):
        async with open_database(settings_for(f"sqlite:///{path}")):
            pass
    assert path.read_text() == "Dear Sir or Madam, " * 1000


async def test_locked_sqlite_is_unavailable_in_time_and_then_works(sqlite_path: Path) -> None:
    """Reading goes on meanwhile."""
    sqlite_path.parent.mkdir()
    settings = settings_for(f"sqlite:///{sqlite_path}", database_timeout_seconds=0.3)
    async with open_database(settings) as database:
        with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await database.start_session(session())
            assert time.monotonic() - began < 2
            assert await database.get_session("s") is None
        assert await database.start_session(session()) == session()


async def test_a_vanished_sqlite_file_is_unavailable_not_empty(sqlite_path: Path) -> None:
    sqlite_path.parent.mkdir()
    async with open_database(settings_for(f"sqlite:///{sqlite_path}")) as database:
        sqlite_path.unlink()  # noqa: ASYNC240
        with pytest.raises(Unavailable):
            await database.get_session("s")
        await sqlite_threads_to_end()
        assert not sqlite_path.exists()  # noqa: ASYNC240


async def test_a_file_that_was_replaced_is_used_from_then_on(sqlite_path: Path) -> None:
    """What is kept open of the old one would otherwise go on reading and writing what nobody sees."""
    settings = Settings(_env_file=None, database_url=f"sqlite:///{sqlite_path}")
    other = sqlite_path.with_name("other.sqlite3")
    sqlite_path.parent.mkdir(exist_ok=True)
    for path, candidate in ((sqlite_path, "old"), (other, "new")):
        async with open_database(Settings(_env_file=None, database_url=f"sqlite:///{path}")) as database:
            await database.start_session(session(candidate_id=candidate))
    async with open_database(settings) as database:
        before = await database.get_session("s")
        other.replace(sqlite_path)
        after = await database.get_session("s")
    assert before is not None
    assert after is not None
    assert (before.candidate_id, after.candidate_id) == ("old", "new")


@pytest.mark.parametrize("fault", ["stop", "kill"])
async def test_postgresql_down_is_unavailable_at_once_and_works_again(
    postgres: Database, postgres_server: PostgresHandle, fault: str
) -> None:
    """While it is down calls fail at once; afterwards as many connections as before can be had."""
    await postgres.start_session(session())
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(postgres.ping)
    getattr(postgres_server, fault)()
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable):
            await postgres.ping()
    assert time.monotonic() - began < 2
    postgres_server.start()
    assert await postgres.get_session("s") == session()
    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(postgres.ping)


async def test_postgresql_that_hangs_is_unavailable_in_time_and_works_again(
    postgres: Database, postgres_server: PostgresHandle
) -> None:
    """A frozen server accepts connections and answers none. Calls beyond the pool's size wait no longer."""
    await postgres.start_session(session())
    postgres_server.pause()
    began = time.monotonic()

    async def fail() -> None:
        with pytest.raises(Unavailable):
            await postgres.ping()

    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(fail)
    assert 0.9 < time.monotonic() - began < 2
    postgres_server.resume()
    assert await postgres.get_session("s") == session()
    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(postgres.ping)


async def test_leaving_a_hung_postgresql_takes_no_longer_than_a_call(
    postgres_settings: Settings, postgres_server: PostgresHandle
) -> None:
    await upgrade_schema(postgres_settings)
    async with open_database(postgres_settings) as database:
        await database.ping()
        postgres_server.pause()
        began = time.monotonic()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("fault", ["stop", "pause"])
async def test_opening_a_postgresql_that_is_down_is_unavailable(
    postgres_settings: Settings, postgres_server: PostgresHandle, fault: str
) -> None:
    getattr(postgres_server, fault)()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        async with open_database(postgres_settings):
            pass
    assert time.monotonic() - began < 2


async def test_a_postgresql_that_refuses_us_is_a_mistake_of_the_settings(postgres_url: str) -> None:
    """No such database, and no such user; neither message repeats the URL."""
    for url in (
        postgres_url.replace("/proctor_", "/absent_"),
        postgres_url.replace("postgres@", "nobody:pw@"),
    ):
        with pytest.raises(Misconfigured) as refusal:
            async with open_database(settings_for(url)):
                pass
        assert "pw" not in str(refusal.value)


async def test_calls_cancelled_on_a_hung_postgresql_end_at_once(
    postgres_url: str, postgres_server: PostgresHandle
) -> None:
    """A caller that gives up does not wait for the server to agree."""
    settings = settings_for(postgres_url, database_timeout_seconds=10)
    await upgrade_schema(settings)
    async with open_database(settings) as database:
        await database.ping()
        postgres_server.pause()
        began = time.monotonic()
        for _ in range(5):
            with trio.move_on_after(0.05) as scope:
                await database.ping()
            assert scope.cancelled_caught
        assert time.monotonic() - began < 5
        postgres_server.resume()
        assert (await database.list_sessions(limit=1)).total == 0


async def test_the_verdict_stands_in_columns_too(sqlite_path: Path) -> None:
    """So that whoever ranks sessions in SQL need not read JSON."""
    sqlite_path.parent.mkdir()
    async with open_database(settings_for(f"sqlite:///{sqlite_path}")) as database:
        await database.start_session(session())
        await database.save_report("s", report())
    with closing(sqlite3.connect(sqlite_path)) as reader:
        reader.row_factory = sqlite3.Row
        row = dict(reader.execute("SELECT * FROM exam_analyses").fetchone())
    assert row == {
        "session_id": "s",
        "report": report().decode(),
        "policy": "default",
        "analysed_ms": 1_767_603_600_123,
        "frames": 3,
        "score": 12.5,
        "review_priority": "low",
        "is_cheating": 0,
        "confidence": 0.25,
        "confidence_level": "low",
        "verdict_basis": "one short look aside",
        "version": 1,
        "requested_by": None,
        "reason": None,
        "findings": hashlib.sha256(b"").hexdigest(),
    }


async def test_a_postgresql_url_keeps_its_options(postgres_url: str, postgres_server: PostgresHandle) -> None:
    """What asyncpg understands reaches the server, so that `sslmode` for one is not silently dropped."""
    settings = settings_for(f"{postgres_url}&application_name=room%2012")
    await upgrade_schema(settings)
    async with open_database(settings) as database:
        await database.ping()
        assert "room 12" in postgres_server.psql("SELECT application_name FROM pg_stat_activity")
