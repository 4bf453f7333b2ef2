"""What changes on the board, told to the proctors who are connected here, at most twice a second."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import msgspec
import structlog
import trio

from proctor.analysis.glance import BARS, UNSEEN, Glance
from proctor.analysis.observation import WINDOW_MS
from proctor.errors import Unavailable
from proctor.model import ExamSession
from proctor.monitor.board import CONNECTED, ERASED, GLANCE, HERE, Board
from proctor.storage.database import Database

_log = structlog.get_logger(__name__)

TELL_SECONDS = 0.5
_ALIVE_SECONDS = 10.0
"""After so long without news it is told that there is none; a connection may be dead and not know it."""
_ASK_SECONDS = 2.0
"""How often the database is asked which sessions run."""
_QUIET_MS = 30_000
"""A session of which nothing was seen for so long is not live …"""
_LOST_MS = 5_000
"""… nor is one whose last client has been gone for so long, unless frames came since."""
_ENDED_MS = 15 * 60_000
"""How long a session that has ended is still shown."""
_IDS_AT_ONCE = 200
_UNSENT_MAX_BYTES = 2**20
"""Who takes less than there is to tell would have more and more waiting here."""


class Line(StrEnum):
    """What becomes of a session's stream."""

    WAITING = "waiting"
    """Nothing came of it yet."""
    LIVE = "live"
    """Frames come."""
    QUIET = "quiet"
    """Connected, but no frames come."""
    LOST = "lost"
    """Not connected, and no frames come."""
    ENDED = "ended"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A session, as proctors see it. Times are milliseconds since the epoch."""

    session_id: str
    candidate_id: str | None
    exam_id: str | None
    started_ms: int
    ended_ms: int | None
    line: Line
    glance: Glance | None
    """None before the first look."""


class Told(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="sessions"):
    """What a proctor is sent: first all sessions, then those that have changed."""

    complete: bool
    """`sessions` are all there are; what was told before is void."""
    now_ms: int
    """The server's clock."""
    sessions: list[Row]
    gone: list[str]
    """Ids of sessions that are not shown any more."""


class Watcher:
    """A proctor's connection, as the feed needs it."""

    def __init__(self, send: Callable[[bytes], None], unsent: Callable[[], int]) -> None:
        self.send = send
        """Must not wait."""
        self.unsent = unsent
        """Returns how many bytes it has not taken yet."""
        self.told = False
        """Whether it has been sent all sessions."""


