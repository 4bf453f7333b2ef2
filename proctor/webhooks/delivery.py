"""Delivers what is in the outbox, until it has arrived or is given up. Any number of processes may do so.

Each event arrives at least once, under an id that stays the same; in the order of its session, unless one
that cannot be delivered would hold up the others for long.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import structlog
import trio

from proctor.audit import Action, Audit, Who
from proctor.errors import InvalidRequest, Unavailable
from proctor.metrics import Metrics
from proctor.settings import Settings
from proctor.storage.outbox import Delivery, Outbox
from proctor.storage.webhooks import Webhook, Webhooks
from proctor.webhooks.backoff import pause_seconds
from proctor.webhooks.events import event_id, payload
from proctor.webhooks.sender import Outcome, Sender

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""How often the outbox is looked at while nothing happens."""
AT_ONCE = 4
"""Most attempts at one address at a time from one process, so that a slow one holds up only itself."""
_EXPIRE_SECONDS = 3600.0
_NOTE_SECONDS = 2.0
"""Longest to note what became of an attempt; else somebody tries again when the claim has lapsed."""
_DAY_MS = 24 * 3600 * 1000
_SERVER = Who(actor="server", address=None)


class Deliveries:
    """Has two tasks, `deliver` and `expire`."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        webhooks: Webhooks,
        sender: Sender,
        audit: Audit,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._outbox = outbox
        self._webhooks = webhooks
        self._sender = sender
        self._audit = audit
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._under_way: Counter[str] = Counter()
        self._finished = trio.Event()

    async def deliver(self) -> None:
        """Deliver until cancelled; attempts under way are then left for the next to look."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    await self._begin(nursery)
                except Unavailable as failure:
                    _log.warning("webhooks wait", reason=failure.detail)
                    await trio.sleep(LOOK_SECONDS)
                with trio.move_on_after(LOOK_SECONDS):
                    await self._finished.wait()
                self._finished = trio.Event()

    async def expire(self) -> None:
        """Forget what was delivered or given up long ago, now and then, until cancelled."""
        while True:
            try:
                days = self._settings.webhook_retention_days
                await self._outbox.remove_settled(self._now_ms() - round(days * _DAY_MS))
            except Unavailable as failure:
                _log.warning("webhook deliveries that have expired are still kept", reason=failure.detail)
            await trio.sleep(_EXPIRE_SECONDS)

    async def _begin(self, nursery: trio.Nursery) -> None:
        """Begin attempts at all that is due, as far as there are places."""
        for webhook_id in await self._outbox.due(self._now_ms()):
            places = AT_ONCE - self._under_way[webhook_id]
            if places > 0:
                for delivery in await self._outbox.claim(webhook_id, self._now_ms(), places):
                    self._under_way[webhook_id] += 1
                    nursery.start_soon(self._attend_to, delivery, name=f"webhook {delivery.number}")

    async def _attend_to(self, delivery: Delivery) -> None:
        try:
            await self._attempt(delivery)
        except Unavailable as failure:  # its claim lapses, and somebody tries again
            _log.warning("webhook waits", number=delivery.number, reason=failure.detail)
        except Exception:  # noqa: BLE001 - one delivery's trouble must not stop the others
            _log.exception("webhook failed", number=delivery.number)
        finally:
            self._under_way[delivery.webhook_id] -= 1
            self._finished.set()

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            webhook = await self._webhooks.get(delivery.webhook_id)
            message = await self._outbox.message(delivery)
        except InvalidRequest:
            return  # removed just now, and all its deliveries with it
        if message is None:
            return  # erased just now
        event = delivery.as_event()
        body = payload(event, message.session, message.verdict, self._settings.public_url)
        try:
            outcome = await self._sender.send(
                webhook.url, webhook.secret, event_id(event, message.session), body
            )
        except trio.Cancelled:
            with trio.move_on_after(_NOTE_SECONDS, shield=True), suppress(Unavailable):
                await self._outbox.give_back(delivery, self._now_ms())
            raise
        # Else a server that stops would have delivered, and the next one would deliver again.
        with trio.move_on_after(_NOTE_SECONDS, shield=True):
            await self._note(webhook, delivery, outcome)

    async def _note(self, webhook: Webhook, delivery: Delivery, outcome: Outcome) -> None:
        pause = None if outcome.unwanted else pause_seconds(delivery.attempts)
        wish = outcome.retry_after_seconds
        if wish is not None and pause is not None:
            pause = max(pause, wish)
            await self._webhooks.pause(webhook.webhook_id, self._now_ms() + round(1000 * wish))
        await self._outbox.settle(delivery, outcome, now_ms=self._now_ms(), pause_seconds=pause)
        became = "delivered" if outcome.delivered else "given_up" if pause is None else "failed"
        self._metrics.webhook_attempts.labels(became).inc()
        if outcome.delivered:
            return
        log = _log.error if pause is None else _log.warning
        log(
            "webhook not delivered",
            webhook=webhook.webhook_id,
            number=delivery.number,
            attempts=delivery.attempts,
            reason=outcome.reason,
            again_in_seconds=None if pause is None else round(pause),
        )
        if outcome.unwanted:
            await self._audit.record(Action.WEBHOOK_DISABLED, webhook.webhook_id, **_SERVER)
            await self._webhooks.disable(webhook.webhook_id, self._now_ms())
