"""Posters and calculators, which are there all the time, apart from people and phones, which come and go."""

import random

import pytest

from proctor.testing import FACE, held, judge, levels, only, stored
from proctor_rules.multiple_faces import MultipleFaces
from proctor_rules.phone import Phone

TWO = {**FACE, "no_of_face": 2}
THREE = {**FACE, "no_of_face": 3}
BARE = {"face_present": 1, "no_of_face": 1}


def flickering(usual, other, *, share, seconds, until=1800, fps=5, seed=3, spans=()):
    """`other` for `share` of the time, `seconds` at a time on average; in `spans` what they say."""
    rng = random.Random(seed)
    moments, seen, change = [], False, 0.0
    for frame in range(until * fps):
        time = frame / fps
        while time >= change:
            seen = not seen
            change += rng.expovariate(1 / (seconds if seen else seconds * (1 - share) / share))
        features = other if seen else usual
        features = next((own for begin, end, own in spans if begin <= time < end), features)
        moments.append((time, features))
    return stored(moments)


@pytest.mark.parametrize("confidence", [{}, {"face_conf": 90}])
def test_poster_is_one_finding_that_is_no_concern(confidence):
    finding = only(judge(MultipleFaces, held((1500, {**BARE, "no_of_face": 2, **confidence}))))
    assert (finding.level, finding.strength) == ("info", 0.1)
    assert finding.message.startswith("A second face was seen all along, for 25 min, like")


def test_poster_makes_no_window_stand_out():
    assessment = judge(MultipleFaces, held((1500, TWO)))
    assert assessment.window_strengths == {}
    assert assessment.details["background"] == {"stands_out_seconds": None}


def test_person_in_front_of_a_poster_is_a_concern():
    findings = judge(MultipleFaces, held((60, TWO), (12, THREE), (1500, TWO))).findings
    [concern] = [finding for finding in findings if finding.level == "concern"]
    assert (concern.start_seconds, concern.end_seconds) == (60.0, 72.0)
    assert concern.message == "More faces than usual were visible for 12 s"


@pytest.mark.parametrize("fps", [2, 5, 10])
def test_poster_that_flickers_is_no_concern_and_a_person_there_is(fps):
    poster = {**BARE, "no_of_face": 2}
    quiet = flickering(BARE, poster, share=0.1, seconds=1.0, fps=fps)
    assert "concern" not in levels(judge(MultipleFaces, quiet))
    visited = flickering(BARE, poster, share=0.1, seconds=1.0, fps=fps, spans=[(60, 72, poster)])
    [concern] = [one for one in judge(MultipleFaces, visited).findings if one.level == "concern"]
    assert (concern.start_seconds, concern.end_seconds) == pytest.approx((60, 72), abs=2)


@pytest.mark.parametrize("begin", [0, 30, 1700])
def test_person_for_twelve_seconds_is_a_concern_at_any_time(begin):
    frames = held(*([(begin, FACE)] if begin else []), (12, TWO), (1788 - begin, FACE))
    assert levels(judge(MultipleFaces, frames)) == ["concern"]


def test_person_for_half_the_session_is_no_poster():
    assert levels(judge(MultipleFaces, held((600, FACE), (900, TWO), (300, FACE)))) == ["concern"]


def test_face_that_never_left_is_taken_for_a_poster_after_a_minute():
    """Before, it is somebody; once it leaves, it was."""
    assert levels(judge(MultipleFaces, held((50, TWO)))) == ["concern"]
    assert levels(judge(MultipleFaces, held((90, TWO)))) == ["info"]
    assert levels(judge(MultipleFaces, held((90, TWO), (60, FACE)))) == ["concern"]


def thing(confidence=None):
    return {"phone_present": 1} | ({} if confidence is None else {"phone_conf": confidence})


NOTHING = {"phone_present": 0}


@pytest.mark.parametrize("confidence", [None, 80])
def test_calculator_that_flickers_is_no_concern_and_a_phone_beside_it_is(confidence):
    calculator = thing(confidence)
    quiet = flickering(NOTHING, calculator, share=0.08, seconds=0.5, fps=10)
    assert "concern" not in levels(judge(Phone, quiet))
    used = flickering(NOTHING, calculator, share=0.08, seconds=0.5, fps=10, spans=[(900, 908, calculator)])
    [concern] = [one for one in judge(Phone, used).findings if one.level == "concern"]
    assert (concern.start_seconds, concern.end_seconds) == pytest.approx((900, 908), abs=1)


def test_phone_that_is_used_all_the_time_is_a_concern_each_time():
    """Ten seconds of every minute are no flicker."""
    phone = thing(85)
    assert set(levels(judge(Phone, held(*[(50, NOTHING), (10, phone)] * 30)))) == {"concern"}


def test_mug_of_which_the_detector_is_seldom_sure_is_nothing():
    """Confidences about 0.58, one in fifteen of which is above 0.7: hysteresis must not add up the rest."""
    rng = random.Random(4)
    frames = stored([(frame / 2, thing(rng.gauss(58, 8))) for frame in range(4800)])
    assert "concern" not in levels(judge(Phone, frames))


def test_three_frames_are_the_least_for_a_concern():
    """However slowly they come: at a frame a second and a half, two of them last three seconds."""
    assert levels(judge(Phone, held((30, NOTHING), (3, thing()), (30, NOTHING), fps=2 / 3))) == ["info"]
    assert levels(judge(Phone, held((30, NOTHING), (4.5, thing()), (30, NOTHING), fps=2 / 3))) == ["concern"]


def test_batching_never_matters():
    frames = flickering(NOTHING, thing(75), share=0.1, seconds=1.0, until=600)
    assert judge(Phone, frames, range(1, len(frames), 11)) == judge(Phone, frames)


ALONE, COMPANY = ({**FACE, "no_of_face": count, "face_conf": 90} for count in (1, 2))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.15, 0.3, 0.45, 0.6])
def test_flicker_from_frame_to_frame_is_nobody(share, seed):
    """However often it comes, what it looks like for some seconds is what it looks like by chance."""
    rng = random.Random(seed)
    frames = stored([(frame / 4, COMPANY if rng.random() < share else ALONE) for frame in range(4 * 2400)])
    assert "concern" not in levels(judge(MultipleFaces, frames))


@pytest.mark.parametrize("share", [0.0, 0.15, 0.3])
def test_somebody_who_comes_in_among_flicker_is_a_concern(share):
    """For twelve seconds, of which the detector misses a few frames."""
    rng = random.Random(1)

    def seen(second: float) -> bool:
        return rng.random() < (0.94 if 1200 <= second < 1212 else share)

    frames = stored([(frame / 4, COMPANY if seen(frame / 4) else ALONE) for frame in range(4 * 2400)])
    [concern] = [each for each in judge(MultipleFaces, frames).findings if each.level == "concern"]
    assert 1198 <= concern.start_seconds <= 1202


def test_a_short_session_is_not_measured_by_its_own_one_event():
    """There is nothing else in it to be measured by."""
    assert levels(judge(MultipleFaces, held((5, ALONE), (12, COMPANY), (3, ALONE)))) == ["concern"]
