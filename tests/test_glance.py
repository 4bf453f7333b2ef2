"""A glance says what the report says, in a line."""

import math

import msgspec
import pytest

from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, advance, glance, report
from proctor.analysis.glance import BARS, FINDINGS_MAX, Glance, Look
from proctor.analysis.policy import built_in_policy
from proctor.model import ExamSession
from proctor.testing import FACE, ORIGIN_MS, event, held

PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
REQUEST = ReportRequest(ExamSession(session_id="s", started_ms=ORIGIN_MS), final=False, analysed_ms=0)
CALM = FACE | {"gaze_on_script": 1, "head_yaw": 0.01, "phone_present": 0}
PHONE = CALM | {"phone_present": 1, "phone_conf": 90}


@pytest.fixture(scope="module")
def job():
    return Job(PLUGINS, built_in_policy(discover(plugins=PLUGINS)))


def glanced(job: Job) -> Glance:
    return msgspec.msgpack.decode(glance(REQUEST, job), type=Look).glance


def test_a_glance_and_the_report_agree(job):
    """Wherever what was folded ends and what is shown on top of it begins."""
    frames = held(
        (300, CALM),
        (20, PHONE),
        (120, CALM),
        (30, CALM | {"gaze_on_script": 0, "head_yaw": 0.9}),
        (200, CALM),
        (9, PHONE),
        (30, CALM | event("TAB_SWITCHED")),
        fps=2,
    )
    job = job._replace(state=advance(job._replace(frames=frames[:900])), frames=frames[900:])
    seen, told = glanced(job), msgspec.json.decode(report(REQUEST, job))
    concerns = [each for each in told["findings"] if each["level"] == "concern"]
    assert (seen.score, seen.priority) == (told["verdict"]["score"], told["verdict"]["review_priority"])
    assert seen.concerns == len(concerns) > 2
    latest = sorted(concerns, key=lambda each: (each["end_seconds"], each["start_seconds"]), reverse=True)
    assert [(each.rule, each.message) for each in seen.newest] == [
        (each["rule"], each["message"]) for each in latest[:FINDINGS_MAX]
    ]
    assert list(seen.rules) == sorted({each["rule"] for each in concerns})
    assert seen.newest[0].start_ms == ORIGIN_MS + round(latest[0]["start_seconds"] * 1000)
    windows = told["window_analysis"]["predictions_per_window"][-BARS:]
    assert list(seen.bars) == [
        str(math.ceil(9 * max(each["rules"].values(), default=0.0))) for each in windows
    ]
    assert seen.bars.count("0") < BARS == len(seen.bars)


def test_what_could_not_be_judged_is_shown_as_such(job):
    job = job._replace(frames=held((60, CALM), fps=2) + held((160, CALM), fps=2)[-40:])
    windows = msgspec.json.decode(report(REQUEST, job))["window_analysis"]["predictions_per_window"]
    assert glanced(job).bars == "".join("." if each["confidence"] is None else "0" for each in windows)
    assert glanced(job).bars.startswith("000000........00")


def test_a_session_of_which_nothing_came_has_a_glance(job):
    seen = glanced(job)
    assert (seen.bars, seen.newest, seen.last_ms, seen.priority) == ("", [], None, "insufficient")
