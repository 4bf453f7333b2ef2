"""What bad neighbours cost others: from send to acknowledgement of clients that behave, next to each kind.

Run by hand: `python -m tests.bench.bench_neighbours` (`--help` for options). 100 clients send 10 frames per
second each, alone and then next to one kind of bad client after the other, each time on a fresh server. The
bad clients are a process of their own at low priority, for in an exam they have machines of their own; here
they share this one. Every figure of the others is measured from when a message was due.

10,000 idle connections need as many open files for the server and for the clients (`ulimit -Hn`).
"""

import sys
import time
from functools import partial

from tests.bench.command import run
from tests.bench.figures import Figures
from tests.bench.load import Load, single_messages
from tests.bench.neighbours import NEIGHBOURS, Nearby, allow_many_files
from tests.bench.scenarios import centiles
from tests.bench.servers import Server

ALONE = "alone"
CLIENTS = 100
PER_SECOND = 10
SECONDS = 15
WARM_UP_SECONDS = 2
_ATTENTION_SECONDS = 0.1


def alone(server: Server, _scale: float) -> Figures:
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


if __name__ == "__main__":
    allow_many_files()
    measures = {ALONE: alone} | {name: partial(next_to, name) for name in NEIGHBOURS}
    about = {ALONE: alone.__doc__} | {name: each.join.__doc__ for name, each in NEIGHBOURS.items()}
    what = f"{CLIENTS} clients that behave, {PER_SECOND} frames/s each"
    sys.exit(run("bench_neighbours", __doc__, measures, about, what))
