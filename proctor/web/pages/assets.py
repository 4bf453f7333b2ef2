"""The files of the pages. They are few and small, and come from memory."""

import hashlib
from importlib.resources import files

from quart import Blueprint, Response, abort, request
from quart_schema import hide

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def asset_routes() -> Blueprint:
    """Return the routes of styles, scripts and pictures."""
    routes = Blueprint("assets", __name__)
    kept = {
        each.name: (each.read_bytes(), _TYPES[each.name.rpartition(".")[2]])
        for each in files(__package__).joinpath("static").iterdir()
    }

    @routes.get("/assets/<name>")
    @hide
    async def asset(name: str) -> Response:
        if name not in kept:
            abort(404)
        content, kind = kept[name]
        response = Response(content, content_type=kind)
        response.set_etag(hashlib.sha256(content).hexdigest()[:32])
        # Asked for each time, so that a new version of the server has its own scripts, and sent once.
        response.headers["Cache-Control"] = "no-cache"
        return await response.make_conditional(request)

    return routes
