"""Where people come in, and what they see where they may not."""

from quart import Blueprint, Quart, Response, has_request_context, redirect, request
from quart_schema import hide
from werkzeug.wrappers import Response as WerkzeugResponse

from proctor.errors import Forbidden
from proctor.web.access import PAGES, principal
from proctor.web.pages.shell import Shell, first_page
from proctor.web.problems import error_response


def home_routes() -> Blueprint:
    """Return the route of the address without a path."""
    routes = Blueprint("home", __name__)

    @routes.get("/")
    @hide
    async def home() -> WerkzeugResponse:
        return redirect(first_page(principal()))

    return routes


def show_refusals(app: Quart, shell: Shell) -> None:
    """Tell people on a page what programs are told in a problem document."""

    @app.errorhandler(Forbidden)
    async def refused(error: Forbidden) -> Response:
        if has_request_context() and request.endpoint in PAGES:
            return shell.page("refused", status=error.status, detail=error.detail)
        return error_response(error)
