"""A lean load: WebSocket clients on bare sockets, one loop for all, with messages that are made beforehand.

A client library costs more per message than the server does, so a benchmark with one would measure itself.
"""

import random
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Self

import msgspec

from proctor.simulator.client import wrapped
from proctor.simulator.people import exam_taker
from tests.web.raw import client_frame, upgrade

_STALL_SECONDS = 20.0
_READ_BYTES = 65_536
_FRAME_INTERVAL_MS = 42
"""Between the event times of two frames, about 24 per second."""
_FIRST_FRAME_MS = 1_767_603_600_000
_PING, _PONG, _CLOSE = 9, 10, 8


class Failed(Exception):
    """The server did not do what was to be measured."""


class TooSlow(Failed):
    """The server did not keep up with a pace."""

    def __init__(self, detail: str, delays: list[float]) -> None:
        super().__init__(detail)
        self.delays = delays
        """Of what it did acknowledge, in seconds."""
        self.figures: dict[str, float] = {}
        """What was measured all the same."""


def single_messages(count: int, interval_ms: int = _FRAME_INTERVAL_MS, **others: object) -> list[bytes]:
    """Messages of one frame, about 410 bytes of JSON, with `seq` from 0; each as a WebSocket frame.

    `interval_ms` is between their event times; `others` are features that differ from somebody's who reads.
    """
    return [
        _message({"seq": seq, "timestamp": time_ms, "extracted_features": features | others})
        for seq, (time_ms, features) in enumerate(_frames(count, interval_ms))
    ]


def people_messages(kind: str, seed: int, count: int, interval_ms: int) -> list[bytes]:
    """Messages of one frame each of a simulated exam taker, with every feature and the engine's events."""
    minutes = 1.2 * count * interval_ms / 60_000  # a browser misses some frames
    taker, messages = exam_taker(kind, seed, minutes, 1000 / interval_ms), []
    for seq, frame in enumerate(islice(taker.frames(), count)):
        time_ms = _FIRST_FRAME_MS + seq * interval_ms
        stamp = {"ts": time_ms} if "ts" in frame else {"timestamp": time_ms}
        messages.append(_message({**wrapped(frame | stamp), "seq": seq}))
    return messages


def batch_messages(count: int, size: int) -> list[bytes]:
    """Messages of `size` frames each; otherwise as `single_messages`."""
    frames = [
        {"timestamp": time_ms, **features} for time_ms, features in _frames(count * size, _FRAME_INTERVAL_MS)
    ]
    return [
        _message({"seq": seq, "type": "batch", "frames": frames[seq * size : (seq + 1) * size]})
        for seq in range(count)
    ]


def _message(content: dict[str, object]) -> bytes:
    return client_frame(msgspec.json.encode(content))


def _frames(count: int, interval_ms: int) -> Iterator[tuple[int, dict[str, object]]]:
    """Somebody who sits still and reads, with a little noise."""
    noise = random.Random(0)
    for number in range(count):
        x, y = noise.randint(250, 270), noise.randint(305, 320)
        features: dict[str, object] = {
            "face_present": 1,
            "no_of_face": 1,
            "face_x": x,
            "face_y": y,
            "face_w": 150,
            "face_h": 150,
            "face_conf": noise.randint(85, 95),
            "nose_tip_x": x + 75,
            "nose_tip_y": y + 80,
            "mouth_y": y + 110,
            "head_yaw": round(noise.gauss(0.01, 0.02), 4),
            "head_pitch": round(noise.gauss(0.018, 0.02), 4),
            "head_roll": round(noise.gauss(0, 0.01), 4),
            "head_pose": "forward",
            "gaze_on_script": 1,
            "gaze_direction": "center",
            "gazePoint_x": x + 240,
            "gazePoint_y": y + 90,
            "phone_present": 0,
            "phone_conf": 0,
            "hand_count": 1,
        }
        yield _FIRST_FRAME_MS + number * interval_ms, features


