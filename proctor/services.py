"""The one list of everything with a lifetime, in the order in which it opens."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypedDict

import trio

from proctor.access.gate import Gate
from proctor.admissions import Admissions
from proctor.analysis.discovery import LoadedPlugin, discover
from proctor.analysis.engine import Engine, open_engine
from proctor.analysis.granting import Granting
from proctor.analysis.policy import Policy, load_policies, policy_of
from proctor.archive import Archive
from proctor.audit import Audit
from proctor.clocks import Clocks
from proctor.endings import Endings
from proctor.erasure import Erasure
from proctor.errors import Misconfigured, Unavailable
from proctor.farewells import Farewells
from proctor.grants import Grants
from proctor.idle import IdleSessions
from proctor.ingest import Ingest
from proctor.live import LiveAnalysis
from proctor.metrics import Metrics
from proctor.milestones import Presence
from proctor.model import ExamSession
from proctor.monitor.alerts import Alerts
from proctor.monitor.board import Board, open_board
from proctor.monitor.feed import Feed
from proctor.monitor.looking import Looking
from proctor.notices import Notices, open_notices
from proctor.policy_trail import note_policies
from proctor.reanalysis import Reanalysis
from proctor.reviewing import Reviewing
from proctor.roster import Roster
from proctor.sessions import Sessions
from proctor.settings import Settings
from proctor.storage.audit_cuts import AuditCuts
from proctor.storage.audit_log import AuditLog
from proctor.storage.credentials import Credentials
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore, open_frame_store
from proctor.storage.milestones import Milestones
from proctor.storage.pool import Pool, open_pool
from proctor.storage.removal import Removal
from proctor.storage.reviews import Reviews
from proctor.supervisor import Supervisor
from proctor.web.sockets import Sockets
from proctor.webhooks.announcing import Announcing
from proctor.webhooks.concerns import Concerns

_FLUSH_SHARE = 0.2
"""Of the time to shut down; connections and requests had theirs before, and workers are still to be ended."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the web pages work with."""

    settings: Settings
    metrics: Metrics
    supervisor: Supervisor = field(default_factory=Supervisor)
    gate: Gate
    audit: Audit
    database: Database
    store: FrameStore
    archive: Archive
    ingest: Ingest
    clocks: Clocks = field(default_factory=Clocks)
    live: LiveAnalysis
    roster: Roster
    farewells: Farewells
    endings: Endings
    admissions: Admissions
    sockets: Sockets
    sessions: Sessions
    granting: Granting
    grants: Grants
    reanalysis: Reanalysis
    reviewing: Reviewing
    erasure: Erasure
    idle: IdleSessions
    looking: Looking
    feed: Feed
    announcing: Announcing
    presence: Presence
    policies: Mapping[str, Policy]
    """The exam policies that a session may choose, by name."""

    def dropped(self, session: ExamSession) -> Sequence[str]:
        """Return the names of features that are not to be stored of a session."""
        return policy_of(self.policies, session.policy).storage.drop


def now_ms() -> int:
    """Return the server's wall clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def open_services(
    settings: Settings, analyzers: Sequence[LoadedPlugin] | None = None
) -> AsyncIterator[Services]:
    """Open all services and run their tasks; on leaving, store what was received and close in reverse order.

    `analyzers` defaults to the installed ones.

    Raises:
        Misconfigured: a setting, policy, plugin or schema that cannot be served with.
    """
    if analyzers is None:
        analyzers = discover(settings.required_analyzers)
    if "policy_directory" in settings.model_fields_set and not settings.policy_directory.is_dir():
        detail = f"{settings.policy_directory} is no folder, so none of its policies would be judged by"
        raise Misconfigured(detail, field="policy_directory")
    policies = load_policies(settings.policy_directory, analyzers)
    async with (
        open_pool(settings) as pool,
        open_frame_store(settings) as store,
        open_notices(settings) as notices,
        open_board(settings) as board,
        open_engine(settings, analyzers, policies) as engine,
        trio.open_nursery() as nursery,
    ):
        granting = Granting(analyzers, policies)
        services = _assemble(settings, pool, store, notices, board, engine, granting)
        await services.gate.load()
        await note_policies(services.audit, policies)
        for name, task in _tasks(services).items():
            nursery.start_soon(services.supervisor.run, name, task, name=name)
        yield services
        with trio.move_on_after(_FLUSH_SHARE * settings.shutdown_timeout_seconds):
            await services.ingest.flush()
            with suppress(Unavailable):
                await services.archive.flush()
            with suppress(Unavailable):
                await services.presence.flush()
        nursery.cancel_scope.cancel(reason="server stopping")


def _tasks(services: Services) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return what runs as long as the server does, by name."""
    return {
        "sockets": services.sockets.run,
        "keys": services.gate.refresh,
        "admissions": services.admissions.serve,
        "ingest": services.ingest.write,
        "spool": services.archive.write,
        "spool sweep": partial(services.archive.sweep, services.database),
        "live analysis": partial(services.live.follow, services.database.active_sessions),
        "live analysis of others": partial(services.live.sweep, services.database.running_sessions),
        "finalization": services.endings.finalize,
        "notices": services.farewells.listen,
        "reconciliation": services.farewells.reconcile,
        "retention": services.erasure.expire,
        "idle sessions": services.idle.follow,
        "looking": services.looking.run,
        "feed": services.feed.run,
        "presence": services.presence.write,
        **services.announcing.tasks,
    }


