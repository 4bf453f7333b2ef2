"""What happened around a session, from its start to its end, in order of time.

Most of it the session itself tells. When its client came and went is noted here, by whoever holds the
connection, and never while a frame waits for it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from proctor.errors import Unavailable
from proctor.model import ExamSession
from proctor.storage.milestones import Kind, Milestone, Milestones
from proctor.times import ms_from_iso

_log = structlog.get_logger(__name__)

SETTLE_SECONDS = 2.0
"""A client that is back within so long was not lost; a page that is loaded again takes about that."""
_AT_ONCE = 100


@dataclass
class _State:
    connections: int = 0
    since_ms: int = 0
    """When there came to be any, or none."""
    noted: bool = False
    """Whether what was noted last is that there are some."""


class Presence:
    """Notes when sessions have a client and when they lose it. Has a task, `write`.

    Each process knows of its own connections only, so after a process has died nobody notes what it lost.
    """

    def __init__(self, milestones: Milestones, now_ms: Callable[[], int]) -> None:
        self.kept = milestones
        self._now_ms = now_ms
        self._states: dict[str, _State] = {}
        self._writing = trio.Lock()
        self._changed: dict[str, float] = {}
        """Sessions that came to have clients, or none, and when, by the clock of `trio.current_time`."""

    @contextmanager
    def noted(self, session_id: str) -> Iterator[None]:
        """Have the session's connection noted that lasts as long as the block."""
        state = self._states.setdefault(session_id, _State())
        state.connections += 1
        if state.connections == 1:
            self._change(session_id, state)
        try:
            yield
        finally:
            state.connections -= 1
            if state.connections == 0:
                self._change(session_id, state)

    async def write(self) -> None:
        """Write down what has settled, until cancelled."""
        while True:
            await trio.sleep(SETTLE_SECONDS / 2)
            until = trio.current_time() - SETTLE_SECONDS
            try:
                await self._write(until)
            except Unavailable as failure:
                _log.warning("connections are noted later", reason=failure.detail)

    async def flush(self) -> None:
        """Write down everything. Raises Unavailable."""
        await self._write(math.inf)

    async def _write(self, until: float) -> None:
        async with self._writing:  # the last ones are written down while others still are
            await self._note([name for name, at in self._changed.items() if at <= until])

    async def _note(self, session_ids: Sequence[str]) -> None:
        for start in range(0, len(session_ids), _AT_ONCE):
            some = session_ids[start : start + _AT_ONCE]
            seen = {name: (self._changed[name], self._states[name].connections > 0) for name in some}
            news = {name: there for name, (_, there) in seen.items() if there != self._states[name].noted}
            if news:
                await self.kept.add([self._milestone(name) for name in news])
            for name, there in news.items():
                self._states[name].noted = there
            for name, (at, _) in seen.items():
                if self._changed[name] == at:  # else it changed meanwhile, and has to settle again
                    del self._changed[name]
                    if not self._states[name].connections and not self._states[name].noted:
                        del self._states[name]

    def _change(self, session_id: str, state: _State) -> None:
        state.since_ms = self._now_ms()
        self._changed[session_id] = trio.current_time()

    def _milestone(self, session_id: str) -> Milestone:
        state = self._states[session_id]
        kind = Kind.CONNECTED if state.connections else Kind.CONNECTION_LOST
        return Milestone(
            session_id=session_id, source=f"{kind}:{state.since_ms}", at_ms=state.since_ms, kind=kind
        )


async def milestones_of(session: ExamSession, kept: Milestones) -> list[Milestone]:
    """Return all milestones of a session. Raises Unavailable."""
    told = [_own(session, Kind.STARTED, session.started_ms)]
    for each in session.accommodations:
        detail: dict[str, Any] = {"id": each.id, "type": each.__struct_config__.tag}
        for kind, at in (
            (Kind.ACCOMMODATION_GRANTED, each.granted_at),
            (Kind.ACCOMMODATION_WITHDRAWN, each.withdrawn),
        ):
            if at is not None:
                told.append(_own(session, kind, ms_from_iso(at), detail))
    if session.ended_ms is not None:
        told.append(_own(session, Kind.ENDED, session.ended_ms))
    return sorted(told + await kept.of_session(session.session_id), key=lambda each: each.at_ms)


def _own(session: ExamSession, kind: Kind, at_ms: int, detail: dict[str, Any] | None = None) -> Milestone:
    return Milestone(session_id=session.session_id, at_ms=at_ms, kind=kind, detail=detail)
