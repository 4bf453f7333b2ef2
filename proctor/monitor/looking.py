"""Each process looks at its own sessions while a proctor watches, and puts what it sees on the board."""

from collections.abc import Callable
from itertools import islice

import msgspec
import structlog
import trio

from proctor.analysis.engine import JOB_BYTES, JOB_FRAMES, Engine
from proctor.analysis.fold import progress
from proctor.analysis.policy import DEFAULT
from proctor.errors import ProctorError, Unavailable
from proctor.farewells import Farewells
from proctor.ingest import Ingest
from proctor.model import ExamSession
from proctor.monitor.alerts import Alerts
from proctor.monitor.board import CONNECTED, GLANCE, WATCHED_SECONDS, Board
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
"""Least time from one look to the next. With many sessions it is as long as the analysis workers take."""
AT_ONCE = 50
"""Sessions in one look, so that what was seen is put up before all of them were looked at."""


class Looking:
    """Has a task, `run`. Cancelling it loses nothing.

    Sessions whose policy has candidates alerted are looked at all the time.
    """

    def __init__(
        self,
        board: Board,
        engine: Engine,
        store: FrameStore,
        database: Database,
        ingest: Ingest,
        farewells: Farewells,
        now_ms: Callable[[], int],
    ) -> None:
        self._board = board
        self._engine = engine
        self._store = store
        self._database = database
        self._ingest = ingest
        self._farewells = farewells
        self._alerts = Alerts(farewells, engine.policies, now_ms)
        self._told: set[str] | None = None
        """Which sessions are on the board as having clients here; None while nobody watches."""

    async def run(self) -> None:
        """Look at sessions that have new frames, and tell who comes and goes, until cancelled."""
        next_look = trio.current_time()
        while True:
            await trio.sleep_until(next_look)
            next_look = trio.current_time() + LOOK_SECONDS
            try:
                watched = await self._board.is_watched()
                if watched:
                    await self._tell_who_is_there()
                elif self._told is not None:
                    await self._stop()
                if watched or self._alerts.policies:
                    await self._look(watched)
                else:
                    self._ingest.unseen.clear()
            except Unavailable as failure:
                _log.warning("nothing new for proctors to see", reason=failure.detail)

    async def _stop(self) -> None:
        """Leave nothing behind that would be wrong when somebody watches again."""
        told, self._told = self._told or set(), None
        await self._board.put({f"{CONNECTED}{each}": b"" for each in told})

    async def _tell_who_is_there(self) -> None:
        if self._told is None:
            self._told = set()
            # What nothing came of for a while would not be seen otherwise; one process does it for all.
            if await self._store.claim("first look", WATCHED_SECONDS) == 0:
                self._ingest.unseen.update(dict.fromkeys(await self._database.running_sessions()))
        here = set(self._farewells.session_ids)
        await self._board.put(
            {f"{CONNECTED}{each}": b"1" if each in here else b"" for each in here ^ self._told}
        )
        self._told = here

    async def _look(self, watched: bool) -> None:
        unseen = self._ingest.unseen
        due = list(islice(unseen, AT_ONCE))  # those first that wait for longest
        if not due:
            return
        for name in due:
            del unseen[name]
        glances: dict[str, bytes] = {}
        try:
            sessions = await self._database.active_sessions(due)
        except Unavailable:
            unseen.update(dict.fromkeys(due))
            raise
        async with trio.open_nursery() as nursery:
            for session in sessions:
                if watched or session.policy in self._alerts.policies:
                    nursery.start_soon(self._glance, session, glances)
        if watched:
            await self._board.put(glances)

    async def _glance(self, session: ExamSession, glances: dict[str, bytes]) -> None:
        name = session.session_id
        try:
            glance = glances[f"{GLANCE}{name}"] = await glance_at(session, self._store, self._engine)
            await self._alerts.tell(session, glance)
        except ProctorError as failure:
            _log.warning("a session cannot be looked at", session=name, reason=failure.detail)


async def glance_at(session: ExamSession, store: FrameStore, engine: Engine) -> bytes:
    """Return the glance, as JSON, at a session as it is now. Raises ProctorError where it cannot be had."""
    if session.policy not in engine.policies:
        session = msgspec.structs.replace(session, policy=DEFAULT)
    state = await store.load_state(session.session_id)
    page = await store.read(session.session_id, progress(state).cursor, JOB_FRAMES, JOB_BYTES)
    return await engine.glance(state, page.frames, session)
