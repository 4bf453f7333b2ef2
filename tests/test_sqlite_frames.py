"""The embedded frame store: its file, and its faults."""

import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio

from proctor.errors import Misconfigured, Unavailable
from proctor.model import FrameId
from proctor.settings import Settings
from proctor.storage import leases, sqlite_file, sqlite_frames
from proctor.storage.frames import MEMORY_SECONDS, Outcome, Receipt
from proctor.storage.sqlite_frames import open_sqlite_frames
from tests.test_frame_stores import T0, appended, ids, message, saved


def settings_for(path: Path, retention_seconds: int = 3600) -> Settings:
    settings = Settings(_env_file=None, frame_store_path=path)
    return settings.model_copy(update={"frame_buffer_retention_seconds": retention_seconds})


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "frames.sqlite3"


def rows(path: Path, table: str) -> int:
    """What is in the file, whether or not the store would return it."""
    with sqlite3.connect(path) as db:
        (found,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    db.close()
    return found


@contextmanager
def opened_elsewhere(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has the file open until it is killed."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom proctor.storage.sqlite_file import opened\n"
        "with opened(Path(sys.argv[1])):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


async def test_the_files_are_for_their_owner_only(path):
    """The write-ahead log too, which holds frames as well."""
    async with open_sqlite_frames(settings_for(path)) as store:
        await store.append([message("exam", T0)])
        assert store.durability == "process"
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files.keys() >= {path.name, f"{path.name}-wal", f"{path.name}-lock"}
    assert set(files.values()) == {0o600}


async def test_a_second_opening_is_refused_with_the_remedy(path):
    """By this process or another, until the first is done; its end by a kill counts."""
    settings = settings_for(path)
    with opened_elsewhere(path) as other:
        with pytest.raises(Misconfigured, match=r"another server has it open.*REDIS_URL") as caught:
            async with open_sqlite_frames(settings):
                pass
        assert caught.value.field == "frame_store_path"
        other.kill()
    async with open_sqlite_frames(settings):
        with pytest.raises(Misconfigured, match="another server has it open"):
            async with open_sqlite_frames(settings):
                pass
    async with open_sqlite_frames(settings) as store:
        await store.ping()


@pytest.mark.parametrize("content", [b"no database, whatever else it may be" * 40, None])
async def test_a_file_of_something_else_is_refused_and_left_alone(path, content):
    """Be it no database at all or another program's."""
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE grades (grade)")
        db.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(Misconfigured, match="cannot use the frame store"):
        async with open_sqlite_frames(settings_for(path)):
            pass
    assert path.read_bytes() == before


async def test_a_path_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="No such file"):
        async with open_sqlite_frames(settings_for(tmp_path / "missing" / "frames.sqlite3")):
            pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(Misconfigured, match="cannot use the frame store"):
        async with open_sqlite_frames(settings_for(tmp_path / "folder")):
            pass


async def test_a_locked_file_is_unavailable_then_as_before(path, monkeypatch):
    """Nothing of the refused commit is written, and reading goes on meanwhile."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    async with open_sqlite_frames(settings_for(path)) as store:
        await store.append([message("exam", T0, seq=1)])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked") as caught:
            await store.append([message("exam", T0, seq=2)])
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert len((await store.read("exam")).frames) == 1
        other.close()
        assert await appended(store, [message("exam", T0, seq=2)]) == [Outcome.STORED]
        assert [frame_id.number for frame_id in ids((await store.read("exam")).frames)] == [0, 1]


async def test_a_full_file_is_unavailable_and_stores_nothing_by_halves(path):
    """Numbers and seqs of the failed commit are free again once there is space."""
    async with open_sqlite_frames(settings_for(path)) as store:
        await store.append([message("exam", T0, seq=1)])
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        commit = [message("exam", *range(T0, T0 + 500), seq=2), message("other", *range(T0, T0 + 500))]
        with pytest.raises(Unavailable, match="full"):
            await store.append(commit)
        assert (await store.read("exam")).stored == 1
        store._writer.execute("PRAGMA max_page_count = 1000000")
        assert await appended(store, commit) == [Outcome.STORED] * 2
        assert (await store.read("exam")).stored == 501


async def test_a_bug_is_no_unavailability(path):
    """An error that trying again cannot mend must not be tried again."""
    async with open_sqlite_frames(settings_for(path)) as store:
        pass
    with pytest.raises(sqlite3.ProgrammingError):
        await store.append([message("exam", T0)])


async def test_a_long_read_holds_up_no_commit(path, monkeypatch):
    """Not even while all of its connection's time is taken."""
    began, go_on = threading.Event(), threading.Event()
    real = sqlite_frames._now_ms

    def stuck() -> int:
        if threading.current_thread() is not threading.main_thread() and not go_on.is_set() and arrested:
            arrested.clear()
            began.set()
            go_on.wait(10)
        return real()

    arrested = [True]
    async with open_sqlite_frames(settings_for(path)) as store, trio.open_nursery() as nursery:
        monkeypatch.setattr(sqlite_frames, "_now_ms", stuck)
        nursery.start_soon(store.read, "exam")
        await trio.to_thread.run_sync(began.wait, 10)
        with trio.fail_after(5):
            assert await appended(store, [message("exam", T0)]) == [Outcome.STORED]
        go_on.set()


@pytest.mark.slow
async def test_expired_frames_leave_the_file_as_others_arrive(path):
    """A few with each commit, the rest at `ping`, so that no commit waits for a backlog."""
    async with open_sqlite_frames(settings_for(path, retention_seconds=1)) as store:
        await store.append([message("exam", *range(T0, T0 + 100))])
        await trio.sleep(1.1)
        await store.append([message("exam", T0, T0)])
        assert rows(path, "frames") == 98
        await store.ping()
        assert rows(path, "frames") == 2


async def test_forgotten_sessions_leave_the_file(path, monkeypatch):
    """With all they had, after the retention and a day; a session written to since stays."""
    async with open_sqlite_frames(settings_for(path)) as store:
        await store.append([message("old", T0, seq=1), message("exam", T0, seq=1)])
        await saved(store, b"state", "old")
        await store.seal("old")
        due = sqlite_frames._now_ms() + (MEMORY_SECONDS + 3600) * 1000
        monkeypatch.setattr(sqlite_frames, "_now_ms", lambda: due - 60_000)
        await saved(store, b"state")
        await store.ping()
        assert (rows(path, "sessions"), rows(path, "states"), rows(path, "seqs")) == (2, 2, 2)
        monkeypatch.setattr(sqlite_frames, "_now_ms", lambda: due + 60_000)
        await store.ping()
        assert (rows(path, "sessions"), rows(path, "states"), rows(path, "seqs")) == (1, 1, 1)


def aged(path: Path, milliseconds: int) -> None:
    """Make the file as it would be that much later, without a server in between."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            f"UPDATE run SET seen_ms = seen_ms - {milliseconds}, down_ms = down_ms;"
            f"UPDATE frames SET stored_ms = stored_ms - {milliseconds};"
            f"UPDATE sessions SET touched_ms = touched_ms - {milliseconds};"
        )


async def test_what_is_kept_does_not_age_while_the_server_is_down(path):
    """However long, and more than once; while it runs it does, and `ping` notes that it runs."""
    settings = settings_for(path, retention_seconds=2)
    for down_ms in (3_600_000, 10 * MEMORY_SECONDS * 1000):
        async with open_sqlite_frames(settings) as store:
            await store.append([message("exam", T0, seq=None)])
        aged(path, down_ms)
    async with open_sqlite_frames(settings) as store:
        page = await store.read("exam")
        assert (len(page.frames), page.stored) == (2, 2)


@pytest.mark.parametrize("down_ms", [-3_600_000, 3_600_000])
async def test_while_the_server_runs_frames_age(path, monkeypatch, down_ms):
    """Also those from before it was down, by as much as they had aged then, wherever the clock is set."""
    real = sqlite_frames._now_ms
    settings = settings_for(path, retention_seconds=100)
    async with open_sqlite_frames(settings) as store:
        await store.append([message("exam", T0)])
        monkeypatch.setattr(sqlite_frames, "_now_ms", lambda: real() + 60_000)
    monkeypatch.setattr(sqlite_frames, "_now_ms", lambda: real() + 60_000 + down_ms)
    async with open_sqlite_frames(settings) as store:
        await store.append([message("exam", T0)])
        assert len((await store.read("exam")).frames) == 2
        monkeypatch.setattr(sqlite_frames, "_now_ms", lambda: real() + 60_000 + down_ms + 50_000)
        assert len((await store.read("exam")).frames) == 1


async def test_many_claims_do_not_pile_up(path, autojump_clock):
    async with open_sqlite_frames(settings_for(path)) as store:
        for number in range(3 * leases.CLAIMS_BEFORE_PRUNING):
            assert await store.claim(f"claim-{number}", 0.5) == 0.0
            await trio.sleep(0.001)
        assert len(store._leases._claims) <= leases.CLAIMS_BEFORE_PRUNING


async def test_a_file_of_the_first_version_is_brought_up_to_date(path):
    """With what is in it; then it is like any other."""
    now = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{sqlite_file.SCHEMA[0]} PRAGMA user_version = 1;")
        db.execute("INSERT INTO sessions (id, name, stored, touched_ms) VALUES (1, 'exam', 1, ?)", (now,))
        db.execute("INSERT INTO frames VALUES (1, ?, 0, ?, ?)", (T0, now, b'{"frame_id":"%d-0"}' % T0))
        db.commit()
    async with open_sqlite_frames(settings_for(path)) as store:
        assert await store.append([message("exam", T0 + 1, seq=1)]) == [Receipt(Outcome.STORED, 1)]
        assert ids((await store.read("exam")).frames) == [FrameId(T0, 0), FrameId(T0 + 1, 1)]
        assert (await store.resume_point("exam")).last_seq == 1
