"""Access tokens for LiveKit rooms, where an exam has live video next to Proctor."""

from datetime import timedelta

from livekit.api import AccessToken, VideoGrants
from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring

from proctor.errors import InvalidRequest, Unavailable
from proctor.settings import Settings
from proctor.web.problems import Problem

_NAME_MAX_CHARACTERS = 256


class TokenQuery(BaseModel):
    """Who wants to join which room."""

    model_config = ConfigDict(extra="forbid")

    exam_id: str | None = Field(
        default=None, max_length=_NAME_MAX_CHARACTERS, description="Room to join. Required."
    )
    member_id: str | None = Field(
        default=None, max_length=_NAME_MAX_CHARACTERS, description="Identity in the room. Required."
    )
    name: str | None = Field(
        default=None,
        max_length=_NAME_MAX_CHARACTERS,
        description="Name shown to others; the identity by default.",
    )


class Token(BaseModel):
    """A LiveKit access token."""

    token: str = Field(description="Grants joining, publishing and subscribing in the room.")
    url: str = Field(description="LiveKit server to use it with.")


def livekit_routes(settings: Settings) -> Blueprint:
    """Return the routes about LiveKit."""
    routes = Blueprint("livekit", __name__, url_prefix="/api/v1/webrtc/livekit")

    @routes.get("/token")
    @validate_querystring(TokenQuery)
    @document_response(Token)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def token(query_args: TokenQuery) -> Response:
        """Get a LiveKit access token for room `exam_id` as `member_id`."""
        room, identity = query_args.exam_id, query_args.member_id
        if not room:
            raise InvalidRequest("exam_id is missing; add it to the query", field="exam_id")
        if not identity:
            raise InvalidRequest("member_id is missing; add it to the query", field="member_id")
        secret = settings.livekit_api_secret.get_secret_value()
        if not (settings.livekit_url and settings.livekit_api_key and secret):
            raise Unavailable(
                "LiveKit is not configured; set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
            )
        grants = VideoGrants(room_join=True, room=room, can_publish=True, can_subscribe=True)
        access = (
            AccessToken(settings.livekit_api_key, secret)
            .with_identity(identity)
            .with_name(query_args.name or identity)
            .with_ttl(timedelta(seconds=settings.livekit_token_seconds))
            .with_grants(grants)
        )
        answer = Token(token=access.to_jwt(), url=settings.livekit_url)
        return Response(answer.model_dump_json(), content_type="application/json")

    return routes
