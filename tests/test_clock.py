"""Event time: a client's clock, corrected to the server's."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.clock import ClientClock, client_time_ms
from proctor.errors import InvalidRequest
from proctor.times import iso_from_ms

NOW = 1_767_603_600_000
DAY = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("value", "time_ms"),
    [
        (NOW, NOW),
        (0, 0),
        (1234.5, 1234.5),
        ("2026-01-05T09:00:00Z", NOW),
        ("2026-01-05T09:00:00.250", NOW + 250),
        ("2026-01-05T10:30:00+01:30", NOW),
        ("20260105T090000Z", NOW),
    ],
)
def test_a_time_is_milliseconds_or_iso_8601(value, time_ms):
    """One without an offset from UTC is in UTC; milliseconds may count from any epoch."""
    assert client_time_ms(value, "ts") == time_ms


@pytest.mark.parametrize(
    "value",
    [
        -1,
        1e14,
        float("nan"),
        float("inf"),
        10**400,
        True,
        None,
        "",
        "noon",
        "10000-01-01T00:00:00Z",
        [NOW],
        {},
    ],
)
def test_what_is_no_time_is_refused_by_name(value):
    with pytest.raises(InvalidRequest, match=r"^ts must be ") as caught:
        client_time_ms(value, "ts")
    assert caught.value.field == "ts"


def test_without_a_measurement_the_time_of_receipt_stands():
    assert ClientClock().event_ms(5.0, NOW) == NOW
    assert ClientClock().event_ms(None, NOW) == NOW


def test_the_frame_that_was_delayed_least_sets_the_offset():
    """A clock 1 h slow, delays of 300, 40 and 900 ms: from the second on, each is placed 40 ms late."""
    clock, hour = ClientClock(), 3_600_000
    placed = []
    for sent, delay in ((NOW, 300), (NOW + 1000, 40), (NOW + 2000, 900)):
        clock.observe(sent - hour, sent + delay)
        placed.append(clock.event_ms(sent - hour, sent + delay) - sent)
    assert placed == [300, 40, 40]


def test_a_clock_message_fixes_the_offset():
    """Frames that were buffered before, or come faster than they were made, then keep their distances."""
    clock = ClientClock()
    clock.observe(100.0, NOW)
    clock.fix(60_000.0, NOW)
    for client_ms in range(0, 60_001, 10_000):
        clock.observe(client_ms, NOW + 5)
        assert clock.event_ms(client_ms, NOW + 5) == NOW - 60_000 + client_ms


def test_a_second_clock_message_replaces_the_first():
    clock = ClientClock()
    clock.fix(0.0, NOW)
    clock.fix(500.0, NOW)
    assert clock.event_ms(500.0, NOW) == NOW


def test_frames_that_come_faster_than_they_were_made_keep_their_distances():
    """Ten minutes of a backlog, sent within a second, stay ten minutes, but for 1 s at their start."""
    clock = ClientClock()
    placed = []
    for number in range(600):
        clock.observe(1000.0 * number, NOW + number)
        placed.append(clock.event_ms(1000.0 * number, NOW + number))
    assert 598_000 <= placed[-1] - placed[0] <= 599_000
    assert all(later - sooner == 1000 for sooner, later in itertools.pairwise(placed[2:]))


def test_a_frame_that_waited_a_day_keeps_its_time_and_an_older_one_tells_nothing():
    clock = ClientClock()
    clock.fix(float(NOW), NOW)
    assert clock.event_ms(float(NOW - DAY), NOW) == NOW - DAY
    assert clock.event_ms(float(NOW - DAY - 1), NOW) == NOW
    assert clock.event_ms(float(NOW + DAY + 1), NOW) == NOW


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["observe", "fix"]),
            st.floats(0, 1e14, exclude_max=True)
            | st.datetimes().map(str).map(lambda at: client_time_ms(at, "")),
            st.integers(0, DAY),
        )
    ),
    st.floats(0, 1e14, exclude_max=True),
)
def test_whatever_the_client_claims_its_frames_stay_near_their_receipt(claims, client_ms):
    """Within a day of it, and always a time that can be written."""
    clock, received_ms = ClientClock(), NOW
    for call, claimed_ms, later in claims:
        received_ms += later
        getattr(clock, call)(claimed_ms, received_ms)
        assert abs(clock.event_ms(claimed_ms, received_ms) - received_ms) <= DAY
    event_ms = clock.event_ms(client_ms, received_ms)
    assert abs(event_ms - received_ms) <= DAY
    iso_from_ms(event_ms)


@given(st.integers(-3_600_000, 3_600_000), st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_the_error_is_the_least_delay_seen(offset_ms, delays):
    """Whatever the offset of the client's clock, and never more than the frame's own delay."""
    clock, least = ClientClock(), 1000
    for number, delay in enumerate(delays):
        made = NOW + 1000 * number
        client_ms = float(made + offset_ms)
        clock.observe(client_ms, made + delay)
        least = min(least, delay)
        assert clock.event_ms(client_ms, made + delay) == made + least
