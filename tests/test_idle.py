"""Sessions that nobody ends are ended by the server, as of when they received something last."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from proctor import idle as idle_module
from proctor.audit import Audit
from proctor.errors import Unavailable
from proctor.idle import IdleSessions
from proctor.model import ExamSession, SessionStatus
from proctor.storage.audit_log import AuditLog
from proctor.storage.removal import Removal
from proctor.storage.spool import spools_of
from tests.fakes import Troubled, Wrapped
from tests.house import House, house_settings, open_house
from tests.test_erasure import T0, sat
from tests.test_sessions import until_ended

HOUR_MS = 3600 * 1000


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(house_settings(tmp_path)) as opened:
        yield opened


def idle_of(house: House, hours_later: float, *, store: object = None, **changes: object) -> IdleSessions:
    pool = house.database._pool

    def now_ms() -> int:
        return T0 + round(hours_later * HOUR_MS)

    audit = Audit(AuditLog(pool), now_ms)
    settings = house.settings.model_copy(update=changes)
    parts = (Removal(pool), house.database, store or Expired(house.store), house.endings)
    return IdleSessions(*parts, audit, settings, now_ms)  # type: ignore[arg-type]


class Expired(Wrapped):
    """A store whose frames have expired."""

    async def read(self, session_id: str, limit: int) -> object:
        return await self.inner.read(session_id, limit=0)


def spooled_at(house: House, session_id: str, hours: float) -> None:
    for path in spools_of(house.settings.dump_directory, session_id):
        os.utime(path, (T0 / 1000 + hours * 3600,) * 2)


async def test_what_is_idle_is_ended_with_its_report_and_recorded(house):
    """What received something within the time goes on, and so does what began within it."""
    for session_id, hours in (("idle", 1), ("late", 40)):
        await sat(house, session_id, ended=False)
        spooled_at(house, session_id, hours)
    await house.sessions.start(ExamSession(session_id="empty", started_ms=T0))
    await house.sessions.start(ExamSession(session_id="new", started_ms=T0 + 2 * HOUR_MS))
    await idle_of(house, 48.5, session_idle_hours=0).end_idle()
    assert len(await house.database.running_sessions()) == 4
    await idle_of(house, 49.5).end_idle()
    assert sorted(await house.database.running_sessions()) == ["late", "new"]
    ended = await house.sessions.get("idle")
    assert (ended.status, ended.ended_ms) == (SessionStatus.ENDED, T0 + HOUR_MS)
    report = json.loads(await house.database.get_report("idle") or b"")
    assert report["data_quality"]["frames"]["stored"] == 20
    empty = json.loads(await house.database.get_report("empty") or b"")
    assert empty["verdict"]["review_priority"] == "insufficient"
    trail = await Audit(AuditLog(house.database._pool), lambda: T0).entries()
    told = [(each.actor, each.action, each.subject, each.after) for each in trail]
    why = '{"idle_hours":48.0}'
    assert sorted(told) == [("server", "session_ended", each, why) for each in ("empty", "idle")]


async def test_frames_that_a_full_disk_keeps_from_the_spool_count(house):
    await sat(house, "exam", ended=False)
    spooled_at(house, "exam", 0)
    await idle_of(house, 100, store=house.store).end_idle()
    assert (await house.sessions.get("exam")).status is SessionStatus.ACTIVE
    longer = {"frame_buffer_retention_seconds": 50 * 3600}
    await idle_of(house, 100, store=house.store, **longer).end_idle()
    assert (await house.sessions.get("exam")).status is SessionStatus.ENDED


async def test_a_client_that_is_still_there_is_told(house):
    await sat(house, "exam", ended=False)
    spooled_at(house, "exam", 0)
    socket = await house.connect("exam")
    await idle_of(house, 100).end_idle()
    with trio.fail_after(5):
        await socket.gone.wait()
    assert socket.received[-1][1]["type"] == "session_ended"


async def test_one_process_looks_and_trouble_is_for_the_next_time(house, nursery, monkeypatch):
    """Without the database nothing ends, and the task goes on."""
    await house.sessions.start(ExamSession(session_id="exam", started_ms=T0))
    idle = idle_of(house, 100)
    idle._removal = Troubled(idle._removal, "running_since_before", 1, Unavailable("down"))
    monkeypatch.setattr(idle_module, "LOOK_SECONDS", 0.02)
    nursery.start_soon(idle.follow)
    await until_ended(house, "exam")
