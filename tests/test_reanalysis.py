"""An ended session can be judged again, and every version of its report is kept with who, when and why."""

import json
from collections.abc import AsyncIterator

import msgspec
import pytest
import trio

from proctor.errors import Conflict, InvalidRequest, Unavailable, UnknownSession
from proctor.reanalysis import Wish
from proctor.storage.dumps import read_dump
from tests.fakes import Troubled
from tests.house import House, house_settings, open_house
from tests.test_live import exam, without_time

pytestmark = pytest.mark.usefixtures("hard_limit")

SAME = Wish("the board", "to be sure")
LENIENT = SAME._replace(accommodations=[{"type": "exempt", "signal": "phone", "reason": "insulin pump"}])


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    async with open_house(house_settings(tmp_path, analyze_interval_seconds=0)) as house:
        yield house


@pytest.fixture
async def ended(house: House) -> House:
    """A house in which an exam is over, with a phone in view from 20 s to 40 s."""
    await house.stream("exam", *exam(0, 60))
    await house.sessions.end("exam")
    return house


async def test_the_same_again_says_the_same(ended):
    """From the dump alone, byte for byte but for the time."""
    first = await ended.reanalysis.report("exam", 1)
    analysis, difference = await ended.reanalysis.reanalyze("exam", SAME)
    assert difference.same
    assert (analysis.version, analysis.requested_by, analysis.reason) == (2, "the board", "to be sure")
    assert without_time(await ended.reanalysis.report("exam", 2)) == without_time(first)


async def test_what_was_wished_counts_and_the_difference_is_told(ended):
    analysis, difference = await ended.reanalysis.reanalyze("exam", LENIENT)
    assert [(change.kind, change.category) for change in difference.findings] == [("gone", "phone")]
    assert difference.findings[0].because == [
        "granted: Exempt from being judged by phone, because: insulin pump"
    ]
    assert analysis.review_priority != "high"
    assert await ended.sessions.analyze("exam") == await ended.reanalysis.report("exam", 2)


async def test_what_is_not_said_is_as_it_was_last_time(ended):
    await ended.reanalysis.reanalyze("exam", LENIENT._replace(policy="strict"))
    analysis, difference = await ended.reanalysis.reanalyze("exam", SAME)
    assert (analysis.version, analysis.policy, difference.same) == (3, "strict", True)
    _, difference = await ended.reanalysis.reanalyze("exam", SAME._replace(accommodations=[]))
    assert [(change.kind, change.category) for change in difference.findings] == [("new", "phone")]


async def test_every_version_is_kept(ended):
    first = await ended.reanalysis.report("exam", 1)
    await ended.reanalysis.reanalyze("exam", LENIENT)
    await ended.reanalysis.reanalyze("exam", SAME._replace(policy="strict"))
    versions = await ended.reanalysis.versions("exam")
    assert [(each.version, each.policy, each.requested_by) for each in versions] == [
        (1, "default", None),
        (2, "default", "the board"),
        (3, "strict", "the board"),
    ]
    assert await ended.reanalysis.report("exam", 1) == first
    with pytest.raises(InvalidRequest, match="no version 4; there are: 1, 2, 3"):
        await ended.reanalysis.report("exam", 4)


async def test_of_two_at_once_each_makes_a_version(ended):
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ended.reanalysis.reanalyze, "exam", SAME)
    assert [each.version for each in await ended.reanalysis.versions("exam")] == [1, 2, 3, 4, 5]


async def test_only_what_has_ended_is_judged_again(house):
    with pytest.raises(UnknownSession):
        await house.reanalysis.reanalyze("exam", SAME)
    await house.stream("exam", *exam(0, 60))
    with pytest.raises(Conflict, match="end it first"):
        await house.reanalysis.reanalyze("exam", SAME)
    assert await house.reanalysis.versions("exam") == []


