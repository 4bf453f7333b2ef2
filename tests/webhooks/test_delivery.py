"""What happens is told to whoever wants to know, at least once, in order, and to nobody twice at a time."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import trio

from proctor.audit import Action, Audit
from proctor.errors import Conflict, InvalidRequest
from proctor.metrics import Metrics
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage.audit_log import AuditLog
from proctor.storage.database import Database
from proctor.storage.outbox import LEASE_SECONDS, ORDERED_ATTEMPTS, Delivery, Outbox
from proctor.storage.pool import open_pool
from proctor.storage.removal import Removal
from proctor.storage.schema import upgrade_schema
from proctor.storage.tables import review_events
from proctor.storage.webhooks import Webhook, Webhooks, make_webhook
from proctor.webhooks.addresses import Addresses
from proctor.webhooks.backoff import ATTEMPTS_MAX, pause_seconds
from proctor.webhooks.delivery import Deliveries
from proctor.webhooks.events import Event, EventType
from proctor.webhooks.sender import Outcome, Sender
from tests.fixtures.receiver import HANGS, Answer, Receiver

T0 = 1_767_603_600_000
START, END, CONCERN, REPORT, DECISION = EventType
DAY_MS = 24 * 3600 * 1000


def report(score: float = 71.6) -> bytes:
    verdict = {"score": score, "review_priority": "high", "is_cheating": True, "confidence": 0.9}
    words = {"confidence_level": "high", "verdict_basis": "because"}
    info = {"policy": "default", "total_frames": 9, "analysed_at": "2026-01-05T10:00:05.000Z"}
    return json.dumps({"verdict": verdict | words, "session_info": info}).encode()


class Process:
    """The parts of one server process that have to do with webhooks, at a time of the test's choice."""

    def __init__(self, pool: Any, settings: Settings) -> None:
        self.now_ms = T0
        self.pool, self.settings = pool, settings
        self.database = Database(pool)
        self.removal = Removal(pool)
        self.webhooks = Webhooks(pool)
        self.outbox = Outbox(pool)
        self.audit = Audit(AuditLog(pool), lambda: self.now_ms)
        self.metrics = Metrics()
        self.deliveries = Deliveries(
            outbox=self.outbox,
            webhooks=self.webhooks,
            sender=Sender(Addresses(["127.0.0.0/8"])),
            audit=self.audit,
            settings=settings,
            metrics=self.metrics,
            now_ms=lambda: self.now_ms,
        )

    async def add(self, url: str, *events: EventType) -> Webhook:
        webhook = make_webhook(url, events, self.now_ms)
        await self.webhooks.add(webhook)
        return webhook

    async def start(self, session_id: str = "exam", started_ms: int = T0) -> None:
        session = ExamSession(
            session_id=session_id, candidate_id="C-7", exam_id="algebra", started_ms=started_ms
        )
        await self.database.start_session(session)

    async def end(self, session_id: str = "exam") -> None:
        await self.database.begin_ending(session_id, T0 + 3_600_000)
        await self.database.save_report(session_id, report())
        await self.database.mark_ended(session_id)

    async def told(self, **filters: Any) -> list[Delivery]:
        """The outbox, the oldest first."""
        return (await self.outbox.listed(limit=500, **filters))[::-1]

    async def until(self, holds: Callable[[list[Delivery]], bool]) -> list[Delivery]:
        """Deliver until something holds of the outbox."""
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.deliveries.deliver)
                while not holds(found := await self.told()):  # noqa: ASYNC110 - the outbox tells nobody
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        return found

    async def attempt(self) -> list[Delivery]:
        """Deliver what is due now, each once."""
        before = {each.number: each.attempts for each in await self.told()}
        due = [each for each in await self.told(state="pending") if each.due_ms <= self.now_ms]
        assert due
        return await self.until(
            lambda found: all(
                each.claim is None and each.attempts > before[each.number]
                for each in found
                if each.number == due[0].number
            )
        )


@asynccontextmanager
async def open_process(settings: Settings) -> AsyncIterator[Process]:
    async with open_pool(settings) as pool:
        yield Process(pool, settings)


