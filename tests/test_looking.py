"""Sessions are looked at for whoever wants to see them, once for all."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest
import trio

from proctor.analysis.calm import SessionCalm
from proctor.analysis.engine import Engine
from proctor.analysis.glance import Glance, Look
from proctor.analysis.verdict import Priority
from proctor.errors import Unavailable
from proctor.farewells import Farewells
from proctor.ingest import Ingest
from proctor.model import ExamSession
from proctor.monitor.board import OwnBoard
from proctor.monitor.looking import AT_ONCE, Looking
from proctor.storage.database import Database
from proctor.storage.frames import FrameMessage, FramePage, FrameStore, UnnumberedFrame
from proctor.unseen import PATIENCE_SECONDS, Unseen


class Sessions:
    """A database of sessions that are active, unless it is down."""

    down = False
    asked = 0

    async def active_sessions(self, session_ids: Sequence[str]) -> list[ExamSession]:
        self.asked += 1
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

    async def glance(self, _state: None, _frames: list[bytes], session: ExamSession) -> Look:
        self.looked.append(session.session_id)
        if session.session_id == "bad":
            raise Unavailable("analysis workers die")
        glance = Glance(score=0, priority=Priority.NONE, last_ms=1, concerns=0, newest=[], rules={}, bars="0")
        return Look(glance, SessionCalm(10_000))


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


def not_seen(*names: str) -> Unseen:
    unseen = Unseen()
    unseen.add(names)
    return unseen


def message(session_id: str, time_ms: int) -> FrameMessage:
    return FrameMessage(session_id, (UnnumberedFrame(time_ms, b'{"frame_id":"'),))


def looking_at(sessions: Sessions, engine: Glances, *onlookers: Onlooker, unseen: Unseen) -> Looking:
    return Looking(
        OwnBoard(),
        cast("Engine", engine),
        cast("FrameStore", Store()),
        cast("Database", sessions),
        cast("Ingest", SimpleNamespace(unseen=unseen)),
        cast("Farewells", None),
        onlookers,
        lambda: 0,
    )


async def test_looking_goes_on_where_it_was_once_the_database_is_back():
    """An outage is waited out, and is no failure of the task, which would be restarted later and later."""
    sessions, unseen = Sessions(), not_seen("s", "t")
    looking = looking_at(sessions, Glances(), unseen=unseen)
    sessions.down = True
    await looking._look_round([], watched=True)
    assert sessions.asked <= 2, "what is down is left alone until the next round"
    assert unseen.take(5) == ["s", "t"]


async def test_one_glance_serves_all_who_want_it_and_nobody_is_held_up_by_another():
    """What could not be looked at is looked at again; what nobody wants to see is not."""
    unseen, engine = not_seen("bad", "good", "unwanted"), Glances()
    one, two = Onlooker("unwanted"), Onlooker("unwanted", "bad")
    looking = looking_at(Sessions(), engine, one, two, unseen=unseen)
    await looking._look(unseen.take(5), [one, two], watched=False)
    assert sorted(engine.looked) == ["bad", "good"]
    assert one.saw == two.saw == ["good"]
    assert unseen.take(5) == ["bad"]


async def test_who_ends_is_looked_at_once_more_for_those_who_want_to_see_it():
    """What could not be shown is told, so that the end is tried again."""
    engine, one, blind = Glances(), Onlooker(), Onlooker("s")
    looking = looking_at(Sessions(), engine, one, blind, unseen=Unseen())
    await looking.look_last(ExamSession(session_id="s", started_ms=1))
    assert (engine.looked, one.saw, blind.saw) == (["s"], ["s"], [])
    with pytest.raises(Unavailable):
        await looking.look_last(ExamSession(session_id="bad", started_ms=1))
    unwatched = looking_at(Sessions(), engine, blind, unseen=Unseen())
    await unwatched.look_last(ExamSession(session_id="s", started_ms=1))
    assert engine.looked == ["s", "bad"]


async def test_who_is_calm_waits_and_all_others_are_looked_at_in_one_round(autojump_clock):
    unseen, engine = not_seen(*map(str, range(3 * AT_ONCE))), Glances()
    looking = looking_at(Sessions(), engine, unseen=unseen)
    await looking._look_round([], watched=True)
    assert len(engine.looked) == 3 * AT_ONCE
    unseen.stored(message("0", 9_000))
    unseen.stored(message("1", 10_000))
    await looking._look_round([], watched=True)
    assert engine.looked[3 * AT_ONCE :] == ["1"]
    await trio.sleep(PATIENCE_SECONDS)
    await looking._look_round([], watched=True)
    assert engine.looked[-1] == "0"
