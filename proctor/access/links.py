"""Links to what is kept about a candidate: signed like their tokens, and of no other use."""

from collections.abc import Iterable
from typing import NamedTuple

from proctor.access.tokens import SigningKey, claims_of, sign
from proctor.model import ExamSession

AUDIENCE = "proctor-transparency"
_REMEDY = "ask your institution for a new link"


class Link(NamedTuple):
    """What a link is to."""

    session_id: str
    session_started_ms: int
    """After an erasure, another session may come to have its id."""

    def is_of(self, session: ExamSession) -> bool:
        """Tell whether this is the session, and not just its id, that the link is to."""
        return (self.session_id, self.session_started_ms) == (session.session_id, session.started_ms)


def issue_link(session: ExamSession, key: SigningKey, *, now_ms: int, seconds: int) -> str:
    """Return what the address of a session's page ends in, valid for so long."""
    claims = {"sid": session.session_id, "began": session.started_ms}
    return sign(claims, key, AUDIENCE, now_ms=now_ms, seconds=seconds)


def verify_link(token: str, keys: Iterable[SigningKey]) -> Link:
    """Return what a link is to. Raises Unauthenticated."""
    claims = claims_of(token, keys, AUDIENCE, ("sid", "began"), _REMEDY)
    return Link(str(claims["sid"]), claims["began"])
