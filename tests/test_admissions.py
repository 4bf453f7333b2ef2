"""Sessions that many want to stream into at the same time."""

from types import SimpleNamespace

import pytest
import trio
import trio.testing

from proctor.admissions import Admissions
from proctor.errors import Unavailable, UnknownSession
from proctor.model import ExamSession, SessionStatus
from proctor.settings import Settings
from proctor.storage.database import Database, open_database
from tests.fakes import MemoryStore, Troubled, Wrapped

NOW = 1_767_603_600_000


class Counted(Wrapped):
    """Notes who asks for what."""

    def __init__(self, inner: Database) -> None:
        super().__init__(inner)
        self.asked: list[list[str]] = []

    async def admit_sessions(self, session_ids: list[str], started_ms: int) -> dict[str, ExamSession]:
        self.asked.append(list(session_ids))
        return await self.inner.admit_sessions(session_ids, started_ms)


@pytest.fixture
async def database(tmp_path):
    async with open_database(
        Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/p.sqlite3")
    ) as opened:
        yield opened


async def test_who_comes_at_once_shares_a_look_at_the_database(database, nursery):
    """Whether the session is there, has ended, or begins with them; two of one session get the same."""
    await database.start_session(ExamSession(session_id="known", candidate_id="c", started_ms=1))
    await database.start_session(ExamSession(session_id="over", started_ms=2))
    await database.begin_ending("over", 3)
    counted = Counted(database)
    admissions = Admissions(counted, MemoryStore(), SimpleNamespace(on=False), lambda: NOW)
    found: list[ExamSession] = []

    async def join(session_id: str) -> None:
        found.append(await admissions.admit(session_id))

    async with trio.open_nursery() as clients:
        for session_id in ["known", "over", *(f"new-{number}" for number in range(700)), "new-0"]:
            clients.start_soon(join, session_id)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(admissions.serve)
    # The first look is at 500, and those of them begin that are not there; who is in it is up to chance.
    first, begun, rest, begun_then = (len(ids) for ids in counted.asked)
    assert (first, first + rest, begun + begun_then) == (500, 702, 700)
    by_id = {session.session_id: session for session in found}
    assert len(found) == 703
    assert len(by_id) == 702
    assert by_id["known"].candidate_id == "c"
    assert by_id["over"].status is SessionStatus.ENDING
    assert by_id["new-699"] == ExamSession(session_id="new-699", started_ms=NOW)
    assert await database.get_session("new-699") == by_id["new-699"]


async def test_trouble_is_told_to_those_who_asked_and_the_next_are_answered(database, nursery):
    troubled = Troubled(database, "admit_sessions", 1, Unavailable("the database does not answer"))
    admissions = Admissions(troubled, MemoryStore(), SimpleNamespace(on=False), lambda: NOW)
    nursery.start_soon(admissions.serve)
    with pytest.raises(Unavailable, match="does not answer"):
        await admissions.admit("exam")
    assert (await admissions.admit("exam")).session_id == "exam"


async def test_who_gives_up_takes_nobody_along(database, nursery):
    admissions = Admissions(database, MemoryStore(), SimpleNamespace(on=False), lambda: NOW)
    with trio.move_on_after(0.01):
        await admissions.admit("exam")
    nursery.start_soon(admissions.serve)
    assert (await admissions.admit("exam")).session_id == "exam"


async def test_with_authentication_nothing_begins_by_itself(database, nursery):
    await database.start_session(ExamSession(session_id="known", candidate_id="c", started_ms=1))
    admissions = Admissions(database, MemoryStore(), SimpleNamespace(on=True), lambda: NOW)
    nursery.start_soon(admissions.serve)
    assert (await admissions.admit("known")).candidate_id == "c"
    with pytest.raises(UnknownSession):
        await admissions.admit("made-up")
    assert await database.get_session("made-up") is None
