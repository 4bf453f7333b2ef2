"""Whether silence means that nothing changed or that frames were lost, told by the steps between frames."""

import itertools

import numpy as np
import pytest

from proctor.analysis.cadence import HOLD_MS, Cadence, pieces

STREAM = [1000] * 40 + [30_000] + [1000] * 20
CHANGES = [300, 8000] * 20 + [30_000] + [300, 8000] * 5
GAP_MS = 5000


def lasted(steps, cuts=()):
    times = np.array([0, *itertools.accumulate(steps)])
    cadence, seconds, waits = Cadence(), [], []
    for start, end in itertools.pairwise([0, *cuts, len(steps)]):
        some, waiting = cadence.lasted(times[start : end + 1], GAP_MS)
        seconds += some.tolist()
        waits += waiting.tolist()
    return seconds, waits


def test_stream_that_pauses_was_cut_off():
    seconds, waits = lasted(STREAM)
    assert seconds[40] == 0
    assert not any(waits)


def test_client_that_sends_changes_only_has_nothing_to_say_meanwhile():
    seconds, waits = lasted(CHANGES)
    assert (seconds[40], waits[40]) == (30_000, True)


def test_nothing_holds_for_ever():
    assert lasted([*CHANGES, HOLD_MS, HOLD_MS + 1])[0][-2:] == [HOLD_MS, 0]


def test_frames_that_hardly_ever_arrive_are_no_changes():
    """Of changes some come soon after another; frames of a broken connection do not."""
    assert not any(lasted([20_000] * 50)[0])


@pytest.mark.parametrize("steps", [STREAM, CHANGES])
def test_batching_never_matters(steps):
    assert lasted(steps, range(1, len(steps))) == lasted(steps)


def test_held_frames_are_repeated_every_second_until_the_next():
    times, places = pieces(np.array([0, 400, 2900, 3000]), np.array([True, True, True]))
    assert times.tolist() == [0, 400, 1400, 2400, 2900, 3000]
    assert places.tolist() == [0, 1, 1, 1, 2]


def test_without_waiting_there_is_nothing_to_repeat():
    assert pieces(np.array([0, 400, 2900]), np.array([False, False])) is None
