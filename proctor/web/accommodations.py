"""What candidates are granted, over HTTP, while their exam runs."""

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_request

from proctor.audit import Action
from proctor.model import ExamSession, check_session_id
from proctor.services import Services
from proctor.web.access import note_done
from proctor.web.problems import Problem
from proctor.web.sessions import Accommodations, Session, json_response, shown


class GrantRequest(BaseModel):
    """What a candidate is granted: from the session's beginning, or from the time that each of them names."""

    model_config = ConfigDict(extra="forbid")

    accommodations: Accommodations = Field(
        min_length=1,
        description="To be added to those there are.",
        json_schema_extra={"minItems": 1},
    )


def accommodation_routes(services: Services) -> Blueprint:
    """Return the routes of those who decide about accommodations."""
    routes = Blueprint("accommodations", __name__, url_prefix="/api/v1/session")

    @routes.post("/<session_id>/accommodations")
    @validate_request(GrantRequest)
    @document_response(Session)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 415)
    @document_response(Problem, 503)
    async def grant(session_id: str, data: GrantRequest) -> Response:
        """Grant a candidate accommodations while the session runs.

        Reports follow them from the next one on; 409 when the session is over.
        """
        before = await services.sessions.get(check_session_id(session_id))
        after = await services.grants.grant(session_id, data.accommodations)
        return await changed(before, after)

    @routes.delete("/<session_id>/accommodations/<accommodation_id>")
    @document_response(Session)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def withdraw(session_id: str, accommodation_id: str) -> Response:
        """Take an accommodation back.

        The session is judged as if it had never been granted, and still shows it, with `withdrawn`; 409 when
        the session is over.
        """
        before = await services.sessions.get(check_session_id(session_id))
        after = await services.grants.withdraw(session_id, accommodation_id)
        return await changed(before, after)

    async def changed(before: ExamSession, after: ExamSession) -> Response:
        short = {"before": _in_short(before), "after": _in_short(after)}
        await note_done(services.audit, Action.ACCOMMODATION_GRANTED, after.session_id, **short)
        return json_response(shown(after))

    return routes


def _in_short(session: ExamSession) -> list[dict[str, object]]:
    """Return what is granted without the reasons, which may be about somebody's health."""
    return [
        {"id": each.id, "type": type(each).__struct_config__.tag, "withdrawn": each.withdrawn is not None}
        for each in session.accommodations
    ]
