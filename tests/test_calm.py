"""While a session is calm nothing comes of it that proctors would want to hear of at once."""

from itertools import pairwise

import msgspec
import pytest

from proctor.accommodations import AllowPeople
from proctor.analysis.api import Calm
from proctor.analysis.calm import Want, sooner
from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, advance, glance
from proctor.analysis.glance import Look
from proctor.analysis.policy import Policy, Rule, built_in_policy
from proctor.model import ExamSession
from proctor.testing import FACE, ORIGIN_MS, event, held, simulated
from proctor.testing.judging import time_ms

PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")
REQUEST = ReportRequest(ExamSession(session_id="s", started_ms=ORIGIN_MS), final=False, analysed_ms=0)
POLICY = built_in_policy(discover(plugins=PLUGINS))
AT_EASE = FACE | {"gaze_on_script": 1, "head_yaw": 0.01, "phone_present": 0}


def looked_at(frames: list[bytes], policy: Policy = POLICY, accommodations: tuple = ()) -> Look:
    """Look at a session after its last frame."""
    job = Job(PLUGINS, policy, None, frames, accommodations=accommodations)
    return msgspec.msgpack.decode(glance(REQUEST, job), type=Look)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["phone", "reads-notes", "switches-tabs", "honest-lively"])
def test_no_concern_comes_of_a_calm_session_and_honest_ones_are_calm_for_the_most_part(kind: str) -> None:
    frames = simulated(kind, seed=1, minutes=5, fps=2).frames
    job, calm, known, looks = Job(PLUGINS, POLICY), None, 0, 0
    ends = [*range(0, len(frames), 4), len(frames)]
    for start, end in pairwise(ends):
        job = job._replace(frames=frames[start:end])
        look = msgspec.msgpack.decode(glance(REQUEST, job), type=Look)
        if calm is None or any(calm.after(time_ms(frame), frame) for frame in job.frames):
            calm, looks = look.calm, looks + 1
        else:
            assert look.glance.concerns == known
        known = look.glance.concerns
        job = job._replace(state=advance(job))
    assert (known > 0) != kind.startswith("honest")
    assert looks < len(ends) / (3 if kind.startswith("honest") else 1)


def test_a_session_is_calm_for_as_long_as_the_first_of_its_rules_is() -> None:
    """To look or turn away is the first that could be a concern; the rest would have to begin."""
    frames = held((60, AT_EASE), fps=2)
    look = looked_at(frames)
    assert look.calm is not None
    assert look.calm.turn_ms == time_ms(frames[-1]) + 15_000
    expected = {
        "no_of_face": (1, 3.0),
        "face_present": (1, 10.0),
        "phone_present": (0, 3.0),
        "phone_conf": (None, 3.0),
    }
    told = zip(look.calm.names, look.calm.values, look.calm.seconds, strict=True)
    assert {name: (value, seconds) for name, value, seconds in told} == expected


@pytest.mark.parametrize(
    ("happening", "seconds"),
    [
        ((0, AT_EASE | {"phone_present": 1, "phone_conf": 90}), 3.0),
        ((2, AT_EASE | {"phone_present": 1, "phone_conf": 90}), 1.5),
        ((8, AT_EASE | {"gaze_on_script": 0, "head_yaw": 0.9}), 7.5),
        ((1, AT_EASE | event("TAB_SWITCHED")), 0.0),
    ],
)
def test_who_is_at_something_is_calm_for_no_longer_than_it_takes(happening, seconds: float) -> None:
    look = looked_at(held((120, AT_EASE), happening, fps=2))
    assert look.calm is not None
    newest = time_ms(held((120, AT_EASE), happening, fps=2)[-1])
    assert (look.calm.haste_ms - newest) / 1000 == pytest.approx(seconds, abs=0.51)


def test_a_rule_that_says_nothing_of_it_wants_every_frame_seen() -> None:
    """Unless it is on trial or off, when nobody hears of its concerns."""
    one, other = Calm(seconds=5, after_change_of=("a",)), Calm(seconds=3, after_change_of=("a",))
    assert sooner(one, None) is None
    assert sooner(one, one) == one
    assert sooner(one, other) == Calm(seconds=3)
    assert sooner(one, Calm(seconds=2, under_way=True)) == Calm(seconds=2, under_way=True)
    frames = held((60, AT_EASE), (30, AT_EASE | {"face_present": 0, "no_of_face": 0}), fps=2)
    hasty = looked_at(frames)
    for off in (Rule(enabled=False), Rule(shadow=True)):
        rule = msgspec.structs.replace(POLICY.rules["no_face"], enabled=off.enabled, shadow=off.shadow)
        patient = looked_at(frames, msgspec.structs.replace(POLICY, rules=POLICY.rules | {"no_face": rule}))
        assert hasty.calm is not None
        assert patient.calm is not None
        assert patient.calm.haste_ms > hasty.calm.haste_ms


def test_what_a_candidate_is_granted_makes_nobody_blind() -> None:
    """Another person may be there; a third one is seen as soon as anybody would be."""
    granted = (AllowPeople(id="1", reason="reader", people=1),)
    frames = held((60, AT_EASE | {"no_of_face": 2}), (10, AT_EASE | {"no_of_face": 3}), fps=2)
    calm = looked_at(frames[:120], accommodations=granted).calm
    assert calm is not None
    wants = [calm.after(time_ms(frame), frame) for frame in frames[120:]]
    assert 5 <= wants.index(Want.HASTE) <= 7
