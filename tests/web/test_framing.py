"""WebSocket framing, held to wsproto: whatever is sent, and however it is cut, both say the same."""

import cProfile
import gc
import tracemalloc
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError

from proctor.web.framing import PING, Framing, Violation, close_frame, text_frame
from tests.web.raw import client_frame, server_frames

MOST = 200_000
TEXT, BINARY, CONTINUED, CLOSE, PINGED, PONG = 1, 2, 0, 8, 9, 10
READ_BYTES = 16_384


@dataclass
class Outcome:
    """What came of some bytes."""

    messages: list[bytes] = field(default_factory=list)
    answers: bytes = b""
    closed: bool = False
    violation: int | None = None


def ours(*reads: bytes, most: int = MOST) -> Outcome:
    framing, outcome = Framing(most), Outcome()
    for data in reads:
        try:
            for message in framing.messages(data):
                outcome.messages.append(message)
        except Violation as violation:
            outcome.violation = violation.code
            break
        finally:
            outcome.answers += bytes(framing.answers)
            outcome.closed = framing.peer_closed
            framing.answers.clear()
    return outcome


def theirs(data: bytes) -> Outcome:
    """What wsproto alone makes of it."""
    connection, outcome, parts = Connection(ConnectionType.SERVER), Outcome(), b""
    try:
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, Message):
                parts += event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                if event.message_finished:
                    outcome.messages.append(parts)
                    parts = b""
            elif isinstance(event, Ping):
                outcome.answers += connection.send(event.response())
            elif isinstance(event, CloseConnection):
                if connection.state is ConnectionState.OPEN:
                    outcome.violation = int(event.code)
                    break
                outcome.closed = True
                outcome.answers += connection.send(event.response())
                break
    except RemoteProtocolError:
        outcome.violation = 1002
    return outcome


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


payloads = (
    st.binary(max_size=150)
    | st.text(max_size=60).map(str.encode)
    | st.sampled_from([125, 126, 127, 65_535, 65_536]).map(lambda size: b"a" * size)
)
texts = st.text(max_size=80).map(str.encode) | st.just(("é" * 35_000).encode())


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One message in any number of frames, with control frames in between."""
    payload = draw(texts)
    frames, opcode = [], draw(st.sampled_from([TEXT, BINARY]))
    parts = cut(payload, draw(st.lists(st.integers(0, 100_000), max_size=4)))
    for number, part in enumerate(parts):
        frames.append(client_frame(part, opcode, fin=number == len(parts) - 1))
        opcode = CONTINUED
        if draw(st.booleans()):
            frames.append(draw(controls))
    return b"".join(frames)


controls = st.builds(
    client_frame, st.binary(max_size=125), st.sampled_from([PINGED, PONG]), fin=st.just(True)
)
closes = st.builds(
    lambda code, reason: client_frame(code + reason, CLOSE),
    st.sampled_from([b"", b"\x03\xe8", b"\x03\xe9", b"\x0f\xa0", b"\x03\xed", b"\x00\x00", b"\x03"]),
    st.binary(max_size=20) | st.just(b""),
)
whole = st.builds(client_frame, payloads, st.sampled_from([TEXT, BINARY]))
any_frames = st.builds(client_frame, payloads, st.integers(0, 15), fin=st.booleans())


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A frame with its reserved bits or its mask bit set wrongly, or its size written too long."""
    frame = bytearray(client_frame(draw(st.binary(max_size=130)), draw(st.sampled_from([0, 1, 2, 8, 9]))))
    match draw(st.sampled_from(["reserved", "mask", "long", "longest"])):
        case "reserved":
            frame[0] |= draw(st.sampled_from([0x10, 0x20, 0x40, 0x70]))
        case "mask":
            frame[1] &= 0x7F
        case "long":
            frame[1:2] = bytes([0x80 | 126, 0, 5])
        case "longest":
            frame[1:2] = bytes([0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 5])
    return bytes(frame) + bytes(300)


streams = st.lists(whole | messages() | controls, max_size=6)
faults = st.lists(any_frames | closes | spoilt(), max_size=2)
places = st.lists(st.integers(0, 200_000), max_size=8)


@given(streams, faults, streams, places)
@hypothesis_settings(deadline=None, max_examples=100)
def test_whatever_is_sent_and_however_it_is_cut_wsproto_says_the_same(before, fault, after, where):
    data = b"".join(before + fault + after)
    assert ours(*cut(data, where)) == theirs(data)


@given(streams)
@hypothesis_settings(deadline=None, max_examples=30)
def test_bytes_that_come_one_at_a_time_say_the_same(frames):
    data = b"".join(frames)[:3000]
    assert ours(*(data[n : n + 1] for n in range(len(data)))) == theirs(data)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_every_way_to_write_a_size_is_read(size, opcode):
    data = client_frame(b"x" * size, opcode) * 2
    for reads in ([data], [data[:1], data[1:3], data[3:9], data[9:]], cut(data, [size, size + 3, size + 9])):
        assert ours(*reads) == Outcome([b"x" * size] * 2)


@pytest.mark.parametrize(
    "head",
    [b"\xc1", b"\x91", b"\xa2", b"\x83", b"\x8b", b"\x08", b"\x09"],
    ids=["rsv1", "rsv3", "rsv2", "opcode 3", "opcode 11", "split close", "split ping"],
)
def test_what_is_no_frame_is_refused_before_its_payload_comes(head):
    assert ours(head + b"\xfe").violation == 1002


