"""All WebSockets in one task: what one of them does is nothing to the others."""

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import trio

from proctor.logs import set_up_logging
from proctor.settings import Settings
from proctor.web.framing import text_frame
from proctor.web.sockets import Sockets
from tests.web.raw import client_frame, close_code, read_to_end, server_frames
from tests.web.wired import Wired, wire

pytestmark = pytest.mark.usefixtures("hard_limit")


@pytest.fixture
async def sockets(nursery: trio.Nursery) -> Sockets:
    running = Sockets(Settings(_env_file=None))
    nursery.start_soon(running.run)
    return running


@pytest.fixture
async def pairs(sockets: Sockets) -> AsyncIterator[list[Wired]]:
    """Ten that echo."""
    with ExitStack() as stack:
        opened = [stack.enter_context(await wire(sockets)) for _ in range(10)]
        for pair in opened:
            pair.receive(pair.socket.send)
        yield opened


async def echoes(pair: Wired, text: bytes) -> float:
    """Say something and hear it again; returns how many seconds it took."""
    began = trio.current_time()
    await pair.say(text)
    assert await pair.read(len(text_frame(text))) == text_frame(text)
    return trio.current_time() - began


async def test_each_socket_gets_its_own(pairs: list[Wired]):
    async with trio.open_nursery() as nursery:
        for number, pair in enumerate(pairs):
            nursery.start_soon(pair.say, *(b"%d: %d" % (number, round_) for round_ in range(3)))
    for number, pair in enumerate(pairs):
        texts = [b"%d: %d" % (number, round_) for round_ in range(3)]
        data = await pair.read(len(b"".join(map(text_frame, texts))))
        assert [payload for _, payload in server_frames(data)] == texts


async def test_an_owner_that_fails_ends_its_own_socket(pairs: list[Wired], capsys):
    """With 1011, behind what it had sent; the failure is logged."""
    set_up_logging("text", "info")
    failing = pairs[3]

    def fail(message: bytes) -> None:
        failing.socket.send(b"before")
        raise RuntimeError("on purpose")

    failing.receive(fail)
    await failing.say(b"one", b"two")
    data = await read_to_end(failing.peer)
    assert list(server_frames(data))[:-1] == [(1, b"before")]
    assert close_code(data) == 1011
    assert "on purpose" in capsys.readouterr().err
    for pair in pairs[:3] + pairs[4:]:
        await echoes(pair, b"still here")


async def test_sockets_that_are_closed_while_others_are_served_do_no_harm(pairs: list[Wired]):
    """Also if they were found ready in the same round."""

    def close_all_others(_: bytes) -> None:
        if pairs[0].near.fileno() != -1:
            for pair in pairs[:9]:
                pair.socket.drop()
            pairs[9].socket.send(b"done")
            pairs[9].socket.flush()

    for pair in pairs:
        pair.receive(close_all_others)
    async with trio.open_nursery() as nursery:
        for pair in pairs:
            nursery.start_soon(pair.say, b"x")
    assert (await pairs[9].read(6)) == text_frame(b"done")
    await trio.sleep(0.05)
    pairs[9].receive(pairs[9].socket.send)
    await echoes(pairs[9], b"still here")


async def test_a_flood_on_one_socket_waits_for_the_others_turns(pairs: list[Wired]):
    """However much of it is there, no more is taken than one read before the next socket is served."""
    flooding, other = pairs[:2]
    flooded = 0

    def count(_: bytes) -> None:
        nonlocal flooded
        flooded += 1

    flooding.receive(count)
    flooding.socket.pause()
    with trio.move_on_after(0.2) as filling:
        await flooding.peer.send_all(client_frame(b"x" * 92) * 100_000)
    assert filling.cancelled_caught
    seen: list[int] = []
    other.receive(lambda _: seen.append(flooded))
    other.socket.pause()
    await other.say(b"now")
    await trio.sleep(0.05)
    flooding.socket.resume()
    other.socket.resume()
    await other.comes(lambda: seen)
    assert seen[0] <= 2 * 16_384 / 100
    await trio.sleep(0.1)
    assert flooded > 2 * 16_384 / 100


async def test_other_tasks_have_their_turns_while_many_sockets_are_served(pairs: list[Wired]):
    """A round of ten, each of which takes a twentieth of a second."""
    latest, took = 0.0, 0

    def take(_: bytes) -> None:
        nonlocal took
        took += 1
        time.sleep(0.05)

    for pair in pairs:
        pair.receive(take)
        pair.socket.pause()
        await pair.say(b"x")
    await trio.sleep(0.05)
    for pair in pairs:
        pair.socket.resume()
    while took < len(pairs):
        before = trio.current_time()
        await trio.sleep(0.001)
        latest = max(latest, trio.current_time() - before)
    assert latest < 0.25


async def test_idle_sockets_cost_no_time(pairs: list[Wired]):
    await echoes(pairs[0], b"once")
    await trio.sleep(0.05)
    began = time.process_time()
    await trio.sleep(0.5)
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("state", ["reset", "half-closed", "reset while paused", "closing"])
async def test_sockets_whose_peers_are_gone_do_not_make_it_spin(pairs: list[Wired], state: str):
    """Though nobody has closed them yet, and the kernel goes on saying that something is up."""
    for pair in pairs:
        if state == "half-closed":
            await pair.peer.send_eof()
            continue
        if state == "reset while paused":
            pair.socket.pause()
        if state == "closing":
            pair.socket.close(1000)
            await pair.peer.send_eof()
        else:
            pair.reset()
    await trio.sleep(0.1)
    began = time.process_time()
    await trio.sleep(0.5)
    assert time.process_time() - began < 0.1
    gone = [pair.socket.gone.is_set() for pair in pairs]
    assert gone == [state != "reset while paused"] * 10


async def test_a_peer_that_vanished_while_paused_is_gone_with_the_next_send(pairs: list[Wired]):
    for pair in pairs:
        pair.socket.pause()
        pair.reset()
    await trio.sleep(0.05)
    for pair in pairs:
        pair.socket.send(b"heartbeat")
        pair.socket.flush()
    assert all(pair.socket.gone.is_set() for pair in pairs)
