"""What the analysis of a long session costs: from stored frames, after one more second of them, and offline.

Run by hand: `python -m tests.bench.bench_analysis` (`--help` for options). The frames are those of simulated
exam takers with every feature of the vocabulary, as a server stores them. CPU time is of one core, peaks are
of whole processes, each a new one; compare only runs on the same machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import trio
from rich.console import Console

from proctor.analysis.discovery import find_plugins, load_plugin
from proctor.analysis.fold import Job, ReportRequest, advance, report
from proctor.analysis.policy import load_policies
from proctor.model import ExamSession
from proctor.simulator.people import KINDS, exam_taker
from proctor.simulator.replay import stored_frames
from proctor.storage.dumps import write_dump
from tests.bench.figures import POLICIES, Figures, environment, machine, table

MINUTES = 180
FRAMES_PER_SECOND = 10
DEFAULT_KINDS = ("honest-lively", "phone", "reads-notes")
LENGTHS_MINUTES = (10, 60, MINUTES)
"""After so much of the session one more second is analyzed."""
REPETITIONS = 20
START_MS = 1_767_603_600_000

LEGEND = """\
cold: the whole session from its stored frames to a report, or only to the state that is kept of it
1 s more: the frames of one more second, from a state to a report, or only to the next state
peak: of the process that did this, up to the first report, and before it had any frames
analyze: the whole command on a dump, with the start of the interpreter
To hold after 3 h: cold < 1,000 ms, 1 s more < 20 ms, state < 256 KiB, peak < 250 MiB"""


def record(kind: str, folder: Path) -> None:
    """Dump the exam of one person of this kind."""
    taker = exam_taker(kind, 1, MINUTES, FRAMES_PER_SECOND)
    trio.run(write_dump, folder, kind, stored_frames(taker, kind, START_MS))


def analysis(dump: Path) -> Figures:
    """Measure everything that needs no other process than this one, which must be a new one."""
    plugins = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
    policy = load_policies(POLICIES, [load_plugin(plugin) for plugin in plugins])["default"]
    session = ExamSession(session_id=dump.stem, started_ms=START_MS)
    request, job = ReportRequest(session, final=True, analysed_ms=START_MS), Job(plugins, policy)
    before = _peak_mib()
    with dump.open("rb") as lines:
        frames = [line.rstrip(b",\n") for line in lines if line.startswith(b"{")]
    figures = {"cold, CPU ms": _cpu_ms(lambda: report(request, job._replace(frames=frames)))}
    figures |= {"peak, MiB": _peak_mib(), "peak before frames, MiB": before}
    figures["cold, state only, CPU ms"] = _cpu_ms(lambda: advance(job._replace(frames=frames)))
    for minutes in LENGTHS_MINUTES:
        end = min(minutes * 60 * FRAMES_PER_SECOND, len(frames) - FRAMES_PER_SECOND)
        state = advance(job._replace(frames=frames[:end]))
        more = job._replace(state=state, frames=frames[end : end + FRAMES_PER_SECOND])
        after = f"after {minutes} min"
        figures |= {
            f"state {after}, KiB": len(state) / 1024,
            f"1 s more {after}, CPU ms": _median_cpu_ms(lambda job=more: report(request, job)),
            f"1 s more {after}, state only, CPU ms": _median_cpu_ms(lambda job=more: advance(job)),
        }
    return figures


def offline(dump: Path) -> Figures:
    """Measure `proctor analyze`."""
    figures = {}
    for form in ("json", "text", "html"):
        command = [sys.executable, "-m", "proctor", "analyze", "--format", form, str(dump)]
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        figures |= {
            f"analyze --format {form}, CPU ms": (used.ru_utime + used.ru_stime) * 1000,
            f"analyze --format {form}, peak MiB": used.ru_maxrss / 1024,
        }
    return figures


def measure(kinds: list[str], rounds: int) -> dict[str, list[Figures]]:
    """Measure everything for every kind of exam taker, once per round."""
    results = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            _in_a_new_process(record, kind, Path(folder))
            for number in range(1, rounds + 1):
                [dump] = Path(folder).glob(f"{kind}_frames.json")
                results[kind].append(_in_a_new_process(analysis, dump) | offline(dump))
                print(f"{kind}, round {number} of {rounds}", file=sys.stderr, flush=True)
    return results


def _in_a_new_process(function: Callable[..., Any], *args: Any) -> Any:
    # Its peak starts from what this process has, which is why this one never holds any frames.
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def _cpu_ms(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return (time.process_time() - began) * 1000


def _median_cpu_ms(function: Callable[[], object]) -> float:
    return statistics.median(_cpu_ms(function) for _ in range(REPETITIONS))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_analysis", description=__doc__)
    parser.add_argument(
        "kinds", nargs="*", help=f"of {', '.join(KINDS)}; default: {', '.join(DEFAULT_KINDS)}"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs for each kind (5)")
    parser.add_argument("--json", action="store_true", help="print all runs as JSON instead of a table")
    chosen = parser.parse_args()
    if unknown := set(chosen.kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    results = measure(chosen.kinds or list(DEFAULT_KINDS), chosen.rounds)
    command = " ".join(["python -m tests.bench.bench_analysis", *sys.argv[1:]])
    if chosen.json:
        print(json.dumps({"command": command, "machine": machine(), "runs": results}, indent=1))
        return
    title = f"{MINUTES} minutes at {FRAMES_PER_SECOND} frames/s ({machine()})\nRepeat with: {command}"
    Console().print(table(results, title, LEGEND))


if __name__ == "__main__":
    main()
