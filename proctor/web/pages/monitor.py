"""The page that shows running exams."""

from quart import Blueprint, Response
from quart_schema import hide

from proctor.web.pages.shell import Shell


def monitor_page(shell: Shell) -> Blueprint:
    """Return the route of the monitor's page; what it shows comes by the monitor's WebSocket."""
    routes = Blueprint("monitor_page", __name__)

    @routes.get("/monitor")
    @hide
    async def monitor() -> Response:
        return shell.page("monitor")

    return routes