class _Parts(TypedDict):
    """What ends, everything else about sessions, and web pages all need."""

    database: Database
    store: FrameStore
    live: LiveAnalysis
    settings: Settings


def _assemble(
    settings: Settings,
    pool: Pool,
    store: FrameStore,
    notices: Notices,
    board: Board,
    engine: Engine,
    granting: Granting,
) -> Services:
    metrics, roster, database = Metrics(), Roster(), Database(pool)
    gate, audit = Gate(Credentials(pool), settings, now_ms), Audit(AuditLog(pool), now_ms)
    archive = Archive(store, settings, metrics)
    ingest = Ingest(store, archive, settings, metrics, roster.renew)
    live = LiveAnalysis(store, archive, engine, ingest, settings, metrics, now_ms)
    farewells = Farewells(roster, ingest, database, notices)
    parts = _Parts(database=database, store=store, live=live, settings=settings)
    announcing = Announcing(pool, partial(Concerns, live), audit, settings, metrics, now_ms)
    looking = _looking(parts, board, engine, ingest, farewells, announcing)
    endings = Endings(
        **parts, archive=archive, show=looking.look_last, farewells=farewells, metrics=metrics, now_ms=now_ms
    )
    admissions = Admissions(database, store, gate, now_ms)
    sessions = Sessions(**parts, endings=endings, admissions=admissions, now_ms=now_ms)
    return Services(
        **parts,
        metrics=metrics,
        gate=gate,
        audit=audit,
        archive=archive,
        ingest=ingest,
        roster=roster,
        farewells=farewells,
        endings=endings,
        admissions=admissions,
        sockets=Sockets(settings),
        sessions=sessions,
        granting=granting,
        grants=Grants(sessions, database, ingest, granting, now_ms),
        reanalysis=_reanalysis(sessions, database, engine, granting, settings),
        reviewing=Reviewing(Reviews(pool), database, engine.policies, now_ms),
        erasure=_erasure(pool, sessions, store, archive, board, audit, settings),
        idle=IdleSessions(Removal(pool), database, store, endings, audit, settings, now_ms),
        looking=looking,
        feed=Feed(board, database, now_ms),
        announcing=announcing,
        presence=Presence(Milestones(pool), now_ms),
        policies=engine.policies,
    )


def _looking(
    parts: _Parts, board: Board, engine: Engine, ingest: Ingest, farewells: Farewells, announcing: Announcing
) -> Looking:
    onlookers = Alerts(farewells, engine.policies, now_ms), announcing.concerns
    return Looking(board, engine, parts["store"], parts["database"], ingest, farewells, onlookers, now_ms)


def _erasure(
    pool: Pool,
    sessions: Sessions,
    store: FrameStore,
    archive: Archive,
    board: Board,
    audit: Audit,
    settings: Settings,
) -> Erasure:
    return Erasure(Removal(pool), sessions, store, archive, board, audit, AuditCuts(pool), settings, now_ms)


def _reanalysis(
    sessions: Sessions, database: Database, engine: Engine, granting: Granting, settings: Settings
) -> Reanalysis:
    return Reanalysis(
        sessions=sessions,
        database=database,
        engine=engine,
        granting=granting,
        settings=settings,
        now_ms=now_ms,
    )
