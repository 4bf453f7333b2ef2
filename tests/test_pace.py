"""How much a client may send, against a token bucket that is kept by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.errors import Throttled
from proctor.pace import BURST_SECONDS, Allowance, Allowances, Pace, Unusable
from proctor.settings import Settings

RATES = [Fraction(1, 2), Fraction(4), Fraction(60)]
SENT = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 500)), max_size=40)
"""How many hundredths of a second after the last it was read each message came, and its frames."""


def settings(per_second: float, batch_max_frames: int = 500) -> Settings:
    return Settings(_env_file=None, max_frames_per_second=per_second, batch_max_frames=batch_max_frames)


def pace_of(per_second: float) -> Pace:
    return Pace(Allowance(settings(per_second)))


@given(st.sampled_from(RATES), SENT)
def test_it_counts_as_a_bucket_does(rate: Fraction, sent: list[tuple[int, int]]):
    """Tokens drip into it until it is full; a message takes its frames' worth, also more than there is."""
    pace = pace_of(float(rate))
    full = max(500, rate * int(BURST_SECONDS))
    tokens, now = Fraction(full), Fraction(1000)
    for pause, frames in sent:
        now += Fraction(pause, 100)
        tokens = min(Fraction(full), tokens + rate * Fraction(pause, 100)) - frames
        owes = pace.spend(frames, float(now))
        assert owes == pace.owes
        if abs(tokens) > 1e-6:  # else floats may round it to either side
            assert owes == (tokens < 0)
        if owes:
            assert pace.paid_at == pytest.approx(float(now - tokens / rate), abs=1e-6)
            now, tokens = Fraction(pace.paid_at), Fraction(0)
            pace.settle()


CLIENTS = 3
SENT_BY_SEVERAL = st.lists(
    st.tuples(st.integers(0, CLIENTS - 1), st.integers(0, 4000), st.integers(1, 500)), max_size=60
)


@given(st.sampled_from(RATES), SENT_BY_SEVERAL)
def test_clients_that_wait_until_it_is_paid_keep_to_the_limit_together(
    rate: Fraction, sent: list[tuple[int, int, int]]
):
    """But for the burst, and for the last message of each, which is taken whole."""
    allowance = Allowance(settings(float(rate)))
    paces = [Pace(allowance) for _ in range(CLIENTS)]
    now, taken = 0.0, 0
    for client, pause, frames in sent:
        now += pause / 100
        pace = paces[client]
        if pace.owes and now < pace.paid_at:
            continue  # it is not read
        pace.settle()
        pace.spend(frames, now)
        taken += frames
        assert taken <= max(500, rate * int(BURST_SECONDS)) + float(rate) * now + CLIENTS * 500


def test_a_reconnect_renews_nothing():
    """Also of what was read while it was held up no more."""
    allowances = Allowances(settings(10, batch_max_frames=100))
    first = Pace(allowances.of("exam"))
    assert first.spend(350, 0.0)
    first.lift()
    assert not first.spend(50, 0.0)
    again = Pace(allowances.of("exam"))
    assert again.spend(0, 1.0)
    assert again.paid_at == pytest.approx(10.0)
    assert not Pace(allowances.of("other")).spend(300, 1.0)


@pytest.mark.parametrize("unlimited", [0, float("inf")])
def test_without_a_limit_nothing_is_ever_owed(unlimited: float):
    pace = pace_of(unlimited)
    assert not any(pace.spend(10**6, 1000.0) for _ in range(1000))


def test_an_episode_ends_after_ten_seconds_without_debt():
    pace = pace_of(10)
    assert pace.spend(550, 0.0)  # the burst is 500, one largest batch
    assert pace.paid_at == 5.0
    assert pace.falls_behind(0.0)
    assert pace.is_behind(14.9)
    assert not pace.is_behind(15.1)
    pace.settle()
    assert pace.spend(100, 14.9)  # of which 99 were saved up
    assert not pace.falls_behind(14.9)
    assert pace.is_behind(24.9)
    assert not pace.is_behind(25.1)


def test_when_it_is_lifted_debts_are_forgiven():
    pace = pace_of(10)
    assert not pace.lift()
    pace = pace_of(10)
    assert pace.spend(1000, 0.0)
    assert pace.lift()
    assert not pace.owes
    assert not pace.spend(10**6, 0.0)
    assert not pace.lift()


def test_the_complaint_names_the_limit_and_its_setting():
    assert "more than 12.5 frames per second (MAX_FRAMES_PER_SECOND)" in pace_of(12.5).complaint


def test_requests_of_a_session_that_owes_are_refused_until_it_has_paid():
    """What is refused costs nothing, and other sessions nothing is refused."""
    allowances = Allowances(settings(10, batch_max_frames=100))
    allowances.spend("exam", 300, 0.0)
    allowances.spend("exam", 50, 0.0)
    for _ in range(3):
        with pytest.raises(Throttled) as refused:
            allowances.spend("exam", 50, 1.0)
        assert refused.value.retry_after_seconds == pytest.approx(4.0)
        assert "10 frames per second (MAX_FRAMES_PER_SECOND)" in refused.value.detail
    allowances.spend("other", 50, 1.0)
    allowances.spend("exam", 1, 5.0)
    with pytest.raises(Throttled):
        allowances.spend("exam", 1, 5.05)
    allowances.spend("exam", 1, 5.11)


def test_the_sessions_that_sent_requests_longest_ago_are_forgotten():
    allowances = Allowances(settings(1, batch_max_frames=1))
    for name in ("early", "kept"):
        allowances.spend(name, 100, 0.0)
    for number in range(9_999):
        allowances.spend(f"exam-{number}", 1, 0.0)
    with pytest.raises(Throttled):
        allowances.spend("kept", 1, 0.0)
    allowances.spend("early", 1, 0.0)


def test_so_many_unusable_messages_within_a_minute_are_a_flood():
    unusable = Unusable(Settings(_env_file=None, invalid_messages_max=3))
    assert [unusable.is_flood(at) for at in (0, 30, 60)] == [False, False, False]
    assert [unusable.is_flood(at) for at in (80, 91, 160)] == [True, True, False]
