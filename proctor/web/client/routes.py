"""The files of the browser client, beside each other at the top, as they are in a copy."""

from importlib.resources import files

from quart import Blueprint, Response
from quart_schema import hide

from proctor.web.files import Files


def client_routes() -> Blueprint:
    """Return the routes of scripts and their types."""
    routes = Blueprint("client", __name__)
    kept = Files(files(__package__).joinpath("static"))
    names = ",".join(f'"{name}"' for name in kept.names)

    @routes.get(f"/<any({names}):name>")
    @hide
    async def file(name: str) -> Response:
        return await kept.answer(name)

    return routes