def test_an_unmasked_frame_is_refused_before_its_payload_comes():
    for size in (b"\x05", b"\x7e", b"\x7f"):
        assert ours(b"\x81" + size).violation == 1002


def test_a_long_control_frame_is_refused_before_its_payload_comes():
    assert ours(b"\x89\xfe").violation == 1002


@pytest.mark.parametrize("fin", [True, False])
def test_a_size_that_is_only_claimed_is_refused_at_once(fin):
    frame = client_frame(b"", TEXT, fin=fin, length=1025)
    assert ours(frame[:3], most=1024) == Outcome()
    assert ours(frame[:4], most=1024) == Outcome(violation=1009)
    assert ours(client_frame(b"", TEXT, length=2**63 - 1)[:10], most=1024).violation == 1009


def test_sizes_count_bytes_and_all_fragments_together():
    for payload in (b"x" * 1024, "é".encode() * 512):
        half = len(payload) // 2 + 1  # within a character
        fragments = client_frame(payload[:half], fin=False) + client_frame(payload[half:], CONTINUED)
        assert ours(client_frame(payload), fragments, most=1024) == Outcome([payload] * 2)
        assert ours(client_frame(payload + b"x"), most=1024).violation == 1009
        more = client_frame(payload, fin=False) + client_frame(b"x", CONTINUED)
        assert ours(more, most=1024) == Outcome(violation=1009)
    # The next message begins at nothing again.
    assert ours(fragments, fragments, most=1024).messages == [payload] * 2


def test_messages_before_a_mistake_are_taken_and_none_after_it():
    data = client_frame(b"one") + client_frame(b"\xff") + client_frame(b"two")
    assert ours(data) == Outcome([b"one"], violation=1007)


def test_a_close_is_answered_and_ends_it():
    data = client_frame(b"one") + client_frame(b"\x03\xe8bye", CLOSE) + client_frame(b"two")
    assert ours(data, b"\xff" * 50) == Outcome([b"one"], b"\x88\x05\x03\xe8bye", closed=True)


FLOODS = {
    "after a close": (client_frame(b"\x03\xe8", CLOSE), b"\xff" * READ_BYTES),
    "empty fragments": (client_frame(b"", TEXT, fin=False), client_frame(b"", CONTINUED, fin=False) * 100),
    "small fragments": (client_frame(b"", TEXT, fin=False), client_frame(b"ab", CONTINUED, fin=False) * 30),
    "pongs": (b"", client_frame(b"x" * 100, PONG) * 30),
    "messages": (b"", client_frame(b"x" * 1000) * 16),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_leaves_nothing_behind(kind):
    """No more is kept than the largest message and one read, however much comes."""
    first, repeated = FLOODS[kind]
    framing = Framing(4096)
    list(framing.messages(first))
    tracemalloc.start()
    try:
        for _ in range(50):
            for _message in framing.messages(repeated):
                pass
        gc.collect()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 4096 + 4096
    assert peak < 8 * READ_BYTES + 200_000


SMALL = {
    "pings": client_frame(b"", PINGED),
    "pongs": client_frame(b"", PONG),
    "fragments": client_frame(b"", CONTINUED, fin=False),
}


@pytest.mark.parametrize("kind", SMALL)
def test_what_is_small_to_send_is_little_work_to_read(monkeypatch, kind):
    """While one socket's bytes are read, no other's are; one read holds thousands of such frames.

    wsproto, which takes ten times as long for one, has no part in it, and each costs only so many calls.
    """
    monkeypatch.delattr("proctor.web.framing.Connection")
    framing = Framing(65_536)
    list(framing.messages(client_frame(b"", TEXT, fin=False)))
    frames = READ_BYTES // len(SMALL[kind])
    calls = cProfile.Profile()
    with calls:
        assert list(framing.messages(SMALL[kind] * frames)) == []
    assert sum(each.callcount for each in calls.getstats()) < 15 * frames


def test_a_large_frame_in_small_reads_is_kept_once():
    framing = Framing(65_536)
    data = client_frame(b"x" * 65_536)
    tracemalloc.start()
    try:
        for place in range(0, len(data) - 1000, 1000):
            assert list(framing.messages(data[place : place + 1000])) == []
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 65_536 * 1.5
    assert list(framing.messages(data[place + 1000 :])) == [b"x" * 65_536]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_what_the_server_sends_is_read_by_a_client(size):
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(b"x" * size) + PING + close_frame(1012, "why " * 100))
    text, ping, close = client.events()
    assert isinstance(text, TextMessage)
    assert text.data == "x" * size
    assert ping == Ping(b"")
    assert isinstance(close, CloseConnection)
    assert close.code == 1012
    assert close.reason == ("why " * 100)[:123]


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_a_client_sends_is_read(sent):
    """A client that is wsproto itself."""
    client = Connection(ConnectionType.CLIENT)
    assert ours(*(client.send(BytesMessage(message)) for message in sent)).messages == sent
    assert list(server_frames(ours(client.send(Ping(b"are you there"))).answers)) == [
        (PONG, b"are you there")
    ]
