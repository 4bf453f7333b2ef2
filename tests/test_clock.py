"""Event time: a client's clock, corrected to the server's."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor import clocks as clocks_module
from proctor.clock import ClientClock, client_time_ms
from proctor.clocks import Clocks
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


HOUR = 3_600_000


def placed(stream, clock=None):
    """How far event times are from when the frames were made; `stream` has client's time, made, received."""
    clock = clock or ClientClock()
    errors = []
    for client_ms, made_ms, received_ms in stream:
        clock.observe(client_ms, round(received_ms))
        errors.append(clock.event_ms(client_ms, round(received_ms)) - made_ms)
    return errors


def drifting(ppm, seconds, delays, *, start=NOW, offset_ms=-HOUR):
    """A frame every 250 ms by a clock that gains so many millionths."""
    for number in range(seconds * 4):
        made = start + 250 * number
        yield start + offset_ms + (made - start) * (1 + ppm * 1e-6), made, made + next(delays)


def jitter(seed, least=30, spread=400):
    """Delays as they are: mostly near the least, some far above."""
    random = Random(seed)
    while True:
        yield least + random.expovariate(1) ** 3 * spread / 10


class TestDrift:
    """A clock that goes wrong is followed; anything else that looks like one is not."""

    @pytest.mark.parametrize("ppm", [-400, -100, -20, 0, 20, 100, 400])
    def test_three_hours_stay_within_milliseconds_of_the_least_delay(self, ppm):
        """Without it a clock of 100 ppm would be wrong by a second in the end."""
        clock = ClientClock()
        errors = placed(drifting(ppm, 3 * 3600, jitter(ppm)), clock)
        assert max(errors[4 * 600 :]) < 80
        assert min(errors[4 * 600 :]) > 0
        assert clock.rate * 1e6 == pytest.approx(-ppm, abs=5 if abs(ppm) > 20 else 25)
        assert clock.steps == 0

    def test_distances_stay_as_the_client_gave_them_but_for_the_drift(self):
        errors = placed(drifting(100, 3600, jitter(1)))
        steps = [abs(later - sooner) for sooner, later in itertools.pairwise(errors[4 * 600 :])]
        assert sum(step > 1 for step in steps) < len(steps) / 100

    def test_a_minute_is_too_little_to_tell(self):
        clock = ClientClock()
        placed(drifting(400, 60, jitter(2)), clock)
        assert clock.rate == 0

    @pytest.mark.parametrize("speed", [1.05, 1.1, 2, 60])
    def test_a_replay_that_is_faster_than_it_was_recorded_is_no_drift(self, speed):
        clock = ClientClock()
        clock.fix(0.0, NOW)
        for number in range(20_000):
            received = NOW + round(1000 * number / speed) + 5
            clock.observe(1000.0 * number, received)
            assert clock.event_ms(1000.0 * number, received) == NOW + 1000 * number
        assert (clock.rate, clock.steps) == (0, 0)

    @pytest.mark.parametrize("speed", [1, 1.005, 1.01, 1.02])
    def test_a_replay_near_real_time_is_no_jump(self, speed):
        """It lies in the past, as `proctor simulate` has it, so that no frame is ahead of the clock."""
        clock, delays = ClientClock(), jitter(8)
        clock.fix(float(NOW), NOW)
        start = NOW - round(3_600_000 * (1 - 1 / speed))
        for number in range(3600):
            client_ms = start + 1000.0 * number
            received = round(NOW + 1000 * number / speed + next(delays))
            clock.observe(client_ms, received)
            assert clock.event_ms(client_ms, received) == client_ms
        assert clock.steps == 0

    def test_an_outage_and_its_backlog_change_nothing(self):
        """Ten minutes of frames come at once, in the middle of an hour, and are where they belong."""
        clock = ClientClock()
        stream = [
            (client, made, received if not 1800 <= (made - NOW) / 1000 < 2400 else NOW + 2_400_000)
            for client, made, received in drifting(50, 3600, jitter(3))
        ]
        errors = placed(stream, clock)
        assert min(errors[4 * 600 :]) > 0
        assert max(errors[4 * 600 :]) < 80
        assert clock.steps == 0
        assert clock.rate * 1e6 == pytest.approx(-50, abs=10)

    def test_several_clock_messages_tell_the_drift(self):
        """At once, where frames alone would need minutes, and whatever the frames say then."""
        clock = ClientClock()
        clock.fix(0.0, NOW)
        clock.fix(600_000.0, NOW + 600_060)
        assert clock.rate == pytest.approx(1e-4)
        for minute in range(10, 120):
            client_ms = 60_000.0 * minute
            made = NOW + client_ms * 1.0001
            clock.observe(client_ms, round(made) + 100)
            assert abs(clock.event_ms(client_ms, round(made) + 100) - made) <= 1

    def test_two_clock_messages_that_no_clock_could_send_tell_none(self):
        clock = ClientClock()
        clock.fix(0.0, NOW)
        clock.fix(600_000.0, NOW + 600_900)
        assert (clock.rate, clock.steps) == (0, 0)


