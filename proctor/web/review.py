"""Reviews over HTTP: the queue of ended sessions, and what is done about each of them."""

from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from proctor.analysis.identity import KEY_PATTERN
from proctor.analysis.verdict import Priority
from proctor.audit import Action
from proctor.model import check_session_id
from proctor.review import Act, Decision, ReviewState
from proctor.review_acts import Wish
from proctor.review_view import ReviewView, in_short, superseded, view
from proctor.reviewing import Case
from proctor.services import Services
from proctor.storage.reviews import NOTE_CHARACTERS, RANKS, Filter, Queued
from proctor.times import iso_from_ms
from proctor.web.access import note_done, principal
from proctor.web.problems import Problem, problem_response

RANKED = tuple(priority for priority in RANKS if priority is not Priority.INSUFFICIENT)
_EXAM_CHARACTERS = 256


class QueueFilter(BaseModel):
    """Which sessions of the queue."""

    model_config = ConfigDict(extra="forbid")

    exam_id: str | None = Field(default=None, min_length=1, max_length=_EXAM_CHARACTERS)
    state: ReviewState | None = None
    priority: Priority | None = Field(
        default=None, description="Without it all that are ranked; `insufficient` ones are apart."
    )

    def wanted(self) -> Filter:
        """Return the filter that this asks for."""
        priorities = RANKED if self.priority is None else (self.priority,)
        return Filter(exam_id=self.exam_id, state=self.state, priorities=priorities)


class QueueQuery(QueueFilter):
    """Which sessions of the queue, and place in it."""

    limit: int = Field(50, ge=1, le=500, description="Most sessions on one page.")
    after: str | None = Field(default=None, description="`next` of the page before.")


class QueuedView(msgspec.Struct, frozen=True, kw_only=True):
    """A session in the queue."""

    session_id: str
    candidate_id: str | None
    exam_id: str | None
    policy: str
    started_at: str
    ended_at: str | None
    version: int
    """Of the report that stands."""
    review_priority: Priority
    score: int
    state: ReviewState
    decision: Decision | None
    """What the review has come to; null unless it is decided."""
    first_look: bool
    """Whether you took the first look, and so cannot take the second."""


class QueueCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions there are of one priority, in one state."""

    review_priority: Priority
    state: ReviewState
    sessions: int


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the queue: by priority, the highest first, then by score."""

    sessions: list[QueuedView]
    counts: list[QueueCount]
    """Of the exam that is asked for, or of all, whatever else is filtered."""
    next: str | None
    """Pass as `after` for the next page; null on the last."""


class ActRequest(BaseModel):
    """What to do about a session, and on the sight of what."""

    model_config = ConfigDict(extra="forbid")

    seen: int = Field(ge=0, le=2**31 - 1, description="`number` of the review as it was seen.")
    version: int = Field(ge=1, le=2**31 - 1, description="`version` of the report that was seen.")
    act: Act = Field(description="`confirm` or `dismiss` a finding, `decide`, or `undo`.")
    finding: str | None = Field(
        default=None,
        max_length=32,
        description="Key of the finding, to confirm or dismiss it.",
        json_schema_extra={"pattern": f"^{KEY_PATTERN}$"},
    )
    decision: Decision | None = Field(
        default=None,
        description="`needs_second` only in the first look; `referred` rests on a confirmed "
        "finding or a note.",
    )
    reason: str | None = Field(
        default=None, max_length=64, description="Name of one of the policy's reasons; dismissing needs one."
    )
    note: str | None = Field(default=None, min_length=1, max_length=NOTE_CHARACTERS)
    undoes: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="Number of the act to take back; `undoable` lists them."
    )


class StaleReview(Problem):
    """Problem document (RFC 9457): somebody was faster."""

    review: dict[str, Any] | None = Field(default=None, description="The review as it is now.")


def review_routes(services: Services) -> Blueprint:
    """Return the routes of reviewers."""
    routes = Blueprint("review", __name__, url_prefix="/api/v1/review")
    reviewing = services.reviewing

    @routes.get("")
    @validate_querystring(QueueQuery)
    @document_response(Queue)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def queue(query_args: QueueQuery) -> Response:
        """List ended sessions in the order in which to look at them."""
        wanted = query_args.wanted()
        found, place = await services.reviewing.reviews.queue(
            wanted, principal().name, limit=query_args.limit, after=query_args.after
        )
        counts = [
            QueueCount(review_priority=count.priority, state=count.state, sessions=count.sessions)
            for count in await services.reviewing.reviews.counts(wanted.exam_id)
        ]
        return _json(Queue(sessions=[queued_view(each) for each in found], counts=counts, next=place))

    @routes.get("/<session_id>")
    @document_response(ReviewView)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def read(session_id: str) -> Response:
        """Read a session's review: findings, what was said of them, and what can be done next."""
        return _json(await shown(await reviewing.open(check_session_id(session_id))))

    @routes.post("/<session_id>")
    @validate_request(ActRequest)
    @document_response(ReviewView)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(StaleReview, 409)
    @document_response(Problem, 415)
    @document_response(Problem, 503)
    async def act(session_id: str, data: ActRequest) -> Response:
        """Judge a finding, decide, or take something back.

        409 when there is more than `seen` and `version` say, with the review as it is now; nothing was done.
        """
        asked = data.model_dump(exclude={"seen", "version"})
        before, event = await reviewing.act(
            check_session_id(session_id),
            Wish(**asked),
            reviewer=principal().name,
            seen=data.seen,
            version=data.version,
        )
        if event is None:
            return await stale(before, data)
        short = {"before": in_short(superseded(before, event)), "after": in_short(event)}
        await note_done(services.audit, Action.REVIEWED, session_id, **short)
        return _json(await shown(await reviewing.open(session_id)))

    async def shown(case: Case) -> ReviewView:
        return view(case, await reviewing.earlier(case), principal().name)

    async def stale(case: Case, data: ActRequest) -> Response:
        detail = (
            f"you have seen act {data.seen} and version {data.version} of the report, and there are act "
            f"{case.review.number} and version {case.subject.version}; look at what has changed, then act"
        )
        review = msgspec.to_builtins(await shown(case))
        return problem_response(409, "Conflict", detail, review=review)

    return routes


def queued_view(queued: Queued) -> QueuedView:
    """Return a session of the queue as it is shown."""
    session = queued.session
    return QueuedView(
        session_id=session.session_id,
        candidate_id=session.candidate_id,
        exam_id=session.exam_id,
        policy=session.policy,
        started_at=iso_from_ms(session.started_ms),
        ended_at=None if session.ended_ms is None else iso_from_ms(session.ended_ms),
        version=queued.version,
        review_priority=queued.review_priority,
        score=round(queued.score),
        state=queued.state,
        decision=queued.decision,
        first_look=queued.first_look,
    )


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), content_type="application/json")
