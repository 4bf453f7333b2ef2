"""What happened around sessions beside their frames, in the database."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from databases.core import Connection

from proctor.model import SessionStatus
from proctor.storage.pool import Pool
from proctor.storage.tables import KEY_CHARACTERS, exam_milestones, exam_sessions

PER_SESSION_MAX = 1000
"""More are not kept: whoever connects again and again fills no disk."""

_there = exam_milestones.c
_ACTIVE = exam_sessions.c.status == SessionStatus.ACTIVE.value


class Kind(StrEnum):
    """What happened."""

    STARTED = "started"
    ENDED = "ended"
    ACCOMMODATION_GRANTED = "accommodation_granted"
    ACCOMMODATION_WITHDRAWN = "accommodation_withdrawn"
    CONNECTED = "connected"
    """The candidate's client came, or came back."""
    CONNECTION_LOST = "connection_lost"
    PARTICIPANT_JOINED = "participant_joined"
    """The candidate joined the exam's LiveKit room."""
    PARTICIPANT_LEFT = "participant_left"
    TRACK_PUBLISHED = "track_published"
    """The candidate's camera, microphone or screen was shared in the room."""
    TRACK_UNPUBLISHED = "track_unpublished"


class Milestone(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened around a session. It changes no judgement."""

    session_id: str
    source: str = ""
    """Names it for good in its session, so that it is kept once."""
    at_ms: int
    kind: Kind
    detail: dict[str, Any] | None = None


class Milestones:
    """Calls are as those of :class:`proctor.storage.database.Database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, milestones: Sequence[Milestone]) -> None:
        """Keep milestones, each once, of sessions that are active; others are passed over."""
        statements = [self._insert(each) for each in milestones]

        async def unit(connection: Connection) -> None:
            for statement in statements:
                await connection.execute(statement)

        await self._pool.run(unit)

    async def of_session(self, session_id: str) -> list[Milestone]:
        """Return a session's milestones that are kept, in order of time."""
        order = (_there.at_ms, _there.source)
        select = sa.select(exam_milestones).where(_there.session_id == session_id).order_by(*order)

        async def unit(connection: Connection) -> list[Milestone]:
            return [_milestone_of(row) for row in await connection.fetch_all(select)]

        return await self._pool.run(unit)

    async def running_session(self, exam_id: str, candidate_id: str) -> str | None:
        """Return the id of a candidate's session of an exam that runs, the latest of several."""
        if not (_is_name(exam_id) and _is_name(candidate_id)):
            return None
        there = exam_sessions.c
        select = (
            sa.select(there.session_id)
            .where(there.exam_id == exam_id, there.candidate_id == candidate_id, _ACTIVE)
            .order_by(there.started_ms.desc(), there.session_id)
            .limit(1)
        )

        async def unit(connection: Connection) -> list[str]:
            return [row[0] for row in await connection.fetch_all(select)]

        found = await self._pool.run(unit)
        return found[0] if found else None

    def _insert(self, milestone: Milestone) -> Any:
        detail = None if milestone.detail is None else msgspec.json.encode(milestone.detail).decode()
        columns = {
            "session_id": exam_sessions.c.session_id,
            "source": sa.cast(milestone.source, sa.Text),
            "at_ms": sa.cast(milestone.at_ms, sa.BigInteger),
            "kind": sa.cast(milestone.kind.value, sa.Text),
            "detail": sa.cast(detail, sa.Text),
        }
        kept = (
            sa.select(sa.func.count())
            .select_from(exam_milestones)
            .where(_there.session_id == milestone.session_id)
            .scalar_subquery()
        )
        mine = exam_sessions.c.session_id == milestone.session_id
        select = sa.select(*columns.values()).where(mine, _ACTIVE, kept < PER_SESSION_MAX)
        insert = self._pool.insert(exam_milestones).from_select(list(columns), select)
        return insert.on_conflict_do_nothing()


def _is_name(text: str) -> bool:
    """Tell whether an exam or a candidate could be called so."""
    return 0 < len(text) <= KEY_CHARACTERS and "\0" not in text


def _milestone_of(row: Any) -> Milestone:
    fields = {name: row[name] for name in Milestone.__struct_fields__}
    if fields["detail"] is not None:
        fields["detail"] = msgspec.json.decode(fields["detail"])
    return msgspec.convert(fields, Milestone)
