"""Reaches the clients of a session, whichever process they are connected to, mostly to let them go."""

from collections.abc import Sequence

import structlog
import trio

from proctor.errors import Unavailable
from proctor.ingest import Ingest
from proctor.notices import TAKE_IN_SECONDS, Notices, Told
from proctor.roster import Roster
from proctor.storage.database import Database

_log = structlog.get_logger(__name__)

_INTAKE_SECONDS = 5.0
"""Longest that an end waits for what was received to be stored, before it is tried again later."""

RECONCILE_SECONDS = 1.0
"""How often the database is asked which of some sessions have ended, in case a notice got lost."""

_IDS_AT_ONCE = 200
"""Sessions in one query, which takes some ten milliseconds from everybody. More of them take turns; who sends
something after the end learns of it at once."""


class Farewells:
    """What an end does to the clients of its session, in this process and through notices in the others."""

    def __init__(self, roster: Roster, ingest: Ingest, database: Database, notices: Notices) -> None:
        self._roster = roster
        self._ingest = ingest
        self._database = database
        self._notices = notices

    async def take_in_everywhere(self, session_id: str) -> None:
        """Take in and store what the session's clients have sent so far, to whichever process.

        Raises:
            Unavailable: what was received here could not be stored yet.
        """
        with trio.move_on_after(_INTAKE_SECONDS) as intake:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._notices.ending, session_id)
                await self.take_in(session_id)
        if intake.cancelled_caught:
            raise Unavailable("what was received could not be stored yet")

    async def take_in(self, session_id: str) -> None:
        """Take in and store what the session's clients have sent to this process."""
        await self._roster.stop_intake(session_id)
        await self._ingest.flush()

    def finish(self, session_id: str) -> None:
        """Tell the session's clients here that it has ended, and let them go."""
        self._roster.finish(session_id)

    def tell(self, session_id: str, message: Told) -> int:
        """Tell the session's clients here something; returns how many there are."""
        return self._roster.tell(session_id, message)

    async def tell_everywhere(self, session_id: str, message: Told) -> int:
        """Tell the session's clients something, whichever process they are connected to; returns how many."""
        return self.tell(session_id, message) + await self._notices.tell(session_id, message)

    @property
    def session_ids(self) -> list[str]:
        """The sessions that have clients here."""
        return self._roster.session_ids

    async def announce(self, session_id: str) -> None:
        """Have the other processes do so, without waiting for them."""
        await self._notices.ended(session_id)

    async def listen(self) -> None:
        """Act on the notices of all processes, until cancelled."""
        await self._notices.listen(self)

    async def reconcile(self) -> None:
        """Find the sessions with clients here that have ended without a notice, until cancelled."""
        waiting: list[str] = []
        while True:
            await trio.sleep(RECONCILE_SECONDS)
            waiting = waiting or self._roster.session_ids
            some, waiting = waiting[:_IDS_AT_ONCE], waiting[_IDS_AT_ONCE:]
            if not some:
                continue
            try:
                await self._let_go(await self._database.no_longer_active(some))
            except Unavailable as failure:
                _log.warning("cannot tell which sessions have ended", reason=failure.detail)

    async def _let_go(self, session_ids: Sequence[str]) -> None:
        with trio.move_on_after(TAKE_IN_SECONDS):
            async with trio.open_nursery() as nursery:
                for session_id in session_ids:
                    nursery.start_soon(self.take_in, session_id)
        for session_id in session_ids:
            self._roster.finish(session_id)
