"""Finds out, while sessions run, that one has a new concern, for those whom webhooks tell of it.

A glance tells that something is new, and a report what. Both cost the analysis workers something, so there
are looks only while somebody wants to know, one at a time, at sessions that have new frames, and for half of
the time at the most.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog
import trio

from proctor.analysis.api import Level
from proctor.analysis.engine import Engine
from proctor.analysis.glance import Glance
from proctor.errors import ProctorError
from proctor.live import LiveAnalysis
from proctor.model import ExamSession, FrameId
from proctor.monitor.looking import glance_at
from proctor.storage.frames import FrameStore
from proctor.storage.outbox import Outbox
from proctor.storage.webhooks import Webhooks
from proctor.webhooks.events import Event, EventType

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked whether there is anything to look at."""
_WANTED_SECONDS = 10.0
"""How often it is asked whether anybody wants to know."""
_REMEMBERED = 10_000
"""Sessions whose concerns are known to be told; of others the outbox knows."""

_ActiveSessions = Callable[[Sequence[str]], Awaitable[list[ExamSession]]]


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
    """Has a task, `watch`."""

    def __init__(
        self, live: LiveAnalysis, store: FrameStore, engine: Engine, webhooks: Webhooks, outbox: Outbox
    ) -> None:
        self._live = live
        self._store = store
        self._engine = engine
        self._webhooks = webhooks
        self._outbox = outbox
        self._due: dict[str, ExamSession] = {}
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._wanted = False

    def followed(self, active_sessions: _ActiveSessions) -> _ActiveSessions:
        """Return what finds active sessions for live analysis, and has those that it finds looked at."""

        async def found(session_ids: Sequence[str]) -> list[ExamSession]:
            sessions = await active_sessions(session_ids)
            if self._wanted:
                self._due.update((session.session_id, session) for session in sessions)
            return sessions

        return found

    async def watch(self) -> None:
        """Look at sessions with new frames until cancelled, those first that wait for longest."""
        asked_at = -_WANTED_SECONDS
        while True:
            try:
                if trio.current_time() - asked_at >= _WANTED_SECONDS:
                    self._wanted = await self._webhooks.wanted(EventType.CONCERN_FOUND)
                    asked_at = trio.current_time()
                await self._look_at_all()
            except ProctorError as failure:
                _log.warning("concerns are told later", reason=failure.detail)
            await trio.sleep(LOOK_SECONDS)

    async def _look_at_all(self) -> None:
        trouble: ProctorError | None = None
        for session_id in list(self._due):
            session = self._due.pop(session_id)
            began = trio.current_time()
            try:
                await self._look_at(session)
            except ProctorError as failure:  # what troubles one session must not hold up the others
                self._due.setdefault(session_id, session)
                trouble = failure
            await trio.sleep(trio.current_time() - began)
        if trouble is not None:
            raise trouble

    async def _look_at(self, session: ExamSession) -> None:
        told = self._told.setdefault(session.session_id, _Told())
        self._told.move_to_end(session.session_id)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        glance = msgspec.json.decode(await glance_at(session, self._store, self._engine), type=Glance)
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
