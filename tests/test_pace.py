"""How much a client may send, against a token bucket that is kept by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.errors import Throttled
from proctor.pace import BURST_SECONDS, Pace, RequestPaces, Unusable
from proctor.settings import Settings

RATES = [Fraction(1, 2), Fraction(4), Fraction(60)]
SENT = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 500)), max_size=40)
"""How many hundredths of a second after the last it was read each message came, and its frames."""


def settings(per_second: float, batch_max_frames: int = 500) -> Settings:
    return Settings(_env_file=None, max_frames_per_second=per_second, batch_max_frames=batch_max_frames)


@given(st.sampled_from(RATES), SENT)
def test_it_counts_as_a_bucket_does(rate: Fraction, sent: list[tuple[int, int]]):
    """Tokens drip into it until it is full; a message takes its frames' worth, also more than there is."""
    pace = Pace(settings(float(rate)))
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


@given(st.sampled_from(RATES), SENT)
def test_whoever_waits_until_it_is_paid_keeps_to_the_limit(rate: Fraction, sent: list[tuple[int, int]]):
    """But for the burst, and for the last message, which is taken whole."""
    pace = Pace(settings(float(rate)))
    now, taken = 0.0, 0
    for pause, frames in sent:
        now = max(now + pause / 100, pace.paid_at if pace.owes else 0)
        pace.settle()
        assert taken <= max(500, rate * int(BURST_SECONDS)) + float(rate) * now + 0.01
        pace.spend(frames, now)
        taken += frames


@pytest.mark.parametrize("unlimited", [0, float("inf")])
def test_without_a_limit_nothing_is_ever_owed(unlimited: float):
    pace = Pace(settings(unlimited))
    assert not any(pace.spend(10**6, 1000.0) for _ in range(1000))


def test_an_episode_ends_after_ten_seconds_without_debt():
    pace = Pace(settings(10))
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
    pace = Pace(settings(10))
    assert not pace.lift()
    pace = Pace(settings(10))
    assert pace.spend(1000, 0.0)
    assert pace.lift()
    assert not pace.owes
    assert not pace.spend(10**6, 0.0)
    assert not pace.lift()


def test_the_complaint_names_the_limit_and_its_setting():
    assert "more than 12.5 frames per second (MAX_FRAMES_PER_SECOND)" in Pace(settings(12.5)).complaint


def test_requests_of_a_session_that_owes_are_refused_until_it_has_paid():
    """What is refused costs nothing, and other sessions nothing is refused."""
    paces = RequestPaces(settings(10, batch_max_frames=100))
    paces.spend("exam", 300, 0.0)
    paces.spend("exam", 50, 0.0)
    for _ in range(3):
        with pytest.raises(Throttled) as refused:
            paces.spend("exam", 50, 1.0)
        assert refused.value.retry_after_seconds == pytest.approx(4.0)
        assert "10 frames per second (MAX_FRAMES_PER_SECOND)" in refused.value.detail
    paces.spend("other", 50, 1.0)
    paces.spend("exam", 1, 5.0)
    with pytest.raises(Throttled):
        paces.spend("exam", 1, 5.05)
    paces.spend("exam", 1, 5.11)


def test_the_sessions_that_sent_requests_longest_ago_are_forgotten():
    paces = RequestPaces(settings(1, batch_max_frames=1))
    for name in ("early", "kept"):
        paces.spend(name, 100, 0.0)
    for number in range(9_999):
        paces.spend(f"exam-{number}", 1, 0.0)
    with pytest.raises(Throttled):
        paces.spend("kept", 1, 0.0)
    paces.spend("early", 1, 0.0)


def test_so_many_unusable_messages_within_a_minute_are_a_flood():
    unusable = Unusable(Settings(_env_file=None, invalid_messages_max=3))
    assert [unusable.is_flood(at) for at in (0, 30, 60)] == [False, False, False]
    assert [unusable.is_flood(at) for at in (80, 91, 160)] == [True, True, False]