async def test_mistakes_are_told_and_keep_no_version(ended):
    for wish, field in (
        (SAME._replace(policy="lenient"), "policy"),
        (SAME._replace(accommodations=[{"type": "nap", "reason": "r"}]), "accommodations.0.type"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await ended.reanalysis.reanalyze("exam", wish)
        assert caught.value.field == field
    assert len(await ended.reanalysis.versions("exam")) == 1


async def test_without_its_dump_there_is_nothing_to_judge(ended):
    for dump in ended.settings.dump_directory.glob("*.json"):
        dump.unlink()
    with pytest.raises(Conflict, match=r"exam_frames\.json is gone"):
        await ended.reanalysis.reanalyze("exam", SAME)


async def test_a_dump_that_was_damaged_is_told_and_keeps_no_version(ended):
    [dump] = ended.settings.dump_directory.glob("*.json")
    dump.write_bytes(dump.read_bytes()[:-100])
    with pytest.raises(Conflict, match=r"the dump exam_frames\.json was damaged"):
        await ended.reanalysis.reanalyze("exam", SAME)
    assert len(await ended.reanalysis.versions("exam")) == 1


async def test_a_dump_without_all_that_was_judged_is_not_judged_instead(ended):
    """Frames that had expired live in the report alone; one on the rest would look like a better one."""
    [dump] = ended.settings.dump_directory.glob("*.json")
    frames = read_dump(dump)
    dump.write_bytes(b"[" + b",".join(frames[30:]) + b"]")
    with pytest.raises(Conflict, match="the dump has 90 frames, not the 120 that were judged"):
        await ended.reanalysis.reanalyze("exam", SAME)
    dump.write_bytes(b"[" + b",".join(frames).replace(b'"phone_present":1', b'"phone_present":0', 1) + b"]")
    with pytest.raises(Conflict, match="changed since"):
        await ended.reanalysis.reanalyze("exam", SAME)
    assert len(await ended.reanalysis.versions("exam")) == 1


async def test_what_was_granted_is_held_to_the_policy_that_is_asked_for(ended):
    """A scale that one policy allows may leave the bounds under another."""
    scale = {"type": "scale", "rule": "phone", "setting": "confidence_min", "factor": 1.4, "reason": "r"}
    await ended.reanalysis.reanalyze("exam", SAME._replace(accommodations=[scale]))
    sure = ended.engine.policies["strict"]
    rule = msgspec.structs.replace(
        sure.rules["phone"], settings={**sure.rules["phone"].settings, "confidence_min": 0.9}
    )
    ended.engine.policies["strict"] = msgspec.structs.replace(sure, rules={**sure.rules, "phone": rule})
    with pytest.raises(InvalidRequest, match=r"confidence_min would be 1\.26") as caught:
        await ended.reanalysis.reanalyze("exam", SAME._replace(policy="strict"))
    assert caught.value.field == "accommodations.0.factor"


async def test_what_another_policy_would_say_is_beside_what_stands(ended):
    """After a version by another policy, that one is what it is compared with."""
    await ended.reanalysis.reanalyze("exam", SAME._replace(policy="open-book"))
    with pytest.raises(Conflict, match="name another one: default, strict") as caught:
        await ended.reanalysis.what_if("exam", "open-book")
    assert caught.value.field == "policy"
    told = await ended.reanalysis.what_if("exam", "default")
    assert (told.before.policy, told.after.policy) == ("open-book", "default")
    assert len(await ended.reanalysis.versions("exam")) == 2


async def test_what_is_on_trial_flags_nothing(ended):
    rule = msgspec.structs.replace(ended.engine.policies["strict"].rules["phone"], shadow=True)
    strict = ended.engine.policies["strict"]
    ended.engine.policies["strict"] = msgspec.structs.replace(strict, rules={**strict.rules, "phone": rule})
    told = await ended.reanalysis.what_if("exam", "strict")
    assert [(each.rule, each.before, each.after) for each in told.rules] == [("phone", 1, 0)]


async def test_while_the_database_is_down_nothing_is_kept_and_later_it_works(tmp_path):
    down = Unavailable("down on purpose")
    async with open_house(
        house_settings(tmp_path), database=lambda inner: Troubled(inner, "list_analyses", 1, down)
    ) as house:
        await house.stream("exam", *exam(0, 60))
        await house.sessions.end("exam")
        with pytest.raises(Unavailable):
            await house.reanalysis.reanalyze("exam", SAME)
        analysis, _ = await house.reanalysis.reanalyze("exam", SAME)
        assert analysis.version == 2


async def test_an_earlier_server_that_knew_less_left_reports_that_can_be_compared(ended):
    report = json.loads(await ended.reanalysis.report("exam", 1))
    for key in ("accommodations", "shadow"):
        del report[key]
    await ended.database.save_report("exam", json.dumps(report).encode(), version=2, requested_by="us")
    analysis, difference = await ended.reanalysis.reanalyze("exam", SAME)
    assert (analysis.version, difference.same) == (3, True)
