"""Candidate tokens: signed JWTs (RFC 7519), each for one session.

What they are signed with is in the database, so that every process can verify them, and is renewed with
`proctor keys rotate`; the header's `kid` tells which one it was.
"""

import secrets
from collections.abc import Iterable

import jwt
import msgspec

from proctor.access.roles import Principal, Role
from proctor.errors import Unauthenticated
from proctor.model import ExamSession

ALGORITHM = "HS256"
AUDIENCE = "proctor-candidate"
ISSUER = "proctor"
TOKEN_MAX_CHARACTERS = 4096
_CLAIMS = ["exp", "iat", "aud", "iss", "sub", "sid", "began"]


class SigningKey(msgspec.Struct, frozen=True):
    """What tokens are signed with."""

    kid: str
    secret: str
    """64 hexadecimal digits."""
    created_ms: int


def make_signing_key(now_ms: int) -> SigningKey:
    """Return a new one."""
    return SigningKey(secrets.token_hex(8), secrets.token_hex(32), now_ms)


def issue(session: ExamSession, key: SigningKey, *, now_ms: int, seconds: int) -> str:
    """Return a token for the candidate of a session, valid for so long."""
    now = now_ms // 1000
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": session.candidate_id or "",
        "sid": session.session_id,
        "began": session.started_ms,
        "iat": now,
        "exp": now + seconds,
    }
    return jwt.encode(claims, bytes.fromhex(key.secret), ALGORITHM, {"kid": key.kid})


def key_named(token: str) -> str | None:
    """Return the `kid` that a token says it is signed with, unverified; None for what is no such token."""
    if len(token) > TOKEN_MAX_CHARACTERS:
        return None
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError:
        return None
    return kid if isinstance(kid, str) else None


def verify(token: str, keys: Iterable[SigningKey]) -> Principal:
    """Return who holds a token.

    Raises:
        Unauthenticated: it is none, or not of these keys, or expired, or for something else; says which.
    """
    kid = key_named(token)
    secret = next((key.secret for key in keys if key.kid == kid), None)
    if secret is None:
        raise Unauthenticated("the token is none of this server; start the session again for a new one")
    try:
        claims = jwt.decode(
            token,
            bytes.fromhex(secret),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": _CLAIMS},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("the token has expired; start the session again for a new one") from None
    except jwt.InvalidTokenError as error:
        raise Unauthenticated(f"the token cannot be used: {error}") from None
    return Principal(
        name=claims["sub"],
        roles=frozenset({Role.CANDIDATE}),
        session_id=str(claims["sid"]),
        session_started_ms=claims["began"],
    )
