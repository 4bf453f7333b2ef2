"""Short looks to the same place, again and again, apart from looks that go here and there."""

import random

import pytest

from proctor.testing import judge, levels, only, stored
from proctor_rules.gaze_off_screen import GazeOffScreen
from proctor_rules.head_turned import HeadTurned

HERE_AND_THERE = [(2.2, 0.1), (-2.1, 0.2), (0.2, -2.4), (1.6, -1.7), (-1.6, -1.8), (0.3, 2.2), (-1.9, 1.4)]


def exam(places, *, begin=300, every=17.0, seconds=4.0, fps=5, flag=True, camera=0.0, head=0.0, seed=1):
    """Twenty minutes of reading with looks at `places` (half screens from its middle), one after another.

    `camera` is how far it stands to one side, by which the flag errs; `head` is how much of a look is turned.
    """
    rng = random.Random(seed)
    moments = []
    for frame in range(1200 * fps):
        time = frame / fps
        number, since = divmod(time - begin, every)
        looking = 0 <= number < len(places) and since < seconds
        x, y = places[int(number)] if looking else (rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7))
        x, y = x + rng.gauss(0, 0.1), y + rng.gauss(0, 0.1)
        turned = 0.15 * head * looking
        features = {
            "face_present": 1,
            "head_yaw": 0.3 * camera + turned * x + rng.gauss(0, 0.01),
            "head_pitch": turned * y + rng.gauss(0, 0.01),
            "gazePoint_x": round(320 + 12 * x),
            "gazePoint_y": round(240 + 12 * y),
        }
        if flag:
            features["gaze_on_script"] = int(abs(x + camera) < 1.1 and abs(y) < 1.2)
        moments.append((time, features))
    return stored(moments)


@pytest.mark.parametrize("fps", [1, 10])
@pytest.mark.parametrize("side", [-2.0, 2.0])
def test_looks_to_one_side_are_one_concern(side, fps):
    """Four seconds every 17 for four minutes: none of them is long enough for a finding of its own."""
    finding = only(judge(GazeOffScreen, exam([(side, 0.1)] * 14, fps=fps)))
    assert finding.level == "concern"
    assert (finding.start_seconds, finding.end_seconds) == pytest.approx((300, 525), abs=1.5)
    assert finding.observed.value == 14.0
    assert finding.message.startswith("The gaze went to the same place 14 times in 3 min 45 s")


def test_turns_to_one_side_are_one_concern():
    finding = only(judge(HeadTurned, exam([(2.0, 0.1)] * 14, head=1.0)))
    assert (finding.level, finding.observed.value) == ("concern", 14.0)
    assert finding.message.startswith("The head turned to the same place 14 times")


@pytest.mark.parametrize("head", [0.0, 1.0])
def test_looks_here_and_there_are_thinking(head):
    frames = exam(HERE_AND_THERE * 4, head=head, every=22.0)
    assert "concern" not in levels(judge(GazeOffScreen, frames))
    assert "concern" not in levels(judge(HeadTurned, frames))


def test_looks_to_one_place_now_and_then_are_no_repetition():
    """To the clock on the wall every half minute."""
    assert judge(GazeOffScreen, exam([(2.0, 0.1)] * 25, every=32.0)).findings == []


@pytest.mark.parametrize("camera", [-1.2, 1.2])
def test_looks_towards_the_side_to_which_the_camera_errs_are_found(camera):
    """There the flag sees the screen; it is often wrong in reading, too, and so cannot deny the point."""
    finding = only(judge(GazeOffScreen, exam([(-1.7 * camera, 0.1)] * 14, camera=camera)))
    assert (finding.level, finding.observed.unit) == ("concern", "looks")


def test_flag_that_is_right_denies_looks_at_the_far_end_of_the_screen():
    """Half of the text is in the left third, and a list of questions at the right rim."""
    rng = random.Random(2)
    moments = []
    for frame in range(6000):
        x = 0.9 if frame / 5 > 200 and frame / 5 % 15 < 3 else rng.gauss(-0.5, 0.1)
        moments.append((frame / 5, {"gazePoint_x": 400 + 200 * x, "gazePoint_y": 300, "gaze_on_script": 1}))
    assert judge(GazeOffScreen, stored(moments)).findings == []


def test_no_looks_are_counted_if_the_policy_says_0():
    assert judge(GazeOffScreen, exam([(2.0, 0.1)] * 14), looks=0).findings == []


def test_batching_never_matters():
    frames = exam([(2.0, 0.1)] * 14, fps=2, head=1.0)
    for rule in (GazeOffScreen, HeadTurned):
        assert judge(rule, frames, range(1, len(frames), 41)) == judge(rule, frames)
