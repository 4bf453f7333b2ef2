"""What changed between two reports is told finding by finding, with what can have caused it."""

import json

import msgspec
import pytest

from proctor.analysis.compare import compare
from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.granting import Granting
from proctor.analysis.pairing import BOOKKEEPING
from proctor.analysis.policy import Rule, built_in_policy
from proctor.errors import InvalidRequest
from proctor.model import ExamSession
from proctor.testing import FACE, NO_FACE, ORIGIN_MS, held
from proctor.times import iso_from_ms

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
    what = "Exempt from being judged by presence, because: lies down at times"
    difference = compare(made(), made(granted=granted))
    assert [cause.what for cause in difference.causes] == [f"granted: {what}"]
    assert [change.kind for change in difference.findings] == ["gone", "gone"]
    for change in difference.findings:
        assert change.because == [f"granted: {what}"]
    undone = compare(made(granted=granted), made())
    assert [cause.what for cause in undone.causes] == [f"no longer granted: {what}"]
    assert undone.findings[0].because == [f"no longer granted: {what}"]


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
        "rule no_face was failed (proctor[no_face]: boom), is ok"
    ]


def test_a_report_of_an_earlier_proctor_is_read(made):
    """It lacks what came later, and what it says is compared all the same."""
    old = json.loads(made())
    for key in ("accommodations", "shadow"):
        del old[key]
    del old["provenance"]["policy"]["values"], old["provenance"]["accommodations_digest"]
    old["provenance"]["policy"]["digest"] = "other"
    difference = compare(json.dumps(old).encode(), made())
    assert [(cause.kind, cause.what) for cause in difference.causes] == [
        ("policy", "another policy; the older report does not say which")
    ]
    assert difference.findings_unchanged == 3
    assert difference.untold == [
        "accommodations",
        "provenance.accommodations_digest",
        "provenance.policy.values",
        "shadow",
    ]


@pytest.mark.parametrize("nonsense", [b"", b"[]", b"{}", b"\xff", b'{"verdict": 1}'])
def test_what_is_no_report_is_refused(made, nonsense):
    with pytest.raises(InvalidRequest, match="not a report"):
        compare(nonsense, made())


def test_reports_on_two_sessions_are_not_compared(made):
    with pytest.raises(InvalidRequest, match="two sessions, 's' and 't'"):
        compare(made(), made(session_id="t"))


def edited(report, *path, to):
    """Return a report with one value replaced; `to` may be a function of what it was."""
    value = json.loads(report)
    *parents, last = path
    place = value
    for key in parents:
        place = place[key]
    place[last] = to(place[last]) if callable(to) else to
    return json.dumps(value).encode()


def granting(analyzers, policy, *asked):
    return Granting(analyzers, {"default": policy}).read(list(asked), "default")


