"""What is granted while an exam runs counts from the next report on, and nothing granted is lost."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
import trio

from proctor.accommodations import AllowPeople
from proctor.errors import Conflict, InvalidRequest, SessionEnded, Unavailable, UnknownSession
from proctor.model import ExamSession
from tests.house import House, house_settings, open_house
from tests.test_live import T0, exam, without_time

pytestmark = pytest.mark.usefixtures("hard_limit")

NO_PHONE_RULE = {"type": "exempt", "rule": "phone", "reason": "insulin pump", "granted_by": "office"}
SCRIBE = {"type": "allow_people", "reason": "scribe"}


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    async with open_house(house_settings(tmp_path)) as house:
        yield house


async def report(house: House, *, final: bool = False) -> dict[str, Any]:
    session = await house.sessions.get("exam")
    return without_time(await house.live.report(session, final=final))


async def test_what_was_folded_before_is_judged_by_it_too(house):
    """A state that knows nothing of it starts over from the stored frames."""
    await house.stream("exam", *exam(0, 60))
    assert [finding["category"] for finding in (await report(house))["findings"]] == ["phone"]
    granted = await house.grants.grant("exam", [NO_PHONE_RULE])
    assert [each.id for each in granted.accommodations] == ["a1"]
    told = await report(house)
    assert told["findings"] == []
    assert [each["category"] for each in told["accommodations"][0]["suppressed"]] == ["phone"]


async def test_what_is_withdrawn_is_as_if_it_had_never_been_granted(house):
    await house.stream("exam", *exam(0, 60))
    before = await report(house)
    await house.grants.grant("exam", [NO_PHONE_RULE, SCRIBE])
    await report(house)
    left = await house.grants.withdraw("exam", "a1")
    assert [(each.id, each.withdrawn is None) for each in left.accommodations] == [
        ("a1", False),
        ("a2", True),
    ]
    await house.grants.withdraw("exam", "a2")
    assert await report(house) == before


async def test_withdrawing_again_changes_nothing_and_numbers_are_not_used_again(house):
    """So that a repeated request never takes back another one."""
    await house.stream("exam", *exam(0, 1))
    await house.grants.grant("exam", [SCRIBE])
    gone = await house.grants.withdraw("exam", "a1")
    assert await house.grants.withdraw("exam", "a1") == gone
    assert [each.id for each in (await house.grants.grant("exam", [SCRIBE])).accommodations] == ["a1", "a2"]


async def test_starting_a_session_that_was_streamed_to_keeps_what_was_granted(house):
    await house.stream("exam", *exam(0, 1))
    await house.grants.grant("exam", [SCRIBE])
    started = await house.sessions.start(ExamSession(session_id="exam", candidate_id="c", started_ms=T0))
    assert [each.reason for each in started.accommodations] == ["scribe"]


async def test_the_same_start_again_is_the_same_session_whatever_was_changed_since(house):
    asked = ExamSession(
        session_id="exam", candidate_id="c", started_ms=T0, accommodations=[AllowPeople(id="a1", reason="r")]
    )
    await house.sessions.start(asked)
    await house.grants.grant("exam", [NO_PHONE_RULE])
    await house.grants.withdraw("exam", "a1")
    assert len((await house.sessions.start(asked)).accommodations) == 2
    other = msgspec.structs.replace(asked, accommodations=[AllowPeople(id="a1", reason="r", people=2)])
    with pytest.raises(Conflict, match=r"POST .*/accommodations"):
        await house.sessions.start(other)


async def test_what_nobody_can_change_is_not_tried_for_ever(house, tmp_path):
    """Such as a text that another program wrote."""
    await house.stream("exam", *exam(0, 1))
    with closing(sqlite3.connect(tmp_path / "proctor.sqlite3")) as database:
        database.execute("UPDATE exam_sessions SET accommodations = '[ ]'")
        database.commit()
    with pytest.raises(Unavailable, match="ask again"):
        await house.grants.grant("exam", [SCRIBE])


async def test_a_session_whose_policy_is_gone_is_granted_things_by_the_default_one(house):
    """As it is judged by that."""
    await house.sessions.start(ExamSession(session_id="exam", candidate_id="c", policy="gone", started_ms=T0))
    assert (await house.grants.grant("exam", [NO_PHONE_RULE])).accommodations[0].rule == "phone"


async def test_the_final_report_follows_it_without_a_live_one(house):
    await house.sessions.start(ExamSession(session_id="exam", candidate_id="c", started_ms=T0))
    await house.stream("exam", *exam(0, 60))
    await house.grants.grant("exam", [NO_PHONE_RULE])
    await house.sessions.end("exam")
    final = await house.sessions.analyze("exam")
    assert b'"findings":[]' in final
    assert b"insulin pump" in final


async def test_a_granted_session_is_judged_anew_without_being_asked(tmp_path):
    """Though no frame comes after it."""
    async with open_house(house_settings(tmp_path, analysis_refresh_seconds=0.05)) as house:
        await house.stream("exam", *exam(0, 60))
        await report(house)
        folded = house.engine.folded_frames
        house.nursery.start_soon(house.live.follow, house.database.active_sessions)
        await house.grants.grant("exam", [NO_PHONE_RULE])
        while house.engine.folded_frames < folded + 100:  # noqa: ASYNC110 - the engine tells nobody
            await trio.sleep(0.01)


async def test_of_many_at_once_none_is_lost(house):
    await house.stream("exam", *exam(0, 1))
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(house.grants.grant, "exam", [SCRIBE])
    session = await house.sessions.get("exam")
    assert sorted(each.id for each in session.accommodations) == sorted(f"a{n}" for n in range(1, 21))


async def test_a_mistake_changes_nothing(house):
    await house.stream("exam", *exam(0, 1))
    with pytest.raises(InvalidRequest, match=r"accommodations\.1\.signal"):
        await house.grants.grant("exam", [SCRIBE, {"type": "exempt", "signal": "x", "reason": "r"}])
    with pytest.raises(InvalidRequest, match="no accommodation 'a7'; there are: none"):
        await house.grants.withdraw("exam", "a7")
    assert (await house.sessions.get("exam")).accommodations == []


async def test_neither_unknown_nor_ended_sessions_are_granted_anything(house):
    with pytest.raises(UnknownSession):
        await house.grants.grant("exam", [SCRIBE])
    await house.stream("exam", *exam(0, 1))
    await house.sessions.end("exam")
    with pytest.raises(SessionEnded, match="reanalyze"):
        await house.grants.grant("exam", [SCRIBE])