@pytest.fixture
async def settings(database_url: str) -> Settings:
    settings = Settings(_env_file=None, database_url=database_url)
    await upgrade_schema(settings)
    return settings


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    url = f"sqlite:///{tmp_path}/x.sqlite3"
    settings = Settings(_env_file=None, database_url=url, public_url="https://proctor.example/")
    async with open_process(settings) as opened:
        yield opened


@pytest.fixture
async def on_each(settings: Settings) -> AsyncIterator[Process]:
    """On each of the two databases in turn."""
    async with open_process(settings) as opened:
        yield opened


async def settled(process: Process) -> list[Delivery]:
    return await process.until(lambda found: all(each.state != "pending" for each in found))


async def test_what_happens_is_in_the_outbox_with_it_for_those_who_want_to_know(on_each: Process):
    """Once each, however often it is done, and gone with its session."""
    await on_each.start("before")
    all_of_it, ends = await on_each.add("https://a.example/"), await on_each.add("https://b.example/", END)
    for _ in range(2):
        await on_each.start()
        await on_each.end()
    await on_each.database.save_report("exam", report(), version=2, requested_by="r", reason="r")
    concern = Event(type=CONCERN, session_id="exam", key="phone:1-1", at_ms=T0 + 5, detail={"a": 1})
    nobody = Event(type=DECISION, session_id="nobody", at_ms=T0)
    for event in (concern, concern, nobody):
        await on_each.outbox.add(event)
    told = [(each.webhook_id, each.event, each.key, each.at_ms) for each in await on_each.told()]
    assert sorted(told) == sorted(
        [
            (all_of_it.webhook_id, START, "", T0),
            (all_of_it.webhook_id, END, "", T0 + 3_600_000),
            (ends.webhook_id, END, "", T0 + 3_600_000),
            (all_of_it.webhook_id, REPORT, "1", 1_767_607_205_000),
            (all_of_it.webhook_id, REPORT, "2", 1_767_607_205_000),
            (all_of_it.webhook_id, CONCERN, "phone:1-1", T0 + 5),
        ]
    )
    assert {each.state for each in await on_each.told()} == {"pending"}
    await on_each.removal.remove_session("exam")
    assert await on_each.told() == []
    await on_each.database.admit_sessions(["begun", "before"], T0)
    assert [(each.session_id, each.event) for each in await on_each.told()] == [("begun", START)]
    await on_each.webhooks.remove(all_of_it.webhook_id)
    assert await on_each.told() == []


async def test_events_arrive_in_order_signed_with_ids_the_verdict_and_links_alone(
    process: Process, receiver: Receiver
):
    webhook = await process.add(receiver.url)
    await process.start()
    await process.end()
    await settled(process)
    for each in receiver.received:
        each.verify(webhook.secret)
        assert each.headers["content-type"] == "application/json"
    assert [each.said for each in receiver.received] == [
        {
            "type": kind,
            "timestamp": at,
            "data": {"session_id": "exam", "candidate_id": "C-7", "exam_id": "algebra", **more},
        }
        for kind, at, more in (
            (START, "2026-01-05T09:00:00.000Z", {"links": LINKS}),
            (END, "2026-01-05T10:00:00.000Z", {"links": LINKS}),
            (
                REPORT,
                "2026-01-05T10:00:05.000Z",
                {
                    "version": 1,
                    "verdict": {"score": 72, "review_priority": "high"},
                    "links": LINKS | {"report": f"{LINKS['session']}/analyses/1"},
                },
            ),
        )
    ]
    assert len({each.name for each in receiver.received}) == 3
    assert not any("." in each.name for each in receiver.received)


LINKS = {"session": "https://proctor.example/api/v1/session/exam"}


