"""How often somebody may ask and be wrong, at exact times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.access.limits import BURST_SECONDS, Buckets, Limits, network_of
from proctor.access.roles import Principal, Role
from proctor.errors import Throttled, Unauthenticated
from proctor.settings import Settings

DESK = Principal(name="desk", roles=frozenset({Role.INTEGRATION}))
HALL = "192.0.2.7"


def limits(**settings: float) -> Limits:
    return Limits(Settings(_env_file=None, **settings))


async def right(credential: str) -> Principal:
    return DESK


async def of_session(credential: str) -> Principal:
    return Principal(name="C-1", roles=frozenset({Role.CANDIDATE}), session_id=credential.split(".")[0])


async def wrong(credential: str) -> Principal:
    raise Unauthenticated("there is no such API key")


@given(st.lists(st.integers(0, 300), max_size=200))
def test_no_more_is_taken_than_drips_into_the_bucket(pauses: list[int]):
    """And whoever waits as long as it is told to gets one."""
    buckets, now = Buckets(2, 3), 0.0
    for taken, pause in enumerate(pauses, 1):
        now += pause / 100
        wait_seconds = buckets.take("somebody", now)
        if wait_seconds:
            assert buckets.take("somebody", now) == wait_seconds, "what is refused costs nothing"
            now += wait_seconds + 1e-6
            assert buckets.take("somebody", now) == 0
        assert taken <= 6 + 2 * now + 1e-3


def test_a_bucket_holds_one_at_least():
    slow = Buckets(0.001)
    assert slow.take("somebody", 0) == 0
    assert slow.take("somebody", 1) == pytest.approx(999)
    assert slow.take("another", 1) == 0


def test_without_a_limit_nothing_is_counted():
    unlimited = Buckets(0)
    assert not any(unlimited.take("somebody", 0) for _ in range(100))


def test_those_that_asked_longest_ago_are_forgotten():
    buckets = Buckets(1, 1)
    for name in ("early", "kept", *map(str, range(9_999))):
        assert buckets.take(name, 0) == 0
    assert buckets.take("kept", 0) > 0
    assert buckets.take("early", 0) == 0


def test_visitors_share_what_their_address_may():
    door = limits(address_requests_per_second=1)
    for _ in range(int(BURST_SECONDS)):
        door.visit(HALL, 0)
    with pytest.raises(Throttled) as refused:
        door.visit(HALL, 0)
    assert "1 requests per second from 192.0.2.7 (ADDRESS_REQUESTS_PER_SECOND)" in refused.value.detail
    assert refused.value.retry_after_seconds == pytest.approx(1)
    door.visit("192.0.2.8", 0)


async def test_keys_and_sessions_are_counted_wherever_they_come_from():
    """And nobody at their address takes anything from them, or they from it."""
    door = limits(key_requests_per_second=1, address_requests_per_second=1)
    for number in range(int(BURST_SECONDS)):
        await door.identify("key", "k1", f"192.0.2.{number}", 0, right)
        await door.identify(f"exam.token.{number}", None, HALL, 0, of_session)
    for credential, key_id, identify, whose in (
        ("key", "k1", right, "with the key k1"),
        ("exam.another.token", None, of_session, "of session exam"),
    ):
        with pytest.raises(Throttled, match=rf"1 requests per second {whose} \(KEY_REQUESTS_PER_SECOND\)"):
            await door.identify(credential, key_id, HALL, 0, identify)
    await door.identify("other", "k2", HALL, 0, right)
    await door.identify("exam-2.token.1", None, HALL, 0, of_session)
    door.visit(HALL, 0)


async def test_wrong_ones_are_told_to_wait_and_right_ones_pass():
    """Whoever makes up keys and tokens shuts out nobody at the same address."""
    door = limits(address_failures_per_minute=3)
    for number in range(3):
        with pytest.raises(Unauthenticated):
            await door.identify(f"made-up-{number}", None, HALL, 0, wrong)
    with pytest.raises(Throttled, match=r"3 wrong keys or tokens per minute .*ADDRESS_FAILURES_PER_MINUTE"):
        await door.identify("made-up", None, HALL, 0, wrong)
    assert await door.identify("a key never used", "k1", HALL, 0, right) is DESK
    assert (await door.identify("exam.token.1", None, HALL, 0, of_session)).session_id == "exam"
    with pytest.raises(Unauthenticated):
        await door.identify("made-up", None, "192.0.2.8", 0, wrong)
    with pytest.raises(Unauthenticated):
        await door.identify("made-up", None, HALL, 20.1, wrong)


async def test_a_key_that_is_guessed_at_is_looked_at_only_so_often():
    """Where it is guessed at, and unless it was right before."""
    door = limits(address_failures_per_minute=3)
    await door.identify("right", "k1", HALL, 0, right)
    for number in range(3):
        with pytest.raises(Unauthenticated):
            await door.identify(f"guess-{number}", "k1", HALL, 0, wrong)
    with pytest.raises(Throttled):
        await door.identify("would be right, for all it knows", "k1", HALL, 0, right)
    assert await door.identify("right", "k1", HALL, 0, right) is DESK
    assert await door.identify("first use", "k1", "192.0.2.8", 0, right) is DESK
    assert await door.identify("first use", "k2", HALL, 0, right) is DESK
    with pytest.raises(Throttled):  # revoked: it has no privilege left
        await door.identify("right", "k1", HALL, 0, wrong)
    with pytest.raises(Throttled):
        await door.identify("right", "k1", HALL, 0, right)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("<local>", "<local>"),
        (None, ""),
    ],
)
def test_an_address_is_what_one_customer_has(address, network):
    assert network_of(address) == network
