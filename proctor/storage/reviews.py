"""Reviews in SQLite or PostgreSQL: their acts, and the queue of what is to be looked at."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import msgspec
import sqlalchemy as sa
from databases.core import Connection

from proctor.analysis.verdict import Priority
from proctor.errors import InvalidRequest
from proctor.model import ExamSession, SessionStatus, check_session_id
from proctor.review import FIRST, Decision, ReviewEvent, ReviewState
from proctor.storage.pool import Pool
from proctor.storage.rows import check_text, session_of
from proctor.storage.tables import exam_analyses, exam_sessions, review_events

NOTE_CHARACTERS = 4000
"""Longest note, and longest statement of a candidate."""

RANKS = {
    Priority.HIGH: 0,
    Priority.MEDIUM: 1,
    Priority.LOW: 2,
    Priority.NONE: 3,
    Priority.INSUFFICIENT: 4,
}
"""In which order sessions are looked at; the last are apart, for they are not ranked."""


def _number(value: int) -> sa.ColumnElement[int]:
    return sa.literal_column(str(value), sa.Integer)


_session, _report, _event = exam_sessions.c, exam_analyses.c, review_events.c
_LATEST_VERSION = (
    sa.select(sa.func.max(_report.version))
    .where(_report.session_id == _session.session_id)
    .correlate(exam_sessions)
    .scalar_subquery()
)
_LATEST_NUMBER = (
    sa.select(sa.func.max(_event.number))
    .where(_event.session_id == _session.session_id)
    .correlate(exam_sessions)
    .scalar_subquery()
)
_REVIEWED = exam_sessions.join(
    exam_analyses,
    sa.and_(_report.session_id == _session.session_id, _report.version == _LATEST_VERSION),
).outerjoin(review_events, sa.and_(_event.session_id == _session.session_id, _event.number == _LATEST_NUMBER))
"""Each session with the report that stands and the latest act of its review."""

# What was decided on another report has lapsed; see `proctor.review`.
_STANDS = sa.or_(_event.version == _report.version, _event.findings == _report.findings)
_STATE = sa.case((_STANDS, _event.state), else_=ReviewState.OPEN.value)
_OUTCOME = sa.case((_STANDS, _event.outcome))
_RANK = sa.case(
    # Spelt out, for PostgreSQL takes parameters here for texts.
    *((_report.review_priority == priority.value, _number(rank)) for priority, rank in RANKS.items()),
    else_=_number(len(RANKS)),
)
_ORDER = (_RANK, -_report.score, _session.session_id)


class Standing(NamedTuple):
    """A session and the report on it that stands."""

    session: ExamSession
    version: int
    report: bytes


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions are wanted; None is all."""

    exam_id: str | None = None
    state: ReviewState | None = None
    priorities: Sequence[Priority] = tuple(RANKS)


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """A session in the queue."""

    session: ExamSession
    version: int
    score: float
    review_priority: Priority
    state: ReviewState
    decision: Decision | None
    number: int
    """Of the latest act of its review."""
    first_look: bool
    """Whether who asks took the first look."""


class Count(NamedTuple):
    """How many sessions there are of one priority, in one state."""

    priority: Priority
    state: ReviewState
    sessions: int


