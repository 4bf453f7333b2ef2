"""The nouns that every layer shares: session ids, exam sessions and frame ids."""

import re
from enum import StrEnum
from typing import Any, NamedTuple, Self

import msgspec

from proctor.accommodations import AnyAccommodation
from proctor.errors import InvalidRequest

SESSION_ID_RULE = "letters, digits, '.', '_' and '-', at most 128 of them, not starting with a dot"
SESSION_ID_PATTERN = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
_SESSION_ID = re.compile(SESSION_ID_PATTERN, re.ASCII)


def check_session_id(value: object) -> str:
    """Return `value` if it is a session id.

    Raises:
        InvalidRequest: with the field `session_id` and the rule that it broke.
    """
    if isinstance(value, str) and _SESSION_ID.fullmatch(value):
        return value
    raise InvalidRequest(f"a session id is made of {SESSION_ID_RULE}", field="session_id")


class SessionStatus(StrEnum):
    """Where an exam session stands; it only ever moves forward."""

    ACTIVE = "active"
    """Frames are accepted."""
    ENDING = "ending"
    """Ended for its clients; the final report is being made or waits to be retried."""
    ENDED = "ended"
    """The final report and the dump exist; the frame buffer is empty."""


class ExamSession(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate taking one exam, as the database knows it. Times are milliseconds since the epoch."""

    session_id: str
    candidate_id: str | None = None
    """None for a session that nobody started and that began when it was first used."""
    exam_id: str | None = None
    policy: str = "default"
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    accommodations: list[AnyAccommodation] = msgspec.field(default_factory=list)
    """What the candidate was granted, in the order of granting."""
    status: SessionStatus = SessionStatus.ACTIVE
    started_ms: int
    ended_ms: int | None = None
    dumped: bool = False
    """The dump is on disk under its final name, so the frame buffer may be cleared."""


class FrameId(NamedTuple):
    """`<ms>-<n>`: event time in milliseconds, then the arrival number within the session, from 0."""

    time_ms: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<ms>-<n>`. Raises ValueError for anything else."""
        time_ms, _, number = text.rpartition("-")
        return cls(int(time_ms), int(number))

    def __str__(self) -> str:
        return f"{self.time_ms}-{self.number}"
