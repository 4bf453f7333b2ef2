"""Exam sessions over HTTP: start, look up, analyze, end."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from quart import Blueprint, Response, request
from quart_schema import document_response, validate_querystring, validate_request

from proctor.accommodations import AnyAccommodation
from proctor.analysis.schema import Report
from proctor.audit import Action
from proctor.errors import InvalidRequest
from proctor.model import SESSION_ID_PATTERN, ExamSession, SessionStatus, check_session_id
from proctor.services import Services, now_ms
from proctor.times import iso_from_ms
from proctor.web.access import principal, who
from proctor.web.problems import Problem

_NAME_MAX_CHARACTERS = 256


_, _ACCOMMODATION_TYPES = msgspec.json.schema_components([AnyAccommodation])
Accommodations = Annotated[
    list[dict[str, Any]],
    WithJsonSchema({"type": "array", "items": {"oneOf": list(_ACCOMMODATION_TYPES.values())}}),
]
"""As in :mod:`proctor.accommodations`; they are read there, once the policy that they are about is known."""


class StartRequest(BaseModel):
    """A candidate takes an exam."""

    model_config = ConfigDict(extra="forbid")

    exam_session_id: str = Field(
        description="Id of the session: letters, digits, '.', '_', '-'; at most 128.",
        # Checked by `check_session_id`, which says what an id is made of.
        json_schema_extra={"pattern": f"^{SESSION_ID_PATTERN}$"},
    )
    candidate_id: str = Field(
        min_length=1, max_length=_NAME_MAX_CHARACTERS, description="Who takes the exam."
    )
    exam_id: str | None = Field(
        default=None, min_length=1, max_length=_NAME_MAX_CHARACTERS, description="Which exam."
    )
    policy: str = Field("default", description="Exam policy to judge by: a file name in the policy folder.")
    accommodations: Accommodations = Field(
        default_factory=list, description="What this candidate is granted."
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="Whatever the institution wants kept.")


class Session(BaseModel):
    """An exam session."""

    session_id: str
    candidate_id: str | None = Field(description="null where nobody started the session.")
    exam_id: str | None
    policy: str
    accommodations: Accommodations = Field(description="What the candidate is granted, each with its id.")
    metadata: dict[str, Any]
    status: SessionStatus
    started_at: str = Field(description="ISO 8601, UTC.")
    ended_at: str | None
    websocket_url: str = Field(description="Where its client streams to.")


class Started(Session):
    """An exam session, and what its candidate's browser needs to stream."""

    token: str = Field(
        description="For this session's candidate: `Authorization: Bearer TOKEN`, or on a WebSocket the "
        "subprotocol `token.TOKEN` beside `proctor.v1`, or `?token=TOKEN`."
    )
    token_expires_at: str = Field(description="ISO 8601, UTC. Start again for a new token.")


class SessionList(BaseModel):
    """A page of sessions, newest first."""

    sessions: list[Session]
    total: int = Field(description="How many sessions the filters leave, on all pages.")
    next: str | None = Field(description="Pass as `before` for the next page; null on the last.")


class ListQuery(BaseModel):
    """Filters and place in the list."""

    model_config = ConfigDict(extra="forbid")

    status: SessionStatus | None = None
    exam_id: str | None = None
    candidate_id: str | None = None
    limit: int = Field(50, ge=1, le=500, description="Most sessions on one page.")
    before: str | None = Field(default=None, description="`next` of the page before.")


class Ending(BaseModel):
    """The session has ended for its clients; its final report is being retried."""

    status: Literal["ending"] = "ending"
    session_id: str


