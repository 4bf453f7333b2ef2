"""Judging ended sessions again, from their dumps: by another policy, accommodations, or newer rules."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import msgspec
import structlog
import trio

from proctor.analysis.compare import Comparison, compare
from proctor.analysis.engine import Engine
from proctor.analysis.granting import Granting
from proctor.analysis.policy import Policy
from proctor.analysis.told import Told
from proctor.analysis.what_if import WhatIf, said_otherwise
from proctor.errors import Conflict, InvalidRequest
from proctor.model import ExamSession, SessionStatus
from proctor.sessions import Sessions
from proctor.settings import Settings
from proctor.storage.analyses import Analysis
from proctor.storage.database import Database
from proctor.storage.dumps import dump_path, find_dump, read_dump
from proctor.storage.encryption import DumpKeys
from proctor.times import iso_from_ms

_log = structlog.get_logger(__name__)

AT_ONCE = 2
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
    """Every version of ended sessions' reports, and what another policy would say."""

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
        self._dump_keys = DumpKeys.of(settings)
        self._now_ms = now_ms
        self._places = trio.CapacityLimiter(AT_ONCE)
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    async def reanalyze(self, session_id: str, wish: Wish) -> tuple[Analysis, Comparison]:
        """Judge an ended session again, keep the report as its latest version, and say what has changed.

        One at a time per session. Cancelled, it may or may not have kept the new version.

        Raises:
            UnknownSession: there is no such session.
            Conflict: it has not ended, or its dump does not hold the frames that were judged.
            InvalidRequest: no such policy, or an accommodation that cannot be granted.
            Unavailable: the database or the disk is in trouble, or no key opens the dump; ask again.
        """
        session = await self._ended(session_id)
        async with self._locks.setdefault(session_id, trio.Lock()):
            while True:
                versions = await self._database.list_analyses(session_id)
                before = await self._database.get_report(session_id)
                if not versions or before is None:
                    raise Conflict(f"session {session_id!r} has no report yet; end it first")
                report, _ = await self._judged(session, _told(before), wish.policy, wish.accommodations)
                kept = await self._database.save_report(
                    session_id,
                    report,
                    version=versions[-1].version + 1,
                    requested_by=wish.requested_by,
                    reason=wish.reason,
                )
                if kept:  # else another process was faster, and the difference is to its version
                    _log.info("session judged again", session=session_id, version=versions[-1].version + 1)
                    latest = (await self._database.list_analyses(session_id))[versions[-1].version]
                    return latest, compare(before, report)

    async def what_if(self, session_id: str, policy_name: str) -> WhatIf:
        """Return what a policy would say of an ended session, beside the report that stands. Keeps nothing.

        Raises:
            InvalidRequest: no such policy, or what the candidate was granted cannot be granted under it.
            Conflict: as :meth:`reanalyze`; with the field `policy`, it says what the report was judged by.
            UnknownSession, Unavailable: as :meth:`reanalyze`.
        """
        policy = self._policy(policy_name)
        session = await self._ended(session_id)
        before = await self._database.get_report(session_id)
        if before is None:
            raise Conflict(f"session {session_id!r} has no report yet; end it first")
        told = _told(before)
        if told.provenance.policy.digest == policy.digest:
            others = sorted(set(self._engine.policies) - {policy_name, told.session_info.policy})
            raise Conflict(
                f"the report that stands was judged by what policy {policy_name!r} says; "
                f"name another one: {', '.join(others) or 'there is none, add it to POLICY_DIRECTORY'}",
                field="policy",
            )
        _, otherwise = await self._judged(session, told, policy_name, None)
        return said_otherwise(told, otherwise)

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

    async def _judged(
        self, session: ExamSession, told: Told, policy: str | None, accommodations: Sequence[Any] | None
    ) -> tuple[bytes, Told]:
        """Return the report on a session's dump; what is None is as in the report that stands, `told`."""
        again = self._as_wished(session, told, policy, accommodations)
        async with self._places:
            report = await self._from_dump(again, told.data_quality.frames.stored)
        judged = Told.read(report)
        was, now = told.provenance.frames, judged.provenance.frames
        if (was.count, was.digest) != (now.count, now.digest):
            raise Conflict(
                f"the dump has {now.count} frames, not the {was.count} that were judged, or others: it was "
                "changed since, or frames were lost while the disk was full or the spool gone"
            )
        return report, judged

    def _as_wished(
        self, session: ExamSession, last: Told, policy: str | None, wished: Sequence[Any] | None
    ) -> ExamSession:
        policy = policy or last.session_info.policy
        self._policy(policy)
        if wished is not None:
            now = iso_from_ms(self._now_ms())
            accommodations = self._granting.read(wished, policy, granted_at=now)
        else:
            accommodations = [granted.accommodation for granted in last.accommodations]
            self._granting.check(accommodations, policy)
        return msgspec.structs.replace(session, policy=policy, accommodations=accommodations)

    def _policy(self, name: str) -> Policy:
        policy = self._engine.policies.get(name)
        if policy is None:
            known = ", ".join(sorted(self._engine.policies))
            raise InvalidRequest(f"policy {name!r} does not exist; there are: {known}", field="policy")
        return policy

    async def _from_dump(self, session: ExamSession, stored: int) -> bytes:
        folder = self._settings.dump_directory
        path = await trio.to_thread.run_sync(find_dump, folder, session.session_id)
        if path is None:
            gone = dump_path(folder, session.session_id).name
            raise Conflict(f"the dump {gone} is gone, so there is nothing to judge again")
        try:
            frames = await trio.to_thread.run_sync(partial(read_dump, path, keys=self._dump_keys))
            return await self._engine.judge(frames, session, analysed_ms=self._now_ms(), stored=stored)
        except InvalidRequest as error:
            detail = error.detail.replace(str(path), path.name)
            raise Conflict(f"the dump {path.name} was damaged: {detail}") from error


def _told(report: bytes) -> Told:
    try:
        return Told.read(report)
    except InvalidRequest as error:
        raise Conflict(f"the report that stands cannot be read: {error.detail}") from error