class TestSteps:
    """Somebody sets the client's clock while frames come."""

    @pytest.mark.parametrize("jump", [-2 * HOUR, -30_000, -3000, 3000, 30_000, 2 * HOUR])
    def test_a_jump_is_noticed_within_seconds(self, jump):
        clock = ClientClock()
        before = placed(drifting(0, 60, jitter(4)), clock)
        after = placed(drifting(0, 60, jitter(5), start=NOW + 60_000, offset_ms=jump - HOUR), clock)
        assert clock.steps == 1
        assert max(before[40:]) < 80
        assert all(0 < error < 80 for error in after[4 * 15 :])

    @pytest.mark.parametrize("jump", [-30_000, 30_000])
    def test_a_clock_message_tells_of_it_at_once(self, jump):
        clock = ClientClock()
        clock.fix(float(NOW), NOW)
        clock.fix(float(NOW + 5000 + jump), NOW + 5000)
        assert clock.steps == 1
        assert clock.event_ms(float(NOW + 6000 + jump), NOW + 6000) == NOW + 6000

    def test_a_connection_that_begins_with_a_backlog_finds_its_clock(self):
        """After seconds of frames that come as they are made."""
        backlog = ((made - HOUR, made, NOW + 20) for made in range(NOW - 60_000, NOW, 250))
        clock = ClientClock()
        placed(backlog, clock)
        after = placed(drifting(0, 60, jitter(6)), clock)
        assert all(0 < error < 80 for error in after[4 * 15 :])

    def test_frames_of_a_backlog_between_newer_ones_are_no_jump(self):
        clock = ClientClock()
        live = list(drifting(0, 60, jitter(7)))
        late = [(client - 60_000, made - 60_000, received + 1) for client, made, received in live]
        errors = placed((frame for pair in zip(live, late, strict=True) for frame in pair), clock)
        assert clock.steps == 0
        assert max(errors[40:]) < 80


@given(
    st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 3000), st.sampled_from([0, 0, 0, 0, 60_000])),
        min_size=1,
        max_size=200,
    ),
    st.floats(-500, 500),
)
def test_events_never_go_back_while_the_clients_time_does_not(steps, ppm):
    """Whatever the delays, the gaps and the drift."""
    clock, client_ms, received_ms, last = ClientClock(), 0.0, NOW, 0
    for step, delay, gap in steps:
        client_ms += step + gap
        received_ms = max(received_ms, NOW + round(client_ms * (1 + ppm * 1e-6)) + delay)
        clock.observe(client_ms, received_ms)
        event = clock.event_ms(client_ms, received_ms)
        assert event >= last
        last = event


