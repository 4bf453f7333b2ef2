"""What proctors wait for: the monitor's first picture, its updates, and news of a finding.

Run by hand: `python -m tests.bench.bench_monitor` (`--help` for options). 1,000 clients send two frames per
second each, as many simulated honest exam takers, each of them another; the load, the watcher and the browser
share the machine with the server.
"""

import heapq
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import trio
from trio_websocket import ConnectionClosed, open_websocket_url

from tests.bench.command import run
from tests.bench.figures import Figures
from tests.bench.load import Client, Failed, Load, people_messages, single_messages
from tests.bench.neighbours import allow_many_files
from tests.bench.scenarios import centiles
from tests.bench.servers import Server
from tests.fixtures.browser import open_page

CLIENTS = 1000
PER_SECOND = 2
HONEST = ("honest-calm", "honest-lively", "honest-thinker", "honest-glasses", "honest-reads-aloud")
LOAD_SECONDS = 200
WARM_SECONDS = 45.0
"""Rules know by then what is usual for most candidates."""
FIRST_LOOK_SECONDS = 30.0
"""Until all sessions were looked at once, since somebody watches."""
PROBES = 60
PROBE_EVERY_SECONDS = 0.5
PROBE_INTERVAL_MS = 530
"""Between the frames of one, so that however the estimate of its clock varies …"""
COMPLETED_BY = 6
"""… this is the number of the frame by which a phone is in view for 3 s, a concern by the default policy."""
_LAST_SECONDS = 15.0
"""How long news is waited for after the last probe has begun."""
_SNAPSHOT_MAX_BYTES = 2**24


def page(server: Server, scale: float) -> Figures:
    """The page: first paint, all rows, and, as incidents come, main-thread time and layout shift."""
    clients = round(CLIENTS * scale)
    with _streaming(server, clients):
        return trio.run(_page_figures, server, clients)


def news(server: Server, scale: float) -> Figures:
    """News: from sending the frame that completes a finding to its arrival at a proctor's connection."""
    arrivals: dict[str, float] = {}
    with _streaming(server, round(CLIENTS * scale)), _watching(server, arrivals):
        time.sleep(FIRST_LOOK_SECONDS)
        completed = _probe(server)
    delays = [arrivals[name] - sent for name, sent in completed.items() if name in arrivals]
    if not delays:
        raise Failed("no finding was told")
    told = {"findings told": len(delays), "findings made": len(completed)}
    return centiles("news", delays) | told


@contextmanager
def _streaming(server: Server, clients: int) -> Iterator[None]:
    """Have clients send all the while."""
    done = threading.Event()
    everyone = [
        people_messages(HONEST[seed % len(HONEST)], seed, int(PER_SECOND * LOAD_SECONDS), 1000 // PER_SECOND)
        for seed in range(clients)
    ]
    with Load(server.port, [f"exam-{number}" for number in range(clients)]) as load:

        def send() -> None:
            for start in range(0, int(PER_SECOND * LOAD_SECONDS), PER_SECOND):
                if done.is_set():
                    return
                load.pace_each([each[start : start + PER_SECOND] for each in everyone], PER_SECOND)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            time.sleep(WARM_SECONDS)
            yield
        finally:
            done.set()
            thread.join()


async def _page_figures(server: Server, clients: int) -> Figures:
    async with open_page() as opened:
        await opened.call("goto", f"http://127.0.0.1:{server.port}/monitor")
        await opened.becomes(f"document.querySelectorAll('#sessions > li').length >= {clients}")
        began = trio.current_time()
        await trio.to_thread.run_sync(_probe, server)
        seconds = trio.current_time() - began
        shifts = await opened.layout_shifts()
        paint = await opened.call(
            "evaluate", "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        updates = await opened.call(
            "evaluate",
            "performance.getEntriesByName('update').map((each) => [each.startTime, each.duration])",
        )
    (first_at, first_took), *later = updates
    took = [duration for _, duration in later]
    return {
        "first paint, ms": paint,
        "all rows there, ms": first_at + first_took,
        "update median, ms": statistics.median(took),
        "update most, ms": max(took),
        "updates/s": len(later) / seconds,
        "layout shift": sum(value for value, _, _ in shifts),
    }


@contextmanager
def _watching(server: Server, arrivals: dict[str, float]) -> Iterator[None]:
    """Note when a phone is told of each session."""
    done = threading.Event()

    async def watch() -> None:
        url = f"ws://127.0.0.1:{server.port}/api/v1/monitor/ws"
        async with open_websocket_url(url, max_message_size=_SNAPSHOT_MAX_BYTES) as socket:
            while not done.is_set():
                with trio.move_on_after(1):
                    told = msgspec.json.decode(await socket.get_message())
                    for row in told["sessions"]:
                        if any(each["rule"] == "phone" for each in (row["glance"] or {}).get("newest", ())):
                            arrivals.setdefault(row["session_id"], time.perf_counter())

    def in_thread() -> None:
        try:
            trio.run(watch)
        except* ConnectionClosed:
            pass  # the figures show that nothing more was told

    thread = threading.Thread(target=in_thread)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _probe(server: Server) -> dict[str, float]:
    """Have one client after the other take up a phone; returns when each had sent the frame that tells."""
    messages = single_messages(10 * PER_SECOND, PROBE_INTERVAL_MS, phone_present=1, phone_conf=95)
    began = time.perf_counter()
    clients = {f"probe-{number}": Client(server.port, f"probe-{number}") for number in range(PROBES)}
    due = [
        (began + number * PROBE_EVERY_SECONDS + place * PROBE_INTERVAL_MS / 1000, name, place)
        for number, name in enumerate(clients)
        for place in range(len(messages))
    ]
    heapq.heapify(due)
    for client in clients.values():
        client.open()
    completed: dict[str, float] = {}
    while due:
        at, name, place = heapq.heappop(due)
        time.sleep(max(0.0, at - time.perf_counter()))
        clients[name].send(messages[place])
        clients[name].receive()
        if place == COMPLETED_BY:
            completed[name] = time.perf_counter()
    time.sleep(_LAST_SECONDS)
    for client in clients.values():
        client.socket.close()
    return completed


if __name__ == "__main__":
    allow_many_files()
    measures = {"page": page, "news": news}
    about = {name: measure.__doc__ for name, measure in measures.items()}
    sys.exit(run("bench_monitor", __doc__, measures, about, f"{CLIENTS} clients, {PER_SECOND} frames/s each"))
