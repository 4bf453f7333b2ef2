"""The files of the pages."""

from importlib.resources import files

from quart import Blueprint, Response
from quart_schema import hide

from proctor.web.files import Files


def asset_routes() -> Blueprint:
    """Return the routes of styles, scripts and pictures."""
    routes = Blueprint("assets", __name__)
    kept = Files(files(__package__).joinpath("static"))

    @routes.get("/assets/<name>")
    @hide
    async def asset(name: str) -> Response:
        return await kept.answer(name)

    return routes
