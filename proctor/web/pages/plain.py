"""Pages whose scripts ask for everything that they show."""

from collections.abc import Awaitable, Callable

from quart import Blueprint, Response
from quart_schema import hide

from proctor.web.pages.shell import Shell

_PAGES = {
    "/monitor": "monitor",
    "/review": "review",
    "/review/<session_id>": "review",
    "/try": "try",
}
"""By address, the name of the page, which is that of its endpoint, its template and its texts."""


def plain_pages(shell: Shell) -> Blueprint:
    """Return the routes of these pages."""
    routes = Blueprint("pages", __name__)

    def show(name: str) -> Callable[..., Awaitable[Response]]:
        async def page(**_: str) -> Response:
            return shell.page(name)

        return hide(page)

    views = {name: show(name) for name in _PAGES.values()}
    for address, name in _PAGES.items():
        routes.add_url_rule(address, name, views[name], methods=["GET"])
    return routes
