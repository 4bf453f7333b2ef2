"""What changed is told in words that are true of it, at any width, on the page too."""

import io
import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from proctor.analysis.compare import compare
from proctor.analysis.discovery import discover
from proctor.analysis.policy import built_in_policy
from proctor.analysis.schema import Report
from proctor.offline.page import page
from proctor.offline.recording import Recording, read_recording
from proctor.offline.text import print_text
from proctor.simulator import exam_taker
from proctor.simulator.people import episode
from proctor.simulator.replay import stored_frames
from tests.fakes import judged

T0 = 1_767_603_600_000
ANALYZERS = discover()
POLICY = built_in_policy(ANALYZERS)
EXAM = exam_taker("honest-calm", 1, 8, script=[episode("phone", 60, 75), episode("phone", 200, 212)])
WIDTHS = (50, 110)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    path: Path = tmp_path_factory.mktemp("dump") / "s1_frames.json"
    path.write_bytes(b"[" + b",".join(stored_frames(EXAM, "s1", T0)) + b"]")
    return read_recording(path, T0)


@pytest.fixture(scope="module")
def report(recording) -> bytes:
    return judged(recording, ANALYZERS, POLICY, T0)


def edited(report, edit):
    value = json.loads(report)
    edit(value)
    return json.dumps(value).encode()


def text_of(comparison, width=110):
    file = io.StringIO()
    print_text(comparison, Console(file=file, width=width, highlight=False, force_terminal=False))
    return file.getvalue()


def words_of(text):
    return " ".join(text.split())


def page_of(report, recording, comparison):
    return words_of(page(msgspec.json.decode(report, type=Report), recording, POLICY, comparison))


def test_nothing_has_changed(report, recording):
    same = compare(report, report)
    assert words_of(text_of(same, 50)).endswith("Nothing has changed but the time of the analysis.")
    assert "<p>Nothing has changed but the time of the analysis.</p>" in page_of(report, recording, same)


def test_nothing_is_claimed_of_what_the_earlier_report_does_not_tell(report, recording):
    def edit(old):
        del old["shadow"], old["provenance"]["accommodations_digest"]

    same = compare(edited(report, edit), report)
    told = (
        "Nothing has changed but the time of the analysis, as far as the earlier report tells; "
        "it does not tell provenance.accommodations_digest, shadow."
    )
    for width in WIDTHS:
        assert words_of(text_of(same, width)).endswith(told)
    assert told in page_of(report, recording, same)


def test_only_something_else_has_changed(report, recording):
    def edit(old):
        old["data_quality"]["coverage"] = 0.5
        del old["shadow"]

    other = compare(edited(report, edit), report)
    count = other.findings_unchanged
    assert count > 1
    for width in WIDTHS:
        assert words_of(text_of(other, width)) == (
            "Session s1, compared with the earlier report Verdict As before. "
            "Why The reports tell of no cause. "
            f"Findings ({count} unchanged) None has changed. "
            "What else differs data_quality.coverage "
            "What the earlier report does not tell shadow"
        )
    html = page_of(report, recording, other)
    assert "<dt>Verdict</dt><dd>as before</dd>" in html
    assert "<dt>Why</dt><dd>the reports tell of no cause</dd>" in html
    assert f"<dt>Unchanged</dt><dd>{count} findings</dd>" in html
    assert "<dt>What else differs</dt><dd>data_quality.coverage</dd>" in html
    assert "<dt>Not told by the earlier report</dt><dd>shadow</dd>" in html


def test_only_a_cause_has_changed(report):
    def edit(old):
        old["provenance"]["proctor"] = "0.0.1"

    text = words_of(text_of(compare(edited(report, edit), report)))
    assert "Verdict As before. Why Proctor 0.0.1, now" in text
    assert "None has changed." in text
    assert "What else differs" not in text


def test_without_findings_none_is_called_unchanged(report):
    def edit(value):
        value["findings"] = []

    old = edited(report, edit)
    new = edited(old, lambda value: value["data_quality"].update(coverage=0.5))
    assert "Findings (0 unchanged) Neither report has any." in words_of(text_of(compare(old, new)))


def test_a_narrow_terminal_loses_nothing_and_keeps_the_margin(report):
    def edit(old):
        old["findings"] = old["findings"][1:]
        old["findings"][0]["strength"] = 0.1
        old["verdict"] |= {"score": 7, "review_priority": "low"}
        old["provenance"]["frames"]["digest"] = "other"
        old["provenance"]["policy"]["digest"] = "other"
        old["provenance"]["policy"]["values"]["rules"]["phone"]["settings"] = {"concern_seconds": 77.5}

    comparison = compare(edited(report, edit), report)
    assert {change.kind for change in comparison.findings} == {"new", "changed"}
    wide, narrow = text_of(comparison, 400), text_of(comparison, 50)
    assert words_of(narrow) == words_of(wide)
    for line in narrow.splitlines():
        assert len(line) <= 50
        heads = ("Session", "Verdict", "Points", "Why", "Findings", "What", "report")
        assert not line.strip() or line.startswith("  ") or line.startswith(heads), line
    reasons = [line for line in wide.splitlines() if "because" in line]
    assert reasons
    assert all(line.startswith("    because ") for line in reasons)
