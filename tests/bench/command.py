"""The command line of the benchmarks of one server: what is measured, how often, and how it is shown."""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from tests.bench.figures import Figures, machine, table
from tests.bench.load import Failed
from tests.bench.servers import Server, fresh_server, proctor

Measure = Callable[[Server, float], Figures]
"""Measures a fresh server, with a share of the load described."""
About = Mapping[str, str | None]
"""What describes each of them; the first line is shown."""


def run(
    name: str,
    description: str | None,
    measures: Mapping[str, Measure],
    about: Mapping[str, str | None],
    what: str,
) -> int:
    """Measure what the command line asks for and print it; returns 1 if any run failed.

    `what` heads the table.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{name}", description=description)
    parser.add_argument("measures", nargs="*", help=f"of {', '.join(measures)}; default: all")
    parser.add_argument("--redis", action="store_true", help="store in a Redis of its own (AOF, everysec)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the load described, for small machines (1)"
    )
    parser.add_argument("--workers", type=int, default=1, help="server processes (1); more need --redis")
    parser.add_argument("--json", action="store_true", help="print all runs as JSON instead of a table")
    chosen = parser.parse_args()
    if unknown := set(chosen.measures) - set(measures):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if chosen.workers > 1 and not chosen.redis:
        parser.error("several processes share a Redis: add --redis")
    wanted = {each: measures[each] for each in chosen.measures or measures}
    results, failures = _in_rounds(wanted, chosen)
    command = " ".join([f"python -m tests.bench.{name}", *sys.argv[1:]])
    if chosen.json:
        content = {"command": command, "machine": machine(), "runs": results, "failures": failures}
        print(json.dumps(content, indent=1))
    else:
        store = "Redis" if chosen.redis else "the embedded store"
        title = f"{what}, into {store} ({machine()})\nRepeat with: {command}"
        Console().print(table(results, title, legend(results, about)))
    return tell(failures)


def legend(names: Sequence[str] | Mapping[str, object], about: About) -> str:
    """Return the first line of what each is about."""
    return "\n".join(f"{name}: {(about[name] or '').splitlines()[0]}" for name in names)


def _in_rounds(
    measures: Mapping[str, Measure], chosen: argparse.Namespace
) -> tuple[dict[str, list[Figures]], list[str]]:
    """Run everything once per round; returns the figures of the runs that held, and what failed."""
    results, failures = defaultdict(list), []
    for number in range(1, chosen.rounds + 1):
        for name, measure in measures.items():
            try:
                with fresh_server(proctor(chosen.workers), redis=chosen.redis) as server:
                    figures = measure(server, chosen.scale)
                    results[name].append(figures)  # they hold, even if the server's log is found to be bad
            except (Failed, OSError) as failure:
                failures.append(f"{name}, round {number}: {failure}")
            print(f"{name}, round {number} of {chosen.rounds}", file=sys.stderr, flush=True)
    return results, failures


def tell(failures: Sequence[str]) -> int:
    """Print what failed; returns the exit status."""
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0
