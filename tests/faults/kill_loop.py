"""A server, or its Redis, killed at random moments while exam takers stream; then everything is judged.

    python -m tests.faults.kill_loop --rounds 200 --store embedded --victim server

A round takes some seconds with a server for victim and about one with Redis. Prints the figures, or what was
lost.
"""

import argparse
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import httpx
import psutil
import trio

from tests.faults.checker import Judgement, dumped, in_file, in_redis, judge
from tests.faults.taker import Taker
from tests.fixtures.process import ServerProcess, serve
from tests.fixtures.redis import RedisServer, running_redis

_TAKERS = 3
_LONGEST_LIFE_SECONDS = 0.6
_PATIENCE_SECONDS = 60
_SETTINGS = {
    "ANALYZE_INTERVAL_SECONDS": "0",
    "LOG_LEVEL": "error",
    "MAX_FRAMES_PER_SECOND": "0",
    "SHUTDOWN_TIMEOUT_SECONDS": "5",
}

Victim = Literal["server", "redis"]
Found = dict[str, Judgement]


@dataclass
class Run:
    """One loop: the takers, who live through it, and the server of the moment."""

    folder: Path
    noise: random.Random
    redis: RedisServer | None = None
    server: ServerProcess | None = None
    takers: dict[str, Taker] = field(default_factory=dict)
    asked_to_stop: int = 0
    ends_answered: int = 0

    def taker(self, session_id: str) -> Taker:
        """Make an exam taker who finds the server of the moment."""
        taker = Taker(session_id, lambda: self.server and self.server.port, pause_seconds=0.002)
        self.takers[session_id] = taker
        return taker

    def in_store(self, session_id: str) -> Judgement:
        """Judge what the store itself holds of a session that runs."""
        ledger = self.takers[session_id].ledger
        if self.redis is None:
            return judge(ledger, in_file(self.folder / "proctor-frames.sqlite3", session_id))
        with self.redis.client() as client:
            return judge(ledger, in_redis(client, session_id))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ServerProcess]:
        """Run a server on what earlier ones left behind."""
        store = {} if self.redis is None else {"REDIS_URL": self.redis.url}
        async with serve(self.folder, **_SETTINGS, **store) as server:
            self.server = server
            try:
                yield server
            finally:
                self.server = None


async def progress(takers: list[Taker]) -> None:
    """Wait until each taker has heard something new."""
    with trio.fail_after(_PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            for taker in takers:
                nursery.start_soon(taker.progress)


async def kill_server(run: Run, number: int) -> None:
    """One life of a server: it serves everybody, somebody's exam ends, and at some moment it is killed."""
    steady = list(run.takers.values())[:_TAKERS]
    async with run.serving() as server, trio.open_nursery() as nursery:
        workers = server.workers()
        leaving = run.taker(f"leaving-{number}")
        nursery.start_soon(leaving.run)
        await progress([*steady, leaving])

        async def leave() -> None:
            try:
                await server.post(leaving.ledger.session_id, "end")
                run.ends_answered += 1
            except httpx.HTTPError:
                pass

        nursery.start_soon(leave)
        await trio.sleep(run.noise.uniform(0, _LONGEST_LIFE_SECONDS))
        if run.noise.random() < 0.25:
            run.asked_to_stop += 1
            server.process.send_signal(signal.SIGTERM)
            await trio.sleep(run.noise.uniform(0, 0.2))
        await server.kill()
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel(reason="the server is dead")
    _, alive = await trio.to_thread.run_sync(psutil.wait_procs, workers, 5)
    assert not alive, "workers outlived their server"
    for session_id in list(run.takers)[:_TAKERS]:
        run.in_store(session_id)


async def kill_redis(run: Run) -> None:
    """One life of a Redis under a server that stays."""
    assert run.redis is not None
    await progress(list(run.takers.values()))
    await trio.sleep(run.noise.uniform(0, _LONGEST_LIFE_SECONDS))
    run.redis.kill()
    await trio.sleep(run.noise.uniform(0, 0.2))
    await trio.to_thread.run_sync(run.redis.start)


async def end(server: ServerProcess, session_id: str) -> None:
    """End a session and wait until all of that is done."""
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            if (await server.post(session_id, "end")).status_code == 204:
                return
            await trio.sleep(0.1)


async def end_all(run: Run, server: ServerProcess) -> Found:
    """End every session and judge its dump. Those who streamed to the end have heard of every frame."""
    found = {}
    for session_id, taker in run.takers.items():
        await end(server, session_id)
        dump = dumped(run.folder / "analysis_dumps", session_id)
        found[session_id] = judge(taker.ledger, dump, everything=session_id.startswith("steady"))
    return found


async def run_rounds(run: Run, rounds: int, victim: Victim) -> Found:
    """Kill `rounds` times, then let everybody come to an end and judge. Raises Broken."""
    steady = [run.taker(f"steady-{number}") for number in range(_TAKERS)]
    async with trio.open_nursery() as nursery:
        for taker in steady:
            nursery.start_soon(taker.run)
        if victim == "server":
            for number in range(rounds):
                await kill_server(run, number)
        async with run.serving() as server:
            if victim == "redis":
                for _ in range(rounds):
                    await kill_redis(run)
            await progress(steady)
            for taker in steady:
                with trio.fail_after(_PATIENCE_SECONDS):
                    await taker.finish()
                run.in_store(taker.ledger.session_id)
            return await end_all(run, server)


def main() -> None:
    """Run one loop and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--store", choices=["embedded", "redis"], default="embedded")
    parser.add_argument("--victim", choices=["server", "redis"], default="server")
    parser.add_argument(
        "--appendfsync",
        choices=["always", "everysec", "no"],
        default="always",
        help="of Redis; with `everysec` it puts writes off, and answers, while the disk is slow to sync",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments; what happens in them varies")
    chosen = parser.parse_args()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="proctor-kills-")))
        redis = None
        if chosen.store == "redis":
            (folder / "redis").mkdir()
            redis = stack.enter_context(
                running_redis(folder / "redis", "--appendonly", "yes", "--appendfsync", chosen.appendfsync)
            )
        run = Run(folder, random.Random(chosen.seed), redis)
        found = trio.run(run_rounds, run, chosen.rounds, chosen.victim)
    sent, acked, stored = map(sum, zip(*found.values(), strict=True))
    closes = Counter(close.code for taker in run.takers.values() for close in taker.closes)
    print(
        f"{chosen.rounds} kills of {chosen.victim} on {chosen.store} in {time.monotonic() - began:.0f} s: "
        f"{len(found)} sessions, {sent} frames sent, {acked} acknowledged, {stored} stored; "
        f"{run.asked_to_stop} times asked to stop first, {run.ends_answered} ends answered before; "
        f"{sum(taker.connections for taker in run.takers.values())} connections, closed with "
        f"{dict(closes)}; nothing lost, none twice"
    )


if __name__ == "__main__":
    main()
