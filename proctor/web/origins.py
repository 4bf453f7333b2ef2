"""Which web pages may call this server from the browser of whoever looks at them."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from quart import Quart, Response, request, websocket

from proctor.errors import Forbidden, Misconfigured

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_SHARED = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate",
}
_ORIGIN = re.compile(r"https?://([^/:*\s\[\]]+|\[[0-9a-fA-F:.]+\])(:(\d+|\*))?")


def origin_patterns(allowed: Sequence[str]) -> list[str | re.Pattern[str]]:
    """Return what origins are matched with.

    Raises:
        Misconfigured: an entry that is no origin.
    """
    patterns: list[str | re.Pattern[str]] = []
    for entry in allowed:
        if entry != "*" and not _ORIGIN.fullmatch(entry):
            raise Misconfigured(
                f"{entry!r} is no origin; write scheme://host, scheme://host:port, scheme://host:* or *",
                field="allowed_origins",
            )
        if entry.endswith(":*"):
            patterns.append(re.compile(re.escape(entry[:-2]) + r"(:\d+)?$"))
        else:
            patterns.append(entry)
    return patterns


class Own:
    """Which origins are this server's own: `PUBLIC_URL`, and the host that a request is for."""

    def __init__(self, public_url: str) -> None:
        self.address = public_url.rstrip("/")
        """Empty if it is not known."""
        self.secure = self.address.startswith("https:")
        """Browsers come by TLS."""

    def includes(self, origin: str, host: str | None) -> bool:
        """Tell whether pages of this origin are the server's, for a request to `host`."""
        if self.address and origin == self.address:
            return True
        try:
            scheme, own_host, *_ = urlsplit(origin)
        except ValueError:  # brackets that hold no IPv6 address
            return False
        # Whoever is between a browser and plain HTTP could make pages of this very host.
        return bool(host) and own_host == host and (scheme == "https" or not self.secure)


def guard_origins(app: Quart, patterns: Sequence[str | re.Pattern[str]], own: Own) -> None:
    """Share answers with pages of allowed origins (CORS), and refuse what others would stream or change.

    Browsers ask nobody before they send a plain POST or open a WebSocket, so those are answered with 403.
    """

    def check(origin: str | None, host: str | None) -> None:
        if not may_act(origin, host, patterns, own):
            raise Forbidden(f"pages of {origin} may not do this; the operator can add it to ALLOWED_ORIGINS")

    @app.before_request
    async def check_request() -> None:
        if request.method not in _SAFE_METHODS:
            check(request.headers.get("Origin"), request.headers.get("Host"))

    @app.before_websocket
    async def check_websocket() -> None:
        check(websocket.headers.get("Origin"), websocket.headers.get("Host"))

    @app.after_request
    async def share(response: Response) -> Response:
        origin = request.headers.get("Origin")
        response.vary.add("Origin")
        if origin is not None and _is_allowed(origin, patterns):
            response.headers.update({"Access-Control-Allow-Origin": origin, **_SHARED})
        return response


def may_act(
    origin: str | None, host: str | None, patterns: Sequence[str | re.Pattern[str]], own: Own
) -> bool:
    """Tell whether a page of `origin` may stream to `host` or change something there.

    Programs that are no browser send no Origin. A page may always use the server it came from.
    """
    return origin is None or own.includes(origin, host) or _is_allowed(origin, patterns)


def _is_allowed(origin: str, patterns: Sequence[str | re.Pattern[str]]) -> bool:
    return any(
        pattern in ("*", origin) if isinstance(pattern, str) else pattern.match(origin) is not None
        for pattern in patterns
    )
