"""Milestones of sessions over HTTP: shown, and told by LiveKit."""

import hashlib
from collections.abc import Callable
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response, request
from quart_schema import document_request, document_response

from proctor.errors import InvalidRequest, Unauthenticated, Unavailable
from proctor.milestones import milestones_of
from proctor.model import check_session_id
from proctor.services import Services, now_ms
from proctor.settings import Settings
from proctor.storage.milestones import Kind, Milestone
from proctor.times import iso_from_ms
from proctor.web.problems import Problem
from proctor.web.sessions import Nothing, json_response

_TOLD = {
    kind.value: kind
    for kind in (
        Kind.PARTICIPANT_JOINED,
        Kind.PARTICIPANT_LEFT,
        Kind.TRACK_PUBLISHED,
        Kind.TRACK_UNPUBLISHED,
    )
}
"""LiveKit's events that are milestones, by LiveKit's names; it tells of others too."""


class ShownMilestone(BaseModel):
    """One thing that happened around a session."""

    at: str = Field(description="ISO 8601, UTC.")
    kind: Kind
    detail: dict[str, Any] | None = Field(description="What more there is to say, by kind.")


class MilestoneList(BaseModel):
    """What happened around a session, in order of time."""

    session_id: str
    milestones: list[ShownMilestone]


class LiveKitEvent(BaseModel):
    """An event as LiveKit sends it; other keys are ignored."""

    model_config = ConfigDict(extra="allow")

    event: str = Field(description="Which one.")
    id: str = Field(description="An event that comes again is ignored.")


def milestone_routes(services: Services) -> Blueprint:
    """Return the routes about milestones."""
    routes = Blueprint("milestones", __name__, url_prefix="/api/v1")
    kept, read = services.presence.kept, _reader(services.settings)

    @routes.get("/session/<session_id>/milestones")
    @document_response(MilestoneList)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def milestones(session_id: str) -> Response:
        """Tell what happened around a session: start, connections, accommodations, video, end."""
        session = await services.sessions.get(check_session_id(session_id))
        shown = [
            ShownMilestone(at=iso_from_ms(each.at_ms), kind=each.kind, detail=each.detail)
            for each in await milestones_of(session, kept)
        ]
        return json_response(MilestoneList(session_id=session_id, milestones=shown))

    @routes.post("/webrtc/livekit/webhook")
    @document_request(LiveKitEvent)
    @document_response(Nothing, 204)
    @document_response(Problem, 400)
    @document_response(Problem, 401)
    @document_response(Problem, 413)
    @document_response(Problem, 503)
    async def livekit() -> Response:
        """Take in an event of a LiveKit room; LiveKit signs it with the API key that both know.

        What is about no candidate of a running session is answered alike.
        """
        if read is None:
            raise Unavailable("LiveKit is not configured; set LIVEKIT_API_KEY and LIVEKIT_API_SECRET")
        body = cast("bytes", await request.get_data())
        told = read(body, request.headers.get("Authorization", ""))
        if told is not None:
            room, identity, milestone = told
            session_id = await kept.running_session(room, identity)
            if session_id is not None:
                await kept.add([milestone(session_id)])
        response = Response(b"", 204)
        del response.headers["Content-Type"]
        return response

    return routes


_Told = tuple[str, str, Callable[[str], Milestone]]
"""Room, participant, and what makes a milestone of the session that is meant."""


def _reader(settings: Settings) -> Callable[[bytes, str], _Told | None] | None:
    """Return what reads a signed event, or None without credentials.

    It raises Unauthenticated where LiveKit did not sign the event, and InvalidRequest where that is none.
    """
    secret = settings.livekit_api_secret.get_secret_value()
    if not (settings.livekit_api_key and secret):
        return None
    # Imported here, since it brings an HTTP client that a server without LiveKit need not load.
    from google.protobuf.json_format import ParseError
    from livekit.api import TokenVerifier, WebhookReceiver

    receiver = WebhookReceiver(TokenVerifier(settings.livekit_api_key, secret))

    def read(body: bytes, authorization: str) -> _Told | None:
        try:
            event = receiver.receive(body.decode(), authorization.removeprefix("Bearer "))
        except (UnicodeDecodeError, ParseError):
            raise InvalidRequest("not an event of LiveKit's", field="body") from None
        except Exception:  # noqa: BLE001 - the library raises that for a hash that is not the body's
            raise Unauthenticated("this is not signed with LIVEKIT_API_KEY and LIVEKIT_API_SECRET") from None
        return _told(event, body)

    return read


def _told(event: Any, body: bytes) -> _Told | None:
    kind = _TOLD.get(event.event)
    if kind is None:
        return None
    name = event.id or hashlib.sha256(body).hexdigest()
    at_ms = 1000 * event.created_at if 0 < event.created_at < 2**33 else now_ms()
    detail = None
    if event.HasField("track"):
        source = event.track.DESCRIPTOR.fields_by_name["source"].enum_type.values_by_number
        detail = {"track": source[event.track.source].name.lower()}

    def milestone(session_id: str) -> Milestone:
        return Milestone(
            session_id=session_id, source=f"livekit:{name}"[:128], at_ms=at_ms, kind=kind, detail=detail
        )

    return event.room.name, event.participant.identity, milestone
