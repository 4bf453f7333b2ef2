"""Whose turn it is to be looked at."""

import pytest
import trio

from proctor.analysis.calm import SessionCalm
from proctor.storage.frames import FrameMessage, UnnumberedFrame
from proctor.unseen import PATIENCE_SECONDS, Unseen


def calm() -> SessionCalm:
    """Until a thousand, and for ten once it is said that there is a phone or that nobody knows."""
    return SessionCalm(1_000, names=("phone_present",), values=(0,), seconds=(0.01,))


def message(name: str, *frames: tuple[int, bytes]) -> FrameMessage:
    heads = [UnnumberedFrame(time_ms, b'{%b,"frame_id":"' % members) for time_ms, members in frames]
    return FrameMessage(name, tuple(heads))


@pytest.fixture
def unseen() -> Unseen:
    """A session that is calm and one of which nothing is known."""
    unseen = Unseen()
    unseen.seen("calm", calm())
    return unseen


@pytest.mark.parametrize(
    ("time_ms", "members", "at_once"),
    [
        (999, b'"phone_present":0', False),
        (1_000, b'"phone_present":0', True),
        (5, b'"phone_present":1', False),
        (11, b'"phone_present":1', True),
        (11, b'"face_present":1', True),
        (999, b'"phone_present":0,"event":{"event":"PASTE_ATTEMPT"}', True),
    ],
)
async def test_what_ends_the_calm_of_a_session(
    unseen: Unseen, autojump_clock: trio.abc.Clock, time_ms: int, members: bytes, *, at_once: bool
) -> None:
    """Its time, so long with another value of what it depends on, or none, and any event; amid a batch."""
    as_before = b'"phone_present":0,"head_yaw":0.7'
    unseen.stored(message("calm", (0, as_before), (1, members), (time_ms, members), (2, as_before)))
    assert unseen.take(5) == ["calm"] * at_once
    await trio.sleep(PATIENCE_SECONDS)
    assert unseen.take(5) == ["calm"] * (not at_once)
    assert unseen.take(5) == []


def tell(unseen: Unseen, *names: str, members: bytes = b'"phone_present":0') -> None:
    for name in names:
        unseen.stored(message(name, (1, members)))


async def test_who_is_in_haste_goes_first_and_keeps_nobody_waiting_for_ever(
    unseen: Unseen, autojump_clock: trio.abc.Clock
) -> None:
    """Among equals the first is first, however much more comes of another."""
    tell(unseen, "calm")
    turns = [f"turn {number}" for number in range(20)]
    for name in turns:
        unseen.seen(name, None)
    new = [f"new {number}" for number in range(20)]
    tell(unseen, *turns, *new, *reversed(turns), *reversed(new))
    assert unseen.take(5) == [*new[:4], turns[0]]
    await trio.sleep(PATIENCE_SECONDS)
    assert unseen.take(10) == [*new[4:11], *turns[1:3], "calm"]
    unseen.add(["calm"])
    assert unseen.take(40) == [*new[11:], *turns[3:], "calm"]
    assert unseen.take(40) == []


async def test_who_waits_for_a_turn_is_looked_at_at_once_if_something_happens(unseen: Unseen) -> None:
    for name in ("one", "other"):
        unseen.seen(name, SessionCalm(0))
    tell(unseen, "one", "other")
    tell(unseen, "other", members=b'"event":{"event":"TAB_SWITCHED"}')
    tell(unseen, "other", "one")
    unseen.add(["other", "one"])
    assert unseen.take(5) == ["other", "one"]


async def test_who_waits_for_the_first_look_of_all_is_not_in_haste_as_new_ones_are(unseen: Unseen) -> None:
    unseen.add(["there before", "too"])
    tell(unseen, "too", "new")
    assert unseen.take(5) == ["new", "there before", "too"]


async def test_a_session_without_calm_is_looked_at_with_its_next_frames(unseen: Unseen) -> None:
    unseen.seen("calm", None)
    unseen.stored(message("calm", (1, b'"phone_present":0')))
    assert unseen.take(5) == ["calm"]


async def test_what_is_forgotten_is_not_known_to_be_calm(unseen: Unseen) -> None:
    unseen.forget("calm")
    unseen.stored(message("calm", (1, b'"phone_present":0')))
    assert unseen.take(5) == ["calm"]
    unseen.seen("calm", calm())
    unseen.add(["other"])
    unseen.clear()
    unseen.stored(message("calm", (1, b'"phone_present":0')))
    assert unseen.take(5) == ["calm"]
