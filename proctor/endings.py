"""The end of exam sessions, which survives everything.

It is a sequence of steps, each safe to repeat, in an order in which a crash between any two loses nothing:
mark `ending` → take in what was received → seal the frame store → report into the database → dump onto the
disk → clear the frame store and the spool → mark `ended` → tell the clients. A restart goes on where it was.

Any process may end any session. One does, under a lease that it prolongs; the others wait, and take over when
it lapses. A process that was stopped in the middle and wakes after that finds nothing left to do.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from uuid import uuid4

import stamina
import structlog
import trio

from proctor.archive import Archive
from proctor.errors import ProctorError, Unavailable, UnknownSession
from proctor.farewells import Farewells
from proctor.leases import leased
from proctor.live import LiveAnalysis
from proctor.metrics import Metrics
from proctor.model import ExamSession, SessionStatus
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.dumps import write_dump
from proctor.storage.encryption import DumpKeys
from proctor.storage.frames import FrameStore

_log = structlog.get_logger(__name__)

_ENDINGS_WAITING = 10_000
"""Ends asked for but not begun; when full, `end` answers that the server is overloaded."""

_LEASE_SECONDS = 10.0
"""How long an end stays with a process that has died."""

_LOOK_SECONDS = 10.0
"""How often, and for how long unfinished, ends are looked for that other processes have left behind."""

_REPORTS_AT_ONCE = 4
"""Most sessions whose frames are in memory at the same time to be judged and dumped."""

_POLLS_SECONDS = (0.02, 0.05, 0.1, 0.2)
"""Pauses between looks at an end that another process is at; the last one goes on."""

_RETRY = partial(
    stamina.retry_context, on=Unavailable, attempts=None, timeout=None, wait_initial=0.5, wait_max=30.0
)


class _Ending:
    """One session being ended in this process, and what its requests wait for."""

    def __init__(self) -> None:
        self.attempted = trio.Event()
        """Set when the attempt under way, or else the latest, is over, well or not."""
        self.finished = False
        self.failure: ProctorError | None = Unavailable("the server is stopping; ask again")
        """None once the session is marked `ending`, from when on only time stands between it and its end."""


class Endings:
    """The ends that this process was asked for or has taken over."""

    def __init__(
        self,
        *,
        database: Database,
        store: FrameStore,
        archive: Archive,
        live: LiveAnalysis,
        show: Callable[[ExamSession], Awaitable[None]],
        farewells: Farewells,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._store = store
        self._archive = archive
        self._live = live
        self._show = show
        self._farewells = farewells
        self._settings = settings
        self._dump_keys = DumpKeys.of(settings)
        self._metrics = metrics
        self._now_ms = now_ms
        self._name = uuid4().hex
        self._reports = trio.CapacityLimiter(_REPORTS_AT_ONCE)
        self._endings: dict[str, _Ending] = {}
        self._given_up: set[str] = set()
        """Sessions whose end failed by a bug; only a request makes this process try again."""
        self._to_end, self._ending_ids = trio.open_memory_channel[str](_ENDINGS_WAITING)

    async def end(self, session_id: str) -> bool:
        """End a session and wait for its final report. Idempotent.

        Cancelling the call does not cancel the end.

        Returns:
            True when everything is done; False when the session has ended for its clients and the rest, which
            failed for now, is retried in a moment.

        Raises:
            UnknownSession: there is no such session.
            Unavailable: nothing has happened; ask again.
        """
        ending = self._begin(session_id)
        await ending.attempted.wait()
        if ending.failure is not None:
            raise ending.failure
        return ending.finished

    async def finalize(self) -> None:
        """Carry out ends until cancelled, also those that an earlier run or another process has left."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_over)
            async for session_id in self._ending_ids:
                ending = self._endings[session_id]
                nursery.start_soon(self._carry_out, session_id, ending, name=f"end session={session_id}")

    async def _take_over(self) -> None:
        began_before = None
        while True:
            async for attempt in _RETRY():
                with attempt:
                    for session in await self._database.unfinished_sessions():
                        # At the start all that are unfinished, later those that take long.
                        due = began_before is None or (session.ended_ms or 0) < began_before
                        if due and session.session_id not in self._given_up:
                            self._begin(session.session_id)
            await trio.sleep(_LOOK_SECONDS)
            began_before = self._now_ms() - round(_LOOK_SECONDS * 1000)

    def _begin(self, session_id: str) -> _Ending:
        ending = self._endings.get(session_id)
        if ending is None:
            try:
                self._to_end.send_nowait(session_id)
            except trio.WouldBlock:
                raise Unavailable("too many sessions are ending at once; ask again in a moment") from None
            ending = self._endings[session_id] = _Ending()
        return ending

    async def _carry_out(self, session_id: str, ending: _Ending) -> None:
        try:
            if await self._database.begin_ending(session_id, self._now_ms()) is None:
                raise UnknownSession.of(session_id)
            ending.failure = None
            async for attempt in _RETRY():
                with attempt:
                    if ending.attempted.is_set():
                        ending.attempted = trio.Event()
                    try:
                        await self._finish(session_id)
                        ending.finished = True
                    finally:
                        self._farewells.finish(session_id)
                        ending.attempted.set()
        except ProctorError as failure:
            ending.failure = failure
        except Exception:  # noqa: BLE001 - one session's trouble must not stop the ends of others
            _log.exception("end failed; it is retried at the next request or restart", session=session_id)
            self._given_up.add(session_id)
            ending.failure = Unavailable(
                "the session has ended, but its final report failed; see the server's log"
            )
        finally:
            self._endings.pop(session_id, None)
            ending.attempted.set()

    async def _finish(self, session_id: str) -> None:
        """Take in what was received, then do every step that is not done yet, or wait for who is at it."""
        polls = chain(_POLLS_SECONDS, repeat(_POLLS_SECONDS[-1]))
        taken_in = False
        while (await self._session(session_id)).status is not SessionStatus.ENDED:
            if not taken_in:
                await self._farewells.take_in_everywhere(session_id)
                taken_in = True
            lease = leased(self._store, f"end:{session_id}", self._name, _LEASE_SECONDS)
            async with self._reports, lease as ours:
                if ours:
                    await self._complete(session_id)
            if not ours:
                await trio.sleep(next(polls))

    async def _complete(self, session_id: str) -> None:
        """Do every step that is not done yet. Each is safe to repeat."""
        session = await self._session(session_id)
        if session.status is SessionStatus.ENDED:
            return
        await self._store.seal(session_id)
        if not session.dumped:
            await self._keep(session)
            await self._show(session)
        await self._store.clear(session_id)
        await self._archive.remove(session_id)
        await self._database.mark_ended(session_id)
        self._metrics.sessions_ended.inc()
        _log.info("session ended", session=session_id)
        await self._farewells.announce(session_id)

    async def _keep(self, session: ExamSession) -> None:
        """Bring what outlives the frame store into the database and onto the disk."""
        session_id = session.session_id
        with suppress(Unavailable):  # a full disk keeps frames from the spool, but not from the report
            await self._archive.complete(session_id)
        if await self._database.get_report(session_id) is None:
            await self._database.save_report(session_id, await self._live.report(session, final=True))
        with await self._archive.recording(session_id) as recording:
            if recording.left_out:
                _log.warning(
                    "frames were not sent again after the frame store was emptied",
                    session=session_id,
                    frames=recording.left_out,
                )
            # Asked after the frames were looked up: they are cleared only when this is marked, so either all
            # were there, or another process has dumped them while this one was stopped.
            if not (await self._session(session_id)).dumped:
                folder = self._settings.dump_directory
                await write_dump(folder, session_id, recording.frames(), self._dump_keys)
                await self._database.mark_dumped(session_id)

    async def _session(self, session_id: str) -> ExamSession:
        session = await self._database.get_session(session_id)
        if session is None:
            raise UnknownSession.of(session_id)
        return session
