"""Running sessions' analysis: from what it comes, what it costs, and that nothing of it is lost."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
import trio

import proctor.live
from proctor.accommodations import Exempt
from proctor.analysis.discovery import discover
from proctor.analysis.engine import open_engine
from proctor.analysis.fold import progress
from proctor.analysis.policy import built_in_policy
from proctor.errors import Unavailable
from proctor.model import ExamSession
from proctor.settling import SETTLING_MS
from proctor.storage.spool import remove_spools
from tests.fakes import ForgetfulStore
from tests.house import House, house_settings, open_house
from tests.test_frame_stores import saved

T0 = 1_767_603_600_000
SESSION = ExamSession(session_id="exam", started_ms=T0)

pytestmark = pytest.mark.usefixtures("hard_limit")


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    async with open_house(house_settings(tmp_path), finalize=False) as house:
        yield house


def exam(start_seconds: float, end_seconds: float) -> list[dict[str, Any]]:
    """Two frames a second of a candidate who looks at a phone from 20 s to 40 s."""
    times = [half / 2 for half in range(int(start_seconds * 2), int(end_seconds * 2))]
    return [
        {
            "ts": T0 + round(seconds * 1000),
            "face_present": 1,
            "no_of_face": 1,
            "head_yaw": 0.01,
            "phone_present": int(20 <= seconds < 40),
            "phone_conf": 90,
        }
        for seconds in times
    ]


def without_time(report: bytes) -> dict[str, Any]:
    """A report, less the one thing that depends on when it was made."""
    value = json.loads(report)
    del value["session_info"]["analysed_at"]
    return value


async def cold(house: House) -> dict[str, Any]:
    """The report made at once from all stored frames, without any state."""
    frames = (await house.store.read("exam")).frames
    return without_time(await house.engine.report(None, frames, SESSION, final=False, analysed_ms=T0))


async def live(house: House) -> dict[str, Any]:
    return without_time(await house.live.report(SESSION, final=False))


async def test_a_session_without_frames_is_insufficient_not_honest(house):
    report = await live(house)
    assert report["verdict"]["review_priority"] == "insufficient"
    assert report["session_info"]["total_frames"] == 0
    assert report["session_info"]["final"] is False


async def test_a_report_has_every_stored_frame_settled_or_not(house):
    await house.stream("exam", *exam(0, 60))
    report = await live(house)
    assert report["session_info"]["total_frames"] == 120
    assert [finding["category"] for finding in report["findings"]] == ["phone"]
    assert report == await cold(house)


async def test_only_what_came_since_is_folded(house):
    """And only what has settled; the rest is folded again with each report, on a copy."""
    for start in range(0, 60, 10):
        await house.stream("exam", *exam(start, start + 10))
        await house.live.advance(SESSION)
        assert await live(house) == await cold(house)
    assert house.engine.folded_frames == 2 * 60 - 2 * SETTLING_MS / 1000


async def test_reporting_twice_gives_the_same_but_for_the_time(house):
    await house.stream("exam", *exam(0, 30))
    assert await live(house) == await live(house)


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 0, 2]])
async def test_frames_that_come_late_count_as_if_in_order(house, order):
    """Each third of the exam is folded before the next comes, so three orders reach behind the cursor."""
    for third in order:
        await house.stream("exam", *exam(20 * third, 20 * third + 20))
        await house.live.advance(SESSION)
    report = await live(house)
    assert report["session_info"]["total_frames"] == 120
    assert [(f["start_seconds"], f["end_seconds"]) for f in report["findings"]] == [(20.0, 40.0)]
    assert report == await cold(house)


async def test_after_late_frames_folding_is_incremental_again(house):
    await house.stream("exam", *exam(10, 60))
    await house.live.advance(SESSION)
    await house.stream("exam", *exam(0, 10))
    await house.live.advance(SESSION)
    folded = house.engine.folded_frames
    await house.live.advance(SESSION)
    assert house.engine.folded_frames == folded


async def test_frames_that_come_a_little_late_cost_nothing(house):
    """As long as they are not later than the settling time."""
    frames = exam(0, 30)
    frames[40:43] = reversed(frames[40:43])
    for frame in frames:
        await house.stream("exam", frame)
        await house.live.advance(SESSION)
    assert house.engine.folded_frames == 60 - 2 * SETTLING_MS / 1000
    assert await live(house) == await cold(house)


def lose(house: House, before_ms: int) -> None:
    """Let frames from before then expire, and their spool be gone."""
    remove_spools(house.settings.dump_directory, "exam")
    forgetful = ForgetfulStore(house.store, before_ms)
    house.live._store = house.archive._store = forgetful  # type: ignore[assignment]


async def test_a_late_frame_counts_also_when_earlier_ones_have_expired(house):
    """The session starts over from its spool, once."""
    await house.stream("exam", *exam(0, 20), *exam(21, 60))
    await house.live.advance(SESSION)
    await house.archive.flush()
    whole = ForgetfulStore(house.store, before_ms=T0 + 50_000)
    house.live._store = house.archive._store = whole
    await house.stream("exam", *exam(60, 70), *exam(20, 21))
    report = await live(house)
    assert report["session_info"]["total_frames"] == 140
    assert [(f["start_seconds"], f["end_seconds"]) for f in report["findings"]] == [(20.0, 40.0)]
    assert report["data_quality"]["frames"] == {"stored": 140, "analysed": 140, "missing": 0}
    folded = house.engine.folded_frames
    assert await live(house) == report == await cold(house)
    assert house.engine.folded_frames == folded


async def test_a_long_session_starts_over_in_parts(house, monkeypatch):
    monkeypatch.setattr(proctor.live, "JOB_FRAMES", 7)
    await house.stream("exam", *exam(10, 60))
    await house.live.advance(SESSION)
    await house.stream("exam", *exam(0, 10))
    assert await live(house) == await cold(house)
    assert progress(await house.store.load_state("exam")).frames == 120 - 2 * SETTLING_MS / 1000


async def test_frames_that_claim_one_time_are_folded_in_parts(house, monkeypatch):
    """None of them ever settles, and all of them may be more than the memory holds."""
    monkeypatch.setattr(proctor.live, "JOB_FRAMES", 10)
    frames = [frame | {"ts": T0} for frame in exam(0, 60)]
    await house.stream("exam", *frames)
    await house.live.advance(SESSION)
    assert progress(await house.store.load_state("exam")).frames > 120 - 10
    assert await live(house) == await cold(house)


async def test_large_frames_are_folded_in_parts(house, monkeypatch):
    monkeypatch.setattr(proctor.live, "JOB_BYTES", 2000)
    jobs = []
    real = house.engine.advance

    async def advance(state: bytes | None, frames: list[bytes], session: ExamSession) -> bytes:
        jobs.append(frames)
        return await real(state, frames, session)

    house.engine.advance = advance
    await house.stream("exam", *exam(0, 60))
    assert await live(house) == await cold(house)
    assert max(sum(map(len, frames[:-1])) for frames in jobs) < 2000


async def test_a_session_with_late_frames_all_the_time_rests_between_starting_over(house, monkeypatch):
    """Reports do not wait for that."""
    monkeypatch.setattr(proctor.live, "_REST_FACTOR", 1000)
    await house.stream("exam", *exam(20, 60))
    for start in (15, 10, 5):
        await house.live.advance(SESSION)
        await house.stream("exam", *exam(start, start + 5))
    folded = house.engine.folded_frames
    await house.live.advance(SESSION)
    assert house.engine.folded_frames == folded
    assert await live(house) == await cold(house)


async def test_evidence_outlives_its_frames_and_their_spool(house):
    """What was folded stays in the state; what could not be is counted, and looked for only once."""
    await house.stream("exam", *exam(0, 60))
    await house.live.advance(SESSION)
    await house.archive.flush()
    lose(house, before_ms=T0 + 50_000)
    await house.stream("exam", *exam(60, 70), {"ts": T0 + 5_100, "face_present": 1})
    report = await live(house)
    assert [finding["category"] for finding in report["findings"]] == ["phone"]
    assert report["session_info"]["total_frames"] == 140
    assert report["data_quality"]["frames"] == {"stored": 141, "analysed": 140, "missing": 1}
    house.live._archive = None  # type: ignore[assignment]
    assert await live(house) == report


async def test_frames_that_are_lost_are_told_and_count_against_nobody(house):
    """They are a gap like any other."""
    await house.stream("exam", *exam(0, 30), *exam(45, 60))
    await house.archive.flush()
    lose(house, before_ms=T0 + 45_000)
    report = await live(house)
    await house.stream("rest", *exam(45, 60))
    rest = without_time(await house.live.report(ExamSession(session_id="rest", started_ms=T0), final=False))
    assert report["data_quality"]["frames"] == {"stored": 90, "analysed": 30, "missing": 60}
    assert report["verdict"] == rest["verdict"]
    assert report["findings"] == rest["findings"] == []


async def test_what_is_granted_once_frames_are_lost_holds_from_then_on(house):
    """The state cannot start over without them, and is joined by what was granted once."""
    await house.stream("exam", *exam(0, 35))
    await house.live.advance(SESSION)
    await house.archive.flush()
    lose(house, before_ms=T0 + 30_000)
    granted = msgspec.structs.replace(SESSION, accommodations=[Exempt(id="a1", reason="r", rule="phone")])
    await house.live.advance(granted)
    await house.stream("exam", *exam(35, 60))
    report = without_time(await house.live.report(granted, final=False))
    folded = house.engine.folded_frames
    assert without_time(await house.live.report(granted, final=False)) == report
    assert house.engine.folded_frames == folded
    [finding] = report["findings"]
    assert (finding["start_seconds"], finding["end_seconds"] < 35) == (20.0, True)
    assert report["analyzers"]["phone"]["reason"].startswith("what is granted is not applied to the first ")
    assert report["session_info"]["total_frames"] == 120


async def test_frames_from_the_future_hide_nothing_that_comes_after_them(tmp_path):
    """Otherwise two of them, once they have expired, would keep all later frames from being judged."""
    later = T0 + 20 * 3_600_000
    async with open_house(house_settings(tmp_path), finalize=False) as house:
        house.live._now_ms = lambda: T0 + 90_000
        await house.stream("exam", *exam(0, 10), {"ts": later}, {"ts": later + 5_000})
        await house.live.advance(SESSION)
        lose(house, before_ms=T0 + 5_000)
        await house.stream("exam", *exam(10, 60))
        await house.live.advance(SESSION)
        report = await live(house)
    assert "phone" in [finding["category"] for finding in report["findings"]]
    assert report["session_info"]["total_frames"] == 122


async def test_a_session_whose_policy_is_gone_is_judged_by_the_default_one(house):
    """It could not end otherwise; the report says which policy it was."""
    session = ExamSession(session_id="exam", started_ms=T0, policy="gone")
    await house.stream("exam", *exam(0, 30))
    await house.live.advance(session)
    assert without_time(await house.live.report(session, final=False)) == await cold(house)


async def test_a_state_of_another_version_is_started_over(house):
    await house.stream("exam", *exam(0, 30))
    for foreign in (b"", b"\xc1", b"\x80", b"\x81\xa6format\xcd\x03\xe7"):
        await saved(house.store, foreign)
        assert await live(house) == await cold(house)


async def test_concurrent_reports_fold_a_frame_once(house):
    await house.stream("exam", *exam(0, 60))
    reports: list[dict[str, Any]] = []

    async def ask() -> None:
        reports.append(await live(house))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert reports == [reports[0]] * 5
    assert house.engine.folded_frames == 120 - 2 * SETTLING_MS / 1000


async def test_a_cancelled_report_leaves_the_state_whole(house):
    await house.stream("exam", *exam(0, 60))
    for seconds in (0, 0.001, 0.01, 0.02, 0.05):
        with trio.move_on_after(seconds):
            await live(house)
    assert await live(house) == await cold(house)


async def test_a_report_on_a_copy_says_the_same_and_saves_nothing(house):
    """While another process has the state."""
    await house.stream("exam", *exam(0, 30))
    await house.live.advance(SESSION)
    state = await house.store.load_state("exam")
    turn = await house.store.take_state("exam", 60)
    await house.stream("exam", *exam(30, 60))
    assert not await house.live.advance(SESSION)
    assert await live(house) == await cold(house)
    assert await house.store.load_state("exam") == state
    await house.store.give_back("exam", turn.token)
    assert await house.live.advance(SESSION)


async def test_a_report_that_fails_gives_the_state_back(house):
    """At once, and not when it lapses."""
    await house.stream("exam", *exam(0, 30))
    real, house.engine.advance = house.engine.advance, None
    with pytest.raises(TypeError):
        await live(house)
    house.engine.advance = real
    assert await house.live.advance(SESSION)


async def test_a_state_that_is_lost_meanwhile_is_not_saved(house):
    """Its report is whole all the same."""
    await house.stream("exam", *exam(0, 60))
    real = house.engine.advance

    async def advance(*args: Any) -> bytes:
        house.store._leases.clear("exam")
        return await real(*args)

    house.engine.advance = advance
    assert await live(house) == await cold(house)
    assert await house.store.load_state("exam") is None


@pytest.mark.slow
async def test_worker_processes_say_the_same(house):
    """Fold and report of the real engine, byte for byte."""
    analyzers = discover()
    policies = {"default": built_in_policy(analyzers)}
    await house.stream("exam", *exam(0, 60))
    frames = (await house.store.read("exam")).frames
    async with open_engine(house.settings, analyzers, policies) as engine:
        state = await engine.advance(None, frames[:90], SESSION)
        assert state == await house.engine.advance(None, frames[:90], SESSION)
        for final in (False, True):
            said = await engine.report(state, frames[90:], SESSION, final=final, analysed_ms=T0)
            assert said == await house.engine.report(state, frames[90:], SESSION, final=final, analysed_ms=T0)


class TestFollowing:
    """The task that folds what was stored, while exams run."""

    @pytest.fixture
    async def house(self, tmp_path) -> AsyncIterator[House]:
        settings = house_settings(tmp_path, analysis_refresh_seconds=0.02)
        async with open_house(settings, finalize=False) as house:
            yield house

    async def test_stored_frames_are_folded_without_being_asked(self, house, nursery):
        nursery.start_soon(house.live.follow, house.database.active_sessions)
        await house.stream("exam", *exam(0, 30))
        await until_folded(house, "exam")
        assert house.engine.folded_frames == 60 - 2 * SETTLING_MS / 1000

    async def test_frames_of_a_session_that_nobody_knows_are_left_alone(self, house, nursery):
        async def active(session_ids: Sequence[str]) -> list[ExamSession]:
            return await house.database.active_sessions([each for each in session_ids if each != "a"])

        for session_id in "ab":
            await house.stream(session_id, *exam(0, 30))
        nursery.start_soon(house.live.follow, active)
        await until_folded(house, "b")
        assert await house.store.load_state("a") is None

    async def test_sessions_take_turns(self, house, nursery):
        """All in one go is what acknowledgements would wait for; each has its turn nevertheless."""
        names, asked = {f"exam-{number}" for number in range(200)}, []

        async def active(session_ids: Sequence[str]) -> list[ExamSession]:
            await trio.lowlevel.checkpoint()
            asked.append(list(session_ids))
            return []

        house.ingest.touched.update(names)
        nursery.start_soon(house.live.follow, active)
        with trio.fail_after(5):
            while house.ingest.touched:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert sorted(name for some in asked for name in some) == sorted(names)
        assert max(map(len, asked)) < 100

    async def test_a_session_that_fails_does_not_stop_the_others(self, house, nursery):
        """One fails each time, for ever."""
        real = house.engine.advance

        async def advance(state: bytes | None, frames: Sequence[bytes], session: ExamSession) -> bytes:
            if session.session_id == "a":
                raise RuntimeError("broken on purpose")
            return await real(state, frames, session)

        house.engine.advance = advance
        nursery.start_soon(house.live.follow, house.database.active_sessions)
        for session_id in "ab":
            await house.stream(session_id, *exam(0, 30))
        await until_folded(house, "b")
        await house.stream("b", *exam(30, 60))
        await until_folded(house, "b", 56)

    async def test_a_fold_that_takes_long_does_not_hold_up_the_others(self, house, nursery):
        """Nor is it begun again meanwhile."""
        real, stuck = house.engine.advance, []

        async def advance(state: bytes | None, frames: Sequence[bytes], session: ExamSession) -> bytes:
            if session.session_id == "a":
                stuck.append(session)
                await trio.sleep_forever()
            return await real(state, frames, session)

        house.engine.advance = advance
        nursery.start_soon(house.live.follow, house.database.active_sessions)
        for start in (0, 30):
            for session_id in "abc":
                await house.stream(session_id, *exam(start, start + 30))
            for session_id in "bc":
                await until_folded(house, session_id, 2 * start + 56)
        assert len(stuck) == 1

    async def test_a_session_that_has_ended_is_not_followed(self, house, nursery):
        await house.stream("a", *exam(0, 30))
        await house.stream("b", *exam(0, 30))
        await house.database.begin_ending("a", T0)
        nursery.start_soon(house.live.follow, house.database.active_sessions)
        await until_folded(house, "b")
        await trio.sleep(0.1)
        assert await house.store.load_state("a") is None

    async def test_a_session_that_another_process_is_at_keeps_its_turn(self, house, nursery):
        turn = await house.store.take_state("a", 60)
        nursery.start_soon(house.live.follow, house.database.active_sessions)
        await house.stream("a", *exam(0, 30))
        await trio.sleep(0.1)
        assert house.engine.folded_frames == 0
        await house.store.give_back("a", turn.token)
        await until_folded(house, "a")

    async def test_while_the_database_is_down_sessions_wait_their_turn(self, house, nursery):
        """None is forgotten."""
        down = [True]

        async def active(session_ids: Sequence[str]) -> list[ExamSession]:
            if down[0]:
                raise Unavailable("database: down on purpose")
            return await house.database.active_sessions(session_ids)

        for session_id in "abc":
            await house.stream(session_id, *exam(0, 30))
        nursery.start_soon(house.live.follow, active)
        await trio.sleep(0.1)
        assert house.engine.folded_frames == 0
        down[0] = False
        for session_id in "abc":
            await until_folded(house, session_id)


async def until_folded(house: House, session_id: str, frames: int = 1) -> None:
    """Wait until a state with so many frames is stored, in a test's patience."""
    # Nothing tells when: the state is all there is to see.
    while progress(await house.store.load_state(session_id)).frames < frames:  # noqa: ASYNC110
        await trio.sleep(0.01)
