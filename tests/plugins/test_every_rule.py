"""What holds for each of the built-in rules, on a wild recording."""

import random
from importlib.metadata import entry_points

import msgspec
import pytest

from proctor.analysis.api import API_VERSION, Assessment
from proctor.analysis.frames import FrameBatch
from proctor.features import VOCABULARY, Kind
from proctor.testing import ORIGIN_MS, judge, stored

EVENTS = [
    "NO_FACE",
    "MULTIPLE_FACES",
    "PERSON_LEFT",
    "SUSPICIOUS_OBJECT",
    "TAB_SWITCHED",
    "TAB_RETURNED",
    "PASTE_ATTEMPT",
    "COPY_ATTEMPT",
    "GAZE_AWAY",
    "HEAD_TURNED",
    "TALKING_DETECTED",
    "WHISPERING_DETECTED",
    "PROLONGED_MOUTH_MOVEMENT",
    "WINDOW_FOCUS_LOST",
    "WINDOW_FOCUS_RESTORED",
    "EXITED_FULLSCREEN",
    "MOUSE_LEFT_WINDOW",
    "NEVER_HEARD_OF",
]
RULES = {
    one.name: one.load()
    for one in entry_points(group="proctor.analyzers")
    if one.value.startswith("proctor_rules.")
}


def wild(frames, seed):
    """Features that come, stay for a while, change and go, with events and gaps, at any pace."""
    rng = random.Random(seed)
    now, moments, features = 0.0, [], {}
    for _ in range(frames):
        now += rng.choice([0, 0.03, 0.1, 0.1, 0.5, 1, 1, 7 if rng.random() < 0.02 else 0.2])
        for name, kind in VOCABULARY.items():
            if rng.random() < 0.1:
                features[name] = {
                    Kind.FLAG: rng.choice([0, 1, 1]),
                    Kind.COUNT: rng.choice([0, 1, 1, 2]),
                    Kind.NUMBER: rng.gauss(0.1, 0.2),
                    Kind.CONFIDENCE: rng.uniform(0, 100),
                    Kind.TEXT: rng.choice(["forward", "forward", "forward", "left", "center", "None", ""]),
                }[kind]
            elif rng.random() < 0.01:
                features[name] = None
        happened = {"event": {"event": rng.choice(EVENTS)}} if rng.random() < 0.4 else {}
        moments.append((now, features | happened))
    return stored(moments)


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


@pytest.mark.parametrize("name", RULES)
def test_batching_never_matters(name):
    """One batch, one frame at a time and anything in between give the same assessment."""
    frames = wild(800, seed=1)
    whole = judge(RULES[name], frames)
    assert judge(RULES[name], frames, range(1, 800)) == whole
    for seed in range(5):
        cuts = sorted(random.Random(seed).sample(range(800), 9))
        assert judge(RULES[name], frames, cuts) == whole


@pytest.mark.parametrize("name", RULES)
def test_assessment_is_valid_and_within_the_session(name):
    frames = wild(800, seed=2)
    assessment = judge(RULES[name], frames)
    last = FrameBatch.from_json(frames, ORIGIN_MS).seconds[-1]
    assert msgspec.json.decode(msgspec.json.encode(assessment), type=Assessment) == assessment
    assert assessment.findings
    starts = [finding.start_seconds for finding in assessment.findings]
    assert starts == sorted(starts)
    for finding in assessment.findings:
        assert 0 <= finding.start_seconds <= finding.end_seconds <= last
        assert finding.message[0].isupper()
        assert not any(word in finding.message.lower() for word in ("cheat", "suspicious", "violation"))
    assert all(0 < strength <= 1 for strength in assessment.window_strengths.values())
    assert all(0 <= window <= last // 10 for window in assessment.window_strengths)


@pytest.mark.parametrize("name", RULES)
def test_assessing_changes_nothing(name):
    rule = RULES[name](RULES[name].Settings())
    state = rule.State()
    rule.fold(state, FrameBatch.from_json(wild(300, seed=3), ORIGIN_MS))
    before = msgspec.msgpack.encode(state)
    assert rule.assess(state) == rule.assess(state)
    assert msgspec.msgpack.encode(state) == before


@pytest.mark.parametrize("name", RULES)
def test_state_before_the_first_frame_finds_nothing(name):
    assessment = judge(RULES[name], [])
    assert (assessment.findings, assessment.window_strengths) == ([], {})


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
