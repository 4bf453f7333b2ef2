"""The sessions that clients want to stream into: who comes at the same time shares a look at the database.

After a restart everybody comes back at once, and one by one each would wait for all before it.
"""

from collections.abc import Callable

import trio

from proctor.access.gate import Gate
from proctor.errors import Conflict, ProctorError, Unavailable, UnknownSession
from proctor.model import ExamSession
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore

_AT_ONCE = 500


class _Request:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.session: ExamSession | None = None
        self.failure: ProctorError = Unavailable("the session could not be looked up; ask again")


def erased(session_id: str) -> Conflict:
    """Return the error for an id that nobody can have yet."""
    detail = f"a session {session_id!r} was erased, and its id takes no frames for a day; choose another id"
    return Conflict(detail, field="session_id")


class Admissions:
    """Finds sessions, or begins them while authentication is off. Has a task, `serve`."""

    def __init__(self, database: Database, store: FrameStore, gate: Gate, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._store = store
        self._gate = gate
        self._now_ms = now_ms
        self._requests: dict[str, _Request] = {}
        self._asked = trio.Event()

    async def admit(self, session_id: str) -> ExamSession:
        """Return the session of this id; one that nobody started begins here. May be cancelled.

        Raises:
            UnknownSession: nobody started it, and authentication is on.
            Conflict: nobody started it, and one of this id was erased not long ago.
            Unavailable: the database or the frame store is in trouble.
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

    async def _begin(self, requests: dict[str, _Request]) -> None:
        free = []
        for session_id, request in requests.items():
            if (await self._store.resume_point(session_id)).sealed:
                request.failure = erased(session_id)
            else:
                free.append(session_id)
        begun = await self._database.admit_sessions(free, self._now_ms()) if free else {}
        for session_id, session in begun.items():
            requests[session_id].session = session

    async def _answer(self, requests: dict[str, _Request]) -> None:
        try:
            found = await self._database.admit_sessions(list(requests), None)
            for session_id, request in requests.items():
                request.session = found.get(session_id)
                request.failure = UnknownSession.of(session_id)
            if not self._gate.on:
                await self._begin({each: requests[each] for each in requests if each not in found})
        except ProctorError as failure:
            for request in requests.values():
                request.failure = failure
        finally:
            for request in requests.values():
                request.done.set()
