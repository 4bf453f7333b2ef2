"""Roles, and who somebody is once their key or token was looked at."""

from enum import StrEnum

import msgspec

from proctor.errors import Forbidden, InvalidRequest
from proctor.model import ExamSession

_ANOTHER = "this token is for another session; use the one that `start` gave for this one"


class Role(StrEnum):
    """What somebody is to Proctor; a key may have several roles, and none includes another."""

    CANDIDATE = "candidate"
    """Takes one exam: streams to its own session and looks it up."""
    INTEGRATION = "integration"
    """The institution's exam system: starts, ends and analyzes sessions, and hands out tokens."""
    PROCTOR = "proctor"
    """Watches running exams, ends them, and grants accommodations."""
    REVIEWER = "reviewer"
    """Reads reports, has sessions judged again, and decides."""
    ADMIN = "admin"
    """Looks after keys, policies and erasure."""


STAFF = frozenset(Role) - {Role.CANDIDATE}

_TAKEN = frozenset({"anyone", "candidate", "retention", "server"})
"""Names under which something is done that nobody in particular does."""


def check_name(name: str) -> None:
    """Return if somebody may be called this. Raises InvalidRequest."""
    if name.strip().lower() in _TAKEN:
        raise InvalidRequest(f"{name!r} stands for others in the trail; take another name", field="name")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request."""

    name: str
    """Of the key or the candidate, as it is shown to people."""
    roles: frozenset[Role]
    session_id: str | None = None
    """The only session that this one may have to do with; None for all."""
    session_started_ms: int | None = None
    """When that began: after an erasure, another session may come to have its id."""

    def check_session(self, session_id: str) -> None:
        """Return if this one may have to do with the session. Raises Forbidden."""
        if self.session_id not in (None, session_id):
            raise Forbidden(_ANOTHER)

    def check_own(self, session: ExamSession) -> None:
        """Return if this is the session, and not just its id, that this one may have to do with.

        Raises:
            Forbidden: it is not.
        """
        self.check_session(session.session_id)
        mine = (self.name, self.session_started_ms)
        if self.session_id is not None and mine != (session.candidate_id, session.started_ms):
            raise Forbidden(_ANOTHER)


ANYONE = Principal(name="anyone", roles=frozenset(Role))
"""Who makes a request while authentication is off."""
