"""A plugin's own section is in every form of the report, whatever it holds, and spoils none."""

import io
import json

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from proctor.analysis.discovery import discover
from proctor.analysis.policy import built_in_policy
from proctor.analysis.schema import Report
from proctor.cli import app
from proctor.offline.details import ENTRIES_MAX, VALUE_CHARACTERS_MAX, entries
from proctor.offline.page import page
from proctor.offline.recording import read_recording
from proctor.offline.text import print_text, written
from tests.fakes import judged

T0 = 1_767_603_600_000


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "s1_frames.json"
    path.write_text(json.dumps([{"timestamp": T0 + 500 * n, "face_present": 1} for n in range(40)]))
    return read_recording(path, T0)


@pytest.fixture
def report(recording):
    """A report in which one analyzer has something of its own to say, and the others nothing."""
    analyzers = discover()
    policy = built_in_policy(analyzers)
    made = msgspec.json.decode(judged(recording, analyzers, policy, T0))
    made["analyzers"]["phone"] |= {
        "title": "Phones <seen>",
        "details": {
            "model": "<script>alert(1)</script>",
            "escape\x1b[31m": "\x1b[2Jgone",
            "places": [{"x": 1, "y": 2.5}],
            "of [bold]interest[/]": True,
        },
    }
    return msgspec.convert(made, Report), policy


def test_text_has_it_under_the_analyzers_title(report):
    """Control characters do not reach a terminal, and markup of the terminal's is none."""
    text = written(report[0])
    section = text.split("\nPhones <seen>\n")[1].split("\n\n")[0]
    assert [line.strip() for line in section.splitlines()] == [
        "model: <script>alert(1)</script>",
        "escape\N{REPLACEMENT CHARACTER}[31m: \N{REPLACEMENT CHARACTER}[2Jgone",
        'places: [{"x":1,"y":2.5}]',
        "of [bold]interest[/]: true",
    ]


def test_narrow_terminals_lose_nothing(report):
    console = Console(file=io.StringIO(), width=30, highlight=False)
    print_text(report[0], console)
    assert "model:" in console.file.getvalue()


def test_the_page_has_it_escaped(report, recording):
    html = page(report[0], recording, report[1])
    assert '<h2>Phones &lt;seen&gt; <span class="dim">(phone)</span></h2>' in html
    assert "<dt>model</dt><dd>&lt;script&gt;alert(1)&lt;/script&gt;</dd>" in html
    assert "<dt>places</dt><dd>[{&#34;x&#34;:1,&#34;y&#34;:2.5}]</dd>" in html
    assert "<script>alert(1)" not in html


def test_analyzers_without_details_take_no_room(report, recording):
    text, html = written(report[0]), page(report[0], recording, report[1])
    assert "\nTalking\n" not in text
    assert "<h2>Talking" not in html


def test_long_sections_are_cut():
    shown = entries({f"key {n}": "x" * (VALUE_CHARACTERS_MAX + 1) for n in range(ENTRIES_MAX + 5)})
    assert len(shown) == ENTRIES_MAX + 1
    assert shown[-1] == ("…", "5 more")
    assert shown[0][1] == "x" * VALUE_CHARACTERS_MAX + "…"


def test_a_policys_own_settings_lead_to_a_report_with_the_plugins_own_section(monkeypatch, tmp_path):
    """From the TOML file to the printed report, with a rule that is installed like anybody's."""
    site, info = tmp_path / "site", tmp_path / "site" / "own_rules-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[proctor.analyzers]\nown = own_rules:Own\n")
    (site / "own_rules.py").write_text(OWN_RULE)
    monkeypatch.syspath_prepend(str(site))
    dump, policy = tmp_path / "dump.json", tmp_path / "mine.toml"
    dump.write_text(json.dumps([{"timestamp": T0 + 500 * n, "face_w": n} for n in range(40)]))
    policy.write_text('[rules.own]\nlabel = "wide faces"\nlimit = 30.0\n')
    done = CliRunner().invoke(app, ["analyze", str(dump), "--policy", str(policy)])
    assert done.exit_code == 0, done.output
    section = done.stdout.split("\nMy own\n")[1].split("\n\n")[0]
    assert [line.strip() for line in section.splitlines()] == ["frames: 10", "label: wide faces"]
    policy.write_text("[rules.own]\nlimit = -1.0\n")
    refused = CliRunner().invoke(app, ["analyze", str(dump), "--policy", str(policy)])
    assert refused.exit_code == 2
    assert "rules.own.limit: Expected `float` >= 0.0" in refused.stderr


OWN_RULE = """
from typing import Annotated
import msgspec
from proctor.analysis import API_VERSION, Assessment

class Own:
    api_version = API_VERSION
    title = "My own"
    class Settings(msgspec.Struct, frozen=True):
        label: str = "faces"
        limit: Annotated[float, msgspec.Meta(ge=0)] = 100.0
    class State(msgspec.Struct):
        frames: int = 0
    def __init__(self, settings):
        self.settings = settings
    def fold(self, state, frames):
        state.frames += int((frames["face_w"] >= self.settings.limit).sum())
    def assess(self, state):
        return Assessment(findings=[], details={"label": self.settings.label, "frames": state.frames})
"""