class Client:
    """One exam taker's WebSocket, which checks that acknowledgements come one by one from 0."""

    def __init__(self, port: int, session_id: str) -> None:
        """Connect and ask for the upgrade; `open` waits for the answer."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_STALL_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(upgrade(f"/api/v1/session/ws/{session_id}"))
        self.acked = 0
        self._incoming = b""
        self._outgoing = memoryview(b"")

    def open(self) -> None:
        """Wait until the server has switched to WebSocket; from here on nothing blocks."""
        while b"\r\n\r\n" not in self._incoming:
            more = self.socket.recv(_READ_BYTES)
            if not more:
                raise Failed("the server closed during the handshake")
            self._incoming += more
        head, _, self._incoming = self._incoming.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise Failed(f"the server refused a connection: {head.splitlines()[0].decode()}")
        self.socket.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send as much as the socket takes now; `flush` sends the rest."""
        self._outgoing = memoryview(bytes(self._outgoing) + data if self._outgoing else data)
        self.flush()

    def flush(self) -> None:
        """Send more of what `send` left over."""
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self.socket.send(self._outgoing) :]
        except BlockingIOError:
            pass

    def receive(self) -> int:
        """Read what has come; returns how many acknowledgements there were."""
        before = self.acked
        try:
            while data := self.socket.recv(_READ_BYTES):
                self._incoming += data
                self._take_messages()
        except BlockingIOError:
            return self.acked - before
        except ConnectionError as error:
            raise Failed("the server reset a connection") from error
        raise Failed("the server closed a connection")

    def _take_messages(self) -> None:
        data, start = self._incoming, 0
        while len(data) >= start + 4:
            size, body = data[start + 1], start + 2
            if size == 126:
                (size,), body = struct.unpack_from("!H", data, body), body + 2
            if len(data) < body + size:
                break
            self._take(data[start] & 0x0F, data[body : body + size])
            start = body + size
        self._incoming = data[start:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if payload == b'{"type":"ack","seq":%d}' % self.acked:
            self.acked += 1
        elif opcode == _PING:
            self.send(client_frame(payload, _PONG))
        elif opcode == _CLOSE or not payload.startswith((b'{"type":"heartbeat"', b'{"type":"resume"')):
            raise Failed(f"acknowledgement {self.acked} was due, the server sent {payload!r}")


class Load:
    """Clients that send side by side. Use in a `with`, which closes them."""

    def __init__(self, port: int, sessions: Iterable[str]) -> None:
        self._poll = select.epoll()  # before the sockets, for `select` takes descriptors below 1024 only
        self._clients = [Client(port, session_id) for session_id in sessions]
        # Edge-triggered, so that a socket with room to send does not wake the loop again and again.
        events = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
        self._places = {client.socket.fileno(): place for place, client in enumerate(self._clients)}
        for client in self._clients:
            client.open()
            self._poll.register(client.socket, events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for client in self._clients:
            client.socket.close()

    def rest(self, seconds: float) -> None:
        """Answer pings and pass over heartbeats for so long."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            for place in self._wait(left):
                self._clients[place].flush()
                self._clients[place].receive()

    def burst(self, messages: Sequence[bytes]) -> float:
        """Send `messages` from every client as fast as TCP takes them; returns seconds to the last ack."""
        everything = b"".join(messages)
        missing = len(messages) * len(self._clients)
        began = time.perf_counter()
        for client in self._clients:
            client.send(everything)
        while missing:
            active = self._wait(_STALL_SECONDS)
            if not active:
                raise Failed(f"{missing} messages were not acknowledged: {_STALL_SECONDS:.0f} s of silence")
            for place in active:
                self._clients[place].flush()
                missing -= self._clients[place].receive()
        return time.perf_counter() - began

    def pace(self, messages: Sequence[bytes], per_second: float) -> list[float]:
        """Send `messages` from every client at a steady rate, the clients evenly out of step.

        Returns the seconds from when each message was due until its acknowledgement was read, so that
        time for which a slow server holds the load up counts too.

        Raises:
            TooSlow: with those that were acknowledged 20 s after the last was due.
        """
        return self.pace_each([messages] * len(self._clients), per_second)

    def pace_each(
        self,
        everyone: Sequence[Sequence[bytes]],
        per_second: float,
        acknowledged: Callable[[int, int], object] = lambda _place, _acked: None,
    ) -> list[float]:
        """Do the same with messages of each client's own, equally many.

        `acknowledged` is called with a client's place and how many of its messages are acknowledged by now.
        """
        count = len(self._clients)
        gap = 1 / (per_second * count)
        total, sent = len(everyone[0]) * count, 0
        behind = [client.acked for client in self._clients]
        delays: list[float] = []
        began = time.perf_counter()
        while len(delays) < total:
            now = time.perf_counter()
            while sent < total and began + sent * gap <= now:
                turn, place = divmod(sent, count)
                self._clients[place].send(everyone[place][turn])
                sent += 1
            pause = began + sent * gap - now if sent < total else 0.01
            for place in self._wait(max(pause, 0)):
                client = self._clients[place]
                client.flush()
                first = client.acked - behind[place]
                acks = client.receive()
                now = time.perf_counter()
                delays += [now - began - (turn * count + place) * gap for turn in range(first, first + acks)]
                acknowledged(place, client.acked)
            if now > began + total * gap + _STALL_SECONDS:
                late = f"{total - len(delays)} of {total} messages were not acknowledged"
                detail = f"{late} {_STALL_SECONDS:.0f} s after the last was due; see --scale"
                raise TooSlow(detail, delays)
        return delays

    def _wait(self, seconds: float) -> list[int]:
        """Places of the clients that something happened to, after `seconds` at the latest."""
        # epoll waits in whole milliseconds, select in microseconds.
        select.select([self._poll], [], [], seconds)
        return [self._places[descriptor] for descriptor, _ in self._poll.poll(0)]
