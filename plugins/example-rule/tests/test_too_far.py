"""What the rule finds, and what it leaves alone."""

import pytest

from example_rule import TooFar
from proctor.testing import FACE, NO_FACE, event, held, judge, only, simulated


def near(seconds: float) -> tuple[float, dict[str, int]]:
    """The candidate sits as usual."""
    return seconds, FACE | {"face_w": 150}


def far(seconds: float, width: int = 60) -> tuple[float, dict[str, int]]:
    """The candidate sits back."""
    return seconds, FACE | {"face_w": width}


def away(seconds: float) -> tuple[float, dict[str, int]]:
    """Nobody is there, and the browser says 0 for what it does not see."""
    return seconds, NO_FACE | {"face_w": 0}


def test_sitting_back_for_a_while_is_worth_seeing() -> None:
    finding = only(judge(TooFar, held(near(60), far(20), near(20))))
    assert finding.message == "The candidate sat far from the camera for 20 s"
    assert (finding.start_seconds, finding.end_seconds, finding.level) == (60.0, 80.0, "info")
    assert finding.observed.baseline == 150.0


@pytest.mark.parametrize("fps", [1, 5, 30])
def test_sitting_back_for_long_is_a_concern_at_any_rate_of_frames(fps: float) -> None:
    finding = only(judge(TooFar, held(near(90), far(70), near(20), fps=fps)))
    assert finding.level == "concern"


@pytest.mark.parametrize("spans", [[near(60), far(5), near(60)], [far(200)], [near(60), away(30)]])
def test_short_usual_and_unknown_are_nothing(spans: list[tuple[float, dict[str, int]]]) -> None:
    """A moment is too short; somebody who always sits there is not far; without a face nothing is known."""
    assert judge(TooFar, held(*spans)).findings == []


def test_a_policy_decides_what_is_far() -> None:
    frames = held(near(60), far(20, width=100), near(20))
    assert judge(TooFar, frames).findings == []
    assert len(judge(TooFar, frames, width_share=0.8).findings) == 1


def test_its_own_section_says_what_is_usual() -> None:
    assert judge(TooFar, held(near(60), far(20), near(20))).details == {"usual_width": 150.0, "unit": "px"}
    assert judge(TooFar, held((60, event("TAB_SWITCHED")))).details == {}


@pytest.mark.parametrize("kind", ["honest-calm", "honest-lively", "honest-odd-camera"])
def test_simulated_honest_people_are_no_concern(kind: str) -> None:
    findings = judge(TooFar, simulated(kind, minutes=20).frames).findings
    assert not [finding for finding in findings if finding.level == "concern"]