class Place(NamedTuple):
    """`RANK_SCORE_ID`: a session's place in the queue."""

    rank: int
    score: float
    session_id: str

    @classmethod
    def of(cls, queued: Queued) -> Self:
        """Return where a session stands."""
        return cls(RANKS[queued.review_priority], queued.score, queued.session.session_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a page gave as `next`. Raises InvalidRequest for anything else."""
        rank, _, rest = text.partition("_")
        score, _, session_id = rest.partition("_")
        try:
            place = cls(int(rank), float(score), check_session_id(session_id))
        except (ValueError, InvalidRequest) as error:
            raise InvalidRequest("not the `next` of a page", field="after") from error
        if not 0 <= place.rank <= len(RANKS) or not 0 <= place.score <= 100:
            raise InvalidRequest("not the `next` of a page", field="after")
        return place

    def __str__(self) -> str:
        return f"{self.rank}_{self.score!r}_{self.session_id}"


class Reviews:
    """Calls are as those of :class:`proctor.storage.database.Database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def standing(self, session_id: str) -> Standing | None:
        """Return a session with its report; None if there is none of the two."""
        select = (
            sa.select(exam_sessions, _report.version, _report.report)
            .select_from(_REVIEWED)
            .where(_session.session_id == check_session_id(session_id))
        )
        for row in await self._rows(select):
            return Standing(session_of(row), row["version"], row["report"].encode())
        return None

    async def events(self, session_id: str) -> list[ReviewEvent]:
        """Return all acts of a session's review, the first first."""
        select = sa.select(review_events).where(_event.session_id == check_session_id(session_id))
        return [_event_of(row) for row in await self._rows(select.order_by(_event.number))]

    async def append(self, session_id: str, event: ReviewEvent) -> bool:
        """Add an act, unless there is one of its number.

        Returns:
            Whether it was added.

        Raises:
            UnknownSession: the session was erased.
            InvalidRequest: a text that one of the databases cannot hold.
        """
        check_text(event.reviewer, "reviewer")
        check_text(event.note, "note", NOTE_CHARACTERS)
        row = {"session_id": check_session_id(session_id), **msgspec.to_builtins(event)}
        insert = self._pool.insert(review_events).values(row).on_conflict_do_nothing()
        return bool(await self._rows(insert.returning(_event.number)))

    async def queue(
        self, wanted: Filter, reviewer: str, *, limit: int, after: str | None = None
    ) -> tuple[list[Queued], str | None]:
        """Return up to `limit` ended sessions in the order in which to look at them, and where the next are.

        Raises:
            InvalidRequest: `after` is not the next of a page, or a filter is no text that could be stored.
        """
        own = (_event.session_id == _session.session_id, _event.look == FIRST, _event.reviewer == reviewer)
        took = sa.select(_event.number).where(*own).correlate(exam_sessions)
        select = (
            sa.select(
                exam_sessions,
                _report.version,
                _report.score,
                _report.review_priority,
                _STATE.label("state"),
                _OUTCOME.label("outcome"),
                _event.number,
                took.exists().label("first_look"),
            )
            .select_from(_REVIEWED)
            .where(*_conditions(wanted))
            .order_by(*_ORDER)
            .limit(limit + 1)  # one more than asked for tells whether there is a next page
        )
        if after is not None:
            place = Place.parse(after)
            select = select.where(sa.tuple_(*_ORDER) > (place.rank, -place.score, place.session_id))
        found = [_queued(row) for row in await self._rows(select)]
        more = len(found) > limit
        return found[:limit], str(Place.of(found[limit - 1])) if more else None

    async def counts(self, exam_id: str | None) -> list[Count]:
        """Return how many ended sessions there are, of all or of one exam. Raises as :meth:`queue`."""
        columns = (_report.review_priority, _STATE.label("state"))
        select = (
            sa.select(*columns, sa.func.count().label("sessions"))
            .select_from(_REVIEWED)
            .where(*_conditions(Filter(exam_id=exam_id)))
            .group_by(*columns)
        )
        return [
            Count(Priority(row["review_priority"]), ReviewState(row["state"]), row["sessions"])
            for row in await self._rows(select)
        ]

    async def of_exam(self, exam_id: str, *, after: str, limit: int) -> list[Standing]:
        """Return ended sessions of an exam with their reports, by id, beginning after one."""
        wanted = _conditions(Filter(exam_id=exam_id))
        select = (
            sa.select(exam_sessions, _report.version, _report.report)
            .select_from(_REVIEWED)
            .where(*wanted, _session.session_id > after)
            .order_by(_session.session_id)
            .limit(limit)
        )
        return [
            Standing(session_of(row), row["version"], row["report"].encode())
            for row in await self._rows(select)
        ]

    async def events_of(self, session_ids: Sequence[str]) -> dict[str, list[ReviewEvent]]:
        """Return the acts of several sessions' reviews, a thousand or so at the most."""
        select = sa.select(review_events).where(_event.session_id.in_(session_ids)).order_by(_event.number)
        found: dict[str, list[ReviewEvent]] = {session_id: [] for session_id in session_ids}
        for row in await self._rows(select):
            found[row["session_id"]].append(_event_of(row))
        return found

    async def _rows(self, statement: Any) -> list[Any]:
        async def unit(connection: Connection) -> list[Any]:
            return await connection.fetch_all(statement)

        return await self._pool.run(unit)


def _conditions(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    check_text(wanted.exam_id, "exam_id")
    conditions = [
        _session.status == SessionStatus.ENDED.value,
        _report.review_priority.in_([priority.value for priority in wanted.priorities]),
    ]
    if wanted.exam_id is not None:
        conditions.append(_session.exam_id == wanted.exam_id)
    if wanted.state is not None:
        conditions.append(_STATE.in_([wanted.state.value]))
    return conditions


def _queued(row: Any) -> Queued:
    outcome = row["outcome"]
    return Queued(
        session=session_of(row),
        version=row["version"],
        score=row["score"],
        review_priority=Priority(row["review_priority"]),
        state=ReviewState(row["state"]),
        decision=None if outcome is None else Decision(outcome),
        number=row["number"] or 0,
        first_look=bool(row["first_look"]),
    )


def _event_of(row: Any) -> ReviewEvent:
    fields = {name: row[name] for name in ReviewEvent.__struct_fields__}
    return msgspec.convert(fields, ReviewEvent)
