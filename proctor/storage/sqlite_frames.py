"""Frames in one SQLite file, for a deployment that is one process on one machine.

Write-ahead log with `synchronous=NORMAL`: a commit is in the operating system's hands when it returns, so it
survives a kill of this process, though perhaps not a power cut. One connection writes, others read beside it.
"""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TypeVar

import trio

from proctor.errors import Unavailable
from proctor.model import FrameId
from proctor.settings import Settings
from proctor.storage.frames import (
    MEMORY_SECONDS,
    FrameMessage,
    FramePage,
    Receipt,
    ResumePoint,
    Turn,
    page_of,
)
from proctor.storage.leases import Leases
from proctor.storage.sqlite_append import SessionWrite
from proctor.storage.sqlite_file import opened, transaction
from proctor.together import Together, in_threads

TOUCH_SESSION = """
INSERT INTO sessions (name, touched_ms) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET touched_ms = excluded.touched_ms
RETURNING id, stored, sealed, last_seq, seqs_beyond, (SELECT max(seq) FROM seqs WHERE session = sessions.id)
"""
COUNT = "UPDATE sessions SET stored = ?, last_seq = ?, seqs_beyond = ? WHERE id = ?"
READ_FRAMES = """
SELECT body FROM frames JOIN sessions ON sessions.id = session
WHERE name = ? AND (time_ms, number) > (?, ?) AND stored_ms > ? ORDER BY time_ms, number
"""
DELETE_EXPIRED = """
DELETE FROM frames WHERE rowid IN (SELECT rowid FROM frames WHERE stored_ms <= ? ORDER BY stored_ms LIMIT ?)
"""
FORGET_CONTENT = tuple(f"DELETE FROM {table} WHERE session = ?" for table in ("frames", "seqs", "states"))  # noqa: S608

EXPIRED_PER_FRAME = 2
"""Expired frames deleted for each one stored, so that a backlog shrinks but no commit waits for all of it."""
EXPIRED_PER_SWEEP = 10_000
NOTED_MS = 1000
"""How exactly it is known for how long the server was down, while frames come."""

T = TypeVar("T")


@asynccontextmanager
async def open_sqlite_frames(settings: Settings) -> AsyncIterator["SqliteFrames"]:
    """Open the file at `frame_store_path`, creating it readable for its owner only.

    Raises:
        Misconfigured: another process has it open, it cannot be opened, or it holds something else.
    """
    with opened(settings.frame_store_path) as (writer, readers):
        store = SqliteFrames(writer, readers, settings.frame_buffer_retention_seconds)
        await store.ping()
        try:
            yield store
        finally:
            store.note_stop()


