"""What the whole server takes in, and what that costs: over real WebSockets, into either frame store.

Run by hand: `python -m tests.bench.bench_ingest` (`--help` for options). The server is a process of its own
on its defaults: acknowledgements, checks and live analysis are on. Load, server, analysis worker and Redis
share the machine, so compare only runs on the same one. Analysis runs behind the load: its CPU counts what it
did meanwhile, in bursts a part of the whole.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console

from tests.bench.figures import Figures, environment, machine, table
from tests.bench.load import Failed, Load, batch_messages, single_messages
from tests.fixtures.redis import RedisServer, running_redis

BURST_CLIENTS = 20
BURST_MESSAGES = 5_000
BATCH_FRAMES = 50
BATCH_MESSAGES = 300
PACED_CLIENTS = 300
PACED_PER_SECOND = 24
PACED_SECONDS = 15
"""Three rounds of live analysis."""
IDLE_CLIENTS = 1_000
WARM_UP_MESSAGES = 20

_START_SECONDS = 20.0
_SETTLE_SECONDS = 1.0


class Meter(NamedTuple):
    """What the server has done and used up so far."""

    frames: int
    acks: int
    server_seconds: float
    """CPU time of the server's process."""
    analysis_seconds: float
    """CPU time of its analysis workers."""
    redis_seconds: float


class Server:
    """A server process of its own, with everything it keeps in `folder`."""

    def __init__(self, process: psutil.Popen, url: str, redis: RedisServer | None) -> None:
        self.port = int(url.rpartition(":")[2])
        self._url = url
        self._process = process
        self._redis = redis

    def meter(self) -> Meter:
        """Read everything; the reading itself costs the server a few milliseconds."""
        own = self._process.cpu_times()
        workers = [child.cpu_times() for child in self._process.children(recursive=True)]
        with urllib.request.urlopen(f"{self._url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        counted = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return Meter(
            frames=int(float(counted["proctor_frames_stored_total"])),
            acks=int(float(counted["proctor_acks_total"])),
            server_seconds=own.user + own.system,
            analysis_seconds=own.children_user
            + own.children_system
            + sum(worker.user + worker.system for worker in workers),
            redis_seconds=self._redis_seconds(),
        )

    def resident_bytes(self) -> int:
        """Memory of the server's process, without its analysis workers."""
        return int(self._process.memory_info().rss)

    def _redis_seconds(self) -> float:
        if self._redis is None:
            return 0.0
        with self._redis.client() as client:
            used = client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])


