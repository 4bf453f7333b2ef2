"""The outbox: what webhooks are still to tell, and what became of what they told.

A delivery is claimed for as long as an attempt may take, by moving the time at which it is due. So whoever
claims it has it alone, and when the process dies another has it next. The machines' clocks have to agree
to within the few seconds that `LEASE_SECONDS` is longer than an attempt.
"""

from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import sqlalchemy as sa
from databases.core import Connection

from proctor.errors import Conflict, InvalidRequest
from proctor.model import ExamSession
from proctor.storage.pool import Pool
from proctor.storage.rows import session_of
from proctor.storage.tables import KEY_CHARACTERS, exam_analyses, exam_sessions, webhook_deliveries, webhooks
from proctor.storage.webhooks import wants
from proctor.webhooks.events import Event, EventType, Verdict
from proctor.webhooks.sender import ATTEMPT_SECONDS, Outcome

LEASE_SECONDS = ATTEMPT_SECONDS + 10
ORDERED_ATTEMPTS = 5
"""Events of a session wait for earlier ones until these failed so often, about three minutes; then they go
before them."""

_there = webhook_deliveries.c
_PENDING = _there.state == "pending"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event for an address. Times are milliseconds since the epoch."""

    number: int
    """Rises from each event of a session to the next."""
    webhook_id: str
    session_id: str
    event: EventType
    key: str
    at_ms: int
    """When it happened."""
    detail: dict[str, Any] | None
    state: str
    """`pending`, `delivered`, or `failed` when it was given up."""
    attempts: int
    due_ms: int
    """When it is tried next, while it is pending."""
    claim: str | None
    """Who is trying, while somebody is."""
    settled_ms: int | None
    """When it was delivered or given up."""
    status: int | None
    """Of the last answer."""
    reason: str | None
    """Why the last attempt failed."""

    def as_event(self) -> Event:
        """Return what is told."""
        return Event(
            type=self.event, session_id=self.session_id, key=self.key, at_ms=self.at_ms, detail=self.detail
        )


class Message(NamedTuple):
    """What a payload is made of beside the event."""

    session: ExamSession
    verdict: Verdict | None
    """Of the report that the event is about."""


class Outbox:
    """Calls are as those of :class:`proctor.storage.database.Database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, event: Event) -> None:
        """Have all addresses told that want to be. Once per event, however often it is added.

        Starts, ends, reports and decisions add themselves, by triggers. Of a session that is not
        there, nothing is told.
        """
        text = sa.Text
        columns = {
            "webhook_id": webhooks.c.webhook_id,
            "session_id": sa.cast(event.session_id, text),
            "event": sa.cast(event.type.value, text),
            "key": sa.cast(event.key[:KEY_CHARACTERS], text),
            "at_ms": sa.cast(event.at_ms, sa.BigInteger),
            "detail": sa.cast(_json(event.detail), text),
        }
        there = sa.exists().where(exam_sessions.c.session_id == event.session_id)
        select = sa.select(*columns.values()).where(wants(event.type), there)
        insert = self._pool.insert(webhook_deliveries).from_select(list(columns), select)
        await self._execute(insert.on_conflict_do_nothing())

    async def due(self, now_ms: int) -> list[str]:
        """Return the ids of the webhooks that something may be due for."""
        select = (
            sa.select(_there.webhook_id)
            .join(webhooks)
            .where(_PENDING, _there.due_ms <= now_ms, _may_be_told(now_ms))
            .distinct()
        )

        async def unit(connection: Connection) -> list[str]:
            return [row[0] for row in await connection.fetch_all(select)]

        return await self._pool.run(unit)

    async def claim(self, webhook_id: str, now_ms: int, limit: int) -> list[Delivery]:
        """Return up to `limit` deliveries that are due, which nobody else tries for `LEASE_SECONDS`."""
        claim = uuid4().hex
        earlier = webhook_deliveries.alias("earlier")
        waits = sa.exists().where(
            earlier.c.webhook_id == _there.webhook_id,
            earlier.c.session_id == _there.session_id,
            earlier.c.number < _there.number,
            earlier.c.state == "pending",
            earlier.c.attempts < ORDERED_ATTEMPTS,
        )
        due = sa.and_(_PENDING, _there.due_ms <= now_ms)
        some = (
            sa.select(_there.number)
            .join(webhooks)
            .where(_there.webhook_id == webhook_id, due, _may_be_told(now_ms), ~waits)
            .order_by(_there.due_ms, _there.number)
            .limit(limit)
            # Where several processes look at once they pass over what another has; SQLite has them queue.
            .with_for_update(skip_locked=True, of=webhook_deliveries)
        )
        update = (
            sa.update(webhook_deliveries)
            .where(_there.number.in_(some.scalar_subquery()), due)
            .values(due_ms=now_ms + round(1000 * LEASE_SECONDS), attempts=_there.attempts + 1, claim=claim)
        )
        return await self._deliveries(update.returning(webhook_deliveries))

    async def message(self, delivery: Delivery) -> Message | None:
        """Return what the payload is made of; None if the session was erased meanwhile."""
        there, report = exam_sessions.c, exam_analyses.c
        version = int(delivery.key) if delivery.event is EventType.REPORT_READY else 0
        mine = sa.and_(report.session_id == there.session_id, report.version == version)
        select = (
            sa.select(exam_sessions, report.score, report.review_priority)
            .outerjoin(exam_analyses, mine)
            .where(there.session_id == delivery.session_id)
        )

        async def unit(connection: Connection) -> list[Message]:
            return [_message_of(row) for row in await connection.fetch_all(select)]

        found = await self._pool.run(unit)
        return found[0] if found else None

    async def settle(
        self, delivery: Delivery, outcome: Outcome, *, now_ms: int, pause_seconds: float | None
    ) -> None:
        """Note what became of a claimed delivery: it is done, tried again after a pause, or given up.

        Nothing is noted for a claim that has lapsed, and that somebody else may have now.
        """
        values: dict[str, Any] = {"claim": None, "status": outcome.status, "reason": outcome.reason}
        if outcome.delivered:
            values |= {"state": "delivered", "settled_ms": now_ms}
        elif pause_seconds is None:
            values |= {"state": "failed", "settled_ms": now_ms}
        else:
            values["due_ms"] = now_ms + round(1000 * pause_seconds)
        await self._execute(_claimed(delivery).values(values))

    async def give_back(self, delivery: Delivery, now_ms: int) -> None:
        """Have a claimed delivery, whose attempt was broken off, tried again at once."""
        await self._execute(_claimed(delivery).values(due_ms=now_ms, claim=None))

    async def listed(
        self,
        *,
        state: str | None = None,
        webhook_id: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[Delivery]:
        """Return up to `limit` deliveries that match, the newest first; `before` is a page's last number."""
        select = sa.select(webhook_deliveries).order_by(_there.number.desc()).limit(limit)
        if state is not None:
            select = select.where(_there.state == state)
        if webhook_id is not None:
            select = select.where(_there.webhook_id == webhook_id)
        if before is not None:
            select = select.where(_there.number < before)
        return await self._deliveries(select)

    async def of_session(self, session_id: str) -> list[Delivery]:
        """Return all deliveries about a session, the oldest first."""
        mine = sa.select(webhook_deliveries).where(_there.session_id == session_id)
        return await self._deliveries(mine.order_by(_there.number))

    async def retry(self, number: int, now_ms: int) -> Delivery:
        """Try a delivery anew, with all its attempts before it, whatever became of it.

        Raises:
            InvalidRequest: there is no such delivery.
            Conflict: its address wants no more.
        """
        enabled = sa.exists().where(
            webhooks.c.webhook_id == _there.webhook_id, webhooks.c.disabled_ms.is_(None)
        )
        fresh: dict[str, Any] = {"state": "pending", "attempts": 0, "due_ms": now_ms, "settled_ms": None}
        update = sa.update(webhook_deliveries).where(_there.number == number, enabled, _there.claim.is_(None))
        for delivery in await self._deliveries(update.values(fresh).returning(webhook_deliveries)):
            return delivery
        for delivery in await self._deliveries(sa.select(webhook_deliveries).where(_there.number == number)):
            if delivery.claim is not None:
                raise Conflict("it is being tried this very moment; look again", field="number")
            raise Conflict("its address answered 410; add the webhook again", field="number")
        raise InvalidRequest(f"there is no delivery {number}; list them", field="number")

    async def remove_settled(self, before_ms: int) -> None:
        """Forget what was delivered or given up before this time."""
        await self._execute(sa.delete(webhook_deliveries).where(~_PENDING, _there.settled_ms < before_ms))

    async def _deliveries(self, statement: Any) -> list[Delivery]:
        async def unit(connection: Connection) -> list[Delivery]:
            return [_delivery_of(row) for row in await connection.fetch_all(statement)]

        return await self._pool.run(unit)

    async def _execute(self, statement: Any) -> None:
        async def unit(connection: Connection) -> None:
            await connection.execute(statement)

        await self._pool.run(unit)


def _claimed(delivery: Delivery) -> sa.Update:
    mine = sa.and_(_there.number == delivery.number, _there.claim == delivery.claim)
    return sa.update(webhook_deliveries).where(mine)


def _may_be_told(now_ms: int) -> sa.ColumnElement[bool]:
    return sa.and_(webhooks.c.disabled_ms.is_(None), webhooks.c.paused_until_ms <= now_ms)


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _delivery_of(row: Any) -> Delivery:
    fields = {name: row[name] for name in Delivery.__struct_fields__}
    if fields["detail"] is not None:
        fields["detail"] = msgspec.json.decode(fields["detail"])
    return msgspec.convert(fields, Delivery)


def _message_of(row: Any) -> Message:
    verdict = None
    if row["score"] is not None:
        verdict = Verdict(score=round(row["score"]), review_priority=row["review_priority"])
    return Message(session_of(row), verdict)
