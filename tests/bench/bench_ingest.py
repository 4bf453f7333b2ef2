"""What the whole server takes in, and what that costs: over real WebSockets, into either frame store.

Run by hand: `python -m tests.bench.bench_ingest` (`--help` for options). The server is a process of its own
on its defaults: acknowledgements, checks and live analysis are on. Load, server, analysis worker and Redis
share the machine, so compare only runs on the same one. Analysis runs behind the load: its CPU counts what it
did meanwhile, in bursts a part of the whole.

`--workers N` runs N server processes (`proctor serve --workers N`); their CPU and memory are added up.
"""

import argparse
import json
import sys
from collections import defaultdict

from rich.console import Console

from tests.bench.figures import Figures, machine, table
from tests.bench.load import Failed
from tests.bench.scenarios import SCENARIOS
from tests.bench.servers import fresh_server, proctor


def measure(
    scenarios: list[str], rounds: int, scale: float, *, redis: bool, workers: int
) -> tuple[dict[str, list[Figures]], list[str]]:
    """Run every scenario once per round; returns the figures of the runs that held, and what failed."""
    results, failures = defaultdict(list), []
    for number in range(1, rounds + 1):
        for name in scenarios:
            try:
                with fresh_server(proctor(workers), redis=redis) as server:
                    figures = SCENARIOS[name](server, scale)
            except Failed as failure:
                failures.append(f"{name}, round {number}: {failure}")
            else:
                results[name].append(figures)
            print(f"{name}, round {number} of {rounds}", file=sys.stderr, flush=True)
    return results, failures


def main() -> int:
    """Measure and print; returns 1 if anything that was counted does not add up."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_ingest", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--redis", action="store_true", help="store in a Redis of its own (AOF, everysec)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each scenario (3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the load described, for small machines (1)"
    )
    parser.add_argument("--workers", type=int, default=1, help="server processes (1); more need --redis")
    parser.add_argument("--json", action="store_true", help="print all runs as JSON instead of a table")
    chosen = parser.parse_args()
    if unknown := set(chosen.scenarios) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if chosen.workers > 1 and not chosen.redis:
        parser.error("several processes share a Redis: add --redis")
    names = chosen.scenarios or list(SCENARIOS)
    results, failures = measure(
        names, chosen.rounds, chosen.scale, redis=chosen.redis, workers=chosen.workers
    )
    command = " ".join(["python -m tests.bench.bench_ingest", *sys.argv[1:]])
    if chosen.json:
        content = {"command": command, "machine": machine(), "runs": results, "failures": failures}
        print(json.dumps(content, indent=1))
    else:
        store = "Redis" if chosen.redis else "the embedded store"
        title = f"Into {store} ({machine()})\nRepeat with: {command}"
        legend = "\n".join(f"{name}: {(SCENARIOS[name].__doc__ or '').splitlines()[0]}" for name in results)
        Console().print(table(results, title, legend))
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
