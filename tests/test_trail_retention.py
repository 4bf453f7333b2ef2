"""The oldest entries of the trail go when their time is over; it says so, and the rest is still proven."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from proctor import trail_retention
from proctor.audit import Action, Audit, Who, former_pseudonym
from proctor.chain import START, Entry, Event, Fault, Head, Walk, seal
from proctor.errors import InvalidRequest, Unavailable
from proctor.settings import Settings
from proctor.storage.audit_cuts import AuditCuts
from proctor.storage.audit_log import AuditLog
from proctor.storage.pool import Pool, open_pool
from proctor.storage.schema import upgrade_schema
from proctor.trail_retention import TrailRetention
from tests.fakes import Troubled
from tests.test_audit import everything, sql, tamper

DAY_MS = 24 * 3600 * 1000
T0 = 1_767_603_600_000
OFFICE = Who(actor="office", address=None)


class Trail:
    """A trail whose time is told by the test."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings = settings
        self.days = 0.0
        self.audit = Audit(AuditLog(pool), self.now_ms)
        self.cuts: Any = AuditCuts(pool)

    def now_ms(self) -> int:
        return T0 + round(self.days * DAY_MS)

    async def record(self, *days: float) -> list[Entry]:
        made = []
        for self.days in days:
            made.append(await self.audit.record(Action.EXPORTED, "s", **OFFICE))
        return made

    async def cut(self, day: float, kept: float = 10) -> None:
        self.days = day
        settings = self.settings.model_copy(update={"audit_retention_days": kept})
        await TrailRetention(self.cuts, self.audit, settings, self.now_ms).apply()

    async def numbers(self) -> list[int]:
        return [entry.number for entry in await everything(self.audit)]


@pytest.fixture
async def trail(database_url: str) -> AsyncIterator[Trail]:
    settings = Settings(_env_file=None, database_url=database_url)
    await upgrade_schema(settings)
    async with open_pool(settings) as pool:
        yield Trail(settings, pool)


async def test_what_is_old_goes_and_the_trail_says_so(trail: Trail) -> None:
    """By entries of its own, at most one a day, and never for their own sake."""
    made = await trail.record(0, 1, 2, 3)
    await trail.cut(11.5, kept=0)
    await trail.cut(9.5)
    assert await trail.numbers() == [1, 2, 3, 4]
    await trail.cut(11.5)
    assert await trail.numbers() == [3, 4, 5]
    cut = (await everything(trail.audit))[-1]
    assert (cut.action, cut.actor, cut.subject) == ("trail_cut", "retention", f"2:{made[1].hash}")
    found = await trail.audit.verify()
    assert (found.intact, found.start, found.vouched_by) == (True, Head(2, made[1].hash), 5)
    await trail.cut(12.4)
    assert await trail.numbers() == [3, 4, 5]
    await trail.cut(13.5)
    assert await trail.numbers() == [5, 6]
    assert (await trail.audit.verify()).vouched_by == 6
    await trail.cut(99)
    assert await trail.numbers() == [5, 6]
    await trail.record(100)
    await trail.cut(200)
    assert await trail.numbers() == [8]
    assert (await trail.audit.verify()).start.number == 7


async def test_a_clock_that_was_wrong_keeps_what_comes_after_it(trail: Trail) -> None:
    await trail.record(0, 30, 0)
    await trail.cut(31)
    assert await trail.numbers() == [2, 3, 4]


async def test_many_go_in_several_steps(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail_retention, "CUT_ENTRIES", 3)
    await trail.record(*[0.0] * 7, 50)
    await trail.cut(50)
    assert await trail.numbers() == [8, 9, 10, 11]
    assert (await trail.audit.verify()).vouched_by == 11


async def test_what_was_said_and_not_done_is_done_the_next_time(trail: Trail) -> None:
    """Meanwhile the trail is whole."""
    await trail.record(0, 20)
    cuts, trail.cuts = trail.cuts, Troubled(trail.cuts, "remove", 1, Unavailable("down"))
    with pytest.raises(Unavailable):
        await trail.cut(20)
    assert await trail.numbers() == [1, 2, 3]
    assert (await trail.audit.verify()).start == START
    trail.cuts = cuts
    await trail.cut(20.1)
    assert await trail.numbers() == [2, 3]
    assert (await trail.audit.verify()).intact