async def test_what_fails_is_tried_again_under_the_same_id_and_holds_up_no_other_session(
    process: Process, receiver: Receiver, monkeypatch
):
    """Refused, redirected, hung up on, left hanging, or answered without an end."""
    monkeypatch.setattr("proctor.webhooks.sender.ATTEMPT_SECONDS", 0.3)
    await process.add(receiver.url)
    await process.start()
    await process.end()
    elsewhere = Answer(302, (("location", f"http://127.0.0.1:{receiver.port}/elsewhere"),))
    wrong = [Answer(500), elsewhere, HANGS, Answer(400, body=b"x" * 65_536)]
    reasons = ["answered 500", "redirects are not followed", "no answer within 0.3 s", "answered 400"]
    for number, answer in enumerate(wrong, 1):
        receiver.answers.append(answer)
        first, *rest = await process.attempt()
        assert (first.state, first.attempts) == ("pending", number)
        assert reasons[number - 1] in str(first.reason)
        assert 0.75 * 5 * 3 ** (number - 1) <= (first.due_ms - process.now_ms) / 1000 <= 1.25 * 5 * 3**number
        assert [each.attempts for each in rest] == [0, 0], "they wait for the first"
        process.now_ms = first.due_ms
    assert receiver.bytes_sent < 10_000_000
    process.now_ms -= 1
    await process.start("other")
    await process.until(lambda found: found[-1].state == "delivered")
    process.now_ms += 1
    assert [each.said["type"] for each in receiver.received] == [START] * 5
    assert {each.path for each in receiver.received} == {"/hook"}
    await settled(process)
    assert receiver.types == [START] * 6 + [END, REPORT]
    assert len({each.name for each in receiver.received if each.said["data"]["session_id"] == "exam"}) == 3


async def test_one_that_cannot_be_delivered_is_passed_and_in_the_end_given_up_but_not_forgotten(
    on_each: Process, receiver: Receiver
):
    """About a day later; it can be tried by hand."""
    webhook = await on_each.add(receiver.url, START, END)
    await on_each.start()
    await on_each.database.begin_ending("exam", T0)
    receiver.refused.add(START)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        first, second = await on_each.attempt()
        assert first.attempts == attempt
        assert attempt >= ORDERED_ATTEMPTS or second.attempts == 0
        on_each.now_ms = max(on_each.now_ms, first.due_ms)
    assert second.state == "delivered"
    assert (first.state, first.reason, first.status) == ("failed", "answered 400", 400)
    assert 0.7 < (on_each.now_ms - T0) / DAY_MS < 1.3
    assert on_each.metrics.render().count(b'webhook_attempts_total{outcome="given_up"} 1.0') == 1
    assert (await on_each.outbox.retry(first.number, on_each.now_ms)).state == "pending"
    receiver.refused.clear()
    assert [each.state for each in await settled(on_each)] == ["delivered"] * 2
    receiver.received[-1].verify(webhook.secret)
    with pytest.raises(InvalidRequest, match="no delivery 99"):
        await on_each.outbox.retry(99, T0)
    await on_each.outbox.remove_settled(on_each.now_ms)
    assert len(await on_each.told()) == 1
    await on_each.outbox.remove_settled(on_each.now_ms + 1)
    assert await on_each.told() == []


async def test_an_address_that_is_gone_is_told_nothing_more(on_each: Process, receiver: Receiver):
    webhook, other = await on_each.add(receiver.url), await on_each.add(receiver.url, START)
    receiver.answers += [Answer(410), Answer(410)]
    await on_each.start()
    await on_each.database.begin_ending("exam", T0)
    found = await settled(on_each)
    await on_each.start("later")
    assert [(each.state, each.attempts) for each in found] == [("failed", 1), ("failed", 1), ("failed", 0)]
    assert await on_each.told() == found
    assert [each.disabled_ms for each in await on_each.webhooks.all()] == [T0, T0]
    entries = await on_each.audit.entries(action=Action.WEBHOOK_DISABLED)
    assert {each.subject for each in entries} == {webhook.webhook_id, other.webhook_id}
    assert not await on_each.webhooks.wanted(START)
    with pytest.raises(Conflict, match="410"):
        await on_each.outbox.retry(found[0].number, T0)


async def test_an_address_that_asks_for_it_is_left_alone(process: Process, receiver: Receiver):
    """With everything, for as long as it says, and no longer than a day."""
    await process.add(receiver.url, START)
    receiver.answers.append(Answer(429, (("retry-after", "100"),)))
    await process.start()
    [first] = await process.attempt()
    assert first.due_ms == T0 + 100_000
    await process.start("other")
    process.now_ms = T0 + 99_999
    assert await process.outbox.due(process.now_ms) == []
    process.now_ms += 1
    receiver.answers.append(Answer(503, (("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT"),)))
    await process.until(lambda found: sum(each.status is not None for each in found) == 2)
    assert max(each.due_ms for each in await process.told()) == process.now_ms + DAY_MS
    assert len(receiver.received) >= 2


