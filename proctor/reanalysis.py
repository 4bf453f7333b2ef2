"""Judging ended sessions again, from their dumps: by another policy, accommodations, or newer rules."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
import trio

from proctor.analysis.compare import Comparison, compare
from proctor.analysis.engine import Engine
from proctor.analysis.granting import Granting
from proctor.analysis.told import Told
from proctor.errors import Conflict, InvalidRequest
from proctor.model import ExamSession, SessionStatus
from proctor.sessions import Sessions
from proctor.settings import Settings
from proctor.storage.analyses import Analysis
from proctor.storage.database import Database
from proctor.storage.dumps import dump_path, read_dump

_log = structlog.get_logger(__name__)

_AT_ONCE = 2
"""Most sessions whose frames are in memory at the same time to be judged again."""


class Wish(NamedTuple):
    """Who wants a session to be judged again, why, and by what."""

    requested_by: str
    reason: str
    policy: str | None = None
    """None: as when it was judged last."""
    accommodations: Sequence[Any] | None = None
    """As JSON values, instead of those it was judged with last; None: the same."""


class Reanalysis:
    """Every version of ended sessions' reports."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        database: Database,
        engine: Engine,
        granting: Granting,
        settings: Settings,
        now_ms: Callable[[], int],
    ) -> None:
        self._sessions = sessions
        self._database = database
        self._engine = engine
        self._granting = granting
        self._settings = settings
        self._now_ms = now_ms
        self._places = trio.CapacityLimiter(_AT_ONCE)

    async def reanalyze(self, session_id: str, wish: Wish) -> tuple[Analysis, Comparison]:
        """Judge an ended session again, keep the report as its latest version, and say what has changed.

        Cancelled, it may or may not have kept the new version.

        Raises:
            UnknownSession: there is no such session.
            Conflict: it has not ended, or its dump is gone.
            InvalidRequest: no such policy, or an accommodation that cannot be granted.
            Unavailable: the database or the disk is in trouble; ask again.
        """
        session = await self._ended(session_id)
        while True:
            versions = await self._database.list_analyses(session_id)
            before = await self._database.get_report(session_id)
            if not versions or before is None:
                raise Conflict(f"session {session_id!r} has no report yet; end it first")
            again = self._as_wished(session, before, wish)
            async with self._places:
                frames = await self._frames(session_id)
                report = await self._engine.report(
                    None, frames, again, final=True, analysed_ms=self._now_ms()
                )
            kept = await self._database.save_report(
                session_id,
                report,
                version=versions[-1].version + 1,
                requested_by=wish.requested_by,
                reason=wish.reason,
            )
            if kept:  # else somebody else was faster, and the difference is to that version
                _log.info("session judged again", session=session_id, version=versions[-1].version + 1)
                return (await self.versions(session_id))[versions[-1].version], compare(before, report)

    async def versions(self, session_id: str) -> list[Analysis]:
        """Return what is known of every version, the first first. Raises UnknownSession."""
        await self._sessions.get(session_id)
        return await self._database.list_analyses(session_id)

    async def report(self, session_id: str, version: int) -> bytes:
        """Return a version of the report.

        Raises:
            UnknownSession: there is no such session.
            InvalidRequest: it has no such version.
        """
        versions = await self.versions(session_id)
        report = await self._database.get_report(session_id, version)
        if report is None:
            there = ", ".join(str(each.version) for each in versions) or "none"
            detail = f"session {session_id!r} has no version {version}; there are: {there}"
            raise InvalidRequest(detail, field="version")
        return report

    async def _ended(self, session_id: str) -> ExamSession:
        session = await self._sessions.get(session_id)
        if session.status is not SessionStatus.ENDED:
            raise Conflict(f"session {session_id!r} is {session.status}; end it first, then judge it again")
        return session

    def _as_wished(self, session: ExamSession, before: bytes, wish: Wish) -> ExamSession:
        last = Told.read(before)
        policy = wish.policy or last.session_info.policy
        if policy not in self._engine.policies:
            known = ", ".join(sorted(self._engine.policies))
            raise InvalidRequest(f"policy {policy!r} does not exist; there are: {known}", field="policy")
        accommodations = [granted.accommodation for granted in last.accommodations]
        if wish.accommodations is not None:
            accommodations = self._granting.read(wish.accommodations, policy)
        return msgspec.structs.replace(session, policy=policy, accommodations=accommodations)

    async def _frames(self, session_id: str) -> list[bytes]:
        path = dump_path(self._settings.dump_directory, session_id)
        if not await trio.Path(path).exists():
            raise Conflict(f"the dump {path.name} is gone, so there is nothing to judge again")
        return await trio.to_thread.run_sync(read_dump, path)
