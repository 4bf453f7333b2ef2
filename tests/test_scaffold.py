"""New distributions are whole, and their tests pass as written; names that cannot be are refused."""

import tomllib

import pytest
from typer.testing import CliRunner

from proctor.cli import app
from proctor.errors import InvalidRequest, Unavailable
from proctor.scaffold.distribution import check_name, write_distribution
from tests.plugins.distribution import install, own_tests, rules_in


def test_everything_that_a_distribution_needs_is_written(tmp_path):
    folder = write_distribution("hand_busy", tmp_path / "new")
    assert folder == tmp_path / "new" / "proctor-hand-busy"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        "hand_busy/__init__.py",
        "hand_busy/py.typed",
        "tests/test_hand_busy.py",
        "tests/test_contract.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "proctor-hand-busy"
    assert project["entry-points"]["proctor.analyzers"] == {"hand_busy": "hand_busy:HandBusy"}
    assert list((tmp_path / "new").iterdir()) == [folder]


@pytest.mark.slow
@pytest.mark.no_cover
def test_its_tests_pass_as_written(tmp_path):
    """Installed without network; the contract suite is among them."""
    folder = write_distribution("hand_busy", tmp_path)
    target = install(folder, tmp_path)
    assert "hand_busy" in rules_in(target)
    passed = int(own_tests(folder, target).split(" passed")[0].split()[-1])
    assert passed > 30


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("group", "GroupRule"),
        ("durations", "DurationsRule"),
        ("episodes", "EpisodesRule"),
        ("hysteresis", "HysteresisRule"),
        ("assessment", "AssessmentRule"),
        ("frame_batch", "FrameBatchRule"),
        ("seconds", "SecondsRule"),
        ("state", "StateRule"),
        ("settings", "SettingsRule"),
        ("annotated", "AnnotatedRule"),
        ("baseline", "BaselineRule"),
        ("any", "AnyRule"),
        ("true", "TrueRule"),
        ("exception", "ExceptionRule"),
        ("f_a_c_e", "FACERule"),
        ("test_x", "RuleTestX"),
        ("testing_times", "RuleTestingTimes"),
        ("hands", "Hands"),
    ],
)
def test_a_class_hides_nothing_and_is_not_taken_for_tests(tmp_path, name, class_name):
    folder = write_distribution(name, tmp_path)
    rule = (folder / name / "__init__.py").read_text()
    assert f"\nclass {class_name}:\n" in rule
    assert f"from {name} import {class_name}\n" in (folder / "tests" / f"test_{name}.py").read_text()
    assert f'"{name}:{class_name}"' in (folder / "pyproject.toml").read_text()
    exec(compile(rule, name, "exec"), {"__name__": name})


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["group", "test_x"])
def test_the_tests_of_names_that_mean_something_pass(tmp_path, name):
    """All are collected; of the contract suite, to which a name is nothing, the quick ones are run."""
    folder = write_distribution(name, tmp_path)
    slow = "batching or bounded or in_order or hostile or another_process"
    done = own_tests(folder, install(folder, tmp_path), "-k", f"not (contract and ({slow}))")
    assert int(done.split(" passed")[0].split()[-1]) > 10


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Tea-Break", "did you mean tea_break?"),
        ("tea break", "did you mean tea_break?"),
        ("1st", "a rule's name is a lower-case letter and then"),
        ("", "a rule's name is"),
        ("x" * 65, "at most 64 in all"),
        ("é", "a rule's name is"),
        ("../up", "did you mean up?"),
        ("class", "say more, e.g. class_rule"),
        ("json", "say more, e.g. json_rule"),
        ("tests", "say more, e.g. tests_rule"),
        ("contract", "say more, e.g. contract_rule"),
        ("test_contract", "say more, e.g. test_contract_rule"),
        ("numpy", "a package named 'numpy' is installed"),
        ("taken", "`proctor plugins` lists all that are"),
    ],
)
def test_names_that_cannot_be_are_refused_with_a_remedy(tmp_path, name, remedy):
    with pytest.raises(InvalidRequest) as refused:
        write_distribution(name, tmp_path, taken=["taken"])
    assert remedy in refused.value.detail
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path):
    first = write_distribution("tea_break", tmp_path)
    (first / "README.md").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"exists; choose another name or --directory"):
        write_distribution("tea_break", tmp_path)
    assert (first / "README.md").read_text() == "mine"


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.rename", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        write_distribution("tea_break", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_same_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "tea_break").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    check_name("tea_break")


def test_the_command_says_what_to_do_next(tmp_path):
    done = CliRunner().invoke(app, ["plugins", "new", "tea_break", "--directory", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"cd {tmp_path}/proctor-tea-break && pip install -e '.[test]' && pytest" in done.stdout
    again = CliRunner().invoke(app, ["plugins", "new", "phone", "--directory", str(tmp_path)])
    assert (again.exit_code, "an analyzer named 'phone' is installed" in again.stderr) == (2, True)
