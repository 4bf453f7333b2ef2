"""Signed tokens (JWT, RFC 7519): a candidate's for one session here, others' where they are issued.

What they are signed with is in the database, so that every process can verify them, and is renewed with
`proctor keys rotate`; the header's `kid` tells which one it was. What a token is for is its audience, so that
one of a kind is never taken for another.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import jwt
import msgspec

from proctor.access.roles import Principal, Role
from proctor.errors import Unauthenticated
from proctor.model import ExamSession

ALGORITHM = "HS256"
AUDIENCE = "proctor-candidate"
ISSUER = "proctor"
TOKEN_MAX_CHARACTERS = 4096
_CLAIMS = ("sub", "sid", "began")
_REMEDY = "start the session again for a new one"


class SigningKey(msgspec.Struct, frozen=True):
    """What tokens are signed with."""

    kid: str
    secret: str
    """64 hexadecimal digits."""
    created_ms: int


def make_signing_key(now_ms: int) -> SigningKey:
    """Return a new one."""
    return SigningKey(secrets.token_hex(8), secrets.token_hex(32), now_ms)


def sign(claims: Mapping[str, object], key: SigningKey, audience: str, *, now_ms: int, seconds: int) -> str:
    """Return a token that says so for so long."""
    now = now_ms // 1000
    common = {"iss": ISSUER, "aud": audience, "iat": now, "exp": now + seconds}
    return jwt.encode({**claims, **common}, bytes.fromhex(key.secret), ALGORITHM, {"kid": key.kid})


def claims_of(
    token: str, keys: Iterable[SigningKey], audience: str, required: Iterable[str], remedy: str
) -> dict[str, Any]:
    """Return what a token says, once it is known to be ours and for this audience. `remedy` gets a new one.

    Raises:
        Unauthenticated: it is none, or not of these keys, or expired, or for something else; says which.
    """
    kid = key_named(token)
    secret = next((key.secret for key in keys if key.kid == kid), None)
    if secret is None:
        raise Unauthenticated(f"the token is none of this server; {remedy}")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            bytes.fromhex(secret),
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            options={"require": ["exp", "iat", "aud", "iss", *required]},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated(f"the token has expired; {remedy}") from None
    except jwt.InvalidTokenError as error:
        raise Unauthenticated(f"the token cannot be used: {error}") from None
    return claims


def issue(session: ExamSession, key: SigningKey, *, now_ms: int, seconds: int) -> str:
    """Return a token for the candidate of a session, valid for so long."""
    claims = {"sub": session.candidate_id or "", "sid": session.session_id, "began": session.started_ms}
    return sign(claims, key, AUDIENCE, now_ms=now_ms, seconds=seconds)


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
    """Return which candidate holds a token. Raises as :func:`claims_of`."""
    claims = claims_of(token, keys, AUDIENCE, _CLAIMS, _REMEDY)
    return Principal(
        name=claims["sub"],
        roles=frozenset({Role.CANDIDATE}),
        session_id=str(claims["sid"]),
        session_started_ms=claims["began"],
    )
