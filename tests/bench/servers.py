"""The servers that are measured, each in a process of its own, and what they have used up."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bench.figures import environment
from tests.bench.load import Failed
from tests.fixtures.redis import RedisServer, running_redis

_START_SECONDS = 60.0
_PEERS = Path(__file__).parent / "peers"
_NODE = _PEERS / "node"


class Program(NamedTuple):
    """One kind of server: how it is started and what its log says."""

    name: str
    command: Sequence[str]
    """It takes a free port, and stores in the Redis that `REDIS_URL` names."""
    serving: str
    """Pattern of its address in its log, with the port as group 1."""
    trouble: str
    """Pattern of a line in its log that fails a run."""
    settings: Mapping[str, str] = {}
    processes: int = 1
    """So many say where they serve."""


def proctor(workers: int = 1) -> Program:
    """Proctor on its defaults, but for `MAX_FRAMES_PER_SECOND`: all checks and live analysis are on."""
    more = ["--workers", str(workers)] if workers > 1 else []
    return Program(
        "Proctor",
        [sys.executable, "-m", "proctor", "serve", "--port", "0", *more],
        r'^(?=.*"event": "serving").*http://[^/"]*:(\d+)',
        r'"level": "error"',
        {"LOG_FORMAT": "json", "MAX_FRAMES_PER_SECOND": "0"},
        workers,
    )


FASTAPI = Program(
    "FastAPI",
    [
        *(sys.executable, "-m", "uvicorn", "fastapi_peer:app", "--app-dir", str(_PEERS), "--port", "0"),
        *("--loop", "uvloop", "--http", "httptools"),
    ],
    r"Uvicorn running on http://[^/ ]*:(\d+)",
    r"ERROR|Traceback",
)
NODE = Program(
    "Node",
    ["node", str(_NODE / "server.js")],
    r"serving on http://[^/ ]*:(\d+)",
    r"Error",
    {"NODE_ENV": "production"},
)


def missing(program: Program) -> str | None:
    """Say how to install what a peer needs, if it is not there."""
    if program is FASTAPI:
        needed = ("fastapi", "uvicorn", "uvloop", "httptools", "websockets")
        absent = [name for name in needed if importlib.util.find_spec(name) is None]
        return f"no {', '.join(absent)}: pip install -e '.[bench]'" if absent else None
    if program is NODE:
        if shutil.which("node") is None:
            return "no Node.js, version 20 or later, on PATH (Debian: apt-get install nodejs npm)"
        if not (_NODE / "node_modules").is_dir():
            return f"no ws and ioredis: npm ci --prefix {os.path.relpath(_NODE)}"
    return None


class Spent(NamedTuple):
    """CPU seconds used up so far."""

    server: float
    """By the server's processes, without its analysis workers."""
    analysis: float
    """By its analysis workers."""
    redis: float
    load: float
    """By this process, which makes the load."""

    def since(self, before: "Spent") -> "Spent":
        """Return what was used up from `before` to this."""
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))


class Server:
    """A running server, with everything it keeps in a folder of its own."""

    def __init__(self, process: psutil.Popen, port: int, redis: RedisServer | None) -> None:
        self.port = port
        self._process = process
        self._redis = redis

    def spent(self) -> Spent:
        """Read what was used up; costs the server nothing."""
        serving, analysing = self._processes()
        return Spent(
            server=sum(_cpu_seconds(process) for process in serving),
            # Workers that have ended are counted with the process that started them.
            analysis=sum(map(_cpu_seconds, analysing)) + sum(map(_children_seconds, serving)),
            redis=self._redis_seconds(),
            load=time.process_time(),
        )

    def stored(self, sessions: Iterable[str]) -> int:
        """Count the frames of these sessions that are stored, by the index in Redis or else by `/metrics`.

        Takes milliseconds of the server's or Redis's time.
        """
        if self._redis is None:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
                counted = re.search(rb"^proctor_frames_stored_total (\S+)$", answer.read(), re.MULTILINE)
            return int(float(counted[1])) if counted else 0
        with self._redis.client() as client, client.pipeline(transaction=False) as pipeline:
            for session_id in sessions:
                pipeline.zcard(f"frames_meta:{session_id}")
            return sum(pipeline.execute())

    def resident_bytes(self) -> int:
        """Memory of the server's processes, without its analysis workers."""
        return sum(process.memory_info().rss for process in self._processes()[0])

    def _processes(self) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """The processes that serve and those that analyze."""
        serving: list[psutil.Process] = [self._process]
        analysing: list[psutil.Process] = []
        for process in self._process.children(recursive=True):
            started_by_multiprocessing = any("multiprocessing" in word for word in process.cmdline())
            (analysing if started_by_multiprocessing else serving).append(process)
        return serving, analysing

    def _redis_seconds(self) -> float:
        if self._redis is None:
            return 0.0
        with self._redis.client() as client:
            used = client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])


def _cpu_seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _children_seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.children_user + used.children_system)


@contextmanager
def fresh_server(program: Program, *, redis: bool) -> Iterator[Server]:
    """A server that has just been started, on an empty Redis of its own or the embedded store."""
    with ExitStack() as stack:
        redis_server = None
        if redis:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            redis_server = stack.enter_context(running_redis(home, "--appendonly", "yes"))
        yield stack.enter_context(running_server(program, redis_server))


@contextmanager
def running_server(program: Program, redis: RedisServer | None) -> Iterator[Server]:
    """A started server; on exit it is stopped and its log looked through for errors."""
    store = {} if redis is None else {"REDIS_URL": redis.url}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        with log.open("wb") as lines:
            process = psutil.Popen(
                program.command,
                cwd=folder,
                env=environment(**program.settings, **store),
                stdout=lines,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Server(process, _port_in(log, program), redis)
        finally:
            process.terminate()
            try:
                process.wait(_START_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()
        wrong = [line for line in log.read_text().splitlines() if re.search(program.trouble, line)]
        if wrong:
            raise Failed(f"the server logged {wrong[0]}")


def _port_in(log: Path, program: Program) -> int:
    """Wait until every process of the server has said where it is."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ports = re.findall(program.serving, log.read_text(), re.MULTILINE)
        if len(ports) >= program.processes:
            return int(ports[0])
        time.sleep(0.05)
    raise Failed(f"{program.name} did not start: {log.read_text()[-2000:]}")
