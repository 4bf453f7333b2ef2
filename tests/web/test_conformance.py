"""RFC 6455 against the server itself; the Autobahn testsuite, by hand, is in `tests.web.echo`."""

import pytest
import trio

from tests.fixtures.server import Server
from tests.web.raw import client_frame, read_head, read_to_end, server_frames, upgrade

pytestmark = pytest.mark.usefixtures("hard_limit")

CLOSE, PING, PONG = 8, 9, 10
FRAME = b'{"seq":1,"extracted_features":{"note":"\xc3\xbc"}}'
HALF = FRAME.index(b"\xc3") + 1
"""In the middle of a character."""


BYE = client_frame(b"\x03\xe8bye", CLOSE)


async def said(
    server: Server, sent: bytes, *, one_by_one: bool = False, awaited: bytes = b""
) -> list[tuple[int, bytes]]:
    """Send frames and, once the server has said `awaited`, a close; returns all answers but the greeting."""
    pieces = [sent[i : i + 1] for i in range(len(sent))] if one_by_one else [sent]
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(upgrade("/api/v1/session/ws/exam"))
        _, rest = await read_head(stream)
        try:
            for piece in pieces:
                await stream.send_all(piece)
            while awaited not in rest:
                more = await stream.receive_some()
                assert more, f"closed before it said {awaited!r}"
                rest += more
            await stream.send_all(BYE)
        except trio.BrokenResourceError:
            pass  # it has closed already
        answers = list(server_frames(rest + await read_to_end(stream)))
    return [(opcode, payload) for opcode, payload in answers if b'"resume"' not in payload]


def code(answers: list[tuple[int, bytes]]) -> int:
    """The code of the close, which must come last and once."""
    assert [opcode for opcode, _ in answers].count(CLOSE) == 1
    opcode, payload = answers[-1]
    assert opcode == CLOSE
    return int.from_bytes(payload[:2], "big")


def with_bits(frame: bytes, bits: int) -> bytes:
    return bytes([frame[0] | bits]) + frame[1:]


def unmasked(frame: bytes) -> bytes:
    return bytes([frame[0], frame[1] & 0x7F]) + frame[6:]


LONG_HEAD = b"\x81\xff" + len(FRAME).to_bytes(8, "big") + bytes(4)
BROKEN = {
    "reserved bit 1": (1002, with_bits(client_frame(FRAME), 0x40)),
    "reserved bit 2": (1002, with_bits(client_frame(FRAME), 0x20)),
    "reserved bit of a ping": (1002, with_bits(client_frame(b"x", PING), 0x10)),
    "unmasked": (1002, unmasked(client_frame(b"{}"))),
    **{f"opcode {n}": (1002, client_frame(b"x", n)) for n in (3, 7, 11, 15)},
    "length in more bytes than it needs": (1002, LONG_HEAD + FRAME),
    "ping over 125 bytes": (1002, client_frame(b"x" * 126, PING)),
    "fragmented ping": (1002, client_frame(b"x", PING, fin=False)),
    "continuation of nothing": (1002, client_frame(FRAME, 0)),
    "message within a message": (1002, client_frame(FRAME, fin=False) + client_frame(FRAME)),
    "text that is no UTF-8": (1007, client_frame(b'{"a":"\xed\xa0\x80"}')),
    "text that breaks off in a character": (1007, client_frame(FRAME[:HALF])),
    "fragments that are no UTF-8": (1007, client_frame(b"{", fin=False) + client_frame(b"\xff", 0)),
    "close of one byte": (1002, client_frame(b"\x03", CLOSE)),
    "close with a reason that is no UTF-8": (1007, client_frame(b"\x03\xe8\xff", CLOSE)),
    **{
        f"close with {n}": (1002, client_frame(n.to_bytes(2, "big"), CLOSE))
        for n in (0, 999, 1004, 1005, 1006, 1016, 2999, 65535)
    },
}


async def test_what_breaks_the_protocol_ends_the_connection(server: Server):
    """With the code that says why, in one piece or byte by byte, and takes no message behind it."""
    for name, (expected, sent) in BROKEN.items():
        for one_by_one in (False, True):
            answers = await said(server, sent + client_frame(FRAME), one_by_one=one_by_one)
            assert (name, code(answers), len(answers)) == (name, expected, 1)


FINE = {
    "text": client_frame(FRAME),
    "binary": client_frame(FRAME, 2),
    "split in a character": client_frame(FRAME[:HALF], fin=False) + client_frame(FRAME[HALF:], 0),
    "with empty fragments": client_frame(b"", fin=False)
    + client_frame(FRAME, 0, fin=False)
    + client_frame(b"", 0),
    "after a pong that nobody asked for": client_frame(b"?", PONG) + client_frame(FRAME),
}


async def test_every_way_to_send_a_message(server: Server):
    for name, sent in FINE.items():
        for one_by_one in (False, True):
            answers = await said(server, sent, one_by_one=one_by_one, awaited=b'"ack"')
            assert (name, answers[:-1]) == (name, [(1, b'{"type":"ack","seq":1}')])
            assert code(answers) == 1000


async def test_pings_are_answered_in_turn_also_within_a_message(server: Server):
    for one_by_one in (False, True):
        sent = [
            client_frame(FRAME[:HALF], fin=False),
            client_frame(b"", PING),
            client_frame(b"x" * 125, PING),
            client_frame(FRAME[HALF:], 0),
            client_frame(b"last", PING),
        ]
        answers = await said(server, b"".join(sent), one_by_one=one_by_one, awaited=b'"ack"')
        pongs = [payload for opcode, payload in answers if opcode == PONG]
        assert pongs == [b"", b"x" * 125, b"last"]
        assert [opcode for opcode, _ in answers[:2]] == [PONG, PONG]


async def test_a_close_is_answered_with_its_code(server: Server):
    for number in (1000, 1001, 1003, 1007, 1011, 1012, 3000, 4999):
        answers = await said(server, client_frame(number.to_bytes(2, "big") + b"why", CLOSE))
        assert code(answers) == number
