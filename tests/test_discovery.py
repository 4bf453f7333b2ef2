"""Analyzers are found without being imported; what is wrong with one is said before the server starts."""

import sys

import pytest

from proctor.analysis.discovery import Plugin, check_names, discover, find_plugins, load_plugin
from proctor.errors import Misconfigured

SOUND = """
import msgspec
from proctor.analysis import API_VERSION, Assessment

class Rule:
    api_version = API_VERSION
    title = "A rule"
    class Settings(msgspec.Struct): limit: int = 1
    class State(msgspec.Struct): count: int = 0
    def __init__(self, settings): pass
    def fold(self, state, frames): state.count += len(frames)
    def assess(self, state): return Assessment(findings=[])
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path: a module, and metadata that names its analyzers."""
    modules = set(sys.modules)

    def put(package, entries, source=SOUND, folder="site"):
        site = tmp_path / folder
        info = site / f"{package.replace('-', '_')}-2.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.1\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[proctor.analyzers]", *lines]))
        (site / f"{package.replace('-', '_')}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        return site

    yield put
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def found_in(*sites):
    return find_plugins([str(site) for site in sites])


def test_plugins_are_found_sorted_and_not_imported(install):
    site = install("tricky-rules", {"zebra": "tricky_rules:Z", "ant": "tricky_rules:A"}, "raise SystemExit")
    assert found_in(site) == (
        Plugin("ant", "tricky-rules", "2.1", "tricky_rules:A"),
        Plugin("zebra", "tricky-rules", "2.1", "tricky_rules:Z"),
    )


def test_a_distribution_that_is_on_the_path_twice_counts_once(install):
    first = install("twice", {"rule": "twice:Rule"}, folder="first")
    second = install("twice", {"rule": "twice:Other"}, folder="second")
    [plugin] = found_in(first, second)
    assert plugin.value == "twice:Rule"
    assert found_in(install("twice", {}, folder="none"), second) == ()


def test_the_built_in_rules_come_through_the_same_door():
    names = {plugin.name for plugin in find_plugins() if plugin.package == "proctor"}
    assert {"phone", "multiple_faces", "no_face", "gaze_off_screen", "head_turned"} <= names


def test_a_sound_analyzer_is_loaded(install):
    [loaded] = discover(["sound"], found_in(install("sound-rules", {"sound": "sound_rules:Rule"})))
    assert loaded.analyzer.title == "A rule"
    assert loaded.plugin.display_name == "sound-rules[sound]"


def test_two_distributions_may_not_share_a_name():
    """Both are named, and what to do."""
    plugins = [Plugin("phone", "ours", "1", "a:A"), Plugin("phone", "theirs", "1", "b:B")]
    with pytest.raises(Misconfigured, match=r"ours and theirs both bring .* 'phone'; uninstall one"):
        check_names(plugins)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "1st", "é", "x" * 65])
def test_a_name_that_no_policy_could_spell_is_refused(name):
    with pytest.raises(Misconfigured, match="rename the entry point in ours"):
        check_names([Plugin(name, "ours", "1", "a:A")])


def test_what_is_required_must_be_installed():
    with pytest.raises(Misconfigured, match=r"not installed: lips, nose; installed are phone; ") as caught:
        check_names([Plugin("phone", "ours", "1", "a:A")], ["nose", "phone", "lips"])
    assert caught.value.field == "required_analyzers"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck; repair or uninstall broken-rules 2.1"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import a_module_that_nobody_has", "ModuleNotFoundError"),
        ("", "AttributeError"),
        (
            SOUND.replace("= API_VERSION", "= 99"),
            "version 99 of the analyzer contract, this server has version",
        ),
        (SOUND.replace("    api_version = API_VERSION\n", ""), "version None of the analyzer contract"),
        (SOUND.replace('    title = "A rule"\n', ""), "has no title"),
        (SOUND.replace("def fold", "def folt"), "no method fold"),
        (SOUND.replace("def assess", "def asses"), "no method assess"),
        (SOUND.replace("class State(msgspec.Struct)", "class State"), "its State is no msgspec.Struct"),
        (SOUND.replace("class Settings", "class Setting"), "its Settings is no msgspec.Struct"),
        (SOUND.replace("limit: int = 1", "limit: int"), "Settings has fields without a default: limit"),
        (SOUND.replace("limit: int", "points: int"), "names that belong to Proctor: points"),
        (SOUND + "\nRule = Rule(None)", "does not name a class"),
    ],
)
def test_an_analyzer_that_breaks_the_contract_is_refused(install, source, complaint):
    """The message names the distribution and the rule, and says what to do."""
    [plugin] = found_in(install("broken-rules", {"rule": "broken_rules:Rule"}, source))
    with pytest.raises(Misconfigured) as caught:
        load_plugin(plugin)
    assert caught.value.detail.startswith("broken-rules[rule]")
    assert complaint in caught.value.detail
    assert "uninstall broken-rules" in caught.value.detail or "release of broken-rules" in caught.value.detail