class TestComingBack:
    """A client is known on its next connection, on which it first sends what it could not send before."""

    def known(self, offset_ms=-HOUR):
        """A clock that has seen a minute of frames, which ends at NOW."""
        clock = ClientClock()
        placed(drifting(0, 60, itertools.repeat(40), start=NOW - 60_000, offset_ms=offset_ms), clock)
        return clock

    def test_a_backlog_is_where_it_belongs_and_so_is_what_follows(self):
        """Five minutes of it, sent at once, without a `clock` message."""
        clock = self.known().successor()
        backlog = [(made - HOUR, made, NOW + 300_020) for made in range(NOW, NOW + 300_000, 250)]
        assert set(placed(backlog, clock)) == {40}
        live = list(drifting(0, 60, itertools.repeat(40), start=NOW + 300_250, offset_ms=-HOUR))
        assert set(placed(live, clock)) == {40}
        assert clock.steps == 0

    @pytest.mark.parametrize("speed", [1.05, 2, 10])
    def test_a_backlog_that_is_sent_slowly_is_no_other_clock(self, speed):
        clock = self.known().successor()
        backlog = [
            (made - HOUR, made, NOW + 300_000 + (made - NOW) / speed)
            for made in range(NOW, NOW + 300_000, 250)
        ]
        assert set(placed(backlog, clock)) == {40}

    def test_each_connection_learns_for_itself(self):
        """So that a second device, whose clock is another, does not move the frames of the first."""
        first = self.known()
        second = first.successor()
        second.fix(float(NOW + HOUR), NOW)
        assert placed(drifting(0, 60, itertools.repeat(40), offset_ms=HOUR), second) == [0] * 240
        assert placed(drifting(0, 60, itertools.repeat(40), offset_ms=-HOUR), first) == [40] * 240
        assert (first.steps, second.steps) == (0, 1)

    def test_frames_from_ahead_are_another_clocks_at_once(self):
        """No delay explains them."""
        clock = self.known().successor()
        assert placed(drifting(0, 60, itertools.repeat(40), offset_ms=HOUR), clock) == [40] * 240

    @pytest.mark.parametrize("slept_ms", [2 * HOUR, 30_000])
    def test_a_clock_that_stood_still_meanwhile_is_found_out_within_seconds(self, slept_ms):
        """As a browser's may while its computer sleeps: its frames look late, and stay so."""
        clock = self.known().successor()
        awake = drifting(0, 60, itertools.repeat(40), start=NOW + slept_ms, offset_ms=-HOUR - slept_ms)
        errors = placed(awake, clock)
        assert errors[4 * 11 :] == [40] * 196
        assert clock.steps == 1

    def test_the_drift_is_remembered(self):
        clock = ClientClock()
        placed(drifting(100, 3600, itertools.repeat(40)), clock)
        clock = clock.successor()
        later = drifting(100, 4 * 3600, itertools.repeat(40))
        errors = placed(itertools.islice(later, 4 * 3 * 3600, None), clock)
        assert all(35 <= error <= 45 for error in errors)

    def test_nothing_is_remembered_of_a_clock_that_nothing_is_known_of(self):
        clock = ClientClock().successor()
        assert clock.event_ms(5.0, NOW) == NOW
        assert placed(drifting(0, 60, itertools.repeat(40)), clock) == [40] * 240


def test_a_process_remembers_the_clocks_of_the_latest_sessions(monkeypatch):
    monkeypatch.setattr(clocks_module, "_KNOWN_SESSIONS", 2)
    clocks = Clocks()
    for session_id in ("a", "b"):
        first, second = (clocks.connect(session_id) for _ in range(2))
        first.fix(0.0, 1)
        second.fix(0.0, NOW)
        assert first.event_ms(1.0, 5) == 2, "each connection has a clock of its own"
    assert clocks.connect("a").event_ms(1.0, NOW) == NOW + 1
    clocks.connect("c")
    assert clocks.of_requests("a").event_ms(7.0, NOW) == NOW + 7
    assert clocks.of_requests("b").event_ms(7.0, NOW) == NOW, "the one that was not used for longest is gone"
