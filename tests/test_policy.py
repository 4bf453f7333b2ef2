"""Policies are complete, checked, and wrong ones are refused with file and place."""

import pickle
import tomllib
from pathlib import Path

import msgspec
import pytest

from proctor.analysis.api import Group
from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.policy import (
    GroupPoints,
    ObservationPolicy,
    Policy,
    StoragePolicy,
    VerdictPolicy,
    built_in_policy,
    load_policies,
    load_policy,
)
from proctor.analysis.review_policy import ReviewPolicy
from proctor.errors import Misconfigured

CONFIG = Path(__file__).parent.parent / "config"


@pytest.fixture(scope="module")
def analyzers():
    return discover(plugins=[plugin for plugin in find_plugins() if plugin.package == "proctor"])


@pytest.fixture
def policies(tmp_path, analyzers):
    def load(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.toml").write_text(text)
        return load_policies(tmp_path, analyzers)

    return load


def test_the_default_file_says_what_is_built_in(analyzers):
    assert load_policies(CONFIG, analyzers)["default"] == built_in_policy(analyzers)


def test_the_default_file_names_every_setting(analyzers):
    """Whoever edits it sees all there is."""
    table = tomllib.loads((CONFIG / "default.toml").read_text())
    assert set(table) == {"observation", "storage", "review", "verdict", "rules"}
    assert set(table["storage"]) == set(StoragePolicy.__struct_fields__)
    assert set(table["review"]) == set(ReviewPolicy.__struct_fields__)
    assert list(table["review"]["dismiss"]) == list(ReviewPolicy().dismiss), "they are offered in this order"
    assert set(table["observation"]) == set(ObservationPolicy.__struct_fields__)
    assert set(table["verdict"]) == set(VerdictPolicy.__struct_fields__)
    assert set(table["verdict"]["points"]) == set(GroupPoints.__struct_fields__)
    for loaded in analyzers:
        assert set(table["rules"][loaded.plugin.name]) == set(loaded.analyzer.Settings.__struct_fields__)


def test_without_a_directory_there_is_the_default(tmp_path, analyzers):
    assert load_policies(tmp_path / "none", analyzers) == {"default": built_in_policy(analyzers)}


def test_a_file_changes_what_it_names_and_nothing_else(policies, analyzers):
    strict = policies(strict="[verdict]\nhigh_score = 50\n[rules.phone]\nconcern_seconds = 2\n")["strict"]
    default = built_in_policy(analyzers)
    assert strict.name == "strict"
    assert strict.verdict == msgspec.structs.replace(default.verdict, high_score=50)
    assert strict.rules["phone"].settings == default.rules["phone"].settings | {"concern_seconds": 2.0}
    assert strict.rules["no_face"] == default.rules["no_face"]


def test_every_installed_analyzer_has_a_rule(policies, analyzers):
    rules = policies(empty="")["empty"].rules
    assert set(rules) == {loaded.plugin.name for loaded in analyzers}


def test_points_come_from_the_rule_or_else_from_the_group(policies):
    policy = policies(own="[rules.phone]\npoints = 12\n")["own"]
    assert policy.points("phone", Group.DEVICE) == 12
    assert policy.points("multiple_faces", Group.PEOPLE) == GroupPoints().people


def test_technical_trouble_never_has_points(policies):
    """Not even if a policy gives the rule some."""
    assert policies(own="[rules.phone]\npoints = 12\n")["own"].points("phone", Group.TECHNICAL) == 0


def test_every_group_has_points():
    for group in Group:
        assert GroupPoints().of(group) >= 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[verdict\n", "Expected ']' at the end of a table declaration (at line 1"),
        ("speed = 1", "Object contains unknown field `speed`"),
        ("[verdict]\nscore = 1", "verdict: Object contains unknown field `score`"),
        ("[verdict]\nhigh_score = 101", "verdict.high_score: Expected `float` <= 100"),
        ("[verdict]\nhigh_score = 'much'", "verdict.high_score: Expected `float`, got `str`"),
        ("[verdict]\nlow_score = 40", "verdict: low_score, medium_score and high_score must rise"),
        ("[verdict.points]\ndevice = -1", "verdict.points.device: Expected `float` >= 0"),
        ("[observation]\ngap_seconds = nan", "observation.gap_seconds: must be a finite number"),
        ("[rules.phone]\nconcern_seconds = inf", "rules.phone.concern_seconds: must be a finite number"),
        ("[rules.phone]\nconcern_seconds = -1", "rules.phone.concern_seconds: Expected `float`"),
        (
            "[rules.phone]\nconcern_second = 1",
            "rules.phone.concern_second: unknown; did you mean concern_seconds?",
        ),
        ("[rules.phone]\nzzz = 1", "rules.phone.zzz: unknown; settings are alert, concern_seconds"),
        ("[rules.phone]\nenabled = 'no'", "rules.phone.enabled: Expected `bool`"),
        ("[rules.phone]\npoints = 1000", "rules.phone.points: Expected `float` <= 100"),
        ("[rules.phones]\nenabled = true", "rules.phones: unknown; did you mean phone?"),
        ("[review]\nsecond_reviewer = 'often'", "review.second_reviewer: Invalid enum value 'often'"),
        ("[review]\nsecond = 'never'", "review: Object contains unknown field `second`"),
        ("[review.dismiss]", "review: dismiss: must have a reason at least"),
        ("[review.confirm]\n" + "\n".join(f"r{n} = 'x'" for n in range(10)), "review: confirm: at most 9"),
        ("[review.dismiss]\n'Not so' = 'x'", "review: dismiss.Not so: a name is made of"),
        ("[review.dismiss]\nso = ' '", "review: dismiss.so: must be words on one line"),
        ("rules = 3", "rules: must be tables"),
        ("[rules]\nphone = 3", "rules.phone: must be a table"),
        ("name = 'other'", "Object contains unknown field `name`"),
    ],
)
def test_a_mistake_is_named_with_its_place(policies, tmp_path, text, complaint):
    with pytest.raises(Misconfigured) as caught:
        policies(wrong=text)
    assert caught.value.detail.startswith(f"{tmp_path / 'wrong.toml'}: {complaint}")


def test_a_file_name_that_no_session_could_ask_for_is_refused(policies):
    with pytest.raises(Misconfigured, match=r"a policy's file name is made of"):
        policies(**{"my policy": ""})


def test_a_file_that_is_no_text_is_refused(tmp_path, analyzers):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Misconfigured, match=r"binary\.toml"):
        load_policies(tmp_path, analyzers)