@contextmanager
def running_server(redis: RedisServer | None) -> Iterator[Server]:
    """A started server; on exit it is stopped and its log looked through for errors."""
    settings = {"LOG_FORMAT": "json"} | ({} if redis is None else {"REDIS_URL": redis.url})
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        with log.open("wb") as errors:
            process = psutil.Popen(
                [sys.executable, "-m", "proctor", "serve", "--port", "0"],
                cwd=folder,
                env=environment(**settings),
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        try:
            yield Server(process, _url_in(log), redis)
        finally:
            process.terminate()
            try:
                process.wait(_START_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()
        wrong = [line for line in log.read_text().splitlines() if '"level": "error"' in line]
        if wrong:
            raise Failed(f"the server logged {wrong[0]}")


def _url_in(log: Path) -> str:
    """Wait for the line that says where the server is."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if '"event": "serving"' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.05)
    raise Failed(f"the server did not start: {log.read_text()[-2000:]}")


def costs(before: Meter, after: Meter, messages: int, frames: int) -> Figures:
    """Check that everything sent was stored and acknowledged; returns what it cost."""
    for what, sent, counted in (
        ("frames stored", frames, after.frames - before.frames),
        ("acknowledgements", messages, after.acks - before.acks),
    ):
        if sent != counted:
            raise Failed(f"{sent} sent, but /metrics counts {counted} {what}")
    spent = {
        "server CPU µs/frame": after.server_seconds - before.server_seconds,
        "analysis CPU µs/frame": after.analysis_seconds - before.analysis_seconds,
        "Redis CPU µs/frame": after.redis_seconds - before.redis_seconds,
    }
    return {name: seconds / frames * 1e6 for name, seconds in spent.items() if seconds}


def burst(server: Server, scale: float) -> Figures:
    """Single frames from 20 clients, as fast as TCP takes them."""
    return _burst(server, single_messages(WARM_UP_MESSAGES + round(BURST_MESSAGES * scale)), 1)


def batches(server: Server, scale: float) -> Figures:
    """The same in batches of 50 frames."""
    count = WARM_UP_MESSAGES + round(BATCH_MESSAGES * scale)
    return _burst(server, batch_messages(count, BATCH_FRAMES), BATCH_FRAMES)


def _burst(server: Server, messages: list[bytes], frames_per_message: int) -> Figures:
    with Load(server.port, [f"burst-{number}" for number in range(BURST_CLIENTS)]) as load:
        load.burst(messages[:WARM_UP_MESSAGES])
        before = server.meter()
        seconds = load.burst(messages[WARM_UP_MESSAGES:])
        after = server.meter()
    count = (len(messages) - WARM_UP_MESSAGES) * BURST_CLIENTS
    frames = count * frames_per_message
    return {"frames/s": frames / seconds, **costs(before, after, count, frames)}


def paced(server: Server, scale: float) -> Figures:
    """Single frames from 300 clients, 24 per second each, evenly out of step."""
    clients = max(round(PACED_CLIENTS * scale), 1)
    messages = single_messages(WARM_UP_MESSAGES + PACED_PER_SECOND * PACED_SECONDS)
    with Load(server.port, [f"paced-{number}" for number in range(clients)]) as load:
        load.pace(messages[:WARM_UP_MESSAGES], PACED_PER_SECOND)
        before = server.meter()
        began = time.perf_counter()
        delays = load.pace(messages[WARM_UP_MESSAGES:], PACED_PER_SECOND)
        seconds = time.perf_counter() - began
        after = server.meter()
    centiles = statistics.quantiles(delays, n=100)
    return {
        "frames/s": len(delays) / seconds,
        **costs(before, after, len(delays), len(delays)),
        "ack p50 ms": centiles[49] * 1000,
        "ack p99 ms": centiles[98] * 1000,
    }


def idle(server: Server, scale: float) -> Figures:
    """Clients that have sent one frame each and then stay."""
    clients = max(round(IDLE_CLIENTS * scale), 1)
    message = single_messages(1)
    with Load(server.port, [f"warm-up-{number}" for number in range(BURST_CLIENTS)]) as load:
        load.burst(message)
        before, memory = server.meter(), server.resident_bytes()
        with Load(server.port, [f"idle-{number}" for number in range(clients)]) as idlers:
            idlers.burst(message)
            time.sleep(_SETTLE_SECONDS)
            grown = server.resident_bytes() - memory
            costs(before, server.meter(), clients, clients)
    return {"KiB/connection": grown / clients / 1024}


SCENARIOS: dict[str, Callable[[Server, float], Figures]] = {
    "burst": burst,
    "batches": batches,
    "paced": paced,
    "idle": idle,
}


def measure(
    scenarios: list[str], rounds: int, scale: float, *, redis: bool
) -> tuple[dict[str, list[Figures]], list[str]]:
    """Run every scenario once per round; returns the figures of the runs that held, and what failed."""
    results, failures = defaultdict(list), []
    for number in range(1, rounds + 1):
        for name in scenarios:
            try:
                figures = run(name, scale, redis=redis)
            except Failed as failure:
                failures.append(f"{name}, round {number}: {failure}")
            else:
                results[name].append(figures)
            print(f"{name}, round {number} of {rounds}", file=sys.stderr, flush=True)
    return results, failures


def run(scenario: str, scale: float, *, redis: bool) -> Figures:
    """Run one scenario on a fresh server and, if wanted, a fresh Redis."""
    with ExitStack() as stack:
        redis_server = None
        if redis:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            redis_server = stack.enter_context(running_redis(home, "--appendonly", "yes"))
        server = stack.enter_context(running_server(redis_server))
        return SCENARIOS[scenario](server, scale)


def main() -> int:
    """Measure and print; returns 1 if anything that was counted does not add up."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_ingest", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--redis", action="store_true", help="store in a Redis of its own (AOF, everysec)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each scenario (3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the load described, for small machines (1)"
    )
    parser.add_argument("--json", action="store_true", help="print all runs as JSON instead of a table")
    chosen = parser.parse_args()
    if unknown := set(chosen.scenarios) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    names = chosen.scenarios or list(SCENARIOS)
    results, failures = measure(names, chosen.rounds, chosen.scale, redis=chosen.redis)
    command = " ".join(["python -m tests.bench.bench_ingest", *sys.argv[1:]])
    if chosen.json:
        content = {"command": command, "machine": machine(), "runs": results, "failures": failures}
        print(json.dumps(content, indent=1))
    else:
        store = "Redis" if chosen.redis else "the embedded store"
        title = f"Into {store} ({machine()})\nRepeat with: {command}"
        legend = "\n".join(f"{name}: {SCENARIOS[name].__doc__}" for name in results)
        Console().print(table(results, title, legend))
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
