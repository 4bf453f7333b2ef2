"""What is erased is gone everywhere, what is exported is everything, and what has expired goes by itself."""

import json
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from proctor.audit import Audit, Who
from proctor.erasure import Erasure
from proctor.errors import Conflict, Unavailable, UnknownSession
from proctor.export import exported
from proctor.model import ExamSession, SessionStatus
from proctor.monitor.board import OwnBoard
from proctor.reviewing import Reviewing
from proctor.storage.audit_cuts import AuditCuts
from proctor.storage.audit_log import AuditLog
from proctor.storage.dumps import dump_path
from proctor.storage.milestones import Kind, Milestone, Milestones
from proctor.storage.removal import Removal
from proctor.storage.reviews import Reviews
from proctor.storage.schema import upgrade_schema
from proctor.storage.spool import spool_path
from proctor.wire import CloseCode
from tests.fakes import Troubled
from tests.house import House, house_settings, open_house

T0 = 1_767_600_000_000
ADMIN = Who(actor="the admin", address="203.0.113.7")
DAY_MS = 24 * 3600 * 1000
SECRET = "a-name-that-must-not-stay"


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
async def house(request, tmp_path):
    changes = {}
    if request.param == "postgresql":
        changes["database_url"] = request.getfixturevalue("postgres_url")
    if request.param == "redis":
        changes["redis_url"] = request.getfixturevalue("redis_url")
    settings = house_settings(tmp_path, **changes)
    await upgrade_schema(settings)
    async with open_house(settings) as opened:
        yield opened


def erasure_of(house: House, now_ms: int = T0, removal: object = None, **changes: object) -> Erasure:
    settings = house.settings.model_copy(update=changes)
    pool = house.database._pool
    audit = Audit(AuditLog(pool), lambda: now_ms)
    return Erasure(
        removal or Removal(pool),  # type: ignore[arg-type]
        house.sessions,
        house.store,
        house.archive,
        OwnBoard(),
        audit,
        AuditCuts(pool),
        settings,
        lambda: now_ms,
    )


def frames(count: int = 20) -> list[dict[str, object]]:
    return [{"face_present": 1, "note": SECRET, "ts": T0 + 500 * number} for number in range(count)]


async def sat(house: House, session_id: str, candidate_id: str = "C-1", *, ended: bool = True) -> None:
    await house.sessions.start(
        ExamSession(
            session_id=session_id, candidate_id=candidate_id, metadata={"seat": SECRET}, started_ms=T0
        )
    )
    await house.stream(session_id, *frames(), seq=1)
    await house.archive.flush()
    if ended:
        assert await house.sessions.end(session_id)


def traces(folder: Path) -> list[Path]:
    """Files that hold what a candidate sent or is called."""
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "running"])
async def test_an_erased_session_is_gone_everywhere(house, tmp_path, ended):
    """And others are as they were."""
    await sat(house, "exam", ended=ended)
    await sat(house, "exam-2", "C-2")
    erasure = erasure_of(house)
    await erasure.erase("exam", ADMIN)
    with pytest.raises(UnknownSession):
        await house.sessions.get("exam")
    assert await house.database.get_report("exam") is None
    assert (await house.store.read("exam")).frames == []
    assert await house.store.load_state("exam") is None
    assert not dump_path(house.settings.dump_directory, "exam").exists()
    assert list(tmp_path.rglob("*exam_frames*")) == []
    assert (await house.sessions.get("exam-2")).status is SessionStatus.ENDED
    assert await house.database.get_report("exam-2") is not None
    assert dump_path(house.settings.dump_directory, "exam-2").exists()
    with pytest.raises(UnknownSession):
        await erasure.erase("exam", ADMIN)


async def test_what_a_process_that_woke_late_has_spooled_goes_too(house):
    await sat(house, "exam")
    spool = spool_path(house.settings.dump_directory, "exam", house.store.epoch)
    spool.write_bytes(b"{}")
    await erasure_of(house).erase("exam", ADMIN)
    assert not spool.exists()


