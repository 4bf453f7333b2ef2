"""Sessions are looked at for whoever wants to see them, once for all."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import ClassVar, cast

import msgspec
import pytest

from proctor.analysis.engine import Engine
from proctor.analysis.glance import Glance
from proctor.analysis.verdict import Priority
from proctor.errors import Unavailable
from proctor.farewells import Farewells
from proctor.ingest import Ingest
from proctor.model import ExamSession
from proctor.monitor.board import OwnBoard
from proctor.monitor.looking import Looking
from proctor.storage.database import Database
from proctor.storage.frames import FramePage, FrameStore


class Sessions:
    """A database of sessions that are active, unless it is down."""

    down = False

    async def active_sessions(self, session_ids: Sequence[str]) -> list[ExamSession]:
        if self.down:
            raise Unavailable("the database does not answer")
        return [ExamSession(session_id=each, started_ms=1) for each in session_ids]


class Store:
    """A frame store that has nothing."""

    async def load_state(self, _session_id: str) -> None:
        return None

    async def read(self, *_: object) -> FramePage:
        return FramePage([], 0, more=False)


class Glances:
    """An engine that looks at all sessions but one."""

    policies: ClassVar[dict[str, object]] = {"default": None}

    def __init__(self) -> None:
        self.looked: list[str] = []

    async def glance(self, _state: None, _frames: list[bytes], session: ExamSession) -> bytes:
        self.looked.append(session.session_id)
        if session.session_id == "bad":
            raise Unavailable("analysis workers die")
        return msgspec.json.encode(
            Glance(score=0, priority=Priority.NONE, last_ms=1, concerns=0, newest=[], bars="0")
        )


class Onlooker:
    """Sees every session but those named here."""

    hurried = False

    def __init__(self, *blind_to: str) -> None:
        self.blind_to = blind_to
        self.saw: list[str] = []

    async def is_looking(self) -> bool:
        return True

    def wants(self, session: ExamSession) -> bool:
        return session.session_id not in self.blind_to

    async def see(self, session: ExamSession, glance: Glance) -> None:
        assert glance.bars == "0"
        self.saw.append(session.session_id)


def looking_at(sessions: Sessions, engine: Glances, *onlookers: Onlooker, unseen: dict[str, None]) -> Looking:
    return Looking(
        OwnBoard(),
        cast("Engine", engine),
        cast("FrameStore", Store()),
        cast("Database", sessions),
        cast("Ingest", SimpleNamespace(unseen=unseen)),
        cast("Farewells", None),
        onlookers,
    )


async def test_looking_goes_on_where_it_was_once_the_database_is_back():
    """An outage is waited out, and is no failure of the task, which would be restarted later and later."""
    sessions, unseen = Sessions(), dict.fromkeys(("s", "t"))
    looking = looking_at(sessions, Glances(), unseen=unseen)
    sessions.down = True
    with pytest.raises(Unavailable):
        await looking._look([], watched=True)
    assert list(unseen) == ["s", "t"]


async def test_one_glance_serves_all_who_want_it_and_nobody_is_held_up_by_another():
    """What could not be looked at is looked at again; what nobody wants to see is not."""
    unseen, engine = dict.fromkeys(("bad", "good", "unwanted")), Glances()
    one, two = Onlooker("unwanted"), Onlooker("unwanted", "bad")
    looking = looking_at(Sessions(), engine, one, two, unseen=unseen)
    await looking._look([one, two], watched=False)
    assert sorted(engine.looked) == ["bad", "good"]
    assert one.saw == two.saw == ["good"]
    assert list(unseen) == ["bad"]