async def test_several_processes_deliver_each_event_once(settings: Settings, receiver: Receiver):
    async with open_process(settings) as one, open_process(settings) as another:
        await one.add(receiver.url, START, END)
        for number in range(10):
            await one.start(f"exam-{number}")
            await one.database.begin_ending(f"exam-{number}", T0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(another.deliveries.deliver)
            await settled(one)
            nursery.cancel_scope.cancel()
        assert len({each.name for each in receiver.received}) == len(receiver.received) == 20
        assert receiver.most_at_once > 1
        for number in range(10):
            mine = [
                each.said for each in receiver.received if each.said["data"]["session_id"] == f"exam-{number}"
            ]
            assert [each["type"] for each in mine] == [START, END]


async def test_a_claim_lapses_and_whoever_had_it_then_changes_nothing(on_each: Process):
    webhook = await on_each.add("https://a.example/", START)
    await on_each.start()
    [first] = await on_each.outbox.claim(webhook.webhook_id, T0, 4)
    lapsed_ms = T0 + round(1000 * LEASE_SECONDS)
    assert await on_each.outbox.claim(webhook.webhook_id, lapsed_ms - 1, 4) == []
    with pytest.raises(Conflict, match="this very moment"):
        await on_each.outbox.retry(first.number, T0)
    [second] = await on_each.outbox.claim(webhook.webhook_id, lapsed_ms, 4)
    assert (second.number, second.attempts) == (first.number, 2)
    await on_each.outbox.settle(first, Outcome(delivered=True), now_ms=T0, pause_seconds=None)
    await on_each.outbox.give_back(first, T0)
    assert await on_each.told() == [second]
    await on_each.outbox.settle(second, Outcome(delivered=True, status=200), now_ms=T0, pause_seconds=None)
    assert [each.state for each in await on_each.told()] == ["delivered"]


async def test_an_attempt_that_is_broken_off_is_due_again_at_once(process: Process, receiver: Receiver):
    await process.add(receiver.url, START)
    receiver.answers.append(HANGS)
    await process.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.deliveries.deliver)
        await receiver.gets(1)
        nursery.cancel_scope.cancel()
    [delivery] = await process.told()
    assert (delivery.state, delivery.claim, delivery.due_ms) == ("pending", None, T0)
    await settled(process)
    assert receiver.received[0].name == receiver.received[1].name


async def test_a_session_that_took_the_id_of_an_erased_one_has_events_of_its_own(
    process: Process, receiver: Receiver
):
    await process.add(receiver.url, START)
    for started_ms in (T0, T0 + 1):
        await process.start(started_ms=started_ms)
        await settled(process)
        await process.removal.remove_session("exam")
    assert len({each.name for each in receiver.received}) == 2


async def test_what_reviewers_decide_is_told_and_what_they_take_back(on_each: Process):
    """And nothing else that they do."""
    await on_each.add("https://a.example/", DECISION)
    await on_each.start()
    row = {"session_id": "exam", "at_ms": T0, "reviewer": "r", "look": 1, "version": 1, "findings": "f"}
    done = [
        ("confirm", None, "open", None),
        ("decide", None, "decided", "referred"),
        ("undo", 2, "open", None),
        ("undo", 1, "open", None),
    ]

    async def unit(connection: Any) -> None:
        for number, (act, undoes, state, outcome) in enumerate(done, 1):
            said = {"number": number, "act": act, "undoes": undoes, "state": state, "outcome": outcome}
            await connection.execute(sa.insert(review_events).values(row | said))

    await on_each.pool.run(unit)
    assert [(each.event, each.key, each.detail) for each in await on_each.told()] == [
        (DECISION, "2", {"state": "decided", "decision": "referred"}),
        (DECISION, "3", {"state": "open", "decision": None}),
    ]


def test_pauses_grow_and_add_up_to_about_a_day():
    pauses = [pause_seconds(attempts) for attempts in range(1, ATTEMPTS_MAX)]
    assert all(pauses)
    assert pauses[0] < 10
    assert 0.7 < sum(map(float, filter(None, pauses))) / (DAY_MS / 1000) < 1.2
    assert pause_seconds(ATTEMPTS_MAX) is None
    assert len({pause_seconds(3) for _ in range(9)}) > 1
