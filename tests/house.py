"""The services behind the web pages, on files of the test's own and without worker processes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio.testing

from proctor.access.gate import Gate
from proctor.admissions import Admissions
from proctor.analysis.discovery import discover
from proctor.analysis.granting import Granting
from proctor.analysis.policy import built_in_policy, load_policy
from proctor.archive import Archive
from proctor.clock import ClientClock
from proctor.clocks import Clocks
from proctor.connection import Connection
from proctor.endings import Endings
from proctor.farewells import Farewells
from proctor.grants import Grants
from proctor.ingest import Ingest, frame_message
from proctor.live import LiveAnalysis
from proctor.metrics import Metrics
from proctor.model import ExamSession
from proctor.notices import open_notices
from proctor.pace import Allowance, Pace
from proctor.reanalysis import Reanalysis
from proctor.roster import Roster
from proctor.services import now_ms
from proctor.sessions import Sessions
from proctor.settings import Settings
from proctor.storage.credentials import Credentials
from proctor.storage.database import Database
from proctor.storage.frames import FrameStore, Outcome, open_frame_store
from proctor.storage.pool import open_pool
from proctor.wire import Frames, read_message
from tests.fakes import FakeSocket, InlineEngine

POLICIES = Path(__file__).parent.parent / "config"
PARTS = ("database", "store", "archive", "ingest", "live", "roster")


def house_settings(directory: Path, **changes: object) -> Settings:
    """Return settings whose files are all in `directory`."""
    paths = {
        "database_url": f"sqlite:///{directory}/proctor.sqlite3",
        "frame_store_path": directory / "frames.sqlite3",
        "dump_directory": directory / "dumps",
    }
    return Settings(_env_file=None, **paths | changes)


@dataclass
class House:
    """What a test works with; `parts` are what the sessions see, perhaps wrapped in a fault."""

    settings: Settings
    metrics: Metrics
    database: Database
    store: FrameStore
    archive: Archive
    engine: InlineEngine
    ingest: Ingest
    clocks: Clocks
    live: LiveAnalysis
    roster: Roster
    parts: dict[str, Any]
    endings: Endings
    sessions: Sessions
    grants: Grants
    reanalysis: Reanalysis
    nursery: trio.Nursery

    async def stream(self, session_id: str, *frames: dict[str, Any], seq: int | None = None) -> Outcome:
        """Admit the session and store frames as one message; each brings its event time as `ts`."""
        await self.sessions.admit(session_id)
        message = read_message(
            {"type": "batch", "frames": list(map(dict, frames)), "seq": seq}, session_id, 10_000
        )
        assert isinstance(message, Frames)
        clock = ClientClock()
        clock.fix(0, 0)
        received_ms = max(frame["ts"] for frame in frames)
        receipt = await self.ingest.store(frame_message(session_id, message, clock, received_ms))
        return receipt.outcome

    async def connect(self, session_id: str) -> FakeSocket:
        """Open a client's connection."""
        socket = FakeSocket()
        connection = Connection(
            socket,
            session_id,
            clock=self.clocks.connect(session_id),
            pace=Pace(Allowance(self.settings)),
            ingest=self.ingest,
            settings=self.settings,
            metrics=self.metrics,
            now_ms=now_ms,
        )

        await self.sessions.admit(session_id)
        resume = await self.store.resume_point(session_id)

        async def serve() -> None:
            with self.roster.joined(connection):
                await connection.run(resume)

        self.nursery.start_soon(serve)
        await trio.testing.wait_all_tasks_blocked()
        return socket


async def _nobody_looks(_session: ExamSession) -> None:
    pass


@asynccontextmanager
async def open_house(
    settings: Settings, *, finalize: bool = True, **wrap: Callable[[Any], Any]
) -> AsyncIterator[House]:
    """Open everything and run its tasks; on leaving, stop as suddenly as a process that is killed.

    `wrap` names parts that the sessions are to see through something, e.g. a fault.
    """
    analyzers = discover()
    policies = {"default": built_in_policy(analyzers)} | {
        name: load_policy(POLICIES / f"{name}.toml", analyzers) for name in ("strict", "open-book")
    }
    engine, granting = InlineEngine(analyzers, policies), Granting(analyzers, policies)
    metrics, roster = Metrics(), Roster()
    async with (
        open_pool(settings) as pool,
        open_frame_store(settings) as store,
        open_notices(settings) as notices,
        trio.open_nursery() as nursery,
    ):
        database, gate = Database(pool), Gate(Credentials(pool), settings, now_ms)
        await gate.load()
        archive = Archive(store, settings, metrics)
        ingest = Ingest(store, archive, settings, metrics, roster.renew)
        live = LiveAnalysis(store, archive, engine, ingest, settings, metrics, now_ms)  # type: ignore[arg-type]
        own = dict(zip(PARTS, (database, store, archive, ingest, live, roster), strict=True))
        parts = own | {name: wrapper(own[name]) for name, wrapper in wrap.items()}
        farewells = Farewells(parts["roster"], parts["ingest"], parts["database"], notices)
        seen = {name: parts[name] for name in ("database", "store", "live")}
        endings = Endings(
            **seen,
            archive=parts["archive"],
            show=_nobody_looks,
            farewells=farewells,
            settings=settings,
            metrics=metrics,
            now_ms=now_ms,
        )
        admissions = Admissions(seen["database"], seen["store"], gate, now_ms)
        sessions = Sessions(**seen, endings=endings, admissions=admissions, settings=settings, now_ms=now_ms)
        nursery.start_soon(admissions.serve)
        nursery.start_soon(ingest.write)
        nursery.start_soon(archive.write)
        nursery.start_soon(farewells.listen)
        if finalize:
            nursery.start_soon(endings.finalize)
        grants = Grants(sessions, parts["database"], ingest, granting, now_ms)
        reanalysis = Reanalysis(
            sessions=sessions,
            database=parts["database"],
            engine=engine,  # type: ignore[arg-type]
            granting=granting,
            settings=settings,
            now_ms=now_ms,
        )
        yield House(
            settings=settings,
            metrics=metrics,
            database=database,
            store=store,
            archive=archive,
            engine=engine,
            ingest=ingest,
            clocks=Clocks(),
            live=live,
            roster=roster,
            parts=parts,
            endings=endings,
            sessions=sessions,
            grants=grants,
            reanalysis=reanalysis,
            nursery=nursery,
        )
        nursery.cancel_scope.cancel(reason="the house is torn down")
