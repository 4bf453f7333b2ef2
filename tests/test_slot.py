"""One analyzer's misbehaviour ends in one line about it and nowhere else."""

import sys
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from proctor.analysis.api import Assessment
from proctor.analysis.discovery import Plugin, find_plugins
from proctor.analysis.frames import FrameBatch
from proctor.analysis.policy import Rule
from proctor.analysis.schema import Status
from proctor.analysis.slot import REASON_MAX_CHARACTERS, Slot, assess_slot, describe, fold_slot
from proctor.testing import FACE, ORIGIN_MS, held

ROGUES = Path(__file__).parent / "rogues"
FRAMES = held((5, FACE))
END_SECONDS = 5.0


@pytest.fixture(autouse=True)
def rogues(monkeypatch):
    monkeypatch.syspath_prepend(str(ROGUES))
    yield {plugin.name: plugin for plugin in find_plugins([str(ROGUES)])}
    sys.modules.pop("rogue_rules", None)


def batch():
    return FrameBatch.from_json(FRAMES, ORIGIN_MS)


def section_of(plugin, slot=None, frames=None):
    slot = slot or Slot(since=0)
    fold_slot(plugin, Rule(), slot, frames or batch(), nullcontext)
    return assess_slot(plugin, Rule(), slot, END_SECONDS, nullcontext)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rogue_raises", "RuntimeError: this rule is broken"),
        ("rogue_raises_in_assess", "LookupError: nothing to assess"),
        ("rogue_raises_in_constructor", "RuntimeError: cannot be made"),
        ("rogue_raises_unprintable", "Unprintable"),
        ("rogue_quits", "SystemExit: 0"),
        ("rogue_recurses", "RecursionError: maximum recursion depth exceeded"),
        ("rogue_unserialisable", "TypeError: Encoding objects of type object is unsupported"),
        ("rogue_wrong_state", "ValidationError: Expected `int`, got `str` - at `$.frames`"),
        ("rogue_huge_state", "ValueError: its state grew to 16,777,"),
        ("rogue_returns_nothing", "TypeError: assess returned NoneType, not an Assessment"),
        ("rogue_returns_dict", "TypeError: assess returned dict, not an Assessment"),
        ("rogue_returns_nan", "ValidationError: Expected `float`, got `null` - at `$.findings[0].strength`"),
        ("rogue_returns_too_strong", "ValidationError: Expected `float` <= 1.0"),
        ("rogue_returns_another_time", "ValidationError: Expected `float` >= 0.0"),
        ("rogue_returns_backwards", "ValueError: a finding from 1.0 s to 0.0 s"),
        ("rogue_returns_wrong_types", "ValidationError: Invalid enum value 'very bad'"),
        ("rogue_returns_strange_details", "TypeError: Encoding objects of type object"),
        ("rogue_returns_too_much", "ValueError: its assessment has 29,700,0"),
    ],
)
def test_a_rogue_fails_with_its_name_and_reason(rogues, name, reason):
    section = section_of(rogues[name])
    assert section.status is Status.FAILED
    assert section.reason.startswith(f"rogue-rules[{name}]: {reason}")
    assert section.assessment == Assessment(findings=[])


def test_what_fails_stays_off(rogues):
    """A rule that missed frames cannot go on; the first reason stands."""
    slot = Slot(since=0)
    section_of(rogues["rogue_raises"], slot)
    again = section_of(rogues["rogue_returns_dict"], slot)
    assert (again.status, again.reason) == (Status.FAILED, slot.fault.reason)
    assert "this rule is broken" in again.reason
    assert slot.state == b""


def test_columns_that_all_share_cannot_be_written(rogues):
    shared = batch()
    section = section_of(rogues["rogue_scribbles"], frames=shared)
    assert section.status is Status.FAILED
    assert (shared["face_present"] == 1).all()


def test_a_finding_after_the_last_frame_is_refused(rogues):
    """The same finding is accepted when there are frames to the end of it."""
    plugin = rogues["rogue_chatters"]._replace(value="tests.test_slot:EndsAtFive")
    assert section_of(plugin).status is Status.OK
    slot = Slot(since=0)
    fold_slot(plugin, Rule(), slot, batch(), nullcontext)
    early = assess_slot(plugin, Rule(), slot, 4.9, nullcontext)
    assert "a finding from 0.0 s to 5.0 s, where frames end at 4.9 s" in early.reason


def test_findings_carry_rule_and_plugin_and_are_rounded(rogues):
    plugin = rogues["rogue_chatters"]._replace(value="tests.test_slot:EndsAtFive")
    [finding] = section_of(plugin).assessment.findings
    assert (finding.rule, finding.plugin, finding.strength) == ("rogue_chatters", "rogue-rules", 0.333)


def test_a_disabled_rule_and_a_session_without_frames_are_skipped(rogues):
    plugin = rogues["rogue_raises"]
    off = assess_slot(plugin, Rule(enabled=False), Slot(since=0), END_SECONDS, nullcontext)
    assert (off.status, off.reason) == (Status.SKIPPED, "switched off by the policy")
    empty = assess_slot(plugin, Rule(), None, 0.0, nullcontext)
    assert (empty.status, empty.reason) == (Status.SKIPPED, "no frames")


def test_a_change_during_the_session_is_remarked_upon(rogues):
    """Other settings or another version judge the rest of it, and the report says so."""
    plugin = rogues["rogue_returns_nothing"]._replace(value="tests.test_slot:EndsAtFive")
    slot = Slot(since=7)
    fold_slot(plugin, Rule(settings={"share": 0.5}), slot, batch(), nullcontext)
    fold_slot(plugin._replace(version="2.0"), Rule(settings={"share": 0.5}), slot, batch(), nullcontext)
    section = assess_slot(plugin, Rule(), slot, END_SECONDS, nullcontext)
    assert section.status is Status.OK
    assert section.reason.startswith("joined after 7 frames; changed during the session: 1.0 (")
    assert len(section.versions) == 2


def test_a_reason_is_one_line_of_bounded_length_and_the_same_each_time():
    """Addresses differ from run to run."""
    plugin = Plugin("rule", "ours", "1", "a:A")
    text = describe(plugin, ValueError(f"first\nsecond {object()} " + "x" * 1000))
    assert text.startswith("ours[rule]: ValueError: first second <object object at 0x…> xxx")
    assert len(text) <= REASON_MAX_CHARACTERS + len("ours[rule]: ValueError: ")


class EndsAtFive:
    """Finds one thing, from the beginning to 5 s."""

    api_version = 1
    title = "Ends at five"

    class Settings(msgspec.Struct):
        share: float = 1 / 3

    class State(msgspec.Struct):
        frames: int = 0

    def __init__(self, settings):
        self.settings = settings

    def fold(self, state, frames):
        state.frames += len(frames)

    def assess(self, state):
        from rogue_rules import finding

        return Assessment(findings=[finding(end_seconds=5.0, strength=self.settings.share)])