async def test_an_erased_id_is_refused_with_the_remedy(house):
    """To who starts it and to who just streams, before anything is made that would take nothing."""
    await sat(house, "exam")
    await erasure_of(house).erase("exam", ADMIN)
    for ask in (house.sessions.known, house.sessions.admit):
        with pytest.raises(Conflict, match=r"'exam' was erased, .* choose another id"):
            await ask("exam")
    assert await house.database.get_session("exam") is None
    assert await house.sessions.known("other") is None
    assert (await house.sessions.admit("other")).status is SessionStatus.ACTIVE


async def test_clients_of_a_session_that_is_erased_are_let_go(house):
    await sat(house, "exam", ended=False)
    socket = await house.connect("exam")
    await erasure_of(house).erase("exam", ADMIN)
    await socket.gone.wait()
    assert socket.closed == (CloseCode.SESSION_ENDED, "session_ended")


async def test_nothing_of_it_stays_in_the_files(tmp_path):
    """Not even in pages that SQLite has no more use for."""
    async with open_house(house_settings(tmp_path)) as house:
        await sat(house, "exam")
        assert traces(tmp_path)
        await erasure_of(house).erase("exam", ADMIN)
    assert traces(tmp_path) == []


async def test_all_sessions_of_a_candidate_are_erased_and_no_others(house):
    await sat(house, "a", SECRET)
    await sat(house, "b", SECRET, ended=False)
    await sat(house, "c", SECRET + "-2")
    erasure = erasure_of(house)
    assert sorted(await erasure.erase_candidate(SECRET, ADMIN)) == ["a", "b"]
    assert (await house.sessions.get("c")).candidate_id == SECRET + "-2"
    with pytest.raises(UnknownSession, match="no session is of candidate"):
        await erasure.erase_candidate(SECRET, ADMIN)


async def test_an_interrupted_erasure_is_finished_by_the_next(house):
    await sat(house, "exam")
    troubled = Troubled(Removal(house.database._pool), "remove_session", 1, Unavailable("down"))
    erasure = erasure_of(house, removal=troubled)
    with pytest.raises(Unavailable):
        await erasure.erase("exam", ADMIN)
    assert (await house.sessions.get("exam")).status is SessionStatus.ENDED
    await erasure.erase("exam", ADMIN)
    with pytest.raises(UnknownSession):
        await house.sessions.get("exam")


async def export_of(house: House, candidate_id: str) -> dict[str, object]:
    sessions = await erasure_of(house).sessions_of(candidate_id)
    kept = {"milestones": Milestones(house.database._pool).of_session}
    reviews = Reviews(house.database._pool)
    parts = exported(candidate_id, sessions, house.database, reviews, house.archive, house.settings, kept)
    return json.loads(b"".join([part async for part in parts]))


async def test_an_export_is_everything(house):
    """Of sessions that run, too."""
    await sat(house, "a")
    await sat(house, "b", ended=False)
    await house.sessions.start(ExamSession(session_id="c", candidate_id="C-1", started_ms=T0))
    await sat(house, "d", "C-2")
    reviewing = Reviewing(Reviews(house.database._pool), house.database, house.engine.policies, lambda: T0)
    await reviewing.state("a", "it was not me")
    lost = Milestone(session_id="b", source="lost", at_ms=T0, kind=Kind.CONNECTION_LOST)
    await Milestones(house.database._pool).add([lost, replace(lost, session_id="a")])
    export = await export_of(house, "C-1")
    assert export["candidate_id"] == "C-1"
    a, b, c = export["sessions"]
    assert a["session"]["metadata"] == {"seat": SECRET}
    assert a["frames"] == json.loads(dump_path(house.settings.dump_directory, "a").read_bytes())
    assert [each["report"]["session_info"]["final"] for each in a["reports"]] == [True]
    assert a["reports"][0]["analysis"]["version"] == 1
    assert [each["note"] for each in a["review"]] == ["it was not me"]
    assert (b["session"]["session_id"], len(b["frames"]), b["reports"]) == ("b", 20, [])
    assert (c["frames"], c["reports"]) == ([], [])
    assert ([each["kind"] for each in b["milestones"]], a["milestones"]) == (["connection_lost"], [])


