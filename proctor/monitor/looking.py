"""Each process looks at its own sessions for whoever wants to see them: one glance at each serves all.

Proctors see them on the board. Others are onlookers: what candidates are alerted of, what webhooks tell.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from proctor.analysis.engine import JOB_BYTES, JOB_FRAMES, Engine
from proctor.analysis.fold import progress
from proctor.analysis.glance import Glance, Look
from proctor.analysis.policy import judgeable
from proctor.errors import ProctorError, Unavailable
from proctor.farewells import Farewells
from proctor.ingest import Ingest
from proctor.model import ExamSession
from proctor.monitor.board import CONNECTED, GLANCE, HERE, WATCHED_SECONDS, Board
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
"""From one round of looks to the next."""
AT_ONCE = 16
"""Sessions that are looked at together, so that what was seen is put up before all of them were."""
_GROUPS = 2
"""While the workers are busy with some sessions, the next are read."""


class Onlooker(Protocol):
    """Somebody besides proctors who is shown sessions when they have new frames."""

    hurried: bool
    """Whether what it does cannot wait; else looks take half of the time at the most."""

    async def is_looking(self) -> bool:
        """Tell whether it wants to see anything at all. Raises Unavailable."""
        ...

    def wants(self, session: ExamSession) -> bool:
        """Tell whether it wants to see this session."""
        ...

    async def see(self, session: ExamSession, glance: Glance) -> None:
        """Do what it does. Raises ProctorError if it is to be shown the session again."""
        ...


class Looking:
    """Has a task, `run`. Cancelling it loses nothing."""

    def __init__(
        self,
        board: Board,
        engine: Engine,
        store: FrameStore,
        database: Database,
        ingest: Ingest,
        farewells: Farewells,
        onlookers: Sequence[Onlooker],
        now_ms: Callable[[], int],
    ) -> None:
        self._board = board
        self._engine = engine
        self._store = store
        self._database = database
        self._ingest = ingest
        self._farewells = farewells
        self._onlookers = onlookers
        self._now_ms = now_ms
        self._told: set[str] | None = None
        """Which sessions are on the board as having clients here; None while nobody watches."""

    async def run(self) -> None:
        """Look at sessions that have new frames, and tell who comes and goes, until cancelled."""
        next_look = trio.current_time()
        while True:
            await trio.sleep_until(next_look)
            began = trio.current_time()
            hurried = False
            try:
                watched = await self._board.is_watched()
                if watched:
                    await self._tell_who_is_there()
                elif self._told is not None:
                    await self._stop()
                onlookers = [each for each in self._onlookers if await each.is_looking()]
                hurried = watched or any(each.hurried for each in onlookers)
                if watched or onlookers:
                    await self._look_round(onlookers, watched=watched)
                else:
                    self._ingest.unseen.clear()
            except Unavailable as failure:
                _log.warning("sessions are looked at later", reason=failure.detail)
            rest = 0.0 if hurried else trio.current_time() - began
            next_look = max(began + LOOK_SECONDS, trio.current_time() + rest)

    async def look_last(self, session: ExamSession) -> None:
        """Show a session that ends to whoever wants to see it, while its frames are still there.

        Raises Unavailable; then it was perhaps not shown to all.
        """
        watched = await self._board.is_watched()
        shown = [each for each in self._onlookers if await each.is_looking() and each.wants(session)]
        if not watched and not shown:
            return
        try:
            glance = (await self._look_at(session)).glance
            if watched:
                await self._board.put({f"{GLANCE}{session.session_id}": msgspec.json.encode(glance)})
            for each in shown:
                await each.see(session, glance)
        except Unavailable:
            raise
        except ProctorError as failure:  # its report says more, and its end is not to wait for this
            _log.warning("no last look", session=session.session_id, reason=failure.detail)

    async def _stop(self) -> None:
        """Leave nothing behind that would be wrong when somebody watches again."""
        told, self._told = self._told or set(), None
        await self._board.put({f"{CONNECTED}{each}": b"" for each in told})

    async def _tell_who_is_there(self) -> None:
        if self._told is None:
            self._told = set()
            self._ingest.unseen.clear()
            # What nothing came of for a while would not be seen otherwise; one process does it for all.
            if await self._store.claim("first look", WATCHED_SECONDS) == 0:
                self._ingest.unseen.add(await self._database.running_sessions())
        here, gone = set(self._farewells.session_ids), b"%d" % self._now_ms()
        await self._board.put(
            {f"{CONNECTED}{each}": HERE if each in here else gone for each in here ^ self._told}
        )
        self._told = here

    async def _look_round(self, onlookers: Sequence[Onlooker], *, watched: bool) -> None:
        """Look at all whose turn it is, but for no longer than until the next round."""
        end, groups, reached = trio.current_time() + LOOK_SECONDS, trio.Semaphore(_GROUPS), True

        async def look_at(due: Sequence[str]) -> None:
            nonlocal reached
            try:
                await self._look(due, onlookers, watched=watched)
            except Unavailable as failure:
                reached = False
                _log.warning("sessions are looked at later", sessions=len(due), reason=failure.detail)
            finally:
                groups.release()

        async with trio.open_nursery() as nursery:
            while reached and trio.current_time() < end:
                await groups.acquire()
                due = self._ingest.unseen.take(AT_ONCE)
                if not due:
                    break
                nursery.start_soon(look_at, due)

    async def _look(self, due: Sequence[str], onlookers: Sequence[Onlooker], *, watched: bool) -> None:
        unseen = self._ingest.unseen
        glances: dict[str, bytes] = {}
        try:
            sessions = await self._database.active_sessions(due)
        except Unavailable:
            unseen.add(due)
            raise
        for name in set(due).difference(session.session_id for session in sessions):
            unseen.forget(name)
        async with trio.open_nursery() as nursery:
            for session in sessions:
                shown = [each for each in onlookers if each.wants(session)]
                if watched or shown:
                    nursery.start_soon(self._show, session, shown, glances)
        if watched:
            await self._board.put(glances)

    async def _show(
        self, session: ExamSession, onlookers: Sequence[Onlooker], glances: dict[str, bytes]
    ) -> None:
        name = session.session_id
        try:
            look = await self._look_at(session)
            glances[f"{GLANCE}{name}"] = msgspec.json.encode(look.glance)
            self._ingest.unseen.seen(name, look.calm)
            for each in onlookers:
                await each.see(session, look.glance)
        except ProctorError as failure:  # what troubles one session must not hold up the others
            self._ingest.unseen.add([name])
            _log.warning("a session is looked at again", session=name, reason=failure.detail)

    async def _look_at(self, session: ExamSession) -> Look:
        session = judgeable(session, self._engine.policies)
        state = await self._store.load_state(session.session_id)
        cursor = progress(state).cursor
        page = await self._store.read(session.session_id, cursor, JOB_FRAMES, JOB_BYTES)
        return await self._engine.glance(state, page.frames, session)
