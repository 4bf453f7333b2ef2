"""The cookies of the web pages: no script reads them, and no other site has them sent to change anything."""

from quart.wrappers import Request, Websocket
from werkzeug.sansio.response import Response

from proctor.web.origins import Own


class Cookies:
    """Sets and reads them.

    Where `PUBLIC_URL` says that browsers come by TLS they carry the prefix `__Host-` (RFC 6265bis): neither
    plain HTTP nor another host of the same domain can have set them then.
    """

    def __init__(self, own: Own) -> None:
        self._own = own
        prefix = "__Host-" if own.secure else ""
        self.signed_in = f"{prefix}proctor"
        """Who is signed in."""
        self.signing_in = f"{prefix}proctor-oidc"
        """A sign-in with OpenID Connect that is under way."""
        self.language = "proctor-language"
        """What somebody has chosen to read."""

    def set(self, response: Response, name: str, value: str, seconds: int) -> None:
        """Have the browser keep one for so long."""
        # Lax, because browsers that come back from an OpenID provider would not bring a strict one.
        response.set_cookie(
            name, value, max_age=seconds, secure=self._own.secure, httponly=True, samesite="Lax", path="/"
        )

    def clear(self, response: Response, name: str) -> None:
        """Have the browser forget one."""
        response.delete_cookie(name, secure=self._own.secure, httponly=True, samesite="Lax", path="/")

    def is_own(self, asked: Request | Websocket) -> bool:
        """Tell whether one of this server's own pages asks, as far as its browser says so."""
        origin = asked.headers.get("Origin")
        if origin is None:
            return asked.headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")
        return self._own.includes(origin, asked.headers.get("Host"))
