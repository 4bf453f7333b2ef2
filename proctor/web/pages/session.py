"""The page of one session: its report, live or final, over its timeline."""

from urllib.parse import quote

from quart import Blueprint, Response, redirect
from quart_schema import hide
from werkzeug.wrappers import Response as WerkzeugResponse

from proctor.access.roles import Role
from proctor.errors import Unavailable
from proctor.model import check_session_id
from proctor.services import Services
from proctor.web.access import PAGES, principal
from proctor.web.livekit import token_maker
from proctor.web.pages.shell import Shell


def session_page(services: Services, shell: Shell) -> Blueprint:
    """Return the routes of the page; its script asks the API for what it shows."""
    routes = Blueprint("session_page", __name__)
    settings = services.settings
    make_token = token_maker(settings)

    @routes.get("/session/<session_id>")
    @hide
    async def session(session_id: str) -> Response:
        found = await services.sessions.get(check_session_id(session_id))
        roles = principal().roles
        sees_exams = bool(PAGES["exam_page.exam"] & roles)
        has_room = bool(make_token and settings.livekit_room_url and found.exam_id)
        return shell.page(
            "session",
            session=found,
            exam_url=f"/exam/{quote(found.exam_id, safe='')}" if found.exam_id and sees_exams else None,
            has_room=has_room and Role.PROCTOR in roles,
            may_act=Role.PROCTOR in roles,
            may_review=Role.REVIEWER in roles,
        )

    @routes.get("/session/<session_id>/room")
    @hide
    async def room(session_id: str) -> WerkzeugResponse:
        found = await services.sessions.get(check_session_id(session_id))
        if make_token is None or not settings.livekit_room_url or not found.exam_id:
            raise Unavailable(
                "there is no room to go to: LIVEKIT_ROOM_URL is not set, or the session has no exam"
            )
        name = principal().name
        token = make_token(found.exam_id, f"proctor {name}", name, hidden=True, alone=False)
        address = settings.livekit_room_url.replace("{url}", quote(settings.livekit_url, safe=""))
        return redirect(address.replace("{token}", quote(token, safe="")))

    return routes
