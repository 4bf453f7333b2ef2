"""What could be observed is told exactly, and in little space."""

import hashlib
import itertools
import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proctor.analysis.frames import FrameBatch
from proctor.analysis.observation import LONGEST_GAPS, WINDOWS_MAX, Observation, Span
from proctor.features import VOCABULARY
from proctor.model import FrameId
from proctor.testing import ORIGIN_MS, stored

GAP_SECONDS = 5.0


def observed(frames, cuts=()):
    """Fold the frames, cut where told, with the observation encoded in between."""
    observation = Observation()
    bounds = [0, *sorted(cuts), len(frames)]
    for start, end in itertools.pairwise(bounds):
        if start < end:
            some = frames[start:end]
            observation.fold(some, FrameBatch.from_json(some, ORIGIN_MS), GAP_SECONDS)
            observation = msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation)
    return observation


def at(*seconds, **features):
    return stored([(second, features) for second in seconds])


def claiming(*pairs):
    return stored([(second, {"client_timestamp": claim}) for second, claim in pairs])


moments = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 2), st.floats(0, 40)),
        st.fixed_dictionaries({}, optional={"face_x": st.integers(0, 9), "head_pose": st.just("None")}),
    ),
    min_size=1,
    max_size=40,
)


@given(moments, st.data())
def test_cuts_change_nothing(steps, data):
    """Wherever the batches begin and end, the observation is the same to the last byte."""
    times = itertools.accumulate([0.0, *(step for step, _ in steps[1:])])
    frames = stored([(time, features) for time, (_, features) in zip(times, steps, strict=True)])
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=6))
    assert msgspec.msgpack.encode(observed(frames, cuts)) == msgspec.msgpack.encode(observed(frames))


def test_gaps_are_not_observed_time():
    observation = observed(at(0, 1, 2, 20, 21, 26))
    assert (observation.gaps, observation.gaps_ms) == (1, 18_000)
    assert observation.observed_ms == 8_000  # a step of exactly the gap's length was still observed
    assert observation.longest_gaps == [Span(2_000, 20_000)]
    assert observation.length_ms == 26_000


def test_of_many_gaps_the_longest_are_kept_in_order_of_time():
    steps = [10 + (number * 37) % 101 for number in range(3 * LONGEST_GAPS)]
    times = [0, *itertools.accumulate(steps)]
    observation = observed(at(*times), cuts=range(0, len(times), 7))
    assert observation.gaps == len(steps)
    kept = [gap.length_ms // 1000 for gap in observation.longest_gaps]
    assert sorted(kept) == sorted(steps)[-LONGEST_GAPS:]
    starts = [gap.start_ms for gap in observation.longest_gaps]
    assert starts == sorted(starts)


def test_windows_count_frames_and_name_the_first_and_last():
    windows = observed(at(0, 5, 9.999, 10, 35)).windows
    assert {index: window.frames for index, window in windows.items()} == {0: 3, 1: 1, 3: 1}
    assert windows[0].first == FrameId(ORIGIN_MS, 0)
    assert windows[0].last == FrameId(ORIGIN_MS + 9_999, 2)


def test_a_day_of_windows_is_kept_and_no_more():
    """A clock that runs wild cannot fill the store."""
    frames = at(*(number * 10 for number in range(WINDOWS_MAX + 5)))
    observation = observed(frames, cuts=[1, WINDOWS_MAX - 1, WINDOWS_MAX, WINDOWS_MAX + 1])
    assert list(observation.windows) == list(range(WINDOWS_MAX))
    assert observation.frames == WINDOWS_MAX + 5


def test_features_that_no_frame_knew_are_named():
    """null, an empty text and the browser's "None" are not knowing; 0 is."""
    observation = observed(
        stored([(0, {"face_x": None, "head_pose": "None", "gaze_direction": "", "face_y": 0})])
    )
    assert set(observation.never_seen) == set(VOCABULARY) - {"face_y"}


def test_the_digest_chains_every_frame():
    frames = at(0, 1, 2)
    digest = b""
    for frame in frames:
        digest = hashlib.sha256(digest + frame).digest()
    assert observed(frames).digest == digest
    changed = [frames[0], frames[1].replace(b'"s"', b'"t"'), frames[2]]
    assert observed(changed).digest != digest


def test_clock_offsets_are_sampled_once_per_window():
    """Least and greatest of them; a client's own epoch is as good as any."""
    observation = observed(claiming((0, 1_000.0), (1, 0), (12, 12_500.0), (25, "not a time"), (35, None)))
    assert observation.clock_offsets_ms == (ORIGIN_MS - 1_000, ORIGIN_MS - 500)


def test_a_client_without_a_clock_has_no_offset():
    assert observed(at(0, 1)).clock_offsets_ms is None


def test_an_iso_time_counts_as_a_clock():
    frames = stored([(0, {"client_timestamp": "2026-01-05T09:00:00.000Z"})])
    assert json.loads(frames[0])["frame_id"] == f"{ORIGIN_MS}-0"
    assert observed(frames).clock_offsets_ms == (0, 0)


def test_three_hours_stay_small():
    """The state is kept in the frame store, and read for every analysis."""
    times = [number / 10 for number in range(0, 108_000, 10)]
    assert len(msgspec.msgpack.encode(observed(at(*times)))) < 64_000


def test_the_drift_of_the_clients_clock_shows_in_the_correction():
    """A clock that loses 100 ppm, whose offset is better known after a minute, and which is set once."""
    pairs = []
    for second in range(0, 3600, 5):
        lost = round(second * 0.1) + (0 if second < 1800 else 60_000)
        pairs.append((second, ORIGIN_MS + second * 1000 - lost - (0 if second < 60 else 300)))
    course = observed(claiming(*pairs), cuts=[7, 300]).clock_course
    assert (course.drift_ppm, course.jumps) == (100.0, 1)
    assert course == observed(claiming(*pairs)).clock_course


def test_minutes_are_too_short_for_drift_to_show():
    """Times are rounded to milliseconds."""
    pairs = [(second, ORIGIN_MS + second * 1000 - second // 10) for second in range(0, 500, 10)]
    assert observed(claiming(*pairs)).clock_course.drift_ppm is None