class TestWhatElseDiffers:
    @pytest.mark.parametrize(
        ("path", "to", "named"),
        [
            (("data_quality", "coverage"), 0.5, "data_quality.coverage"),
            (("data_quality", "gaps", "count"), 9, "data_quality.gaps"),
            (("session_info", "candidate_id"), "another", "session_info.candidate_id"),
            (("session_info", "policy"), "renamed", "session_info.policy"),
            (("verdict", "verdict_basis"), "By heart.", "verdict.verdict_basis"),
            (("window_analysis", "windows_flagged"), 9, "window_analysis"),
            (("window_analysis", "predictions_per_window", 2, "rules"), {"x": 1}, "window_analysis"),
            (("suspicious_events", "summary", "naps"), {"count": 1}, "suspicious_events"),
            (("shadow",), [{"rule": "x"}], "shadow"),
            (("recommendations",), [], "recommendations"),
            (("timeline", 0, "message"), "At last.", "timeline"),
            (("contributions", 0, "title"), "Another", "contributions"),
            (("analyzers", "no_face", "details"), {"a": 1}, "analyzers.no_face.details"),
            (("analyzers", "another"), {"status": "ok"}, "analyzers.another"),
            (("provenance", "api_version"), 0, "provenance.api_version"),
            (("provenance", "policy", "name"), "renamed", "provenance.policy.name"),
            (("provenance", "plugins", "no_face"), ["0.1.0 (0000)"], "provenance.plugins.no_face"),
            (("findings",), lambda findings: findings[::-1], "findings"),
        ],
    )
    def test_it_is_named_though_nothing_follows_from_it(self, made, path, to, named):
        for before, after in ((edited(made(), *path, to=to), made()), (made(), edited(made(), *path, to=to))):
            difference = compare(before, after)
            assert (difference.elsewhere, difference.same) == ([named], False)
            assert (difference.verdict, difference.causes, difference.findings) == ([], [], [])

    def test_no_value_is_overlooked(self, made, analyzers, policy):
        """Whatever differs, it is told somewhere."""
        granted = granting(analyzers, policy, {"type": "exempt", "signal": "presence", "reason": "r"})
        report = made(granted=granted)
        own = ("accommodations", 0, "accommodation")
        ignored = {("session_info", "analysed_at"), *((*own, name) for name in BOOKKEEPING)}
        places = dict(leaves(json.loads(report)))
        assert len(places) > 200
        # Whose report it is is no difference, and other accommodations have other keys.
        del places["session_info", "session_id"], places["accommodations", 0, "accommodation", "type"]
        for path, value in places.items():
            other = edited(report, *path, to=another(path, value))
            assert compare(report, other).same is (path in ignored), path

    def test_what_has_been_told_is_not_told_again(self, made, policy):
        other = with_setting(policy, "no_face", concern_seconds=6.0)
        difference = compare(made(), made(policy=other))
        assert "session_info.policy" in difference.elsewhere
        assert not set(difference.elsewhere) & {"findings", "verdict.score", "provenance.policy.values"}
        assert not [name for name in difference.elsewhere if name.startswith("provenance.plugins")]

    def test_a_policy_under_another_name_is_another(self, made, policy):
        difference = compare(made(), made(policy=msgspec.structs.replace(policy, name="renamed")))
        assert difference.elsewhere == ["provenance.policy.name", "session_info.policy"]
        assert not difference.same

    def test_what_an_accommodation_set_aside_is_compared(self, made, analyzers, policy):
        granted = granting(analyzers, policy, {"type": "exempt", "signal": "presence", "reason": "r"})
        report = made(granted=granted)
        assert compare(report, report).same
        fewer = edited(report, "accommodations", 0, "suppressed", to=lambda some: some[1:])
        assert compare(fewer, report).elsewhere == ["accommodations.suppressed"]
        reworded = edited(report, "accommodations", 0, "accommodation", "reason", to="another")
        difference = compare(reworded, report)
        assert (difference.causes, difference.elsewhere) == ([], ["accommodations.reason"])

    def test_what_an_earlier_proctor_does_not_tell_is_no_difference(self, made):
        """Nor is it claimed to be the same."""
        old = json.loads(made())
        for key in ("accommodations", "shadow"):
            del old[key]
        del old["verdict"]["confidence"], old["provenance"]["plugins"], old["data_quality"]["clock_offset"]
        for analyzer in old["analyzers"].values():
            del analyzer["reason"]
        for window in old["window_analysis"]["predictions_per_window"]:
            del window["rules"]
        difference = compare(json.dumps(old).encode(), made())
        assert difference.same
        assert {"accommodations", "shadow", "verdict.confidence", "provenance.plugins"} < set(
            difference.untold
        )
        assert {"data_quality.clock_offset", "window_analysis", "analyzers.no_face.reason"} < set(
            difference.untold
        )
        assert not compare(made(), json.dumps(old).encode()).same


