"""What candidates are granted, over HTTP, while their exam runs."""

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_request

from proctor.model import check_session_id
from proctor.services import Services
from proctor.web.problems import Problem
from proctor.web.sessions import Accommodations, Session, json_response, shown


class GrantRequest(BaseModel):
    """What a candidate is granted: from the session's beginning, or from the time that each of them names."""

    model_config = ConfigDict(extra="forbid")

    accommodations: Accommodations = Field(min_length=1, description="To be added to those there are.")


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
        return json_response(
            shown(await services.grants.grant(check_session_id(session_id), data.accommodations))
        )

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
        return json_response(
            shown(await services.grants.withdraw(check_session_id(session_id), accommodation_id))
        )

    return routes
