"""How often windows and verdicts of a confidence are right: on labelled recordings and on simulated people.

Run by hand: `python -m tests.bench.bench_calibration DUMPS`, where DUMPS holds NAME_frames.json and
NAME_labels.json as the public benchmark's make_dumps.py writes them. `--strength` shows the uncalibrated
evidence instead, which is what the policy's calibration was fitted to.

A window is right if more than half of it lies in a labelled interval; those that an interval touches for less
are left out. A verdict is right if the session has a labelled interval. Each source weighs the same, however
many windows it has: the shares of a bin are averaged over sources, weighted by how much of each falls in it.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from proctor.analysis.discovery import find_plugins, load_plugin
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import Policy, load_policies
from proctor.model import ExamSession
from proctor.simulator.people import KINDS, exam_taker
from proctor.simulator.replay import stored_frames

ORIGIN_MS = 1_767_603_600_000
WINDOW_EDGES = (0, 1e-9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)
VERDICT_EDGES = (0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.01)
SEEDS, MINUTES = 4, 40
PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")


class Prediction(NamedTuple):
    source: str
    said: float
    right: bool


class Session(NamedTuple):
    source: str
    report: dict[str, Any]
    intervals: Sequence[tuple[float, float]]


def judged(policy: Policy, frames: Sequence[bytes], start_ms: int) -> dict[str, Any]:
    request = ReportRequest(ExamSession(session_id="s", started_ms=start_ms), final=True, analysed_ms=0)
    made: dict[str, Any] = json.loads(report(request, Job(PLUGINS, policy, frames=frames)))
    return made


def recordings(folder: Path, policy: Policy) -> Iterator[Session]:
    for path in sorted(folder.glob("*_labels.json")):
        labels = json.loads(path.read_text())
        frames = json.loads(path.with_name(path.name.replace("_labels", "_frames")).read_text())
        start_ms = int(frames[0]["frame_id"].partition("-")[0])
        made = judged(policy, [json.dumps(frame).encode() for frame in frames], start_ms)
        yield Session(labels["suite"], made, labels["intervals"])


def people(policy: Policy) -> Iterator[Session]:
    for kind in KINDS:
        for seed in range(SEEDS):
            taker = exam_taker(kind, seed, MINUTES)
            made = judged(policy, list(stored_frames(taker, "s", ORIGIN_MS)), ORIGIN_MS)
            yield Session(
                "simulated", made, [(truth.start_seconds, truth.end_seconds) for truth in taker.truth]
            )


def windows(sessions: Iterable[Session], *, strength: bool) -> Iterator[Prediction]:
    for session in sessions:
        for window in session.report["window_analysis"]["predictions_per_window"]:
            start, end = window["start_seconds"], window["end_seconds"]
            inside = sum(
                max(0.0, min(end, until) - max(start, since)) for since, until in session.intervals
            ) / (end - start)
            if window["confidence"] is not None and (inside == 0 or inside > 0.5):
                said = max(window["rules"].values(), default=0.0) if strength else window["confidence"]
                yield Prediction(session.source, said, inside > 0.5)


def verdicts(sessions: Iterable[Session], *, strength: bool) -> Iterator[Prediction]:
    for session in sessions:
        verdict = session.report["verdict"]
        if verdict["confidence"] is not None:
            said = verdict["score"] / 100 if strength else verdict["confidence"]
            yield Prediction(session.source, said, bool(session.intervals))


def table(title: str, predictions: Sequence[Prediction], edges: Sequence[float]) -> None:
    """Print a row per bin: mean predicted, share that was right, and counts by source."""
    sizes: dict[str, int] = defaultdict(int)
    for each in predictions:
        sizes[each.source] += 1
    print(f"\n{title}\n{'from':>6} {'to':>5} {'said':>6} {'right':>6}  counts (right)")
    for low, high in pairwise(edges):
        inside = [each for each in predictions if low <= each.said < high]
        if not inside:
            continue
        weight = sum(1 / sizes[each.source] for each in inside)
        said = sum(each.said / sizes[each.source] for each in inside) / weight
        right = sum(each.right / sizes[each.source] for each in inside) / weight
        counts = "  ".join(
            f"{source} {len(own)} ({sum(each.right for each in own)})"
            for source in sorted(sizes)
            if (own := [each for each in inside if each.source == source])
        )
        print(f"{low:6.2f} {min(high, 1):5.2f} {said:6.2f} {right:6.2f}  {counts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dumps", type=Path)
    parser.add_argument("--strength", action="store_true")
    options = parser.parse_args()
    loaded = [load_plugin(plugin) for plugin in PLUGINS]
    policy = load_policies(Path(__file__).parents[2] / "config", loaded)["default"]
    sessions = [*recordings(options.dumps, policy), *people(policy)]
    strength = options.strength
    table("windows", list(windows(sessions, strength=strength)), WINDOW_EDGES)
    table("verdicts", list(verdicts(sessions, strength=strength)), VERDICT_EDGES)


if __name__ == "__main__":
    main()
