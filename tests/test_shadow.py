"""A rule on trial is judged and shown as such, and changes nothing else."""

import json

import msgspec
import pytest

from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import built_in_policy, load_policy
from proctor.model import ExamSession
from proctor.testing import FACE, NO_FACE, ORIGIN_MS, held

PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
CALM = FACE | {"gaze_on_script": 1, "phone_present": 0}
FRAMES = held((300, CALM), (10, CALM | {"phone_present": 1}), (60, CALM), (30, NO_FACE), (60, CALM), fps=2)


@pytest.fixture(scope="module")
def policy():
    return built_in_policy(discover(plugins=PLUGINS))


@pytest.fixture(scope="module")
def told():
    def tell(policy):
        session = ExamSession(session_id="s", started_ms=ORIGIN_MS)
        job = Job(PLUGINS, policy, None, FRAMES)
        return json.loads(report(ReportRequest(session, final=True, analysed_ms=0), job))

    return tell


def without(policy, name, **changes):
    changed = msgspec.structs.replace(policy.rules[name], **changes)
    return msgspec.structs.replace(policy, rules={**policy.rules, name: changed})


def test_what_it_finds_stands_apart_and_scores_nothing(told, policy):
    trial, off = told(without(policy, "phone", shadow=True)), told(without(policy, "phone", enabled=False))
    for key in ("verdict", "findings", "window_analysis", "contributions", "suspicious_events", "timeline"):
        assert trial[key] == off[key], key
    assert {finding["rule"] for finding in trial["findings"]} == {"no_face"}
    [shadow] = trial["shadow"]
    assert (shadow["rule"], shadow["plugin"], shadow["title"]) == ("phone", "proctor", "Phone in view")
    assert [finding["category"] for finding in shadow["findings"]] == ["phone"]
    assert trial["analyzers"]["phone"]["status"] == "ok"


def test_it_says_what_it_would_have_raised_and_changed(told, policy):
    [shadow] = told(without(policy, "phone", shadow=True))["shadow"]
    counting = told(policy)["verdict"]
    assert shadow["alerts"] == 1
    assert shadow["with_it"] == {
        "score": counting["score"],
        "review_priority": counting["review_priority"],
    }
    assert counting["review_priority"] == "high"


def test_without_trials_there_is_nothing_to_say(told, policy):
    assert told(policy)["shadow"] == []


def test_a_policy_file_puts_a_rule_on_trial(tmp_path):
    path = tmp_path / "trial.toml"
    path.write_text("[rules.phone]\nshadow = true\nconcern_seconds = 2.0\n")
    policy = load_policy(path, discover(plugins=PLUGINS))
    assert policy.on_trial("phone")
    assert not policy.on_trial("no_face")
    assert policy.digest != policy.promoted("phone").digest