def session_routes(services: Services) -> Blueprint:
    """Return the routes of integrations and reviewers."""
    routes = Blueprint("sessions", __name__, url_prefix="/api/v1/session")
    sessions = services.sessions

    @routes.post("/start")
    @validate_request(StartRequest)
    @document_response(Started)
    @document_response(Problem, 400)
    @document_response(Problem, 409)
    @document_response(Problem, 415)
    @document_response(Problem, 503)
    async def start(data: StartRequest) -> Response:
        """Start an exam session.

        The same request again answers the same session; 409 when it has ended, belongs to somebody else, or
        was erased within the last day.
        """
        if data.policy not in services.policies:
            known = ", ".join(sorted(services.policies))
            raise InvalidRequest(f"policy {data.policy!r} does not exist; there are: {known}", field="policy")
        began_ms = now_ms()
        session = ExamSession(
            session_id=check_session_id(data.exam_session_id),
            candidate_id=data.candidate_id,
            exam_id=data.exam_id,
            policy=data.policy,
            metadata=data.metadata,
            accommodations=services.granting.read(
                data.accommodations, data.policy, granted_at=iso_from_ms(began_ms)
            ),
            started_ms=began_ms,
        )
        there = await sessions.known(session.session_id)
        if there is None or there.candidate_id is None:
            what = {"exam_id": session.exam_id, "policy": session.policy}
            await services.audit.record(Action.SESSION_STARTED, session.session_id, **who(), after=what)
        started = await sessions.start(session)
        token = services.gate.token_for(started)
        expires_at = iso_from_ms(now_ms() + 1000 * services.settings.candidate_token_seconds)
        return json_response(Started(**dict(shown(started)), token=token, token_expires_at=expires_at))

    @routes.get("")
    @validate_querystring(ListQuery)
    @document_response(SessionList)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def list_sessions(query_args: ListQuery) -> Response:
        """List sessions, newest first."""
        page = await sessions.list(
            status=query_args.status,
            exam_id=query_args.exam_id,
            candidate_id=query_args.candidate_id,
            limit=query_args.limit,
            before=query_args.before,
        )
        listed = [shown(session) for session in page.sessions]
        return json_response(SessionList(sessions=listed, total=page.total, next=page.next))

    @routes.get("/<session_id>")
    @document_response(Session)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def get(session_id: str) -> Response:
        """Look up a session."""
        session = await sessions.get(check_session_id(session_id))
        principal().check_own(session)
        return json_response(shown(session))

    @routes.post("/<session_id>/analyze")
    @document_response(Report)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 429)
    @document_response(Problem, 503)
    async def analyze(session_id: str) -> Response:
        """Judge a session now.

        While it runs: from the frames stored so far. When it has ended: the final report. At most once a
        second per session; 429 says in `Retry-After` how long to wait.
        """
        return Response(await sessions.analyze(check_session_id(session_id)), content_type="application/json")

    @routes.post("/<session_id>/end")
    @document_response(Nothing, 204)
    @document_response(Ending, 202)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def end(session_id: str) -> Response:
        """End a session: final report, dump of its frames, and `session_ended` to its clients.

        Idempotent. 202 when the session has ended but its report, which failed for now, is being retried.
        """
        session = await sessions.get(check_session_id(session_id))
        if session.status is SessionStatus.ACTIVE:
            await services.audit.record(Action.SESSION_ENDED, session_id, **who())
        if await sessions.end(session_id):
            response = Response(b"", 204)
            del response.headers["Content-Type"]
            return response
        return json_response(Ending(session_id=session_id), 202)

    return routes


class Nothing(BaseModel):
    """Done; no content."""


def shown(session: ExamSession) -> Session:
    """Return a session as the API shows it."""
    scheme = "wss" if request.scheme == "https" else "ws"
    return Session(
        session_id=session.session_id,
        candidate_id=session.candidate_id,
        exam_id=session.exam_id,
        policy=session.policy,
        accommodations=msgspec.to_builtins(session.accommodations),
        metadata=session.metadata,
        status=session.status,
        started_at=iso_from_ms(session.started_ms),
        ended_at=None if session.ended_ms is None else iso_from_ms(session.ended_ms),
        websocket_url=f"{scheme}://{request.host}/api/v1/session/ws/{session.session_id}",
    )


def json_response(model: BaseModel, status: int = 200) -> Response:
    """Answer with a model as JSON."""
    return Response(model.model_dump_json(), status, content_type="application/json")
