"""The browser client, which pages of any allowed origin import, and the page that tries it."""

import hashlib
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, select_autoescape
from quart import Blueprint, Response, request
from quart_schema import hide

_CONTENT_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",  # no type is registered for it
}
_templates = Environment(
    loader=PackageLoader("proctor.web", "templates"), autoescape=select_autoescape(), trim_blocks=True
)


class Asset(NamedTuple):
    """A file that is the same for everybody."""

    content: bytes
    content_type: str
    etag: str


def asset_routes() -> Blueprint:
    """Return the routes of the browser client and of `/try`."""
    routes = Blueprint("assets", __name__)
    assets = _read_assets()
    names = ",".join(f'"{name}"' for name in assets)

    @routes.get(f"/<any({names}):name>")
    @hide
    async def asset(name: str) -> Response:
        found = assets[name]
        response = Response(found.content, content_type=found.content_type)
        response.set_etag(found.etag)
        # Kept by browsers, who ask each time whether there is a newer one: client and server stay a pair.
        response.headers["Cache-Control"] = "no-cache"
        await response.make_conditional(request)
        return response

    @routes.get("/try")
    @hide
    async def try_page() -> Response:
        page = _templates.get_template("try.html").render()
        return Response(page, content_type="text/html; charset=utf-8")

    return routes


def _read_assets() -> dict[str, Asset]:
    assets = {}
    for file in files("proctor.web").joinpath("client").iterdir():
        suffix = f".{file.name.rpartition('.')[2]}"
        if suffix in _CONTENT_TYPES:
            content = file.read_bytes()
            assets[file.name] = Asset(
                content, _CONTENT_TYPES[suffix], hashlib.sha256(content).hexdigest()[:32]
            )
    return dict(sorted(assets.items()))
