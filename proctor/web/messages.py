"""What whoever watches an exam writes to a candidate."""

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_request

from proctor.audit import Action
from proctor.errors import SessionEnded
from proctor.model import SessionStatus, check_session_id
from proctor.replies import Message
from proctor.services import Services, now_ms
from proctor.times import iso_from_ms
from proctor.web.access import note_done
from proctor.web.problems import Problem
from proctor.web.sessions import json_response

_TEXT_MAX_CHARACTERS = 1000


class NewMessage(BaseModel):
    """What to write."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=_TEXT_MAX_CHARACTERS, description="Plain text.")


class Reached(BaseModel):
    """Who has got it."""

    session_id: str
    connections: int = Field(
        description="Connections of the candidate that were sent it. With 0 nobody was: send it again later."
    )


def message_routes(services: Services) -> Blueprint:
    """Return the route of messages."""
    routes = Blueprint("messages", __name__)

    @routes.post("/api/v1/session/<session_id>/message")
    @validate_request(NewMessage)
    @document_response(Reached)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 415)
    async def send(session_id: str, data: NewMessage) -> Response:
        """Write to the candidate of a running session, whose page is told at once. It is not kept."""
        session = await services.sessions.get(check_session_id(session_id))
        if session.status is not SessionStatus.ACTIVE:
            raise SessionEnded(f"session {session_id!r} has ended; nobody is there to read it")
        message = Message(session_id, data.text, iso_from_ms(now_ms()))
        reached = await services.farewells.tell_everywhere(session_id, message)
        after = {"characters": len(data.text), "connections": reached}
        await note_done(services.audit, Action.MESSAGE_SENT, session_id, before=None, after=after)
        return json_response(Reached(session_id=session_id, connections=reached))

    return routes
