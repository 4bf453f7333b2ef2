"""Forty-minute exams of simulated people, judged by all built-in rules together under the default policy."""

from pathlib import Path

import msgspec
import pytest

from proctor.analysis.discovery import find_plugins, load_plugin
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import load_policy
from proctor.model import ExamSession
from proctor.simulator.people import Episode, episode, exam_taker
from proctor.simulator.replay import stored_frames
from tests.plugins.recording import ORIGIN_MS

HONEST = ["honest-calm", "honest-lively", "honest-bad-network", "honest-odd-camera"]
LOW, MEDIUM, HIGH = {"none", "low"}, {"medium", "high"}, {"high"}
PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")


@pytest.fixture(scope="module")
def policy():
    loaded = [load_plugin(plugin) for plugin in PLUGINS]
    return load_policy(Path(__file__).parents[2] / "config" / "default.toml", loaded)


def priority(policy, kind: str, seed: int, *script: Episode) -> str:
    frames = list(stored_frames(exam_taker(kind, seed, 40, script=script), "s", ORIGIN_MS))
    request = ReportRequest(ExamSession(session_id="s", started_ms=ORIGIN_MS), final=True, analysed_ms=0)
    made = msgspec.json.decode(report(request, Job(PLUGINS, policy, None, frames)))
    rank: str = made["verdict"]["review_priority"]
    return rank


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", HONEST)
def test_honest_exam_ranks_low_at_most(policy, kind, seed):
    assert priority(policy, kind, seed) in LOW


@pytest.mark.parametrize("kind", ["honest-lively", "honest-odd-camera"])
@pytest.mark.parametrize(
    ("script", "ranks"),
    [
        ([episode("phone", 60, 68)], HIGH),
        ([episode("second_person", 60, 72)], HIGH),
        ([episode("notes", 300, 420)], MEDIUM),
        ([episode("absence", 600, 630)], MEDIUM),
    ],
    ids=["phone", "second_person", "notes", "absence"],
)
def test_what_a_reviewer_would_want_to_see_ranks_higher(policy, kind, script, ranks):
    assert priority(policy, kind, 5, *script) in ranks
