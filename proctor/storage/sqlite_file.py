"""The embedded frame store's file: its schema, who may open it, and its connections."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proctor.errors import Misconfigured

READERS = 4
BUSY_SECONDS = 5.0
"""How long to wait for a foreign tool, such as a backup, that has locked the file."""
WAL_MAX_BYTES = 64 * 1024 * 1024
"""Size that the write-ahead log is cut back to after a peak."""
SCHEMA = (
    """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    stored INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0,
    touched_ms INTEGER NOT NULL
);
CREATE TABLE frames (
    session INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    number INTEGER NOT NULL,
    stored_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX frames_in_order ON frames (session, time_ms, number);
CREATE INDEX frames_by_age ON frames (stored_ms);
CREATE TABLE seqs (
    session INTEGER NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (session, seq)
) WITHOUT ROWID;
CREATE TABLE states (session INTEGER PRIMARY KEY, state BLOB NOT NULL);
""",
    """
ALTER TABLE sessions ADD COLUMN last_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN seqs_beyond INTEGER NOT NULL DEFAULT 0;
CREATE TABLE epoch (name TEXT NOT NULL);
INSERT INTO epoch VALUES (hex(randomblob(8)));
""",
    """
CREATE TABLE run (seen_ms INTEGER NOT NULL, down_ms INTEGER NOT NULL);
INSERT INTO run SELECT coalesce(max(stored_ms), 1000 * strftime('%s')), 0 FROM frames;
""",
)
"""One script for each version of the file, which makes it from the one before."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[sqlite3.Connection, list[sqlite3.Connection]]]:
    """The file's one writing connection and its reading ones, for use from any thread; closed on exit.

    Raises:
        Misconfigured: another process has the file open, it cannot be opened, or it holds something else.
    """
    with _sole_owner(path):
        connections: list[sqlite3.Connection] = []
        try:
            try:
                # SQLite gives the files that it puts beside this one the same permissions.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                connections += (_connect(path) for _ in range(1 + READERS))
                _bring_up(path, connections[0])
            except (sqlite3.Error, OSError) as error:
                raise _unusable(path, str(error)) from error
            yield connections[0], connections[1:]
        finally:
            for connection in connections:
                connection.close()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the body's writes or, when it or the commit raises, none of them."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA secure_delete = ON")
    db.execute(f"PRAGMA journal_size_limit = {WAL_MAX_BYTES}")
    return db


def _bring_up(path: Path, db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > len(SCHEMA) or (version == 0 and tables):
        raise _unusable(path, f"it is no frame store of version {len(SCHEMA)} or before")
    if version == 0:
        db.execute("PRAGMA journal_mode = WAL")
    for newer, script in enumerate(SCHEMA[version:], version + 1):
        db.executescript(f"BEGIN; {script} PRAGMA user_version = {newer}; COMMIT")


@contextmanager
def _sole_owner(path: Path) -> Iterator[None]:
    """Keep other processes out, which would number the same sessions. The lock ends with this process."""
    # A file of its own: closing any handle of a database file would drop the locks that SQLite has on it.
    try:
        handle = os.open(path.with_name(f"{path.name}-lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(path, str(error)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _unusable(path, "another server has it open; to share frames, set REDIS_URL") from error
        yield
    finally:
        os.close(handle)


def _unusable(path: Path, reason: str) -> Misconfigured:
    return Misconfigured(f"cannot use the frame store {path}: {reason}", field="frame_store_path")
