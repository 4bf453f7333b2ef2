"""Proctor next to what a user would build instead, in one run: frames per second, and what a frame costs.

Run by hand: `python -m tests.bench.bench_peers` (`--help` for options). The peers are FastAPI with uvicorn
and redis.asyncio, and Node's ws with ioredis; tests/bench/peers has them. Before the first run:

    pip install -e '.[test,bench]'
    npm ci --prefix tests/bench/peers/node      (Node 20 or later)

Everybody takes turns within a round, each time on a fresh server and a fresh Redis (AOF, everysec), and a
ratio is of two runs of the same round, so that what else the machine does meanwhile strikes all alike. Load,
server and Redis share the machine. Every frame is acknowledged after Redis has answered, and counted in
Redis. A peer that does not keep up with the pace is reported with the figures of what it did take.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console

from tests.bench.command import legend, tell
from tests.bench.figures import Figures, machine, table
from tests.bench.load import Failed, TooSlow
from tests.bench.scenarios import SCENARIOS
from tests.bench.servers import FASTAPI, NODE, Program, fresh_server, missing, proctor

_PEERS = (FASTAPI, NODE)
_RATE, _COST = "frames/s", "server CPU µs/frame"

Runs = dict[str, dict[str, dict[int, Figures]]]
"""Figures by what was measured, by program and by round."""


class Measurement(NamedTuple):
    """Something that is measured once per round."""

    scenario: str
    peers: bool = False
    """The peers do it, too."""
    redis: bool = True


MEASUREMENTS = {
    "burst": Measurement("burst", peers=True),
    "paced": Measurement("paced", peers=True),
    "batches": Measurement("batches"),
    "embedded": Measurement("burst", redis=False),
    "idle": Measurement("idle"),
}


class Ratio(NamedTuple):
    """One figure over another: measurement and program of each, and what the quotient is to be."""

    above: tuple[str, str]
    below: tuple[str, str]
    figure: str
    aim: str = ""


RATIOS = (
    Ratio(("burst", "Proctor"), ("burst", "FastAPI"), _RATE, "at least 5"),
    Ratio(("burst", "Proctor"), ("burst", "Node"), _RATE, "at least 2"),
    Ratio(("batches", "Proctor"), ("burst", "Node"), _RATE, "at least 3.5"),
    Ratio(("embedded", "Proctor"), ("burst", "Proctor"), _RATE, "at least 1"),
    Ratio(("paced", "Proctor"), ("paced", "Node"), _COST, "at most 1"),
    # Without an aim: on a machine that others use too, these are steadier than frames per second.
    Ratio(("burst", "Proctor"), ("burst", "FastAPI"), _COST),
    Ratio(("burst", "Proctor"), ("burst", "Node"), _COST),
    Ratio(("paced", "Proctor"), ("paced", "FastAPI"), _COST),
)


def measure(
    names: Sequence[str], programs: Sequence[Program], rounds: int, scale: float
) -> tuple[Runs, list[str], list[str]]:
    """Let everybody do everything once per round.

    Returns the figures, what peers did not manage, and what makes the run fail.
    """
    runs: Runs = defaultdict(lambda: defaultdict(dict))
    remarks, failures = [], []
    for number in range(1, rounds + 1):
        for name in names:
            wanted = MEASUREMENTS[name]
            for program in programs if wanted.peers else programs[:1]:
                what = f"{name}, {program.name}, round {number}"
                try:
                    with fresh_server(program, redis=wanted.redis) as server:
                        figures = SCENARIOS[wanted.scenario](server, scale)
                except Failed as failure:
                    (remarks if program in _PEERS else failures).append(f"{what}: {failure}")
                    figures = failure.figures if isinstance(failure, TooSlow) else {}
                if figures:
                    runs[name][program.name][number] = figures
                print(f"{what} of {rounds}", file=sys.stderr, flush=True)
    return runs, remarks, failures


def ratios(runs: Runs) -> dict[str, list[Figures]]:
    """Quotients of each round in which both sides were measured."""
    shown: dict[str, list[Figures]] = {}
    for above, below, figure, aim in RATIOS:
        over, under = runs[above[0]][above[1]], runs[below[0]][below[1]]
        both = sorted(over.keys() & under.keys())
        if both:
            key = f"{above[1]} {above[0]} / {below[1]} {below[0]}: {figure}"
            shown[key] = [{aim or "no aim": over[number][figure] / under[number][figure]} for number in both]
    return shown


def main() -> int:
    """Measure and print; returns 1 if Proctor did not do what it should."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("measurements", nargs="*", help=f"of {', '.join(MEASUREMENTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the load, for a quick look (1)")
    parser.add_argument("--workers", type=int, default=1, help="Proctor's server processes (1)")
    parser.add_argument("--json", action="store_true", help="print all runs as JSON instead of tables")
    chosen = parser.parse_args()
    if unknown := set(chosen.measurements) - set(MEASUREMENTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    names = [
        name
        for name in chosen.measurements or MEASUREMENTS
        if MEASUREMENTS[name].redis or chosen.workers == 1  # the embedded store is for one process
    ]
    absent = [f"{peer.name} is left out: {lack}" for peer in _PEERS if (lack := missing(peer))]
    programs = [proctor(chosen.workers), *(peer for peer in _PEERS if not missing(peer))]
    runs, remarks, failures = measure(names, programs, chosen.rounds, chosen.scale)
    command = " ".join(["python -m tests.bench.bench_peers", *sys.argv[1:]])
    remarks = absent + remarks
    if chosen.json:
        content = {"command": command, "machine": machine(), "runs": runs, "ratios": ratios(runs)}
        print(json.dumps(content | {"remarks": remarks, "failures": failures}, indent=1))
    else:
        _show(runs, f"Side by side ({machine()})\nRepeat with: {command}", remarks)
    return tell(failures)


def _show(runs: Runs, title: str, remarks: Sequence[str]) -> None:
    everything = {
        f"{name}, {program}": list(rounds.values())
        for name, programs in runs.items()
        for program, rounds in programs.items()
        if rounds
    }
    about = {name: SCENARIOS[MEASUREMENTS[name].scenario].__doc__ for name in runs}
    console = Console()
    console.print(table(everything, title, legend(runs, about)))
    console.print(table(ratios(runs), "Of the same round", ""))
    for remark in remarks:
        console.print(remark)


if __name__ == "__main__":
    sys.exit(main())
