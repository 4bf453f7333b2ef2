"""One open WebSocket on a real socket: what is sent and read, and every way in which it ends."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from proctor.archive import Archive
from proctor.clock import ClientClock
from proctor.connection import UNSETTLED_MAX, Connection
from proctor.ingest import Ingest
from proctor.metrics import Metrics
from proctor.pace import Allowance, Pace
from proctor.settings import Settings
from proctor.storage.frames import ResumePoint
from proctor.web import websocket
from proctor.web.framing import text_frame
from proctor.web.sockets import Sockets
from tests.fakes import MemoryStore
from tests.web.raw import client_frame, close_code, read_to_end, server_frames
from tests.web.wired import Wired, wire

pytestmark = pytest.mark.usefixtures("hard_limit")

Wire = Callable[..., Awaitable[Wired]]


@pytest.fixture
async def wired(nursery: trio.Nursery) -> AsyncIterator[Wire]:
    """Makes a pair of sockets that is served with the given settings."""
    opened: list[Wired] = []

    async def make(**settings: object) -> Wired:
        sockets = Sockets(Settings(_env_file=None, **settings))
        nursery.start_soon(sockets.run)
        opened.append((await wire(sockets, **settings)).__enter__())
        return opened[-1]

    yield make
    for pair in opened:
        pair.__exit__()


async def test_messages_go_both_ways(wired: Wire):
    pair = await wired()
    pair.receive()
    await pair.say(b"one", b"", "zwö".encode())
    await pair.comes(lambda: len(pair.taken) == 3)
    assert pair.taken == [b"one", b"", "zwö".encode()]
    pair.socket.send(b"hello")
    pair.socket.send(b"again")
    pair.socket.flush()
    expected = text_frame(b"hello") + text_frame(b"again")
    assert await pair.read(len(expected)) == expected


async def test_nothing_is_sent_before_the_flush(wired: Wire):
    """So that many replies share one call of the kernel."""
    pair = await wired()
    pair.receive()
    pair.socket.send(b"hello")
    with trio.move_on_after(0.1) as waiting:
        await pair.peer.receive_some()
    assert waiting.cancelled_caught
    pair.socket.flush()
    assert await pair.read(7) == text_frame(b"hello")


async def test_nothing_is_read_before_it_is_asked_for_nor_while_it_is_paused(wired: Wire):
    """Then TCP slows the peer down; nothing is lost and the order stands."""
    pair = await wired()
    await pair.say(b"one")
    await trio.sleep(0.05)
    pair.receive()
    await pair.comes(lambda: pair.taken == [b"one"])
    pair.socket.pause()
    sent, kept = 0, b""
    while not kept and sent < 5000:
        frame = client_frame(b"%d" % sent + b"x" * 1000)
        try:
            kept = frame[pair.peer.socket._sock.send(frame) :]
        except BlockingIOError:
            kept = frame
        sent += 1
    assert 0 < sent < 5000
    assert pair.taken == [b"one"]
    pair.socket.resume()
    await pair.peer.send_all(kept)
    await pair.comes(lambda: len(pair.taken) == 1 + sent)
    assert [int(message.rstrip(b"x")) for message in pair.taken[1:]] == list(range(sent))


async def test_what_the_peer_does_not_take_follows_by_itself_and_stops_the_reading(wired: Wire):
    pair = await wired()
    pair.receive()
    sent = [b"%07d" % number + b"x" * 1000 for number in range(2000)]
    for text in sent:
        pair.socket.send(text)
    pair.socket.flush()
    await pair.say(b"unheard")
    await trio.sleep(0.1)
    assert pair.taken == []
    data = b"".join(map(text_frame, sent))
    assert await pair.read(len(data)) == data
    await pair.comes(lambda: pair.taken == [b"unheard"])


async def test_a_peer_that_is_heard_out_is_read_from_though_it_does_not_read(wired: Wire):
    pair = await wired()
    pair.receive()
    pair.socket.send(b"x" * 2_000_000)
    pair.socket.flush()
    await pair.say(b"last")
    await trio.sleep(0.05)
    assert pair.taken == []
    pair.socket.hear_out()
    await pair.comes(lambda: pair.taken == [b"last"])


async def test_a_peer_that_takes_nothing_is_cut_off(wired: Wire):
    pair = await wired(send_timeout_seconds=0.3)
    pair.receive()
    began = trio.current_time()
    pair.socket.send(b"x" * 2_000_000)
    pair.socket.flush()
    await pair.socket.gone.wait()
    assert 0.3 <= trio.current_time() - began < 1


async def test_a_peer_that_takes_something_now_and_then_is_not(wired: Wire):
    pair = await wired(send_timeout_seconds=0.3)
    pair.receive()
    pair.socket.send(b"x" * 2_000_000)
    pair.socket.flush()
    for _ in range(8):
        await trio.sleep(0.1)
        await pair.read(100_000)
        assert not pair.socket.gone.is_set()


async def test_a_silent_peer_is_pinged_and_let_go_at_its_time(wired: Wire):
    pair = await wired(liveness_timeout_seconds=0.3)
    pair.receive()
    began = trio.current_time()
    await pair.socket.gone.wait()
    assert 0.3 <= trio.current_time() - began < 0.6
    assert await pair.read(4) == b"\x89\x00" * 2


@pytest.mark.parametrize("answer", [client_frame(b"", 10), client_frame(b"spoken")], ids=["pong", "message"])
async def test_whatever_a_peer_sends_shows_that_it_is_there(wired: Wire, answer: bytes):
    pair = await wired(liveness_timeout_seconds=0.3)
    pair.receive()
    for _ in range(8):
        await trio.sleep(0.1)
        await pair.peer.send_all(answer)
    assert not pair.socket.gone.is_set()


async def test_time_for_which_a_peer_is_not_read_from_is_not_its_own(wired: Wire):
    pair = await wired(liveness_timeout_seconds=0.3)
    pair.receive()
    pair.socket.pause()
    await trio.sleep(0.6)
    assert not pair.socket.gone.is_set()
    pair.socket.resume()
    await trio.sleep(0.15)
    assert not pair.socket.gone.is_set()
    await pair.socket.gone.wait()


async def test_pings_are_answered(wired: Wire):
    pair = await wired()
    pair.receive()
    await pair.peer.send_all(client_frame(b"are you there", 9))
    assert list(server_frames(await pair.read(15))) == [(10, b"are you there")]


@pytest.mark.parametrize("way", ["fin", "reset", "close"])
async def test_a_peer_that_leaves_is_gone_at_once(wired: Wire, way: str):
    """And everything it had sent before was taken."""
    pair = await wired()
    pair.receive()
    await pair.say(b"one", b"two")
    await pair.comes(lambda: len(pair.taken) == 2)
    if way == "fin":
        await pair.peer.send_eof()
    elif way == "reset":
        pair.reset()
    else:
        await pair.peer.send_all(client_frame(b"\x03\xe8", 8))
        assert await read_to_end(pair.peer) == b"\x88\x02\x03\xe8"
        pair.peer.socket.close()
    with trio.fail_after(1):
        await pair.socket.gone.wait()
    assert pair.taken == [b"one", b"two"]


async def test_a_half_close_after_messages_loses_none_of_them(wired: Wire):
    pair = await wired()
    await pair.say(*(b"%d" % number for number in range(2000)))
    await pair.peer.send_eof()
    pair.receive()
    await pair.socket.gone.wait()
    assert pair.taken == [b"%d" % number for number in range(2000)]


async def test_a_reset_while_something_is_sent_ends_it(wired: Wire):
    pair = await wired()
    pair.receive()
    pair.socket.send(b"x" * 2_000_000)
    pair.socket.flush()
    pair.reset()
    with trio.fail_after(1):
        await pair.socket.gone.wait()
    pair.socket.send(b"more")
    pair.socket.flush()
    pair.socket.close(1000)


async def test_last_words_arrive_although_the_peer_goes_on_sending(wired: Wire):
    """A close with unread data would reset the connection and destroy them; what is sent then is lost."""
    pair = await wired()
    pair.receive()
    pair.socket.send(b"last words")
    pair.socket.close(1012, "why")
    pair.socket.close(1000, "another")
    pair.socket.send(b"too late")
    await pair.say(*[b"x" * 1000] * 50)
    data = await read_to_end(pair.peer)
    assert list(server_frames(data)) == [(1, b"last words"), (8, b"\x03\xf4why")]
    pair.peer.socket.close()
    with trio.fail_after(1):
        await pair.socket.gone.wait()
    assert pair.taken == []


async def test_a_peer_that_does_not_close_as_well_is_let_go(wired: Wire, monkeypatch: pytest.MonkeyPatch):
    """However much it goes on sending."""
    monkeypatch.setattr(websocket, "_CLOSE_SECONDS", 0.3)
    pair = await wired(send_timeout_seconds=1)
    pair.receive()
    pair.socket.close(1000)
    began = trio.current_time()
    async with trio.open_nursery() as talking:
        talking.start_soon(pair.say, *[b"x" * 1000] * 10_000)
        await pair.socket.gone.wait()
        talking.cancel_scope.cancel()
    assert 0.3 <= trio.current_time() - began < 0.9


async def test_what_violates_the_protocol_is_told_its_code_behind_what_was_sent(wired: Wire):
    pair = await wired()
    pair.receive()
    pair.socket.send(b"before")
    await pair.peer.send_all(client_frame(b"one") + client_frame(b"\xff") + client_frame(b"two"))
    data = await read_to_end(pair.peer)
    assert next(server_frames(data)) == (1, b"before")
    assert close_code(data) == 1007
    assert pair.taken == [b"one"]


async def test_what_came_behind_the_handshake_is_taken_first(wired: Wire):
    pair = await wired()
    early = client_frame(b"early") + client_frame(b"split")[:4]
    pair.socket._early = early
    pair.receive()
    assert pair.taken == [b"early"]


async def test_leaving_the_block_closes_at_once_whatever_is_unsent(wired: Wire):
    pair = await wired()
    pair.receive()
    pair.socket.send(b"x" * 2_000_000)
    pair.socket.flush()
    pair.socket.drop()
    pair.socket.drop()
    assert pair.near.fileno() == -1
    assert pair.socket.gone.is_set()
    await read_to_end(pair.peer)


class Streaming:
    """A real connection of an exam on a real socket."""

    def __init__(self, pair: Wired, nursery: trio.Nursery) -> None:
        self.store, self.pair = MemoryStore(), pair
        settings, metrics = Settings(_env_file=None, max_frames_per_second=0), Metrics()
        self.ingest = Ingest(self.store, Archive(self.store, settings, metrics), settings, metrics)
        nursery.start_soon(self.ingest.write)
        self.connection = Connection(
            pair.socket,
            "exam",
            clock=ClientClock(),
            pace=Pace(Allowance(settings)),
            ingest=self.ingest,
            settings=settings,
            metrics=metrics,
            now_ms=lambda: 10**12,
        )
        nursery.start_soon(self.connection.run, ResumePoint(None, "epoch"))

    @property
    def stored(self) -> int:
        return sum(map(len, self.store.commits))


def numbered(*numbers: int) -> list[bytes]:
    return [json.dumps({"seq": number, "extracted_features": {}}).encode() for number in numbers]


async def test_a_client_that_does_not_read_is_not_read_from_and_loses_nothing(
    wired: Wire, nursery: trio.Nursery
):
    """What waits for it is bounded, also the replies to clock messages."""
    streaming = Streaming(await wired(), nursery)
    pair, sent = streaming.pair, 0
    clock = client_frame(b'{"type": "clock", "timestamp": 1}')
    stuck = 0.0
    while stuck < 0.3:
        began = trio.current_time()
        message = client_frame(numbered(sent)[0]) + clock * 20
        with trio.move_on_after(0.3) as sending:
            await pair.peer.send_all(message)
        stuck = 0.3 if sending.cancelled_caught else 0.0
        sent += not sending.cancelled_caught
        assert trio.current_time() - began < 2
    assert streaming.stored < sent
    assert len(pair.socket._unsent) < 65_536 + 100_000
    acked = await pair.read_acks(sent)
    assert acked[:sent] == list(range(sent))


async def test_a_client_that_does_not_read_is_heard_out_in_time(wired: Wire, nursery: trio.Nursery):
    """It must not hold up the end for everybody, and what it had sent counts."""
    streaming = Streaming(await wired(), nursery)
    pair = streaming.pair
    pair.socket.send(b"x" * 2_000_000)
    pair.socket.flush()
    await pair.say(*numbered(*range(100)))
    await trio.sleep(0.1)
    assert streaming.stored == 0
    with trio.fail_after(1):
        await streaming.connection.stop_intake()
    await streaming.ingest.flush()
    assert streaming.stored == 100 > UNSETTLED_MAX, "also what had to wait for room"