def test_digests_tell_policies_apart_by_content_alone(policies):
    found = policies(one="", two="", three="[rules.phone]\nconcern_seconds = 2.5\n")
    assert found["one"].digest == found["two"].digest == found["default"].digest
    assert found["three"].digest != found["one"].digest
    assert found["three"].rules["phone"].digest != found["one"].rules["phone"].digest


def test_who_reviews_how_is_no_part_of_what_reports_follow_from(policies):
    """So that no report is another because of it; yet the trail tells of it."""
    found = policies(one="", two="[review]\nsecond_reviewer = 'never'\n[review.dismiss]\nso = 'So'\n")
    assert found["one"].digest == found["two"].digest
    assert "review" not in found["two"].values
    assert found["two"].review.dismiss == {"so": "So"}
    assert found["two"].review.confirm == ReviewPolicy().confirm
    assert found["one"].review.digest != found["two"].review.digest


def test_a_policy_survives_the_way_into_a_worker(policies):
    """Pickled, it is the same."""
    policy = policies(own="[rules.phone]\npoints = 12\n")["own"]
    again = pickle.loads(pickle.dumps(policy))
    assert isinstance(again, Policy)
    assert again == policy


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[rules.phone]\ninfo_seconds = 20\n",
            "rules.phone: a finding would take 20 s and a concern",
        ),
        ("[verdcit]\n", "did you mean verdict?"),
        (
            "[verdict]\nlow_scor = 1\n",
            "verdict: Object contains unknown field `low_scor`; did you mean low_",
        ),
    ],
)
def test_a_mistake_is_told_with_what_was_meant(tmp_path, text, complaint):
    """Also one that no single setting makes: a rule that would never come to a concern."""
    path = tmp_path / "exam.toml"
    path.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        load_policy(path, discover(plugins=[each for each in find_plugins() if each.package == "proctor"]))
    assert complaint in caught.value.detail


def test_a_file_that_is_missing_or_no_text_is_told_in_words(tmp_path):
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    for name, complaint in (("none", "No such file or directory"), ("odd", "is not UTF-8")):
        with pytest.raises(Misconfigured) as caught:
            load_policy(tmp_path / f"{name}.toml", [])
        assert caught.value.detail.startswith(f"{tmp_path / name}.toml: {complaint}")
