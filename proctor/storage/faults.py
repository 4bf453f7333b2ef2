"""What the database drivers' errors mean to the rest of Proctor."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from proctor.errors import Misconfigured, ProctorError, Unavailable, UnknownSession

_SERVER_TROUBLE = {"08", "53", "57", "58"}
"""SQLSTATE classes: connection, out of resources, operator intervention, system."""
_READ_ONLY = "25006"
"""What a server says that has become a standby."""
_NOT_AS_CONFIGURED = {"28", "3D"}
"""SQLSTATE classes: wrong user or password, no such database."""
_NOT_ALLOWED = "42501"
_NO_SUCH_PARENT = "23503"

_FILE_TROUBLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
_FILE_UNUSABLE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}

_NO_SESSION = "there is no such session"
_DOWN = "the database does not answer; try again in a moment"
_REFUSED = "the database refuses to be used as DATABASE_URL says"


@contextmanager
def translated() -> Iterator[None]:
    """Turn drivers' errors that are no bugs into Proctor's. Their text, which may name hosts, stays a cause.

    Raises:
        Unavailable: the database is down, overloaded or out of reach.
        Misconfigured: it is there and refuses the credentials, or is none of ours.
        UnknownSession: a row was to belong to a session that is not there.
    """
    try:
        yield
    except ProctorError:
        raise
    except Exception as error:
        meaning = next(filter(None, map(_meaning, _causes(error))), None)
        if meaning is None:
            raise
        raise meaning from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it was raised from; SQLAlchemy wraps the driver's error twice."""
    while error is not None:
        yield error
        error = error.__cause__


def _meaning(error: BaseException) -> ProctorError | None:
    match error:
        case asyncpg.PostgresError():
            return _postgres_meaning(error.sqlstate or "")
        case asyncpg.InterfaceError() | asyncpg.InternalClientError() | OSError():
            # The second is what asyncpg says between a server's farewell and the end of its connection.
            return Unavailable(_DOWN)
        case sqlite3.Error():
            return _sqlite_meaning(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR))
    return None


def _postgres_meaning(sqlstate: str) -> ProctorError | None:
    if sqlstate[:2] in _SERVER_TROUBLE or sqlstate == _READ_ONLY:
        return Unavailable(_DOWN)
    if sqlstate[:2] in _NOT_AS_CONFIGURED or sqlstate == _NOT_ALLOWED:
        return Misconfigured(_REFUSED, field="database_url")
    if sqlstate == _NO_SUCH_PARENT:
        return UnknownSession(_NO_SESSION)
    return None


def _sqlite_meaning(code: int) -> ProctorError | None:
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return UnknownSession(_NO_SESSION)
    primary = code & 0xFF
    if primary in _FILE_TROUBLE:
        return Unavailable(_DOWN)
    if primary in _FILE_UNUSABLE:
        return Misconfigured(_REFUSED, field="database_url")
    return None
