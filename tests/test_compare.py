"""What changed between two reports is told finding by finding, with what can have caused it."""

import json

import msgspec
import pytest

from proctor.analysis.compare import compare
from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.granting import Granting
from proctor.analysis.policy import Rule, built_in_policy
from proctor.errors import InvalidRequest
from proctor.model import ExamSession
from proctor.testing import FACE, NO_FACE, ORIGIN_MS, held

PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
CALM = FACE | {"gaze_on_script": 1, "phone_present": 0}
FRAMES = held(
    (90, CALM), (20, CALM | {"gaze_on_script": 0}), (30, CALM), (8, NO_FACE), (30, CALM), (20, NO_FACE), fps=2
)


@pytest.fixture(scope="module")
def analyzers():
    return discover(plugins=PLUGINS)


@pytest.fixture(scope="module")
def policy(analyzers):
    return built_in_policy(analyzers)


@pytest.fixture(scope="module")
def made(policy):
    """Makes a report as JSON."""

    def make(*, frames=FRAMES, plugins=PLUGINS, policy=policy, granted=(), session_id="s", analysed_ms=0):
        session = ExamSession(session_id=session_id, started_ms=ORIGIN_MS)
        job = Job(plugins, policy, None, frames, {}, tuple(granted))
        return report(ReportRequest(session, final=True, analysed_ms=analysed_ms), job)

    return make


def with_setting(policy, rule, **settings):
    own = policy.rules[rule]
    changed = msgspec.structs.replace(own, settings={**own.settings, **settings})
    return msgspec.structs.replace(policy, name="other", rules={**policy.rules, rule: changed})


def test_the_time_of_the_analysis_is_no_difference(made):
    same = compare(made(), made(analysed_ms=99))
    assert same.same
    assert (same.verdict, same.points, same.causes, same.findings) == ([], [], [], [])
    assert same.findings_unchanged == 3


def test_a_stricter_policy_is_named_as_the_cause_where_it_is_one(made, policy):
    difference = compare(made(), made(policy=with_setting(policy, "no_face", concern_seconds=6.0)))
    assert [cause.what for cause in difference.causes] == [
        "policy: rules.no_face.concern_seconds was 10, is 6"
    ]
    short, long = difference.findings
    assert (short.kind, short.rule) == ("changed", "no_face")
    assert {change.what: (change.before, change.after) for change in short.changes} == {
        "level": ("info", "concern"),
        "strength": (0.444, 0.571),
        "observed.threshold": (3.0, 6.0),
    }
    assert short.because == ["policy: rules.no_face.concern_seconds was 10, is 6"]
    assert {change.what for change in long.changes} == {"strength", "observed.threshold"}
    assert difference.findings_unchanged == 1
    assert [change.what for change in difference.points] == ["no_face"]


def test_a_rule_switched_off_takes_its_findings_with_it(made, policy):
    quiet = msgspec.structs.replace(
        policy, rules={**policy.rules, "gaze_off_screen": Rule(enabled=False)}, name="quiet"
    )
    difference = compare(made(), made(policy=quiet))
    [gone] = difference.findings
    assert (gone.kind, gone.category, gone.after) == ("gone", "gaze", None)
    assert "policy: rules.gaze_off_screen.enabled was True, is False" in gone.because
    back = compare(made(policy=quiet), made())
    assert [(change.kind, change.category) for change in back.findings] == [("new", "gaze")]


def test_a_newer_version_of_a_plugin_is_a_cause(made):
    newer = tuple(
        plugin._replace(version="9.9") if plugin.name == "no_face" else plugin for plugin in PLUGINS
    )
    difference = compare(made(), made(plugins=newer))
    [cause] = difference.causes
    assert (cause.kind, cause.rule, cause.what) == (
        "plugin",
        "no_face",
        f"rule no_face: version {PLUGINS[0].version}, now 9.9",
    )
    assert not difference.same


def test_what_was_granted_is_the_reason_for_what_it_set_aside(made, analyzers, policy):
    granted = Granting(analyzers, {"default": policy}).read(
        [{"type": "exempt", "signal": "presence", "reason": "lies down at times"}], "default"
    )
    difference = compare(made(), made(granted=granted))
    assert [cause.what for cause in difference.causes] == ["granted: exempt, because: lies down at times"]
    assert [change.kind for change in difference.findings] == ["gone", "gone"]
    for change in difference.findings:
        assert change.because == ["an accommodation, because: lies down at times"]
    undone = compare(made(granted=granted), made())
    assert [cause.what for cause in undone.causes] == [
        "no longer granted: exempt, because: lies down at times"
    ]
    assert undone.findings[0].because == ["an accommodation, because: lies down at times"]


def test_other_frames_are_told(made):
    difference = compare(made(), made(frames=FRAMES[:-60]))
    assert difference.causes[0].what.startswith(f"other frames: {len(FRAMES)} then")
    assert [(change.kind, change.category) for change in difference.findings] == [("gone", "no_face")]
    assert difference.findings[0].because == [difference.causes[0].what]


def test_an_analyzer_that_failed_is_told_with_its_reason(made):
    broken = tuple(
        plugin._replace(value="proctor_rules.no_face:Missing") if plugin.name == "no_face" else plugin
        for plugin in PLUGINS
    )
    with pytest.raises(AttributeError):
        made(plugins=broken)
    failed = json.loads(made())
    failed["analyzers"]["no_face"] |= {"status": "failed", "reason": "proctor[no_face]: boom"}
    difference = compare(json.dumps(failed).encode(), made())
    assert [cause.what for cause in difference.causes] == [
        "rule no_face was failed, is ok (proctor[no_face]: boom)"
    ]


def test_a_report_of_an_earlier_proctor_is_read(made):
    """It lacks what came later, and what it says is compared all the same."""
    old = json.loads(made())
    for key in ("accommodations", "shadow"):
        del old[key]
    del old["provenance"]["policy"]["values"], old["provenance"]["accommodations_digest"]
    old["provenance"]["policy"]["digest"] = "other"
    difference = compare(json.dumps(old).encode(), made())
    assert [cause.kind for cause in difference.causes] == ["policy"]
    assert difference.findings_unchanged == 3


@pytest.mark.parametrize("nonsense", [b"", b"[]", b"{}", b"\xff", b'{"verdict": 1}'])
def test_what_is_no_report_is_refused(made, nonsense):
    with pytest.raises(InvalidRequest, match="not a report"):
        compare(nonsense, made())


def test_reports_on_two_sessions_are_not_compared(made):
    with pytest.raises(InvalidRequest, match="two sessions, 's' and 't'"):
        compare(made(), made(session_id="t"))
