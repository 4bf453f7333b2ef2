"""Reviews in both databases: acts are added once, the queue is in order, and erasure leaves nothing."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio

from proctor.analysis.identity import finding_keys
from proctor.analysis.policy import built_in_policy
from proctor.analysis.verdict import Priority
from proctor.errors import Conflict, InvalidRequest, UnknownSession
from proctor.model import ExamSession
from proctor.review import Act, Decision, ReviewState
from proctor.review_acts import Wish
from proctor.reviewing import Case, Reviewing, findings_by_key
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.pool import open_pool
from proctor.storage.removal import Removal
from proctor.storage.reviews import Filter, Reviews
from proctor.storage.schema import upgrade_schema
from tests.reviewed import report_on, sat

pytestmark = pytest.mark.usefixtures("hard_limit")


class Office:
    """A database with ended sessions, and what reviewers work with."""

    def __init__(self, pool) -> None:
        self.database = Database(pool)
        self.reviews = Reviews(pool)
        self.removal = Removal(pool)
        self.reviewing = Reviewing(self.reviews, self.database, {"default": built_in_policy([])}, lambda: 7)

    async def act(self, reviewer: str, act: str, session_id: str = "a", **more) -> Case:
        case = await self.reviewing.open(session_id)
        seen = {"seen": case.review.number, "version": case.subject.version}
        _, event = await self.reviewing.act(session_id, Wish(act=Act(act), **more), reviewer=reviewer, **seen)
        assert event is not None
        return await self.reviewing.open(session_id)

    async def listed(self, limit: int = 50, **wanted) -> list[str]:
        found, after = [], None
        while True:
            page, after = await self.reviews.queue(Filter(**wanted), "ann", limit=limit, after=after)
            found += [each.session.session_id for each in page]
            if after is None:
                return found


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    settings = Settings(_env_file=None, database_url=database_url)
    await upgrade_schema(settings)
    async with open_pool(settings) as pool:
        office = Office(pool)
        for session_id, kind, exam_id in (
            ("a", "high", "algebra"),
            ("b", "none", "algebra"),
            ("c", "high", "algebra"),
            ("d", "short", "algebra"),
            ("e", "high", "botany"),
        ):
            await sat(office.database, session_id, kind, exam_id)
        await office.database.start_session(ExamSession(session_id="runs", exam_id="algebra", started_ms=1))
        yield office


async def test_the_queue_is_by_priority_then_score_and_pages_neither_repeat_nor_skip(office):
    weaker = msgspec.json.decode(report_on("c", "high"))
    weaker["verdict"]["score"] -= 7
    await office.database.save_report("c", msgspec.json.encode(weaker), version=2)
    for limit in (1, 2, 50):
        assert await office.listed(limit) == ["a", "e", "c", "b", "d"]
    ranked = tuple(Priority(each) for each in ("high", "medium", "low", "none"))
    assert await office.listed(priorities=ranked, exam_id="algebra") == ["a", "c", "b"]
    assert await office.listed(priorities=(Priority.INSUFFICIENT,)) == ["d"]
    for place in ("", "0", "9_1_a", "0_nan_a", "0_x_a", "0_1_../x"):
        with pytest.raises(InvalidRequest, match="not the `next`"):
            await office.reviews.queue(Filter(), "ann", limit=1, after=place)
    with pytest.raises(InvalidRequest):
        await office.reviews.queue(Filter(exam_id="\0"), "ann", limit=1)


async def test_the_queue_follows_the_reviews(office):
    await office.act("ann", "decide", decision=Decision.NEEDS_SECOND)
    await office.act("bob", "decide", "b", decision=Decision.NO_ISSUE)
    states = {state: await office.listed(state=state) for state in ReviewState}
    assert states == {
        ReviewState.OPEN: ["c", "e", "d"],
        ReviewState.AWAITING_SECOND: ["a"],
        ReviewState.DECIDED: ["b"],
    }
    page, _ = await office.reviews.queue(Filter(), "ann", limit=50)
    told = {each.session.session_id: (each.decision, each.first_look, each.number) for each in page}
    assert (told["a"], told["b"], told["c"]) == ((None, True, 1), ("no_issue", False, 1), (None, False, 0))
    counts = {(each.priority, each.state): each.sessions for each in await office.reviews.counts("algebra")}
    assert counts == {
        (Priority.HIGH, ReviewState.AWAITING_SECOND): 1,
        (Priority.HIGH, ReviewState.OPEN): 1,
        (Priority.NONE, ReviewState.DECIDED): 1,
        (Priority.INSUFFICIENT, ReviewState.OPEN): 1,
    }


async def test_what_was_decided_lapses_in_the_queue_as_in_the_review(office):
    """With other findings, but not when the session is merely judged again."""
    await office.act("ann", "decide", decision=Decision.NO_ISSUE)
    await office.database.save_report("a", report_on("a", "high"), version=2)
    assert (await office.reviewing.open("a")).review.state is ReviewState.DECIDED
    assert "a" in await office.listed(state=ReviewState.DECIDED)
    await office.database.save_report("a", report_on("a", "none"), version=3)
    assert (await office.reviewing.open("a")).review.state is ReviewState.OPEN
    assert "a" in await office.listed(state=ReviewState.OPEN)


async def test_of_twenty_at_once_one_is_first_and_the_others_are_told(office):
    case = await office.reviewing.open("a")
    key = next(iter(case.findings))
    outcomes = []

    async def act(reviewer: str) -> None:
        wish = Wish(act=Act.CONFIRM, finding=key)
        outcomes.append(
            await office.reviewing.act("a", wish, reviewer=reviewer, seen=0, version=case.subject.version)
        )

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(act, f"reviewer {number}")
    assert sum(event is not None for _, event in outcomes) == 1
    assert {now.review.number for now, event in outcomes if event is None} == {1}
    assert len(await office.reviews.events("a")) == 1
    _, event = await office.reviewing.act(
        "a", Wish(act=Act.CONFIRM, finding=key), reviewer="ann", seen=1, version=2
    )
    assert event is None, "of a version of the report that is not the one that stands"


async def test_only_what_has_ended_is_reviewed(office):
    with pytest.raises(Conflict, match="is active; it is reviewed once it has ended"):
        await office.reviewing.open("runs")
    await office.database.begin_ending("runs", 2)
    await office.database.save_report("runs", report_on("runs", "none"))
    with pytest.raises(Conflict, match="is ending"):
        await office.reviewing.open("runs")
    with pytest.raises(UnknownSession):
        await office.reviewing.open("nobody")


async def test_notes_and_statements_come_back_as_they_went_in(office):
    text = "Grüße, 'quoted' <b>; 🙂\n=1+1"
    await office.act("ann", "decide", decision=Decision.NO_ISSUE, note=text)
    assert (await office.reviews.events("a"))[0].note == text
    assert (await office.reviewing.state("b", text)).number == 1
    assert (await office.reviewing.open("b")).review.statement.note == text
    for bad in ("\0", "x" * 4001):
        with pytest.raises(InvalidRequest):
            await office.act("ann", "decide", "c", decision=Decision.NO_ISSUE, note=bad)


async def test_what_was_said_of_a_finding_is_offered_where_it_is_told_otherwise(office):
    """Such as by newer rules: it need not be thought through again, and counts only once it is said again."""
    told = msgspec.json.decode(report_on("a", "high"))
    before = list(findings_by_key(report_on("a", "high")))
    await office.act("ann", "dismiss", finding=before[0], reason="allowed", note="a calculator")
    await office.act("ann", "confirm", finding=before[1])
    told["findings"][0]["strength"] = 0.123
    await office.database.save_report("a", msgspec.json.encode(told), version=2)
    case = await office.reviewing.open("a")
    changed, same = list(case.findings)[:2]
    assert (changed != before[0], same) == (True, before[1])
    assert case.review.judgement(changed) is None
    assert case.review.judgement(same).act is Act.CONFIRM
    earlier = await office.reviewing.earlier(case)
    assert {key: [event.note for event in events] for key, events in earlier.items()} == {
        changed: ["a calculator"]
    }


async def test_an_erased_session_takes_its_review_with_it(office, monkeypatch):
    """Also what is added in the middle of it."""
    await office.act("ann", "decide", decision=Decision.NO_ISSUE)
    await office.act("ann", "decide", "b", decision=Decision.NO_ISSUE)
    real, late = office.removal._execute, []

    async def execute(statement) -> None:
        await real(statement)
        if "review_events" in str(statement) and not late:
            late.append(await office.reviewing.state("a", "added in the middle of it"))

    monkeypatch.setattr(office.removal, "_execute", execute)
    await office.removal.remove_session("a")
    assert late
    assert await office.reviews.events("a") == []
    assert await office.database.get_session("a") is None
    assert len(await office.reviews.events("b")) == 1
    with pytest.raises(UnknownSession):
        await office.reviewing.open("a")


async def test_equal_findings_have_the_same_key_in_every_report_and_are_numbered_in_one():
    (first, *_) = findings_by_key(report_on("a", "high")).values()
    other = msgspec.structs.replace(first, strength=0.5)
    one, two, three = finding_keys([first, other, first])
    assert (one != two, three) == (True, f"{one}-2")
    assert finding_keys([other, first]) == [two, one]