def leaves(value, path=()):
    """Yield the places of values in a report; of a list those in its first element."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaves(child, (*path, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*path, 0))
    elif value not in ({}, []):
        yield path, value


def another(path, value):
    """Return another value that may stand there."""
    choices = {
        "level": ["info", "concern"],
        "group": ["presence", "attention"],
        "effective_from": ["2020-01-01T00:00:00.000Z"],
        "effective_until": ["2040-01-01T00:00:00.000Z"],
        "signal": ["phone"],
        "baseline": [0.5],
        "deviation": [0.5],
    }.get(path[-1])
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 + 0.01
    if path[-2:-1] == ("frame_ids",):
        return "1-1"
    return f"{value} "


class TestCauses:
    def test_a_remark_on_an_analyzer_is_compared_like_its_status(self, made):
        late = edited(made(), "analyzers", "no_face", "reason", to="joined after 100 frames")
        late = edited(late, "findings", to=lambda some: [each for each in some if each["rule"] != "no_face"])
        difference = compare(late, made())
        told = "rule no_face was ok (joined after 100 frames), is ok"
        assert [(cause.kind, cause.what) for cause in difference.causes] == [("status", told)]
        assert [change.because for change in difference.findings] == [[told], [told]]
        assert not [name for name in difference.elsewhere if name.startswith("analyzers")]
        undone = compare(made(), late)
        assert undone.causes[0].what == "rule no_face was ok, is ok (joined after 100 frames)"

    def test_other_frames_are_a_cause_besides_a_rules_own(self, made, policy):
        other = with_setting(policy, "no_face", concern_seconds=6.0)
        difference = compare(made(), made(frames=FRAMES[:-20], policy=other))
        frames, setting = (cause.what for cause in difference.causes)
        assert frames.startswith("other frames")
        assert [change.kind for change in difference.findings] == ["changed", "changed"]
        assert all(change.because == [frames, setting] for change in difference.findings)
        shorter = compare(made(), made(frames=FRAMES[:-60], policy=other))
        assert [change.kind for change in shorter.findings] == ["changed", "gone"]
        assert shorter.findings[1].because == [shorter.causes[0].what, setting]

    def test_what_findings_come_to_is_no_cause_of_findings(self, made, policy):
        """Nor what a rule may score, nor what counts as observed."""
        verdict = msgspec.structs.replace(policy.verdict, high_score=90.0)
        observation = msgspec.structs.replace(policy.observation, coverage_min=0.1)
        other = msgspec.structs.replace(
            with_setting(policy, "no_face", concern_seconds=6.0), verdict=verdict, observation=observation
        )
        rules = {**other.rules, "no_face": msgspec.structs.replace(other.rules["no_face"], points=90.0)}
        other = msgspec.structs.replace(other, rules=rules)
        difference = compare(made(), made(policy=other))
        assert {cause.what: cause.changes_findings for cause in difference.causes} == {
            "policy: observation.coverage_min was 0.6, is 0.1": False,
            "policy: rules.no_face.concern_seconds was 10, is 6": True,
            "policy: rules.no_face.points was None, is 90": False,
            "policy: verdict.high_score was 60, is 90": False,
        }
        for change in difference.findings:
            assert change.because == ["policy: rules.no_face.concern_seconds was 10, is 6"]
        gone = edited(made(), "findings", to=[])
        gone = edited(gone, "provenance", "policy", "digest", to="other")
        gone = edited(gone, "provenance", "policy", "values", "verdict", "high_score", to=90.0)
        assert {tuple(change.because) for change in compare(made(), gone).findings} == {()}

    def test_a_setting_that_the_earlier_report_does_not_have(self, made):
        old = edited(made(), "provenance", "policy", "digest", to="other")
        settings = ("provenance", "policy", "values", "rules", "no_face", "settings")
        old = edited(old, *settings, to=lambda all_: {**all_, "concern_seconds": None})
        told = [cause.what for cause in compare(old, made()).causes]
        assert told == ["policy: rules.no_face.concern_seconds was None, is 10"]
        old = edited(old, *settings, to=lambda all_: {k: v for k, v in all_.items() if v is not None})
        told = [cause.what for cause in compare(old, made()).causes]
        assert told == ["policy: rules.no_face.concern_seconds was not told, is 10"]

    def test_a_finding_that_only_says_otherwise_has_changed(self, made):
        difference = compare(edited(made(), "findings", 0, "message", to="Hm."), made())
        [change] = difference.findings
        assert (change.kind, [each.what for each in change.changes]) == ("changed", ["message"])
        assert difference.findings_unchanged == 2

    def test_scores_are_whole_numbers(self, made):
        changes = compare(edited(made(), "verdict", "score", to=3), made()).verdict
        assert [type(change.before) for change in changes] == [int]


class TestAccommodations:
    BREAK = {  # noqa: RUF012 - nobody changes it
        "type": "break",
        "reason": "r",
        "effective_from": iso_from_ms(ORIGIN_MS + 10_000),
        "effective_until": iso_from_ms(ORIGIN_MS + 20_000),
    }

    def test_other_times_are_told_as_such(self, made, analyzers, policy):
        later = self.BREAK | {"effective_until": iso_from_ms(ORIGIN_MS + 30_000)}
        was, now = (granting(analyzers, policy, each) for each in (self.BREAK, later))
        [cause] = compare(made(granted=was), made(granted=now)).causes
        start, end = self.BREAK["effective_from"], self.BREAK["effective_until"]
        assert cause.what == (
            f"granted from {start} to {later['effective_until']} (was from {start} to {end}): "
            "A break, 0:00:10 to 0:00:30, because: r"
        )

    def test_of_several_the_one_that_differs_is_told(self, made, analyzers, policy):
        second = self.BREAK | {
            "effective_from": iso_from_ms(ORIGIN_MS + 40_000),
            "effective_until": iso_from_ms(ORIGIN_MS + 50_000),
        }
        both, one = granting(analyzers, policy, self.BREAK, second), granting(analyzers, policy, second)
        difference = compare(made(granted=both), made(granted=one))
        assert [cause.what for cause in difference.causes] == [
            "no longer granted: A break, 0:00:10 to 0:00:20, because: r"
        ]

    def test_how_it_was_entered_is_no_difference(self, made, analyzers, policy):
        granted = granting(analyzers, policy, self.BREAK)
        entered = [msgspec.structs.replace(each, id="a7") for each in granted]
        assert compare(made(granted=granted), made(granted=entered)).same

    def test_without_a_description_its_type_is_told(self, made, analyzers, policy):
        report = made(granted=granting(analyzers, policy, self.BREAK))
        old = json.loads(report)
        del old["accommodations"][0]["description"]
        assert compare(json.dumps(old).encode(), report).same
        assert compare(json.dumps(old).encode(), report).untold == ["accommodations.description"]
        [cause] = compare(json.dumps(old).encode(), made()).causes
        assert cause.what == "no longer granted: break, because: r"

    def test_one_for_a_rule_explains_no_other_rule(self, made, analyzers, policy):
        scale = {
            "type": "scale",
            "rule": "no_face",
            "setting": "concern_seconds",
            "factor": 0.6,
            "reason": "r",
        }
        report = made(granted=granting(analyzers, policy, scale))
        report = edited(report, "findings", to=lambda some: [e for e in some if e["rule"] == "no_face"])
        changes = {change.category: change for change in compare(made(), report).findings}
        assert changes["gaze"].because == []
        assert changes["no_face"].because == ["granted: no_face.concern_seconds times 0.6, because: r"]

    def test_what_was_granted_both_times_is_no_cause(self, made, analyzers, policy):
        scale = {
            "type": "scale",
            "rule": "no_face",
            "setting": "concern_seconds",
            "factor": 2.0,
            "reason": "r",
        }
        granted = granting(analyzers, policy, scale)
        other = with_setting(policy, "no_face", concern_seconds=6.0)
        difference = compare(made(granted=granted), made(granted=granted, policy=other))
        told = "policy: rules.no_face.concern_seconds was 10, is 6"
        assert [change.because for change in difference.findings] == [[told], [told]]


def test_a_report_nested_too_deeply_is_refused(made):
    deep = made()[:-1] + b',"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidRequest, match="not a report"):
        compare(deep, made())
