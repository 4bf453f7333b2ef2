"""Forty-minute exams of simulated people, judged by all built-in rules together under the default policy."""

from pathlib import Path

import msgspec
import pytest

from proctor.analysis.discovery import find_plugins, load_plugin
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import load_policies
from proctor.model import ExamSession
from proctor.simulator.people import Episode, episode, exam_taker
from proctor.simulator.replay import stored_frames
from proctor.testing import ORIGIN_MS

pytestmark = pytest.mark.no_cover

HONEST = ["honest-calm", "honest-lively", "honest-bad-network", "honest-odd-camera"]
LOW, MEDIUM, HIGH = {"none", "low"}, {"medium", "high"}, {"high"}
PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")


@pytest.fixture(scope="module")
def policies():
    loaded = [load_plugin(plugin) for plugin in PLUGINS]
    return load_policies(Path(__file__).parents[2] / "config", loaded)


@pytest.fixture(scope="module")
def policy(policies):
    return policies["default"]


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


def test_the_shipped_policies(policies):
    assert set(policies) == {"default", "open-book", "strict"}


@pytest.mark.parametrize("kind", ["honest-calm", "honest-lively"])
def test_the_strict_policy_leaves_honest_candidates_alone(policies, kind):
    assert priority(policies["strict"], kind, 3) in LOW


def test_the_strict_policy_asks_for_a_look_sooner(policies):
    """Two and a half seconds of a phone are little to the default policy, and direct evidence to this one."""
    glimpse = episode("phone", 600, 602.5)
    assert priority(policies["default"], "honest-calm", 3, glimpse) in LOW
    assert priority(policies["strict"], "honest-calm", 3, glimpse) in MEDIUM


def test_the_open_book_policy_lets_candidates_read_but_sees_a_phone(policies):
    notes, phone = episode("notes", 600, 780), episode("phone", 1200, 1208)
    assert priority(policies["default"], "honest-calm", 3, notes) in MEDIUM
    assert priority(policies["open-book"], "honest-calm", 3, notes) in LOW
    assert priority(policies["open-book"], "honest-calm", 3, notes, phone) in HIGH
