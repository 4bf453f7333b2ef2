"""`proctor plugins` lists what is installed, and tells everything that is wrong, not only the first."""

import json

import pytest
from typer.testing import CliRunner

from proctor.analysis.api import API_VERSION
from proctor.analysis.discovery import Plugin
from proctor.analysis.inventory import inventory
from proctor.cli import app
from proctor.cli.console import console

SOURCES = {
    "prints": "print('noise')\nfrom tests.wayward.wayward_rules import Upright",
    "breaks": "raise ValueError('no [luck]')",
    "older": "from tests.wayward.wayward_rules import Upright as Base\nclass Upright(Base): api_version = 0",
}


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    for name, source in SOURCES.items():
        (tmp_path / f"{name}_rules.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    twice = [Plugin("twice", package, "1.0", "prints_rules:Upright") for package in ("ours", "theirs")]
    return [Plugin(name, f"{name}-rules", "2.1", f"{name}_rules:Upright") for name in SOURCES] + twice


def test_each_is_told_what_is_wrong_with_it(plugins, capsys):
    listed = {(one.rule, one.plugin): one for one in inventory(["absent", "prints"], plugins)}
    sound = listed["prints", "prints-rules"]
    assert (sound.status, sound.problem, sound.contract, sound.title) == ("ok", None, API_VERSION, "Upright")
    broken = listed["breaks", "breaks-rules"]
    assert (broken.status, broken.contract, broken.version) == ("unusable", None, "2.1")
    assert "ValueError: no [luck]; repair or uninstall breaks-rules 2.1" in broken.problem
    older = listed["older", "older-rules"]
    assert (older.contract, older.title) == (0, "Upright")
    assert "is written for version 0 of the analyzer contract" in older.problem
    for package in ("ours", "theirs"):
        assert "ours and theirs both bring an analyzer named 'twice'" in listed["twice", package].problem
    assert "required by REQUIRED_ANALYZERS but not installed" in listed["absent", ""].problem
    assert capsys.readouterr().out == ""


@pytest.fixture
def found(plugins, monkeypatch):
    monkeypatch.setattr("proctor.analysis.inventory.find_plugins", lambda: tuple(plugins))
    monkeypatch.setattr(console, "_width", 100)


@pytest.mark.usefixtures("found")
def test_people_get_a_table_and_a_line_for_each_problem():
    done = CliRunner().invoke(app, ["plugins"])
    assert done.exit_code == 1
    table, problems = done.stdout.strip().split("\n\n")[0], done.stdout
    assert [line.split()[0] for line in table.splitlines()[2:7]] == [*SOURCES, "twice", "twice"]
    assert (
        "unusable: breaks-rules[breaks] cannot be loaded from 'breaks_rules:Upright': ValueError: no [luck]"
        in (problems)
    )


@pytest.mark.usefixtures("found")
def test_programs_get_json():
    done = CliRunner().invoke(app, ["plugins", "--json"])
    assert done.exit_code == 1
    listed = json.loads(done.stdout)
    assert [one["status"] for one in listed] == ["ok", "unusable", "unusable", "unusable", "unusable"]
    assert listed[0] == {
        "rule": "prints",
        "title": "Upright",
        "plugin": "prints-rules",
        "version": "2.1",
        "contract": API_VERSION,
        "status": "ok",
        "problem": None,
    }


def test_all_is_well_with_what_is_installed_here():
    done = CliRunner().invoke(app, ["plugins", "--json"])
    assert done.exit_code == 0
    assert {one["plugin"] for one in json.loads(done.stdout)} == {"proctor"}
