"""What bad neighbours cost others: from send to acknowledgement of clients that behave, next to each kind.

Run by hand: `python -m tests.bench.bench_neighbours` (`--help` for options). 100 clients send 10 frames per
second each, alone and then next to one kind of bad client after the other, each time on a fresh server. The
bad clients are a process of their own at low priority, for in an exam they have machines of their own; here
they share this one. Every figure of the others is measured from when a message was due.

10,000 idle connections need as many open files for the server and for the clients (`ulimit -Hn`).
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console

from tests.bench.figures import Figures, machine, table
from tests.bench.load import Failed, Load, single_messages
from tests.bench.neighbours import NEIGHBOURS, Nearby, allow_many_files
from tests.bench.scenarios import centiles
from tests.bench.servers import Server, fresh_server, proctor

ALONE = "alone"
CLIENTS = 100
PER_SECOND = 10
SECONDS = 15
WARM_UP_SECONDS = 2
_ATTENTION_SECONDS = 0.1


def alone(server: Server) -> Figures:
    """Nobody else is there."""
    with _connected(server) as load:
        return _pace(load)


def next_to(name: str, server: Server, scale: float) -> Figures:
    """Do the same next to bad clients, who come later, and say how busy those were."""
    with _connected(server) as load, Nearby(name, server.port, scale) as neighbour:
        while not neighbour.at_work():
            load.rest(_ATTENTION_SECONDS)
        before, began = [value.value for value in neighbour.tally], time.monotonic()
        figures = _pace(load)
        seconds = time.monotonic() - began
        done = [value.value - then for value, then in zip(neighbour.tally, before, strict=True)]
        neighbour.at_work()
    messages, connections = (number / seconds for number in done)
    return {**figures, "its messages/s": messages, "its new connections/s": connections}


def _connected(server: Server) -> Load:
    return Load(server.port, [f"exam-{number}" for number in range(CLIENTS)])


def _pace(load: Load) -> Figures:
    messages = single_messages((WARM_UP_SECONDS + SECONDS) * PER_SECOND)
    warm_up = WARM_UP_SECONDS * PER_SECOND
    load.pace(messages[:warm_up], PER_SECOND)
    return centiles("ack", load.pace(messages[warm_up:], PER_SECOND))


def measure(
    names: Sequence[str], rounds: int, scale: float, *, redis: bool, workers: int
) -> tuple[dict[str, list[Figures]], list[str]]:
    """Run everything once per round; returns the figures of the runs that held, and what failed."""
    results, failures = defaultdict(list), []
    for number in range(1, rounds + 1):
        for name in names:
            try:
                with fresh_server(proctor(workers), redis=redis) as server:
                    figures = alone(server) if name == ALONE else next_to(name, server, scale)
                    results[name].append(figures)  # they hold, even if the server's log is found to be bad
            except (Failed, OSError) as failure:
                failures.append(f"{name}, round {number}: {failure}")
            print(f"{name}, round {number} of {rounds}", file=sys.stderr, flush=True)
    return results, failures


def main() -> int:
    """Measure and print; returns 1 if clients that behave were let down."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_neighbours", description=__doc__)
    known = [ALONE, *NEIGHBOURS]
    parser.add_argument("neighbours", nargs="*", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--redis", action="store_true", help="store in a Redis of its own (AOF, everysec)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the bad clients (1)")
    parser.add_argument("--workers", type=int, default=1, help="server processes (1); more need --redis")
    parser.add_argument("--json", action="store_true", help="print all runs as JSON instead of a table")
    chosen = parser.parse_args()
    if unknown := set(chosen.neighbours) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if chosen.workers > 1 and not chosen.redis:
        parser.error("several processes share a Redis: add --redis")
    allow_many_files()
    names = chosen.neighbours or known
    results, failures = measure(
        names, chosen.rounds, chosen.scale, redis=chosen.redis, workers=chosen.workers
    )
    command = " ".join(["python -m tests.bench.bench_neighbours", *sys.argv[1:]])
    if chosen.json:
        content = {"command": command, "machine": machine(), "runs": results, "failures": failures}
        print(json.dumps(content, indent=1))
    else:
        title = f"{CLIENTS} clients, {PER_SECOND} frames/s each ({machine()})\nRepeat with: {command}"
        described = {ALONE: alone} | {name: each.join for name, each in NEIGHBOURS.items()}
        legend = "\n".join(f"{name}: {(described[name].__doc__ or '').splitlines()[0]}" for name in results)
        Console().print(table(results, title, legend))
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