class Feed:
    """Has a task, `run`, which does nothing while nobody watches here."""

    def __init__(self, board: Board, database: Database, now_ms: Callable[[], int]) -> None:
        self._board = board
        self._database = database
        self._now_ms = now_ms
        self._watchers: set[Watcher] = set()
        self._somebody = trio.Event()
        self._forget()

    @contextmanager
    def joined(self, send: Callable[[bytes], None], unsent: Callable[[], int]) -> Iterator[None]:
        """Have `send` called with what there is to tell, as JSON, inside the block.

        While more than a mebibyte is `unsent` nothing is added, and then everything is told anew.
        """
        watcher = Watcher(send, unsent)
        self._watchers.add(watcher)
        self._somebody.set()
        try:
            yield
        finally:
            self._watchers.discard(watcher)

    async def run(self) -> None:
        """Tell watchers what changes, until cancelled."""
        while True:
            if not self._watchers:
                self._somebody = trio.Event()
                self._forget()
                await self._somebody.wait()
            try:
                await self._update()
            except Unavailable as failure:
                _log.warning("proctors see nothing new", reason=failure.detail)
            await trio.sleep(TELL_SECONDS)

    def _forget(self) -> None:
        self._number = 0
        self._asked_at = self._told_at = -_ASK_SECONDS
        self._sessions: dict[str, ExamSession] = {}
        self._notes: dict[str, bytes] = {}
        self._glances: dict[str, tuple[bytes, Glance]] = {}
        self._rows: dict[str, Row] = {}

    async def _update(self) -> None:
        now = trio.current_time()
        if now - self._asked_at >= _ASK_SECONDS:
            self._asked_at = now
            await self._board.watch()
            await self._ask()
        number, notes = await self._board.since(self._number)
        if number < self._number:
            self._notes.clear()
        self._number = number
        self._notes.update(notes)
        for note in [each for each in notes if each.startswith(ERASED)]:
            session = self._sessions.get(note.removeprefix(ERASED))
            # Another may have its id by now.
            if session is not None and session.started_ms <= int(notes[note]):
                self._drop(session.session_id)
        now_ms = self._now_ms()
        rows = {name: self._row(session, now_ms) for name, session in self._sessions.items()}
        changed = [row for name, row in rows.items() if self._rows.get(name) != row]
        gone = [name for name in self._rows if name not in rows]
        self._rows = rows
        self._tell(changed, gone, now_ms)

    async def _ask(self) -> None:
        """Find the sessions that run, and those that do no more."""
        now_ms = self._now_ms()
        running = set(await self._database.running_sessions())
        if not self._rows:  # nobody has watched here, while sessions may have ended that somebody saw running
            for session in await self._database.lately_ended(now_ms - _ENDED_MS):
                self._sessions[session.session_id] = session
        new = list(running - self._sessions.keys())
        for start in range(0, len(new), _IDS_AT_ONCE):
            for session in await self._database.active_sessions(new[start : start + _IDS_AT_ONCE]):
                self._sessions[session.session_id] = session
        # Notes come of sessions that run, so others are of such as ended while nobody watched.
        over = {name.partition(":")[2] for name in self._notes} - running - self._sessions.keys()
        for name, session in self._sessions.items():
            if name not in running and session.ended_ms is None:
                self._sessions[name] = msgspec.structs.replace(session, ended_ms=now_ms)
            elif session.ended_ms is not None and now_ms - session.ended_ms > _ENDED_MS:
                over.add(name)
        for name in over:
            self._notes.pop(f"{ERASED}{name}", None)
            self._drop(name)
        await self._board.remove([f"{kind}{name}" for name in over for kind in (GLANCE, CONNECTED, ERASED)])

    def _drop(self, name: str) -> None:
        self._sessions.pop(name, None)
        self._glances.pop(name, None)
        for kind in (GLANCE, CONNECTED):
            self._notes.pop(f"{kind}{name}", None)

    def _row(self, session: ExamSession, now_ms: int) -> Row:
        glance = self._glance(session.session_id)
        line = self._line(session, glance, now_ms)
        if glance is not None:
            # Or every row would change with every frame; `line` says what follows from it.
            bars = glance.bars if line in (Line.LIVE, Line.ENDED) else _until(now_ms, glance)
            glance = msgspec.structs.replace(glance, last_ms=None, bars=bars)
        return Row(
            session_id=session.session_id,
            candidate_id=session.candidate_id,
            exam_id=session.exam_id,
            started_ms=session.started_ms,
            ended_ms=session.ended_ms,
            line=line,
            glance=glance,
        )

    def _glance(self, name: str) -> Glance | None:
        note = self._notes.get(f"{GLANCE}{name}")
        if note is None:
            return None
        known = self._glances.get(name)
        if known is None or known[0] is not note:
            known = self._glances[name] = note, msgspec.json.decode(note, type=Glance)
        return known[1]

    def _line(self, session: ExamSession, glance: Glance | None, now_ms: int) -> Line:
        if session.ended_ms is not None:
            return Line.ENDED
        last_ms = (glance.last_ms if glance is not None else None) or 0
        note = self._notes.get(f"{CONNECTED}{session.session_id}", b"")
        left_ms = int(note) if note.isdigit() else 0
        if left_ms and left_ms >= last_ms and now_ms - left_ms >= _LOST_MS:
            return Line.LOST
        if not last_ms:
            return Line.WAITING
        if now_ms - last_ms < _QUIET_MS:
            return Line.LIVE
        return Line.QUIET if note == HERE else Line.LOST

    def _tell(self, changed: list[Row], gone: list[str], now_ms: int) -> None:
        change = whole = None
        alive = trio.current_time() - self._told_at >= _ALIVE_SECONDS
        if changed or gone or alive:
            self._told_at = trio.current_time()
        for watcher in list(self._watchers):
            unsent = watcher.unsent()
            if unsent > _UNSENT_MAX_BYTES:
                watcher.told = False
            if not watcher.told and unsent:
                continue
            if not watcher.told:
                watcher.told = True
                whole = whole or msgspec.json.encode(
                    Told(complete=True, now_ms=now_ms, sessions=list(self._rows.values()), gone=[])
                )
                watcher.send(whole)
            elif changed or gone or alive:
                change = change or msgspec.json.encode(
                    Told(complete=False, now_ms=now_ms, sessions=changed, gone=gone)
                )
                watcher.send(change)


def _until(now_ms: int, glance: Glance) -> str:
    """Return a glance's bars with those windows that have passed since without a frame."""
    passed = (now_ms - (glance.last_ms or now_ms)) // WINDOW_MS
    return (glance.bars + UNSEEN * min(passed, BARS))[-BARS:]
