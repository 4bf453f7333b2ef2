"""The addresses that webhooks go to, in the database."""

import secrets
from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa
from databases.core import Connection

from proctor.errors import InvalidRequest
from proctor.storage.pool import Pool
from proctor.storage.tables import webhook_deliveries, webhooks
from proctor.webhooks.events import EventType
from proctor.webhooks.signing import make_secret

_there = webhooks.c
GONE = "the address answered 410 and gets no more"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An address, and what it is told. Times are milliseconds since the epoch."""

    webhook_id: str
    """16 hexadecimal digits."""
    url: str
    events: list[EventType]
    secret: str
    """What its messages are signed with, as its receiver has it."""
    created_ms: int
    disabled_ms: int | None = None
    """When the address said that it wants no more; None while it is told."""
    paused_until_ms: int = 0
    """Until when it asked to be left alone."""


def make_webhook(url: str, events: Collection[EventType], now_ms: int) -> Webhook:
    """Return a new one with a secret of its own; no events are all of them."""
    return Webhook(
        webhook_id=secrets.token_hex(8),
        url=url,
        events=[each for each in EventType if not events or each in events],
        secret=make_secret(),
        created_ms=now_ms,
    )


class Webhooks:
    """Calls are as those of :class:`proctor.storage.database.Database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, webhook: Webhook) -> None:
        """Tell an address what happens from now on."""
        row = msgspec.structs.asdict(webhook) | {"events": msgspec.json.encode(webhook.events).decode()}
        await self._execute(sa.insert(webhooks).values(row))

    async def all(self) -> list[Webhook]:
        """Return all, the oldest first."""
        return await self._webhooks(sa.select(webhooks).order_by(_there.created_ms, _there.webhook_id))

    async def get(self, webhook_id: str) -> Webhook:
        """Return one. Raises InvalidRequest where there is none."""
        for webhook in await self._webhooks(sa.select(webhooks).where(_there.webhook_id == webhook_id)):
            return webhook
        detail = f"there is no webhook {webhook_id!r}; `proctor webhooks list` shows them"
        raise InvalidRequest(detail, field="webhook_id")

    async def remove(self, webhook_id: str) -> None:
        """Tell an address nothing more, and forget what it was told. Idempotent."""
        await self._execute(sa.delete(webhooks).where(_there.webhook_id == webhook_id))

    async def disable(self, webhook_id: str, now_ms: int) -> None:
        """Keep an address that wants no more, and give up what it was still to be told."""
        unwanted = sa.update(webhooks).where(_there.webhook_id == webhook_id, _there.disabled_ms.is_(None))
        await self._execute(unwanted.values(disabled_ms=now_ms))
        due = webhook_deliveries.c
        rest = sa.update(webhook_deliveries).where(due.webhook_id == webhook_id, due.state == "pending")
        await self._execute(rest.values(state="failed", claim=None, settled_ms=now_ms, reason=GONE))

    async def pause(self, webhook_id: str, until_ms: int) -> None:
        """Leave an address alone for a while."""
        webhook = sa.update(webhooks).where(_there.webhook_id == webhook_id)
        await self._execute(webhook.values(paused_until_ms=until_ms))

    async def wanted(self, event: EventType) -> bool:
        """Tell whether any address is told of such events."""
        select = sa.select(_there.webhook_id).where(wants(event)).limit(1)

        async def unit(connection: Connection) -> bool:
            return bool(await connection.fetch_all(select))

        return await self._pool.run(unit)

    async def _webhooks(self, select: sa.Select[Any]) -> list[Webhook]:
        async def unit(connection: Connection) -> list[Webhook]:
            return [_webhook_of(row) for row in await connection.fetch_all(select)]

        return await self._pool.run(unit)

    async def _execute(self, statement: Any) -> None:
        async def unit(connection: Connection) -> None:
            await connection.execute(statement)

        await self._pool.run(unit)


def wants(event: EventType) -> sa.ColumnElement[bool]:
    """Return the condition that an address is told of such events; the triggers have it too."""
    return sa.and_(_there.disabled_ms.is_(None), _there.events.like(f'%"{event.value}"%'))


def _webhook_of(row: Any) -> Webhook:
    fields = {name: row[name] for name in Webhook.__struct_fields__}
    return msgspec.convert(fields | {"events": msgspec.json.decode(fields["events"])}, Webhook)
