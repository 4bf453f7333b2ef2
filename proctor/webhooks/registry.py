"""Which addresses are told what: added, tried and removed, from the command line and over HTTP."""

import secrets
from collections.abc import Callable, Collection

import msgspec
import trio

from proctor.audit import Action, Audit, Who
from proctor.errors import InvalidRequest
from proctor.storage.webhooks import Webhook, Webhooks, make_webhook
from proctor.times import iso_from_ms
from proctor.webhooks.events import EventType
from proctor.webhooks.sender import PORTS, Outcome, Sender

_LOOK_UP_SECONDS = 5.0


class Registry:
    """Every call raises :class:`proctor.errors.Unavailable` if the database is down."""

    def __init__(self, webhooks: Webhooks, sender: Sender, audit: Audit, now_ms: Callable[[], int]) -> None:
        self._webhooks = webhooks
        self._sender = sender
        self._audit = audit
        self._now_ms = now_ms

    async def add(self, url: str, events: Collection[EventType], who: Who) -> Webhook:
        """Have an address told of events, of all if none are named, and return it with its secret.

        Raises:
            InvalidRequest: the address may not be called, or is not known.
        """
        addresses = self._sender.addresses
        parsed = addresses.check_url(url)
        try:
            with trio.fail_after(_LOOK_UP_SECONDS):
                encrypted, port = parsed.scheme == "https", parsed.port or PORTS[parsed.scheme]
                await addresses.resolve(parsed.host, port, encrypted=encrypted)
        except (OSError, UnicodeError, trio.TooSlowError):
            raise InvalidRequest(f"the host {parsed.host!r} is not known", field="url") from None
        webhook = make_webhook(url, events, self._now_ms())
        what = {"url": _without_query(webhook), "events": webhook.events}
        await self._audit.record(Action.WEBHOOK_ADDED, webhook.webhook_id, **who, after=what)
        await self._webhooks.add(webhook)
        return webhook

    async def all(self) -> list[Webhook]:
        """Return all, the oldest first."""
        return await self._webhooks.all()

    async def remove(self, webhook_id: str, who: Who) -> None:
        """Tell an address nothing more. Raises InvalidRequest where there is none."""
        webhook = await self._webhooks.get(webhook_id)
        what = {"url": _without_query(webhook), "events": webhook.events}
        await self._audit.record(Action.WEBHOOK_REMOVED, webhook_id, **who, before=what)
        await self._webhooks.remove(webhook_id)

    async def test(self, webhook_id: str) -> Outcome:
        """Send an address `webhook.test`, once, and return what came of it.

        Raises:
            InvalidRequest: there is no such webhook.
        """
        webhook = await self._webhooks.get(webhook_id)
        at = iso_from_ms(self._now_ms())
        said = {"type": "webhook.test", "timestamp": at, "data": {"webhook_id": webhook_id}}
        name = f"msg_{secrets.token_hex(16)}"
        return await self._sender.send(webhook.url, webhook.secret, name, msgspec.json.encode(said))


def _without_query(webhook: Webhook) -> str:
    """Return the address without what may be a password to it."""
    return webhook.url.partition("?")[0]
