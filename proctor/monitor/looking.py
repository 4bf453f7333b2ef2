"""Each process looks at its own sessions while a proctor watches, and puts what it sees on the board."""

from contextlib import suppress

import msgspec
import structlog
import trio

from proctor.analysis.engine import JOB_BYTES, JOB_FRAMES, Engine
from proctor.analysis.fold import progress
from proctor.analysis.policy import DEFAULT
from proctor.errors import ProctorError, Unavailable
from proctor.ingest import Ingest
from proctor.model import ExamSession
from proctor.monitor.board import WATCHED_SECONDS, Board
from proctor.roster import Roster
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
"""Least time from one look to the next. With many sessions it is as long as the analysis workers take."""
AT_ONCE = 100
"""Sessions in one look, so that what was seen is put up before all of them were looked at."""
GLANCE, CONNECTED = "glance:", "connected:"
"""What stands before a session's id in the names of notes."""


class Looking:
    """Has a task, `run`. Cancelling it loses nothing."""

    def __init__(
        self,
        board: Board,
        engine: Engine,
        store: FrameStore,
        database: Database,
        ingest: Ingest,
        roster: Roster,
    ) -> None:
        self._board = board
        self._engine = engine
        self._store = store
        self._database = database
        self._ingest = ingest
        self._roster = roster
        self._told: set[str] | None = None
        """Which sessions are on the board as having clients here; None while nobody watches."""

    async def run(self) -> None:
        """Look at sessions that have new frames, and tell who comes and goes, until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            try:
                if await self._board.is_watched():
                    await self._look()
                    continue
            except Unavailable as failure:
                _log.warning("nothing new for proctors to see", reason=failure.detail)
            await self._stop()

    async def _stop(self) -> None:
        """Look no more, and leave nothing behind that would be wrong when somebody watches again."""
        told, self._told = self._told or set(), None
        self._ingest.unseen.clear()
        with suppress(Unavailable):
            await self._board.put({f"{CONNECTED}{each}": b"" for each in told})

    async def _look(self) -> None:
        unseen = self._ingest.unseen
        if self._told is None:
            self._told = set()
            # What nothing came of for a while would not be seen otherwise; one process does it for all.
            if await self._store.claim("first look", WATCHED_SECONDS) == 0:
                unseen.update(await self._database.running_sessions())
        here = set(self._roster.session_ids)
        await self._board.put(
            {f"{CONNECTED}{each}": b"1" if each in here else b"" for each in here ^ self._told}
        )
        self._told = here
        due = [unseen.pop() for _ in range(min(AT_ONCE, len(unseen)))]
        if not due:
            return
        glances: dict[str, bytes] = {}
        async with trio.open_nursery() as nursery:
            for session in await self._database.active_sessions(due):
                nursery.start_soon(self._glance, session, glances)
        await self._board.put(glances)

    async def _glance(self, session: ExamSession, glances: dict[str, bytes]) -> None:
        name = session.session_id
        if session.policy not in self._engine.policies:
            session = msgspec.structs.replace(session, policy=DEFAULT)
        try:
            state = await self._store.load_state(name)
            page = await self._store.read(name, progress(state).cursor, JOB_FRAMES, JOB_BYTES)
            glances[f"{GLANCE}{name}"] = await self._engine.glance(state, page.frames, session)
        except ProctorError as failure:
            _log.warning("a session cannot be looked at", session=name, reason=failure.detail)