REFUSED = [
    "DELETE FROM audit_log WHERE number = 3",
    "DELETE FROM audit_log WHERE number = 5",
    "DELETE FROM audit_log",
    "UPDATE audit_log SET actor = 'x'",
]


@pytest.mark.parametrize("statement", REFUSED)
async def test_the_database_lets_nothing_else_go(trail: Trail, statement: str) -> None:
    await trail.record(0, 1, 20, 20)
    await trail.cut(20)
    with pytest.raises(sa.exc.DBAPIError, match="audit_log is append-only"):
        await sql(trail.settings, statement)
    assert await trail.numbers() == [3, 4, 5]


async def test_an_entry_cannot_let_go_itself_and_what_comes_after(trail: Trail) -> None:
    await trail.record(0, 1)
    for subject in ("99:" + "0" * 64, "x"):
        await trail.audit.record(Action.TRAIL_CUT, subject, **OFFICE)
        for number in (3, 1):
            if subject == "x" or number == 3:
                with pytest.raises(sa.exc.DBAPIError):
                    await sql(trail.settings, f"DELETE FROM audit_log WHERE number = {number}")
    await trail.cut(50)
    assert await trail.numbers() == [5]


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM audit_log WHERE number = 3", Fault(1, "is missing: the next one is 4")),
        ("UPDATE audit_log SET subject = 'x' WHERE number = 5", Fault(1, "is missing: the next one is 3")),
        ("DELETE FROM audit_log WHERE number >= 5", Fault(1, "is missing: the next one is 3")),
        ("DELETE FROM audit_log WHERE number = 4", Fault(4, "is missing")),
    ],
)
async def test_other_cuts_show(trail: Trail, statement: str, fault: Fault) -> None:
    await trail.record(0, 1, 20, 20)
    await trail.cut(20)
    await tamper(trail.settings, statement)
    found = (await trail.audit.verify()).fault
    assert found is not None
    assert (found.number, found.reason.startswith(fault.reason)) == (fault.number, True), found


def test_a_walk_does_not_end_well_where_none_says_that_it_may_begin_late() -> None:
    start = Head(4, "ab" * 32)
    event = Event(at_ms=1, actor="a", address=None, action="erased", subject="s", before=None, after=None)
    entry = seal(event, start)
    walk = Walk(None, start)
    assert walk.step(entry) is None
    assert walk.end() == Fault(1, "is missing: the next one is 5")
    assert walk.head == START
    for subject, vouched_by in ((str(start), 6), (f"4:{'cd' * 32}", None)):
        cut = msgspec.structs.replace(event, action="trail_cut", subject=subject)
        walk = Walk(None, start)
        assert walk.step(entry) is walk.step(seal(cut, Head(5, entry.hash))) is None
        assert walk.vouched_by == vouched_by


async def test_heads_that_were_noted(trail: Trail) -> None:
    """One of an entry that is gone proves nothing; the last of those still shows how the rest begins."""
    made = await trail.record(0, 1, 20, 20)
    await trail.cut(20)
    with pytest.raises(InvalidRequest, match="intact from entry 3 on, but entry 1 was removed"):
        await trail.audit.verify(Head(1, made[0].hash))
    for kept in (START, Head(2, made[1].hash), Head(4, made[3].hash)):
        assert (await trail.audit.verify(kept)).intact
    other = await trail.audit.verify(Head(2, "ab" * 32))
    assert other.fault == Fault(3, "does not follow from the one that was noted, which was removed")


async def test_candidates_are_found_by_name_and_not_without_the_secret(
    trail: Trail, database_url: str
) -> None:
    """Those of earlier builds too. Other processes make the same pseudonym, other installations do not."""
    pseudonym = await trail.audit.pseudonym("C-1")
    assert pseudonym.startswith("hmac:")
    assert "C-1" not in pseudonym
    for subject in (former_pseudonym("C-1"), pseudonym, await trail.audit.pseudonym("C-2")):
        await trail.audit.record(Action.EXPORTED, subject, **OFFICE)
    assert [entry.number for entry in await trail.audit.entries(candidate="C-1")] == [2, 1]
    async with open_pool(trail.settings) as pool:
        assert await Audit(AuditLog(pool), trail.now_ms).pseudonym("C-1") == pseudonym
        await sql(trail.settings, "DELETE FROM installation_secrets")
        assert await Audit(AuditLog(pool), trail.now_ms).pseudonym("C-1") != pseudonym
