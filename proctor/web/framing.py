"""WebSocket messages from bytes and to bytes, without any I/O (RFC 6455).

All that may come often is read here, for what a client sends in a few bytes must not cost much: nobody else
is read meanwhile. The one close is wsproto's. Nothing is compressed.
"""

import codecs
from collections.abc import Iterator

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection

from proctor.wire import CloseCode

PING = b"\x89\x00"

_TEXT = 0x81
_WHOLE = (_TEXT, 0x82)
"""First byte of a message of text or binary in one frame."""
_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A
_KNOWN = frozenset((0x00, 0x01, 0x02, 0x80, *_WHOLE, _CLOSE, _PING, _PONG))
"""First bytes of fragments, whole messages and control frames; with any other there is no such frame."""
_FINAL, _OPCODE = 0x80, 0x0F
_MASKED = 0x80
_CONTROL = 0x08
_Utf8 = codecs.getincrementaldecoder("utf-8")


class Violation(Exception):
    """What the peer sent ends the connection."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
        """To close with."""


class Framing:
    """What one peer sends, put together. Larger than the largest message plus one read it never gets."""

    def __init__(self, message_max_bytes: int) -> None:
        self._most = message_max_bytes
        self._partial = bytearray()
        self._wanted = 0
        self._fragmented = False
        """Whether a message that is spread over several frames has begun."""
        self._whole = bytearray()
        self._utf8: codecs.IncrementalDecoder | None = None
        """Checks such a message if it is text."""
        self.answers = bytearray()
        """What the peer's pings and its close are to be answered with; for the owner to send and to clear."""
        self.peer_closed = False

    def messages(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are complete with `data`; those of text are checked to be UTF-8.

        Raises:
            Violation: after the messages before it. What follows is of no use.
        """
        if self.peer_closed:
            return
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted:
                return
            data = bytes(self._partial)
            self._partial.clear()
        start, end = 0, len(data)
        while start < end and not self.peer_closed:
            first, body, stop = self._next_frame(data, start, end)
            if stop > end:
                self._wanted = stop - start
                break
            if first == _CLOSE:
                self._take_close(data[start:stop])
            else:
                payload = _unmasked(data[body - 4 : body], data[body:stop])
                if first in _WHOLE and not self._fragmented:
                    if first == _TEXT and not payload.isascii():
                        _check_utf8(payload, _Utf8(), final=True)
                    yield payload
                elif first == _PING:
                    self.answers += b"%c%c%b" % (_PONG, len(payload), payload)
                elif first != _PONG and (message := self._take_fragment(first, payload)) is not None:
                    yield message
            start = stop
        if start < end and not self.peer_closed:
            self._partial += data[start:]

    def _next_frame(self, data: bytes, start: int, end: int) -> tuple[int, int, int]:
        """Return a frame's first byte, and where its payload starts and stops, which may be past the end."""
        if end - start < 2:
            return 0, 0, start + 2
        first, size = data[start], data[start + 1] & 0x7F
        control = first & _CONTROL
        if first not in _KNOWN or not data[start + 1] & _MASKED or (control and size > 125):
            raise Violation(CloseCode.PROTOCOL_ERROR)
        head = 2
        if size > 125:
            head = 4 if size == 126 else 10
            if end - start < head:
                return first, 0, start + head
            size = int.from_bytes(data[start + 2 : start + head])
            if size < 126 or (head == 10 and size < 1 << 16):  # has to be written in as few bytes as can be
                raise Violation(CloseCode.PROTOCOL_ERROR)
        if size > self._most and not control:
            raise Violation(CloseCode.TOO_BIG)
        body = start + head + 4
        return first, body, body + size

    def _take_close(self, frame: bytes) -> None:
        parser = Connection(ConnectionType.SERVER)
        parser.receive_data(frame)
        for event in parser.events():
            if isinstance(event, CloseConnection):
                if parser.state is ConnectionState.OPEN:  # how wsproto tells what it cannot parse
                    raise Violation(event.code)
                self.peer_closed = True
                self.answers += parser.send(event.response())

    def _take_fragment(self, first: int, payload: bytes) -> bytes | None:
        """Return the message that is complete with this part of it."""
        opcode, final = first & _OPCODE, bool(first & _FINAL)
        if (opcode == 0) != self._fragmented:
            raise Violation(CloseCode.PROTOCOL_ERROR)
        if opcode:
            self._utf8 = _Utf8() if opcode == _TEXT & _OPCODE else None
        if self._utf8 is not None:
            _check_utf8(payload, self._utf8, final=final)
        # In one piece, for a list of parts would cost many times what is in them.
        self._whole += payload
        if len(self._whole) > self._most:
            raise Violation(CloseCode.TOO_BIG)
        self._fragmented = not final
        if not final:
            return None
        whole = bytes(self._whole)
        self._whole.clear()
        return whole


def text_frame(text: bytes) -> bytes:
    """Return the text as one unmasked frame, as a server sends it."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 1 << 16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), text)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame; a reason of over 123 bytes is cut."""
    return Connection(ConnectionType.SERVER).send(CloseConnection(code, reason))


def _unmasked(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _check_utf8(text: bytes, decoder: codecs.IncrementalDecoder, *, final: bool) -> None:
    try:
        decoder.decode(text, final)
    except UnicodeDecodeError:
        raise Violation(CloseCode.INVALID_TEXT) from None
