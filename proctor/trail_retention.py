"""Removes the beginning of the audit trail when its time is over, and says so in the trail itself.

What is removed is first named by an entry, which is what lets the database delete it, and what `proctor audit
verify` begins from. An entry that an earlier run has written, and not acted upon, is acted upon first.
"""

from collections.abc import Callable
from contextlib import suppress

import structlog

from proctor.audit import Action, Audit, Who
from proctor.chain import Head
from proctor.errors import InvalidRequest
from proctor.settings import Settings
from proctor.storage.audit_cuts import AuditCuts

_log = structlog.get_logger(__name__)

CUT_ENTRIES = 10_000
"""Most that are removed at once, for the database gives each call a few seconds."""
_DAY_MS = 24 * 3600 * 1000
_RETENTION = Who(actor="retention", address=None)


class TrailRetention:
    """Applies `audit_retention_days`. `now_ms` tells the time in milliseconds since the epoch."""

    def __init__(self, cuts: AuditCuts, audit: Audit, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._cuts = cuts
        self._audit = audit
        self._kept_ms = round(settings.audit_retention_days * _DAY_MS)
        self._now_ms = now_ms

    async def apply(self) -> None:
        """Remove the entries that are old enough, at most once a day, lest the trail tells of nothing else.

        Raises:
            Unavailable: the database is down; what was begun is finished by the next call.
        """
        if not self._kept_ms:
            return
        now_ms = self._now_ms()
        for last in await self._audit.entries(action=Action.TRAIL_CUT, limit=1):
            with suppress(InvalidRequest):  # no words of ours, and so nothing to act upon
                await self._cuts.remove(Head.parse(last.subject).number)
            if last.at_ms > now_ms - min(_DAY_MS, self._kept_ms):
                return
        while (head := await self._cuts.due(now_ms - self._kept_ms, CUT_ENTRIES)) is not None:
            await self._audit.record(Action.TRAIL_CUT, str(head), **_RETENTION)
            await self._cuts.remove(head.number)
            _log.info("audit trail cut", up_to=head.number)
