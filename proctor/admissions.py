"""The sessions that clients want to stream into: who comes at the same time shares a look at the database.

After a restart everybody comes back at once, and one by one each would wait for all before it.
"""

from collections.abc import Callable

import trio

from proctor.access.gate import Gate
from proctor.errors import ProctorError, Unavailable, UnknownSession
from proctor.model import ExamSession
from proctor.storage.database import Database

_AT_ONCE = 500


class _Request:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.session: ExamSession | None = None
        self.failure: ProctorError = Unavailable("the session could not be looked up; ask again")


class Admissions:
    """Finds sessions, or begins them while authentication is off. Has a task, `serve`."""

    def __init__(self, database: Database, gate: Gate, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._gate = gate
        self._now_ms = now_ms
        self._requests: dict[str, _Request] = {}
        self._asked = trio.Event()

    async def admit(self, session_id: str) -> ExamSession:
        """Return the session of this id; one that nobody started begins here. May be cancelled.

        Raises:
            UnknownSession: nobody started it, and authentication is on.
            Unavailable: the database is in trouble.
        """
        request = self._requests.setdefault(session_id, _Request())
        self._asked.set()
        await request.done.wait()
        if request.session is None:
            raise request.failure
        return request.session

    async def serve(self) -> None:
        """Answer until cancelled. Who asks while the database is busy is answered together with others."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            while self._requests:
                ids = list(self._requests)[:_AT_ONCE]
                await self._answer({each: self._requests.pop(each) for each in ids})

    async def _answer(self, requests: dict[str, _Request]) -> None:
        try:
            started_ms = None if self._gate.on else self._now_ms()
            found = await self._database.admit_sessions(list(requests), started_ms)
            for session_id, request in requests.items():
                request.session = found.get(session_id)
                request.failure = UnknownSession.of(session_id)
        except ProctorError as failure:
            for request in requests.values():
                request.failure = failure
        finally:
            for request in requests.values():
                request.done.set()
