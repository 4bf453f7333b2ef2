"""Every error that Proctor raises on purpose, with the HTTP status it answers with.

One shallow tree: a class exists because somewhere it is raised and somewhere else it is told apart.
"""

from typing import ClassVar, Self


class ProctorError(Exception):
    """Base of the tree. `title` is fixed per class, `detail` says what happened and what to do about it."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        """The request field or setting at fault, if it is one."""

    @property
    def slug(self) -> str:
        """The last part of the problem type, e.g. `unknown-session`."""
        return self.title.lower().replace(" ", "-")


class InvalidRequest(ProctorError):
    """A request or message that can never succeed as it is."""

    status = 400
    title = "Invalid request"


class Unauthenticated(ProctorError):
    """Nobody has said who asks, or with a key or token that opens nothing."""

    status = 401
    title = "Unauthenticated"


class Forbidden(ProctorError):
    """Whoever asks may not do this."""

    status = 403
    title = "Forbidden"


class UnknownSession(ProctorError):
    """No session of this id exists."""

    status = 404
    title = "Unknown session"

    @classmethod
    def of(cls, session_id: str) -> Self:
        """Return the error for a session that is not there."""
        return cls(f"there is no session {session_id!r}; start it first")


class SessionEnded(ProctorError):
    """The session is ending or has ended, and takes no more frames."""

    status = 409
    title = "Session ended"


class Conflict(ProctorError):
    """The request contradicts what is there."""

    status = 409
    title = "Conflict"


class Throttled(ProctorError):
    """Asked again too soon."""

    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(ProctorError):
    """Something this needs (a store, the database, credentials) is missing or down; nothing was lost."""

    status = 503
    title = "Unavailable"


class Misconfigured(ProctorError):
    """A setting, policy or plugin that the server refuses to start with."""

    title = "Misconfigured"
