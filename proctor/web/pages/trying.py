"""The page that streams a simulated candidate, so that anyone can see the whole system at work."""

from quart import Blueprint, Response
from quart_schema import hide

from proctor.web.pages.shell import Shell


def try_page(shell: Shell) -> Blueprint:
    """Return the route of the page. It is for everybody: what it does, it does as whoever looks at it."""
    routes = Blueprint("try_page", __name__)

    @routes.get("/try")
    @hide
    async def try_it() -> Response:
        return shell.page("try")

    return routes
