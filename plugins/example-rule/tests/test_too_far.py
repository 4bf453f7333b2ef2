"""The rule on frames as the server stores them."""

import json

import msgspec
import pytest

from example_rule import TooFar
from proctor.analysis import FrameBatch


def stored(*spans):
    """Two frames a second, from (seconds, face width); None is a frame without a face."""
    widths = [width for seconds, width in spans for _ in range(seconds * 2)]
    return [
        json.dumps(
            {"face_present": 0, "face_w": 0, "frame_id": f"{place * 500}-{place}"}
            if width is None
            else {"face_present": 1, "face_w": width, "frame_id": f"{place * 500}-{place}"}
        ).encode()
        for place, width in enumerate(widths)
    ]


def assess(frames, batch=1000, **settings):
    rule = TooFar(msgspec.convert(settings, TooFar.Settings))
    state = rule.State()
    for start in range(0, len(frames), batch):
        rule.fold(state, FrameBatch.from_json(frames[start : start + batch], origin_ms=0))
        # The server stores the state between batches, so it must survive that.
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=rule.State)
    return rule.assess(state)


def test_sitting_back_for_a_while_is_worth_seeing():
    [finding] = assess(stored((60, 150), (20, 60), (20, 150))).findings
    assert finding.message == "The candidate sat far from the camera for 20 s"
    assert (finding.start_seconds, finding.end_seconds, finding.level) == (60.0, 80.0, "info")
    assert finding.observed.baseline == 150.0


def test_sitting_back_for_long_is_a_concern():
    [finding] = assess(stored((90, 150), (70, 60), (20, 150))).findings
    assert finding.level == "concern"


@pytest.mark.parametrize("spans", [[(60, 150), (5, 60), (60, 150)], [(200, 60)], [(60, 150), (30, None)]])
def test_short_usual_and_unknown_are_nothing(spans):
    """A moment is too short; somebody who always sits there is not far; without a face nothing is known."""
    assert assess(stored(*spans)).findings == []


def test_policy_decides_what_is_far():
    frames = stored((60, 150), (20, 100), (20, 150))
    assert assess(frames).findings == []
    assert len(assess(frames, width_share=0.8).findings) == 1


def test_batches_do_not_matter():
    frames = stored((60, 150), (20, 60), (20, 150), (90, 50))
    assert assess(frames, batch=1) == assess(frames, batch=7) == assess(frames)
