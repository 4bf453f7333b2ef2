"""All parts of webhooks as a server has them: what is told, to whom, and by which tasks."""

from collections.abc import Awaitable, Callable, Mapping

from proctor.audit import Audit
from proctor.metrics import Metrics
from proctor.settings import Settings
from proctor.storage.outbox import Outbox
from proctor.storage.pool import Pool
from proctor.storage.webhooks import Webhooks
from proctor.webhooks.addresses import Addresses
from proctor.webhooks.concerns import Concerns
from proctor.webhooks.delivery import Deliveries
from proctor.webhooks.registry import Registry
from proctor.webhooks.sender import Sender


class Announcing:
    """Starts, ends, reports and decisions announce themselves, in the database; concerns are looked for.

    Raises:
        Misconfigured: `webhook_private_networks` has one that is none.
    """

    def __init__(
        self,
        pool: Pool,
        concerns: Callable[[Webhooks, Outbox], Concerns],
        audit: Audit,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        sender = Sender(Addresses(settings.webhook_private_networks))
        webhooks = Webhooks(pool)
        self.outbox = Outbox(pool)
        self.registry = Registry(webhooks, sender, audit, now_ms)
        self.concerns = concerns(webhooks, self.outbox)
        self._deliveries = Deliveries(
            outbox=self.outbox,
            webhooks=webhooks,
            sender=sender,
            audit=audit,
            settings=settings,
            metrics=metrics,
            now_ms=now_ms,
        )

    @property
    def tasks(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What runs as long as the server does, by name."""
        return {
            "webhooks": self._deliveries.deliver,
            "webhook retention": self._deliveries.expire,
        }
