"""A candidate's normal comes from the past alone, whatever the batches, and needs little memory."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.analysis.baseline import SAMPLES_MAX, Baseline
from proctor.analysis.frames import FrameBatch
from proctor.testing import ORIGIN_MS, stored


def follow(times, values, cuts=(), samples_min=20):
    frames = stored([(time, {}) for time in times])
    column = np.array(values, dtype=float)
    state, centres, spreads = Baseline(), [], []
    bounds = [0, *cuts, len(times)]
    for start, end in itertools.pairwise(bounds):
        if start < end:
            batch = FrameBatch.from_json(frames[start:end], ORIGIN_MS)
            centre, spread = state.follow(batch, column[start:end], samples_min=samples_min)
            centres += centre.tolist()
            spreads += spread.tolist()
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Baseline)
    return state, centres, spreads


@given(
    st.lists(st.integers(0, 8000), min_size=1, max_size=400),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_batching_never_matters(gaps, seed, cuts):
    rng = np.random.default_rng(seed)
    times = (np.cumsum(gaps) / 1000).tolist()
    values = np.where(rng.random(len(gaps)) < 0.2, math.nan, rng.normal(size=len(gaps)))
    inside = sorted({cut for cut in cuts if cut < len(gaps)})
    whole, cut = follow(times, values), follow(times, values, inside)
    assert whole[0] == cut[0]
    assert np.array_equal(whole[1:], cut[1:], equal_nan=True)


def test_median_and_spread_of_what_came_before():
    """The spread of normal values is their standard deviation; a few outliers change neither."""
    rng = np.random.default_rng(1)
    values = rng.normal(0.2, 0.03, 2000)
    values[::10] = 5.0
    _, centres, spreads = follow(np.arange(2000) / 2, values)
    assert centres[-1] == pytest.approx(0.2, abs=0.02)
    assert spreads[-1] == pytest.approx(0.03, abs=0.012)


def test_nothing_to_compare_with_before_enough_is_known():
    """20 s of values are needed; unknown ones do not count."""
    _, centres, _ = follow(range(100), [math.nan] * 30 + [1.0] * 70)
    assert all(math.isnan(centre) for centre in centres[:60])
    assert centres[60:] == [1.0] * 40


def test_frame_is_judged_by_the_past_alone():
    _, centres, _ = follow(range(41), [0.0] * 40 + [100.0])
    assert centres[40] == 0.0


@pytest.mark.parametrize(("share", "centre"), [(0.05, 0.0), (0.15, 1.0)])
def test_rank_asks_for_another_quantile(share, centre):
    """At a rank of 0.9 the centre tells whether a tenth of the values are as high."""
    state = Baseline(rank=0.9)
    frames = FrameBatch.from_json(stored([(time, {}) for time in range(221)]), ORIGIN_MS)
    values = np.where(np.arange(221) % 20 < share * 20, 1.0, 0.0)
    centres, _ = state.follow(frames, values, samples_min=20)
    assert centres[-1] == centre


def rows(state):
    """The samples, each with the number of its stride."""
    return state.samples.rows(tuple[int, int | float])


def test_memory_is_bounded_and_covers_the_whole_session():
    state, centres, _ = follow(range(10_800), [0.0] * 5400 + [1.0] * 5400)
    assert SAMPLES_MAX / 2 <= state.samples.count <= SAMPLES_MAX
    numbers = [number for number, _ in rows(state)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) * state.stride >= 10_800 - state.stride
    assert centres[5399] == 0.0
    assert len(msgspec.msgpack.encode(state)) < 4096


def test_mean_of_a_flag_is_its_share():
    state = Baseline(rank=None)
    frames = FrameBatch.from_json(stored([(time, {}) for time in range(221)]), ORIGIN_MS)
    centres, _ = state.follow(frames, (np.arange(221) % 4 > 0).astype(float), samples_min=20)
    assert centres[-1] == pytest.approx(0.75, abs=0.02)


def test_what_holds_while_nothing_changes_weighs_by_its_time():
    """A client that sends changes only: 1 for half a second, 5 for eight and a half."""
    times = [9 * (step // 2) + 0.5 * (step % 2) for step in range(100)]
    values = [1.0 if step % 2 == 0 else 5.0 for step in range(100)]
    state, centres, _ = follow(times, values)
    assert centres[-1] == 5.0
    assert follow(times, values, range(1, 100, 3))[0] == state
    assert follow(times, values, range(1, 100, 3))[1][30:] == centres[30:]


def test_whole_values_are_kept_small_and_odd_ones_as_they_are():
    """Also integers that no encoding could hold."""
    state = Baseline()
    values = np.array([1.0, 0.5, -3.0, 1e300, 0.0])
    times = [(second, {}) for second in range(5)]
    state.follow(FrameBatch.from_json(stored(times), ORIGIN_MS), values, samples_min=1)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Baseline)
    assert [repr(value) for _, value in rows(again)] == ["1", "0.5", "-3", "1e+300", "0"]
