"""What drivers' errors are turned into."""

import sqlite3

import asyncpg
import pytest

from proctor.errors import Misconfigured, ProctorError, Throttled, Unavailable, UnknownSession
from proctor.storage.faults import translated


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("secret")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (asyncpg.CannotConnectNowError("secret"), Unavailable),
        (asyncpg.DiskFullError("secret"), Unavailable),
        (asyncpg.TooManyConnectionsError("secret"), Unavailable),
        (asyncpg.ReadOnlySQLTransactionError("secret"), Unavailable),
        (asyncpg.InterfaceError("secret"), Unavailable),
        (ConnectionResetError("secret"), Unavailable),
        (TimeoutError("secret"), Unavailable),
        (asyncpg.InvalidPasswordError("secret"), Misconfigured),
        (asyncpg.InvalidCatalogNameError("secret"), Misconfigured),
        (asyncpg.InsufficientPrivilegeError("secret"), Misconfigured),
        (asyncpg.ForeignKeyViolationError("secret"), UnknownSession),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), Unavailable),
        (sqlite_error(sqlite3.SQLITE_FULL), Unavailable),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), Unavailable),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), Unavailable),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), Misconfigured),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY), UnknownSession),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value),
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_trouble_has_one_meaning(error: Exception, meaning: type[ProctorError], wrapped: bool) -> None:
    """Bare or wrapped, and without the driver's text, which stays behind as the cause."""
    raised = error
    if wrapped:
        raised = RuntimeError("SQLAlchemy's")
        raised.__cause__ = error
    with pytest.raises(meaning) as translation, translated():
        raise raised
    assert translation.value.__cause__ is raised
    assert "secret" not in translation.value.detail


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError("x"),
        asyncpg.UndefinedTableError("x"),
        sqlite_error(sqlite3.SQLITE_ERROR),
        sqlite_error(sqlite3.SQLITE_CONSTRAINT_CHECK),
        sqlite3.ProgrammingError("x"),
        KeyError("x"),
        Throttled("x", retry_after_seconds=1),
    ],
    ids=repr,
)
def test_bugs_and_our_own_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as same, translated():
        raise error
    assert same.value is error
