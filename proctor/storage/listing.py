"""Listings of sessions, a page at a time."""

from typing import NamedTuple, Self

from proctor.errors import InvalidRequest
from proctor.model import ExamSession, check_session_id

_MAX_MS = 2**63 - 1


class SessionPage(NamedTuple):
    """Part of a listing, newest first."""

    sessions: list[ExamSession]
    total: int
    """How many sessions the filters leave, on all pages."""
    next: str | None
    """Where the next page begins, for `before`; None on the last page."""


class Place(NamedTuple):
    """`<started_ms>.<session_id>`: a session's place in a listing, whatever is started later."""

    started_ms: int
    session_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a page gave as `next`. Raises InvalidRequest for anything else."""
        started_ms, _, session_id = text.partition(".")
        try:
            place = cls(int(started_ms), check_session_id(session_id))
        except (ValueError, InvalidRequest) as error:
            raise InvalidRequest("not the `next` of a page", field="before") from error
        if abs(place.started_ms) > _MAX_MS:
            raise InvalidRequest("not the `next` of a page", field="before")
        return place

    def __str__(self) -> str:
        return f"{self.started_ms}.{self.session_id}"
