"""Tells, while sessions run, that one has a new concern: those whom webhooks tell of it."""

from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec
import trio

from proctor.analysis.api import Level
from proctor.analysis.glance import Glance
from proctor.live import LiveAnalysis
from proctor.model import ExamSession, FrameId
from proctor.storage.outbox import Outbox
from proctor.storage.webhooks import Webhooks
from proctor.webhooks.events import Event, EventType

_WANTED_SECONDS = 10.0
"""How often it is asked whether anybody wants to know."""
_REMEMBERED = 10_000
"""Sessions whose concerns are known to be told; of others the outbox knows."""


class _Finding(msgspec.Struct):
    rule: str
    category: str
    level: Level
    start_seconds: float
    frame_ids: list[str]


class _Verdict(msgspec.Struct):
    score: float
    review_priority: str


class _Report(msgspec.Struct):
    findings: list[_Finding]
    verdict: _Verdict


@dataclass
class _Told:
    seen: tuple[object, ...] = (0,)
    """What the last glance showed of which all is told."""
    keys: set[str] = field(default_factory=set)


class Concerns:
    """Has a report made where a glance shows something new, and puts what it finds into the outbox."""

    hurried = False

    def __init__(self, live: LiveAnalysis, webhooks: Webhooks, outbox: Outbox) -> None:
        self._live = live
        self._webhooks = webhooks
        self._outbox = outbox
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._wanted = False
        self._asked_at = -_WANTED_SECONDS

    async def is_looking(self) -> bool:
        """See :class:`proctor.monitor.looking.Onlooker`."""
        if trio.current_time() - self._asked_at >= _WANTED_SECONDS:
            self._wanted = await self._webhooks.wanted(EventType.CONCERN_FOUND)
            self._asked_at = trio.current_time()
        return self._wanted

    def wants(self, _session: ExamSession) -> bool:
        """See the protocol."""
        return True

    async def see(self, session: ExamSession, glance: Glance) -> None:
        """Tell of the session's concerns that were not told before."""
        told = self._told.setdefault(session.session_id, _Told())
        self._told.move_to_end(session.session_id)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        seen = (glance.concerns, *((each.rule, each.start_ms) for each in glance.newest))
        if seen == told.seen:
            return
        report = msgspec.json.decode(await self._live.report(session, final=False), type=_Report)
        for finding in report.findings:
            key = f"{finding.rule}:{finding.frame_ids[0]}"
            if finding.level is Level.CONCERN and key not in told.keys:
                await self._outbox.add(_event(session, key, finding, report.verdict))
                told.keys.add(key)
        told.seen = seen


def _event(session: ExamSession, key: str, finding: _Finding, verdict: _Verdict) -> Event:
    return Event(
        type=EventType.CONCERN_FOUND,
        session_id=session.session_id,
        key=key,
        at_ms=FrameId.parse(finding.frame_ids[0]).time_ms,
        detail={
            "verdict": {"score": round(verdict.score), "review_priority": verdict.review_priority},
            "finding": {
                "rule": finding.rule,
                "category": finding.category,
                "start_seconds": round(finding.start_seconds, 1),
            },
        },
    )
