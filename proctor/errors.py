"""Every error that Proctor raises on purpose, with the HTTP status it answers with.

One shallow tree: a class exists because somewhere it is raised and somewhere else it is told apart.
"""

from typing import ClassVar


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


class UnknownSession(ProctorError):
    """No session of this id exists."""

    status = 404
    title = "Unknown session"


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
