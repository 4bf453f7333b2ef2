"""Episodes depend on what happened and when, not on how frames were cut, paced or lost."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.analysis.episodes import EPISODES_MAX, WINDOWS_MAX, Episode, EpisodeLog, Episodes, Hysteresis
from proctor.analysis.frames import FrameBatch
from proctor.testing import ORIGIN_MS, stored

RULE = Hysteresis(persist_seconds=3.0, merge_seconds=1.0, bridge_seconds=5.0)
NAN = math.nan


def run(moments, cuts=(), rule=RULE):
    """Fold (seconds, evidence) pairs; the state goes through its encoding at every cut."""
    frames = stored([(seconds, {}) for seconds, _ in moments])
    evidence = np.array([value for _, value in moments], dtype=float)
    state = Episodes()
    bounds = [0, *cuts, len(moments)]
    for start, end in itertools.pairwise(bounds):
        if start < end:
            state.fold(FrameBatch.from_json(frames[start:end], ORIGIN_MS), evidence[start:end], rule)
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Episodes)
    return state


def signal(*spans, fps=10.0):
    """(seconds, evidence) spans as samples, with one more at the end."""
    moments, begin, place = [], 0.0, 0
    for seconds, value in spans:
        while place / fps < begin + seconds - 1e-9:
            moments.append((place / fps, value))
            place += 1
        begin += seconds
    return [*moments, (begin, spans[-1][1])]


def found(moments, rule=RULE):
    return [
        (one.start_ms / 1000, one.end_ms / 1000, one.on_ms / 1000)
        for one in run(moments, rule=rule).so_far(rule)
    ]


steps = st.one_of(st.integers(0, 400), st.sampled_from([0, 4999, 5000, 5001, 9000]))
values = st.sampled_from([0.0, 0.4, 0.5, 0.6, 0.9, 1.0, NAN])
streams = st.lists(st.tuples(steps, values, st.integers(1, 25)), min_size=1, max_size=12)
rules = st.builds(
    Hysteresis,
    persist_seconds=st.sampled_from([0.1, 1.0, 3.0]),
    merge_seconds=st.sampled_from([0.1, 1.0, 4.0]),
    decay=st.sampled_from([0.25, 1.0, 3.0]),
    enter=st.sampled_from([0.5, 0.9]),
    leave=st.sampled_from([0.3, 0.5]),
)


@given(streams, rules, st.data())
def test_batching_never_matters(stream, rule, data):
    """Any cutting of any stream leaves the same state, gaps, repeated times and unknown values included."""
    moments, time = [], 0
    for step, value, repeats in stream:
        for _ in range(repeats):
            time += step
            moments.append((time / 1000, value))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(moments)), max_size=8)))
    whole, cut = run(moments, rule=rule), run(moments, cuts, rule)
    assert msgspec.msgpack.encode(whole) == msgspec.msgpack.encode(cut)
    assert whole.so_far(rule) == cut.so_far(rule)


def test_lasting_evidence_is_an_episode_from_first_to_last():
    """A frame lasts until the next, so 4 s of evidence at any rate are 4 s."""
    assert found(signal((2, 0), (4, 1), (5, 0))) == [(2.0, 6.0, 4.0)]


def test_short_evidence_is_none():
    assert found(signal((2, 0), (2.9, 1), (5, 0))) == []


@pytest.mark.parametrize("fps", [1, 2, 7, 30])
def test_frame_rate_changes_no_finding(fps):
    [(start, end, on)] = found(signal((10, 0), (6, 1), (10, 0), fps=fps))
    assert start == pytest.approx(10, abs=1 / fps)
    assert end == pytest.approx(16, abs=1 / fps)
    assert on == pytest.approx(6, abs=1 / fps)


def test_single_frame_never_makes_an_episode():
    """However long it is until the next frame."""
    assert found([(0, 0), (1, 1), (5.9, 0), (6, 0)]) == []
    assert found([(0, 0), (1, 1), (5.9, 1), (6, 0)]) == [(1.0, 6.0, 5.0)]


def test_flicker_of_a_third_of_the_time_never_adds_up():
    assert found(signal(*[(0.1, 1), (0.2, 0)] * 600)) == []


def test_missed_frames_do_no_harm():
    """Evidence in three frames of four is one episode that says how much of it there was."""
    [(start, end, on)] = found(signal(*[(0.3, 1), (0.1, 0)] * 25, (3, 0)))
    assert (start, on) == (0.0, 7.5)
    assert end == pytest.approx(9.9)


def test_slow_decay_gathers_glances():
    """With a decay of 0.25, 2 s in every 6 s add up; with 1 they do not."""
    glances = signal(*[(2, 1), (4, 0)] * 6, (10, 0))
    assert found(glances) == []
    slow = Hysteresis(persist_seconds=5.0, merge_seconds=2.0, decay=0.25)
    assert found(glances, slow) == [(0.0, 32.0, 12.0)]


def test_breaks_up_to_merge_seconds_stay_one_episode():
    assert found(signal((4, 1), (0.9, 0), (4, 1), (3, 0))) == [(0.0, 8.9, 8.0)]
    assert found(signal((4, 1), (1, 0), (4, 1), (3, 0))) == [(0.0, 4.0, 4.0), (5.0, 9.0, 4.0)]


def test_stray_evidence_does_not_prolong_an_episode_for_long():
    """After it, a frame in ten with evidence keeps it alive no longer than the bucket takes to drain."""
    [(_, end, _)] = found(signal((5, 1), *[(0.9, 0), (0.1, 1)] * 30))
    assert end < 7.5


def test_gap_in_the_data_ends_an_episode_at_the_last_known_frame():
    """What happened in the gap nobody saw; the same goes for what was unknown for as long."""
    assert found([*signal((4, 1)), *[(20 + time, value) for time, value in signal((4, 1))]]) == [
        (0.0, 4.0, 4.0),
        (20.0, 24.0, 4.0),
    ]
    assert found(signal((4, 1), (6, NAN), (4, 1), (2, 0))) == [(0.0, 4.0, 4.0), (10.0, 14.0, 4.0)]


def test_short_unknown_neither_ends_nor_counts():
    assert found(signal((4, 1), (4, NAN), (4, 1), (2, 0))) == [(0.0, 12.0, 8.0)]


def test_unknown_begins_nothing():
    assert found(signal((10, NAN), (2, 1), (4, NAN), (3, 0))) == []


def test_evidence_between_leaving_and_entering_stays_what_it_was():
    rule = Hysteresis(persist_seconds=3.0, enter=0.8, leave=0.4)
    assert found(signal((5, 0), (5, 0.6), (5, 0)), rule) == []
    assert found(signal((5, 0), (2, 0.9), (5, 0.6), (5, 0)), rule) == [(5.0, 12.0, 7.0)]


def test_evidence_that_is_not_sure_makes_no_episode_and_lets_one_end_slowly():
    rule = Hysteresis(persist_seconds=1.0, merge_seconds=2.0, enter=0.8, leave=0.4, sure=True)
    assert found(signal((5, 0), (0.5, 0.9), (60, 0.6), (5, 0)), rule) == []
    assert found(signal((5, 0), (2, 0.9), (6, 0.6), (2, 0.9), (5, 0)), rule) == [(5.0, 15.0, 4.0)]
    assert found(signal((5, 0), (2, 0.9), (9, 0.6), (2, 0.9), (5, 0)), rule) == [
        (5.0, 7.0, 2.0),
        (16.0, 18.0, 2.0),
    ]


CHANGES = [(9 * (step // 2) + 8.5 * (step % 2), float(step % 2)) for step in range(20)]
"""Silence for eight and a half seconds without evidence, then half a second with it, from a client that sends
on changes only; the last is at 89.5 s."""


def test_evidence_holds_through_the_silence_of_a_client_that_sends_changes():
    """Nobody sends that nothing changed, but the next change was sent."""
    [(start, end, on)] = found([*CHANGES, (90.0, 0.0), (98.5, 1.0), (128.5, 0.0), (129, 0.0)])
    assert (start, end, on) == (98.5, 128.5, 30.0)


def test_measures_hold_for_less():
    rule = Hysteresis(persist_seconds=3.0, hold_seconds=10.0)
    assert found([*CHANGES, (90.0, 0.0), (98.5, 1.0), (128.5, 0.0), (129, 0.0)], rule) == []
    assert len(found([*CHANGES, (90.0, 0.0), (98.5, 1.0), (107.5, 0.0), (108, 0.0)], rule)) == 1


def test_windows_of_a_client_that_sends_changes_know_ten_seconds_each():
    state = run([*CHANGES, (90.0, 0.0), (128.5, 0.0)])
    assert [known for _, known in list(state.windows.values())[4:12]] == pytest.approx([10_000] * 8, abs=1000)


def test_episode_knows_its_first_worst_and_last_frame():
    moments = signal((2, 0), (2, 0.6), (1, 0.9), (1, 0.7), (3, 0))
    [episode] = run(moments).so_far(RULE)
    ids = [f"{ORIGIN_MS + round(seconds * 1000)}-{place}" for place, (seconds, _) in enumerate(moments)]
    assert (episode.first_id, episode.worst_id, episode.last_id) == (ids[20], ids[40], ids[59])
    assert episode.peak == 0.9


def test_ongoing_episode_ends_at_the_newest_frame_and_goes_on():
    """Looking does not change the state: what follows still belongs to the same episode."""
    state = run(signal((4, 1)))
    before = msgspec.msgpack.encode(state)
    assert [(one.start_ms, one.end_ms) for one in state.so_far(RULE)] == [(0, 4000)]
    assert msgspec.msgpack.encode(state) == before
    assert found(signal((8, 1))) == [(0.0, 8.0, 8.0)]


def test_nothing_seen_is_nothing_found():
    assert Episodes().so_far(RULE) == []


def test_windows_hold_evidence_and_known_time():
    """Known time is what was neither missing nor unknown."""
    state = run(signal((5, 1), (10, 0), (2, NAN), (3, 0.5)))
    assert state.windows == {0: (5_000_000, 10_000), 1: (1_500_000, 8_000)}


@pytest.mark.parametrize("cuts", [(), (1, 500, WINDOWS_MAX - 1, WINDOWS_MAX, WINDOWS_MAX + 1)])
def test_a_day_of_windows_is_kept_and_no_more(cuts):
    """A clock that runs wild cannot fill the store."""
    moments = [(number * 10.0, 1.0) for number in range(WINDOWS_MAX + 5)]
    state = run(moments, cuts, msgspec.structs.replace(RULE, bridge_seconds=20.0))
    assert state.windows == dict.fromkeys(range(WINDOWS_MAX), (10_000_000, 10_000))


def test_three_hours_of_the_worst_case_stay_small():
    """Beyond the cap the shortest episodes go; the state of one signal stays under 24 kB."""
    moments = signal(*[(4 + place % 7, 1) if place % 2 else (6, 0) for place in range(2000)], fps=2)
    state = run(moments, [5000])
    assert moments[-1][0] > 3 * 3600
    assert len(state.log.kept) == EPISODES_MAX
    assert min(episode.seconds for episode in state.log.kept) == 10
    assert len(msgspec.msgpack.encode(state)) < 24_000 * moments[-1][0] / (3 * 3600)


def test_log_drops_the_shortest_and_says_how_many():
    log = EpisodeLog()
    for place in range(EPISODES_MAX + 2):
        log.add(Episode(place, place + 1, 50 if place in (3, 7) else 100, 1.0, "0-0", "0-0", "0-0"))
    assert log.dropped == 2
    assert [one.start_ms for one in log.kept][:7] == [0, 1, 2, 4, 5, 6, 8]
