"""The page of one session: its report, live or final, over its timeline."""

from quart import Blueprint, Response
from quart_schema import hide

from proctor.access.roles import Role
from proctor.model import check_session_id
from proctor.services import Services
from proctor.web.access import principal
from proctor.web.pages.shell import Shell


def session_page(services: Services, shell: Shell) -> Blueprint:
    """Return the route of the page; its script asks the API for what it shows."""
    routes = Blueprint("session_page", __name__)

    @routes.get("/session/<session_id>")
    @hide
    async def session(session_id: str) -> Response:
        found = await services.sessions.get(check_session_id(session_id))
        settings, roles = services.settings, principal().roles
        room = found.exam_id if settings.livekit_url and Role.PROCTOR in roles else None
        return shell.page(
            "session",
            session=found,
            room=room,
            may_end=Role.PROCTOR in roles,
            may_review=Role.REVIEWER in roles,
        )

    return routes
