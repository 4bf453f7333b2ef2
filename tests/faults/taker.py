"""An exam taker on a bare socket, who keeps every frame and sends again what was not confirmed."""

import json
import random
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import trio

from tests.faults.checker import Ledger
from tests.web.raw import read_head, upgrade

_CLOSE, _PING, _PONG = 8, 9, 10
_RETRY_SECONDS = 0.05
_HANDSHAKE_SECONDS = 5.0
_ANSWER_SECONDS = 0.5
_SEND_BUFFER_BYTES = 8192
"""Small, so that a server that stops reading is felt soon."""


class Closed(Exception):
    """The server closed the connection, with a code and a reason, or without either."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def masked(payload: bytes, opcode: int = 1) -> bytes:
    """Return a client's frame. Its mask is zero, which is a mask like any other and costs nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


class Frames:
    """Cuts what a server sends into WebSocket frames, however it arrives."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    def feed(self, data: bytes) -> None:
        self._data += data

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while len(self._data) >= 2:
            size, start = self._data[1] & 0x7F, 2
            if size == 126:
                size, start = int.from_bytes(self._data[2:4], "big"), 4
            if len(self._data) < start + size:
                return
            opcode, payload = self._data[0] & 0x0F, self._data[start : start + size]
            self._data = self._data[start + size :]
            yield opcode, payload


class Taker:
    """Streams frames 1, 2, 3 … and notes in its ledger what it sent and heard.

    On each connection it goes on where the server says at first that it is (`resume`), and begins anew if the
    store was emptied. An acknowledgement counts for everything that its connection sent before.
    """

    def __init__(
        self,
        session_id: str,
        port: Callable[[], int | None],
        *,
        window: int = 200,
        chunk: int = 20,
        pause_seconds: float = 0.0,
        note_bytes: int = 64,
    ) -> None:
        """`port` is where to connect now, None for nowhere; `chunk` frames are sent in one piece; each frame
        has a random note of an even number of bytes."""
        self.ledger = Ledger(session_id)
        self.connections = 0
        self.closes: list[Closed] = []
        """How each connection ended that the server closed in good order."""
        self._port = port
        self._chunk = chunk
        self._note_bytes = note_bytes
        self._window = window
        self._pause_seconds = pause_seconds
        self._noise = random.Random(session_id)
        self._next = 1
        self._settled = 0
        self._under_way: deque[int] = deque()
        self._heard = trio.Event()
        self._welcome = trio.Event()
        self._turn = trio.Lock()
        self._last = 2**53 - 1
        self._finished = trio.Event()
        self._news = trio.lowlevel.ParkingLot()

    @property
    def settled(self) -> int:
        """Frames up to this one are confirmed."""
        return self._settled

    async def run(self, last: int | None = None) -> None:
        """Return once frame `last` and all before it are confirmed; through any number of connections."""
        self._last = last or self._last
        while self._settled < self._last:
            try:
                await self._connection()
            except* Closed as closed:
                self.closes += closed.exceptions  # type: ignore[arg-type]
            except* (OSError, trio.BrokenResourceError, trio.TooSlowError):
                pass
            if self.closes and self.closes[-1].code == 1000:
                return
            if self._settled < self._last:
                await trio.sleep(_RETRY_SECONDS)
        self._finished.set()

    async def progress(self) -> None:
        """Wait until something more is confirmed."""
        before = self._settled
        while self._settled <= before:
            await self._news.park()

    async def finish(self) -> None:
        """Begin no new frame, and return once each that was sent is confirmed."""
        self._last = len(self.ledger.sent)
        self._heard.set()
        await self._finished.wait()

    async def _connection(self) -> None:
        port = self._port()
        if port is None:
            raise ConnectionRefusedError
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            stream.setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER_BYTES)
            with trio.fail_after(_HANDSHAKE_SECONDS):
                await stream.send_all(upgrade(f"/api/v1/session/ws/{self.ledger.session_id}"))
                try:
                    head, rest = await read_head(stream)
                except AssertionError:
                    raise Closed from None
            if not head.startswith(b"HTTP/1.1 101"):
                raise Closed(1006, head[:40].decode())
            self.connections += 1
            self._under_way.clear()
            self._welcome = trio.Event()
            self._turn = trio.Lock()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, stream, rest)
                await self._talk(stream)
                nursery.cancel_scope.cancel(reason="everything is confirmed")

    async def _talk(self, stream: trio.SocketStream) -> None:
        await self._welcome.wait()
        while self._settled < self._last:
            room = min(self._settled + self._window, self._last) + 1 - self._next
            if room <= 0:
                self._heard = trio.Event()
                await self._heard.wait()
                continue
            chunk = range(self._next, self._next + min(room, self._chunk))
            self._next = chunk.stop
            self._under_way += chunk
            await self._send(stream, b"".join(map(self._frame, chunk)))
            await trio.sleep(self._pause_seconds)

    async def _send(self, stream: trio.SocketStream, data: bytes) -> None:
        async with self._turn:
            await stream.send_all(data)

    def _frame(self, seq: int) -> bytes:
        features = self.ledger.sent.get(seq)
        if features is None:
            note = self._noise.randbytes(self._note_bytes // 2).hex()
            features = {"face_present": 1, "no_of_face": 1, "face_conf": 90, "marker": seq, "note": note}
            self.ledger.send(seq, features)
        return masked(json.dumps({"seq": seq, "extracted_features": features}).encode())

    async def _listen(self, stream: trio.SocketStream, rest: bytes) -> None:
        frames = Frames(rest)
        while True:
            for opcode, payload in frames:
                if opcode == _PING:
                    await self._send(stream, masked(payload, _PONG))
                elif opcode == _CLOSE:
                    with suppress(trio.BrokenResourceError), trio.move_on_after(_ANSWER_SECONDS):
                        await self._send(stream, masked(payload[:2], _CLOSE))
                    raise Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
                else:
                    self._take(json.loads(payload))
            more = await stream.receive_some()
            if not more:
                raise Closed
            frames.feed(more)

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "ack", "seq": seq}:
                self._confirm(seq)
            case {"type": "resume", "last_seq": last_seq, "epoch": epoch}:
                emptied = self.ledger.resume(last_seq, epoch)
                if emptied or not self._welcome.is_set():
                    self._settled = last_seq or 0
                    self._next = self._settled + 1
                self._welcome.set()
            case {"type": "error"}:
                self.ledger.broken.append(f"an error: {message}")
        self._heard.set()
        self._news.unpark_all()

    def _confirm(self, seq: int) -> None:
        if seq not in self._under_way:
            self.ledger.broken.append(f"{seq} was acknowledged and not under way")
            return
        confirmed = []
        while seq not in confirmed:
            confirmed.append(self._under_way.popleft())
        self.ledger.ack(confirmed)
        while self._settled + 1 in self.ledger.acked:
            self._settled += 1