async def test_what_has_expired_goes_by_itself(house):
    """The dump first and the session later; what has not, and what still runs, stays."""
    await sat(house, "old")
    await sat(house, "running", ended=False)
    ended_ms = (await house.sessions.get("old")).ended_ms
    dump = dump_path(house.settings.dump_directory, "old")
    kept = {"dump_retention_days": 1, "report_retention_days": 2}
    await erasure_of(house, ended_ms + DAY_MS, **kept).remove_expired()
    assert dump.exists()
    await erasure_of(house, ended_ms + DAY_MS + 1, **kept).remove_expired()
    assert not dump.exists()
    assert await house.database.get_report("old") is not None
    await erasure_of(house, ended_ms + 2 * DAY_MS + 1, **kept).remove_expired()
    assert await house.database.get_session("old") is None
    assert await house.database.get_report("old") is None
    assert (await house.sessions.get("running")).status is SessionStatus.ACTIVE


async def test_without_a_retention_everything_is_kept(house):
    await sat(house, "old")
    await erasure_of(house, T0 + 10_000 * DAY_MS).remove_expired()
    assert dump_path(house.settings.dump_directory, "old").exists()
    assert await house.database.get_report("old") is not None


async def test_one_process_looks_for_all(house, nursery):
    await sat(house, "old")
    far = T0 + 10_000 * DAY_MS
    assert await house.store.claim("retention", 60) == 0
    nursery.start_soon(erasure_of(house, far, report_retention_days=1).expire)
    await trio.sleep(0.3)
    assert await house.database.get_session("old") is not None


async def trail(house: House) -> list[tuple[str, str, str]]:
    audit = Audit(AuditLog(house.database._pool), lambda: T0)
    assert (await audit.verify()).intact
    return [(each.actor, each.action, each.subject) for each in reversed(await audit.entries())]


async def test_erasures_leave_a_record_that_names_no_candidate(house):
    """Whoever knows the name finds it; nothing is recorded of what was not there."""
    await sat(house, "a", SECRET)
    await sat(house, "b", SECRET)
    with pytest.raises(UnknownSession):
        await erasure_of(house).erase("nobody", ADMIN)
    await erasure_of(house).erase_candidate(SECRET, ADMIN)
    names = ("the admin", "erased")
    subject = await Audit(AuditLog(house.database._pool), lambda: T0).pseudonym(SECRET)
    assert await trail(house) == [(*names, subject), (*names, "a"), (*names, "b")]
    assert SECRET not in str(await trail(house))


async def test_what_expires_is_recorded_too(house):
    await sat(house, "old")
    far = T0 + 10_000 * DAY_MS
    await erasure_of(house, far, dump_retention_days=1).remove_expired()
    await erasure_of(house, far, dump_retention_days=1).remove_expired()
    await erasure_of(house, far, report_retention_days=1).remove_expired()
    assert await trail(house) == [("retention", "erased", "old")] * 2


async def test_what_cannot_be_removed_keeps_nothing_else(house):
    """Nor does what somebody else has erased meanwhile."""
    for session_id in ("a", "b", "c"):
        await sat(house, session_id)
    dump = dump_path(house.settings.dump_directory, "a")
    dump.unlink()
    dump.mkdir()
    erasure = erasure_of(house, T0 + 10_000 * DAY_MS, report_retention_days=1)
    await erasure.remove_expired()
    assert await house.database.get_session("a") is not None
    assert await house.database.get_session("b") is None
    assert await house.database.get_session("c") is None
    dump.rmdir()
    await erasure.remove_expired()
    assert await house.database.get_session("a") is None


async def test_a_session_that_vanishes_meanwhile_stops_no_erasure_of_its_candidate(house):
    for session_id in ("a", "b", "c"):
        await sat(house, session_id)
    erasure = erasure_of(house)
    real = erasure.erase

    async def erase(session_id: str, who: Who) -> None:
        if session_id == "b":
            await real(session_id, who)
        await real(session_id, who)

    erasure.erase = erase  # type: ignore[method-assign]
    assert await erasure.erase_candidate("C-1", ADMIN) == ["a", "b", "c"]
    assert await house.database.get_session("c") is None
