"""Access tokens for LiveKit rooms, where an exam has live video next to Proctor."""

from datetime import timedelta
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring

from proctor.access.roles import Principal, Role
from proctor.errors import Forbidden, InvalidRequest, Unavailable
from proctor.model import SessionStatus
from proctor.services import Services
from proctor.settings import Settings
from proctor.web.access import principal
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

    token: str = Field(
        description="Grants joining the room: candidates to publish and to see and hear nobody, proctors to "
        "see and hear unseen, others both."
    )
    url: str = Field(description="LiveKit server to use it with.")


def livekit_routes(services: Services) -> Blueprint:
    """Return the routes about LiveKit."""
    routes = Blueprint("livekit", __name__, url_prefix="/api/v1/webrtc/livekit")
    settings = services.settings
    make_token = token_maker(settings)

    @routes.get("/token")
    @validate_querystring(TokenQuery)
    @document_response(Token)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def token(query_args: TokenQuery) -> Response:
        """Get a LiveKit access token for room `exam_id` as `member_id`.

        Candidates get one for their own exam and as themselves, by which they see and hear nobody else;
        proctors one that others do not see.
        """
        room, identity = query_args.exam_id, query_args.member_id
        if not room:
            raise InvalidRequest("exam_id is missing; add it to the query", field="exam_id")
        if not identity:
            raise InvalidRequest("member_id is missing; add it to the query", field="member_id")
        if make_token is None:
            raise Unavailable(
                "LiveKit is not configured; set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
            )
        holder = principal()
        if holder.session_id is not None:
            await check_own(holder, holder.session_id, room, identity)
        watches = not holder.roles & {Role.CANDIDATE, Role.INTEGRATION}
        # A candidate who chose its own name could pass for somebody else.
        name = identity if holder.session_id is not None else query_args.name or identity
        made = make_token(room, identity, name, hidden=watches, alone=holder.session_id is not None)
        answer = Token(token=made, url=settings.livekit_url)
        return Response(answer.model_dump_json(), content_type="application/json")

    async def check_own(holder: Principal, session_id: str, room: str, identity: str) -> None:
        session = await services.sessions.get(session_id)
        holder.check_own(session)
        if session.status is not SessionStatus.ACTIVE:
            raise Forbidden("your session is over")
        if room != session.exam_id:
            raise Forbidden(f"exam_id must be that of your session, {session.exam_id!r}", field="exam_id")
        if identity != session.candidate_id:
            raise Forbidden(f"member_id must be your own, {session.candidate_id!r}", field="member_id")

    return routes


class _MakeToken(Protocol):
    def __call__(self, room: str, identity: str, name: str, *, hidden: bool, alone: bool) -> str: ...


def token_maker(settings: Settings) -> _MakeToken | None:
    """Return what makes a token for a room, an identity and a name, or None without credentials."""
    secret = settings.livekit_api_secret.get_secret_value()
    if not (settings.livekit_url and settings.livekit_api_key and secret):
        return None
    # Imported here, since it brings an HTTP client that a server without LiveKit need not load.
    from livekit.api import AccessToken, VideoGrants

    def make(room: str, identity: str, name: str, *, hidden: bool, alone: bool) -> str:
        # A grant lets its holder subscribe to all of a room or to nothing, and data goes to everybody in it;
        # so that candidates learn nothing of one another, they get neither.
        grants = VideoGrants(
            room_join=True,
            room=room,
            can_publish=not hidden,
            can_publish_data=not (alone or hidden),
            can_subscribe=not alone,
            hidden=hidden,
        )
        access = AccessToken(settings.livekit_api_key, secret).with_grants(grants)
        access = access.with_ttl(timedelta(seconds=settings.livekit_token_seconds))
        return str(access.with_identity(identity).with_name(name).to_jwt())

    return make
