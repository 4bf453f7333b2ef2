"""API keys: how they are made, kept and recognised.

A key reads `proctor_<id>_<secret>`. It is shown when it is made and never again: the database has the SHA-256
of its secret. That is enough because a secret is 32 random bytes, which nobody can guess; slow hashes are for
passwords, which people choose.
"""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

import msgspec

from proctor.access.roles import Principal, Role

_PREFIX = "proctor"
_KEY = re.compile(rf"{_PREFIX}_([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})", re.ASCII)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key. Times are milliseconds since the epoch."""

    key_id: str
    """16 hexadecimal digits; also the part of the key that may be shown."""
    name: str
    """Whose it is or what for."""
    digest: str
    roles: frozenset[Role]
    created_ms: int
    expires_ms: int | None = None
    """None if it never does."""
    revoked_ms: int | None = None
    last_used_ms: int | None = None
    """To within some seconds; None if it never was."""

    def is_valid(self, now_ms: int) -> bool:
        """Tell whether the key opens anything at this time."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)

    def principal(self) -> Principal:
        """Return who uses the key."""
        return Principal(name=self.name, roles=self.roles)


class KeyText(NamedTuple):
    """A key as its holder has it."""

    key_id: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> "KeyText | None":
        """Read a key; None for what is none."""
        found = _KEY.fullmatch(text)
        return cls(*found.groups()) if found else None

    def __str__(self) -> str:
        return f"{_PREFIX}_{self.key_id}_{self.secret}"

    def opens(self, key: ApiKey) -> bool:
        """Tell, in a time that says nothing of where they differ, whether this is the key."""
        return hmac.compare_digest(_digest(self.secret), key.digest)


def make_key(
    name: str, roles: frozenset[Role], *, now_ms: int, expires_ms: int | None = None
) -> tuple[KeyText, ApiKey]:
    """Return a new key, for its holder and for the database."""
    text = KeyText(secrets.token_hex(8), secrets.token_urlsafe(32))
    key = ApiKey(
        key_id=text.key_id,
        name=name,
        digest=_digest(text.secret),
        roles=roles,
        created_ms=now_ms,
        expires_ms=expires_ms,
    )
    return text, key


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
