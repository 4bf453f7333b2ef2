"""What holds for each of the built-in rules: the contract, and what they promise beyond it."""

from importlib.metadata import entry_points

import msgspec
import pytest

from proctor.analysis.api import API_VERSION
from proctor.analysis.frames import FrameBatch
from proctor.testing import ORIGIN_MS, judge, stored
from proctor.testing.judging import subject
from proctor.testing.material import wild
from proctor.testing.suite import CALL_SECONDS, ContractSuite

RULES = {
    one.name: one.load()
    for one in entry_points(group="proctor.analyzers")
    if one.value.startswith("proctor_rules.")
}


def test_all_eight_are_installed():
    assert set(RULES) == {
        "phone",
        "multiple_faces",
        "no_face",
        "gaze_off_screen",
        "head_turned",
        "window_left",
        "clipboard",
        "speech",
    }


_MEASURED, *_PROVED = RULES
# The suite's own lines are reached with one rule as with eight, and each rule has tests of its own.
_ONE_MEASURED = [_MEASURED, *(pytest.param(name, marks=pytest.mark.no_cover) for name in _PROVED)]


@pytest.mark.parametrize("name", _ONE_MEASURED)
class TestContract(ContractSuite):
    """What holds for anybody's rules holds for these."""

    @pytest.fixture
    def subject(self, name):
        return subject(name, call_seconds=CALL_SECONDS)


@pytest.mark.parametrize("name", RULES)
def test_findings_are_sentences_without_accusation(name):
    assessment = judge(name, wild(800, seed=2))
    assert assessment.findings
    for finding in assessment.findings:
        assert finding.message[0].isupper()
        assert not any(word in finding.message.lower() for word in ("cheat", "suspicious", "violation"))


@pytest.mark.parametrize("name", RULES)
def test_frames_without_anything_known_find_nothing(name):
    """Unknown names and empty frames are no evidence and observe nothing."""
    assessment = judge(RULES[name], stored([(second, {"weather": "fine"}) for second in range(100)]))
    assert (assessment.findings, assessment.window_strengths) == ([], {})
    assert assessment.observed_windows == []


@pytest.mark.parametrize("name", RULES)
def test_says_what_it_is(name):
    rule = RULES[name]
    assert rule.api_version == API_VERSION
    assert rule.title
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"no_such_setting": 1}, rule.Settings)
    assert rule.Settings() == msgspec.convert({}, rule.Settings)


@pytest.mark.no_cover
def test_three_wild_hours_of_all_rules_stay_small():
    """State is bounded for the worst of candidates: under 200 kB for all rules together."""
    frames = wild(25_000, seed=4)
    batch = FrameBatch.from_json(frames, ORIGIN_MS)
    assert batch.seconds[-1] > 2.5 * 3600
    size = 0
    for rule in RULES.values():
        state = rule.State()
        rule(rule.Settings()).fold(state, batch)
        size += len(msgspec.msgpack.encode(state))
    assert size < 200_000
