"""Who is signed in to the web pages: a signed cookie, good for some hours.

It names the API key that somebody signed in with, so that a key that is revoked ends its pages as well; who
signed in elsewhere (OpenID Connect) is named in it with the roles of that time. With the cookie goes a second
value, which pages send with whatever changes something: another site can have the cookie sent, but cannot
read that.
"""

import hmac
import secrets
from collections.abc import Iterable

import msgspec

from proctor.access.roles import Principal, Role
from proctor.access.tokens import SigningKey, claims_of, sign
from proctor.errors import Forbidden

AUDIENCE = "proctor-pages"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
SIGN_IN_AGAIN = "sign in again"
_CLAIMS = ("sub", "key", "roles", "csrf")


class PageSession(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is signed in."""

    name: str
    key_id: str | None
    """The key signed in with; None for OpenID Connect."""
    roles: frozenset[Role]
    """None with a key, which has its own."""
    csrf: str

    def principal(self) -> Principal:
        """Return who this is, of those that have no key."""
        return Principal(name=self.name, roles=self.roles)

    def check_csrf(self, given: str | None) -> None:
        """Return if a request that changes something comes from one of our pages. Raises Forbidden."""
        if given is None or not hmac.compare_digest(given.encode(), self.csrf.encode()):
            raise Forbidden(f"this came from no page of ours, or from an old one: reload it ({CSRF_HEADER})")


def begin(name: str, *, key_id: str | None, roles: frozenset[Role] = frozenset()) -> PageSession:
    """Return a new session on the pages."""
    return PageSession(name=name, key_id=key_id, roles=roles, csrf=secrets.token_urlsafe(24))


def cookie_of(session: PageSession, key: SigningKey, *, now_ms: int, seconds: int) -> str:
    """Return what the browser keeps, good for so long."""
    claims = {
        "sub": session.name,
        "key": session.key_id or "",
        "roles": sorted(session.roles),
        "csrf": session.csrf,
    }
    return sign(claims, key, AUDIENCE, now_ms=now_ms, seconds=seconds)


def session_of(cookie: str, keys: Iterable[SigningKey]) -> PageSession:
    """Return who a cookie is of. Raises Unauthenticated as :func:`proctor.access.tokens.claims_of`."""
    claims = claims_of(cookie, keys, AUDIENCE, _CLAIMS, SIGN_IN_AGAIN)
    roles = frozenset(Role(role) for role in claims["roles"])
    return PageSession(name=claims["sub"], key_id=claims["key"] or None, roles=roles, csrf=claims["csrf"])
