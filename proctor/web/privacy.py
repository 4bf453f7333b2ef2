"""What is kept about a person: handed out, and removed."""

from typing import Any

from pydantic import BaseModel, Field
from quart import Blueprint, Response
from quart_schema import document_response
from werkzeug.routing import BaseConverter

from proctor.audit import Action
from proctor.export import OfSession, check_dumps, exported
from proctor.model import check_session_id
from proctor.services import Services
from proctor.web.access import who
from proctor.web.problems import Problem
from proctor.web.sessions import Nothing, json_response


class Erased(BaseModel):
    """What was removed."""

    candidate_id: str
    sessions: list[str] = Field(description="Ids of the sessions that are gone.")


class ExportedSession(BaseModel):
    """All there is of one session."""

    session: dict[str, Any]
    reports: list[dict[str, Any]] = Field(description="Each version, and who asked for it and why.")
    review: list[dict[str, Any]] = Field(description="What reviewers did, and the candidate said.")
    milestones: list[dict[str, Any]] = Field(description="Connections, and what the video room told.")
    webhooks: list[dict[str, Any]] = Field(description="What other systems were told of it.")
    frames: list[dict[str, Any]] = Field(description="As they are stored, in time order.")


class Export(BaseModel):
    """Everything that is kept about a candidate."""

    candidate_id: str
    sessions: list[ExportedSession]


class NameConverter(BaseConverter):
    """Any text as the end of an address, with slashes, dots and line breaks."""

    regex = "(?s:.+)"
    part_isolating = False


def privacy_routes(services: Services) -> Blueprint:
    """Return the routes of those who answer for personal data."""
    routes = Blueprint("privacy", __name__, url_prefix="/api/v1")
    erasure = services.erasure

    @routes.delete("/session/<session_id>")
    @document_response(Nothing, 204)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def erase_session(session_id: str) -> Response:
        """Erase a session: its frames, reports, dump and itself. One that runs is ended first."""
        await erasure.erase(check_session_id(session_id), who())
        response = Response(b"", 204)
        del response.headers["Content-Type"]
        return response

    @routes.delete("/candidate/<name:candidate_id>")
    @document_response(Erased)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def erase_candidate(candidate_id: str) -> Response:
        """Erase everything about a candidate."""
        sessions = await erasure.erase_candidate(candidate_id, who())
        return json_response(Erased(candidate_id=candidate_id, sessions=sessions))

    @routes.get("/candidate/<name:candidate_id>")
    @document_response(Export)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def export(candidate_id: str) -> Response:
        """Export everything that is kept about a candidate, as JSON."""
        sessions = await erasure.sessions_of(candidate_id)
        await check_dumps(sessions, services.settings)
        subject = await services.audit.pseudonym(candidate_id)
        await services.audit.record(Action.EXPORTED, subject, **who())
        more: dict[str, OfSession] = {
            "milestones": services.presence.kept.of_session,
            "webhooks": services.announcing.outbox.of_session,
        }
        body = exported(
            candidate_id,
            sessions,
            services.database,
            services.reviewing.reviews,
            services.archive,
            services.settings,
            more,
        )
        response = Response(body, content_type="application/json")
        response.timeout = None  # who takes nothing is cut off anyway, and who takes it slowly may go on
        return response

    return routes