class SqliteFrames:
    """The :class:`proctor.storage.frames.FrameStore` on SQLite. Get one from `open_sqlite_frames`.

    Retention is time that the server runs, so that what a killed one left is there for the next. Frames past
    it are never returned. They leave the file with later appends, at `ping` and when
    the store is opened. A cancelled call ends once its statement has.
    """

    kind = "embedded"
    durability = "process"

    def __init__(
        self, writer: sqlite3.Connection, readers: list[sqlite3.Connection], retention_seconds: int
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._retention_ms = retention_seconds * 1000
        self._writing = in_threads(1)
        self._reading = in_threads(len(readers))
        self._leases = Leases()
        (self.epoch,) = writer.execute("SELECT name FROM epoch").fetchone()
        self._seen_ms: int
        self._down_ms: int
        self._seen_ms, self._down_ms = writer.execute("SELECT seen_ms, down_ms FROM run").fetchone()
        self._down_ms += _now_ms() - self._seen_ms  # less than nothing if the clock was set back
        self._note_running(writer)

    def note_stop(self) -> None:
        """Note that the store is not used any more. Blocks; a disk that refuses is no trouble."""
        with suppress(sqlite3.Error):
            self._note_running(self._writer)

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        """One transaction; see the protocol."""
        return await _in_thread(self._writing, self._append, messages)

    async def resume_point(self, session_id: str) -> ResumePoint:
        """See the protocol."""
        return await _in_thread(self._reading, self._resume_point, session_id)

    async def read(
        self,
        session_id: str,
        after: FrameId | None = None,
        limit: int | None = None,
        limit_bytes: int | None = None,
    ) -> FramePage:
        """One snapshot; see the protocol."""
        return await _in_thread(self._reading, self._read, session_id, after, limit, limit_bytes)

    async def seal(self, session_id: str) -> None:
        """See the protocol."""
        await _in_thread(self._writing, self._seal, session_id)

    async def clear(self, session_id: str) -> None:
        """See the protocol."""
        await _in_thread(self._writing, self._clear, session_id)

    async def take_state(self, session_id: str, seconds: float) -> Turn | None:
        """See the protocol."""
        token = self._leases.take(session_id, seconds)
        if token is None:
            await trio.lowlevel.checkpoint()
            return None
        try:
            return Turn(token, await self.load_state(session_id))
        except BaseException:
            self._leases.give_back(session_id, token)
            raise

    async def save_state(
        self, session_id: str, state: bytes, token: int, *, keep_seconds: float = 0.0
    ) -> bool:
        """See the protocol."""
        saved = await _in_thread(self._writing, self._save_state, session_id, state, token)
        if keep_seconds:
            self._leases.keep(session_id, token, keep_seconds)
        else:
            self._leases.give_back(session_id, token)
        return saved

    async def give_back(self, session_id: str, token: int) -> None:
        """See the protocol."""
        await trio.lowlevel.checkpoint()
        self._leases.give_back(session_id, token)

    async def load_state(self, session_id: str) -> bytes | None:
        """See the protocol."""
        return await _in_thread(self._reading, self._load_state, session_id)

    async def claim(self, name: str, seconds: float, holder: str = "") -> float:
        """See the protocol."""
        await trio.lowlevel.checkpoint()
        return self._leases.claim(name, seconds, holder)

    async def ping(self) -> None:
        """See the protocol. Writes, so that a full disk is noticed, and deletes what has expired."""
        await _in_thread(self._writing, self._sweep)

    def _append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        now = self._now_ms()
        writes: dict[str, SessionWrite] = {}
        with self._transaction() as db:
            receipts = []
            for message in messages:
                write = writes.get(message.session_id)
                if write is None:
                    row = db.execute(TOUCH_SESSION, (message.session_id, now)).fetchone()
                    write = writes[message.session_id] = SessionWrite(*row)
                    write.join(db)
                receipts.append(write.add(db, message))
            frames = [(*frame, now) for write in writes.values() for frame in write.frames]
            seqs = [(write.id, *seq) for write in writes.values() for seq in write.seqs.items()]
            counts = [
                (write.stored, write.last_seq, write.seqs_beyond, write.id)
                for write in writes.values()
                if write.frames or write.seqs or write.joined
            ]
            db.executemany(
                "INSERT INTO frames (session, time_ms, number, body, stored_ms) VALUES (?, ?, ?, ?, ?)",
                frames,
            )
            db.executemany("INSERT INTO seqs (session, seq, digest) VALUES (?, ?, ?)", seqs)
            db.executemany(COUNT, counts)
            db.execute(DELETE_EXPIRED, (now - self._retention_ms, EXPIRED_PER_FRAME * len(frames)))
            if _now_ms() - self._seen_ms >= NOTED_MS:
                self._note_running(db)
        return receipts

    def _read(self, session_id: str, after: FrameId | None, *limits: int | None) -> FramePage:
        start = FrameId(-(2**63), 0) if after is None else after
        oldest = self._now_ms() - self._retention_ms
        with self._reader() as db:
            db.execute("BEGIN")
            try:
                row = db.execute("SELECT stored FROM sessions WHERE name = ?", (session_id,)).fetchone()
                rows = db.execute(READ_FRAMES, (session_id, *start, oldest))
                return page_of((body for (body,) in rows), row[0] if row else 0, *limits)
            finally:
                db.rollback()

    def _resume_point(self, session_id: str) -> ResumePoint:
        with self._reader() as db:
            query = "SELECT last_seq, sealed FROM sessions WHERE name = ?"
            last, sealed = db.execute(query, (session_id,)).fetchone() or (0, 0)
            return ResumePoint(last or None, self.epoch, bool(sealed))

    def _seal(self, session_id: str) -> None:
        with self._transaction() as db:
            (session, *_) = db.execute(TOUCH_SESSION, (session_id, self._now_ms())).fetchone()
            db.execute("UPDATE sessions SET sealed = 1 WHERE id = ?", (session,))

    def _clear(self, session_id: str) -> None:
        with self._transaction() as db:
            (session, _, sealed, *_) = db.execute(TOUCH_SESSION, (session_id, self._now_ms())).fetchone()
            self._leases.clear(session_id)
            for statement in FORGET_CONTENT:
                db.execute(statement, (session,))
            if sealed:
                db.execute(COUNT, (0, 0, 0, session))
            else:
                db.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def _save_state(self, session_id: str, state: bytes, token: int) -> bool:
        with self._transaction() as db:
            # Asked in here, because `clear` may have been waited for.
            if not self._leases.has(session_id, token):
                return False
            (session, *_) = db.execute(TOUCH_SESSION, (session_id, self._now_ms())).fetchone()
            db.execute("INSERT OR REPLACE INTO states (session, state) VALUES (?, ?)", (session, state))
            return True

    def _load_state(self, session_id: str) -> bytes | None:
        with self._reader() as db:
            query = "SELECT state FROM states JOIN sessions ON sessions.id = session WHERE name = ?"
            row = db.execute(query, (session_id,)).fetchone()
            return row[0] if row else None

    def _sweep(self) -> None:
        now = self._now_ms()
        with self._transaction() as db:
            db.execute(DELETE_EXPIRED, (now - self._retention_ms, EXPIRED_PER_SWEEP))
            self._note_running(db)
            forgotten = now - self._retention_ms - MEMORY_SECONDS * 1000
            for (session,) in db.execute(
                "SELECT id FROM sessions WHERE touched_ms < ?", (forgotten,)
            ).fetchall():
                for statement in FORGET_CONTENT:
                    db.execute(statement, (session,))
                db.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def _now_ms(self) -> int:
        """Return the time by which things age: the wall clock's, less what the server was down."""
        return _now_ms() - self._down_ms

    def _note_running(self, db: sqlite3.Connection) -> None:
        self._seen_ms = _now_ms()
        db.execute("UPDATE run SET seen_ms = ?, down_ms = ?", (self._seen_ms, self._down_ms))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with transaction(self._writer):
            yield self._writer

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread alone; there are as many as turns to read."""
        db = self._readers.pop()
        try:
            yield db
        finally:
            self._readers.append(db)


async def _in_thread(threads: Together, call: Callable[..., T], *arguments: object) -> T:
    try:
        answer: T = await threads.call(partial(call, *arguments))
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
        raise  # a bug, which trying again does not mend
    except sqlite3.Error as error:
        raise Unavailable(f"frame store: {error}") from error
    return answer


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
