"""Files that are the same for everybody. They are few and small, and come from memory."""

import hashlib
from importlib.resources.abc import Traversable

from quart import Response, abort, request

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "ts": "text/plain; charset=utf-8",  # TypeScript has no type of its own
}


class Files:
    """The files of a folder."""

    def __init__(self, folder: Traversable) -> None:
        self._kept = {
            each.name: (each.read_bytes(), _TYPES[each.name.rpartition(".")[2]]) for each in folder.iterdir()
        }

    @property
    def names(self) -> list[str]:
        """What they are called."""
        return sorted(self._kept)

    async def answer(self, name: str) -> Response:
        """Return one of them, or 404."""
        if name not in self._kept:
            abort(404)
        content, kind = self._kept[name]
        response = Response(content, content_type=kind)
        response.set_etag(hashlib.sha256(content).hexdigest()[:32])
        # Asked for each time, so that a new version of the server has its own scripts, and sent once.
        response.headers["Cache-Control"] = "no-cache"
        return await response.make_conditional(request)
