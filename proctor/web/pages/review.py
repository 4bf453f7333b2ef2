"""The page of reviewers."""

from quart import Blueprint, Response
from quart_schema import hide

from proctor.web.pages.shell import Shell


def review_page(shell: Shell) -> Blueprint:
    """Return the routes of the queue, and of one session beside it; what they show comes by the API."""
    routes = Blueprint("review_page", __name__)

    @routes.get("/review")
    @hide
    async def queue() -> Response:
        return shell.page("review")

    @routes.get("/review/<session_id>")
    @hide
    async def session(session_id: str) -> Response:
        return shell.page("review")

    return routes
