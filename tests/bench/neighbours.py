"""Clients that misbehave, each kind in a process of its own, next to others that do not."""

import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterable
from itertools import count
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import NamedTuple, Self

from tests.bench.load import Failed, single_messages
from tests.web.raw import client_frame, upgrade

FLOODING_CLIENTS = 5
IDLE_CLIENTS = 10_000
DEAF_CLIENTS = 50
HALF_OPEN_CLIENTS = 200
SLOW_CLIENTS = 200

_FLOOD_MESSAGES = 20_000
_UNUSABLE_MESSAGES = 200
"""More than the server takes before it closes."""
_CONNECTING_MAX = 100
_SMALL_BUFFER_BYTES = 2048
_CHUNK_BYTES = 65_536
_PAUSE_SECONDS = 0.01
_BYTE_SECONDS = 0.1
_CONNECT_SECONDS = 60.0
_READY_SECONDS = 600.0
_NICENESS = 10
"""Bad clients have machines of their own; here they take what the others leave."""
_PONG = client_frame(b"", 10)


class Tally(NamedTuple):
    """What a neighbour has done so far, readable from outside its process."""

    messages: "Synchronized[int]"
    """Handed over to TCP."""
    connections: "Synchronized[int]"


class Nuisance:
    """One connection that misbehaves, also after it has been opened again."""

    def __init__(
        self,
        name: str,
        then: bytes = b"",
        messages: int = 0,
        *,
        reads: bool = True,
        goes_on: bool = False,
        answer: bytes = b"",
    ) -> None:
        self.then = then
        """Sent once the handshake is done, as fast as TCP takes it."""
        self.messages = messages
        """How many those are."""
        self.reads = reads
        self.goes_on = goes_on
        """When all is sent, all of it is sent again in a session of its own."""
        self.answer = answer
        """Sent whenever something was received."""
        self._names = (f"{name}-{turn}" for turn in count())
        self.first = b""
        """What is sent at first, the handshake."""
        self.begin_session()
        self.left = memoryview(b"")
        self.opened = False
        """The server has answered the handshake."""
        self.socket = socket.socket()

    def begin_session(self) -> None:
        """Take part in another session from the next connection on."""
        self.first = upgrade(f"/api/v1/session/ws/{next(self._names)}")

    def connect(self, port: int) -> None:
        """Connect, and begin anew with what is to be sent."""
        self.socket = socket.socket()
        if not self.reads:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
        self.socket.settimeout(_CONNECT_SECONDS)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.left, self.opened = memoryview(self.first), False

    def receive(self) -> None:
        """Take in what has come, for what it is worth. Raises OSError if the connection is lost."""
        received = self.socket.recv(_CHUNK_BYTES)
        if not self.opened and received.startswith(b"HTTP/1.1 101"):
            self.left, self.opened = memoryview(self.then), True
        elif self.answer:
            self.left = memoryview(self.answer)

    def send(self, most_bytes: int) -> int:
        """Send some of what is left; returns how many bytes. Raises OSError if the connection is lost."""
        try:
            sent = self.socket.send(self.left[:most_bytes])
        except BlockingIOError:
            return 0
        self.left = self.left[sent:]
        return sent


class Crowd:
    """Connections in one loop. Whichever the server cuts off is opened again at once."""

    def __init__(self, port: int, tally: Tally, byte_seconds: float = 0.0) -> None:
        self._port = port
        self._tally = tally
        self._byte_seconds = byte_seconds
        """Send one byte in so many seconds; 0 means everything as fast as TCP takes it."""
        self._poll = select.epoll()
        self._members: dict[int, Nuisance] = {}

    def add(self, member: Nuisance) -> None:
        """Open one more connection."""
        self._open(member)
        self.attend(0)

    def fill(self, members: Iterable[Nuisance]) -> None:
        """Open connections and wait for their handshakes, no more of them at a time than a server likes."""
        opening: list[Nuisance] = []
        for member in members:
            self.add(member)
            opening.append(member)
            while len(opening) >= _CONNECTING_MAX:
                self.attend(_PAUSE_SECONDS)
                opening = [each for each in opening if not each.opened]
        while not all(member.opened for member in opening):
            self.attend(_PAUSE_SECONDS)

    def run(self) -> None:
        """Go on until the process ends."""
        due = time.monotonic()
        while True:
            self.attend(self._byte_seconds or _PAUSE_SECONDS)
            if self._byte_seconds and time.monotonic() >= due:
                due = time.monotonic() + self._byte_seconds
                for member in list(self._members.values()):
                    self._send(member, 1)

    def attend(self, seconds: float) -> None:
        """Do what there is to do on each connection, after waiting so long for something."""
        for descriptor, events in self._poll.poll(seconds):
            member = self._members[descriptor]
            if events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
                self._open_again(member)
            elif events & select.EPOLLIN:
                self._receive(member)
            else:
                self._send(member, _CHUNK_BYTES)

    def _open(self, member: Nuisance) -> None:
        member.connect(self._port)
        self._members[member.socket.fileno()] = member
        self._poll.register(member.socket, self._interest(member))
        self._tally.connections.value += 1

    def _open_again(self, member: Nuisance) -> None:
        self._poll.unregister(member.socket)
        del self._members[member.socket.fileno()]
        member.socket.close()
        self._open(member)

    def _interest(self, member: Nuisance) -> int:
        receives = member.reads or not member.opened
        sends = bool(member.left) and not self._byte_seconds
        return select.EPOLLRDHUP | select.EPOLLIN * receives | select.EPOLLOUT * sends

    def _receive(self, member: Nuisance) -> None:
        try:
            member.receive()
        except OSError:
            self._open_again(member)
        else:
            self._poll.modify(member.socket, self._interest(member))

    def _send(self, member: Nuisance, most_bytes: int) -> None:
        try:
            sent = member.send(most_bytes)
        except OSError:
            self._open_again(member)
            return
        if member.opened and member.messages:
            self._tally.messages.value += sent * member.messages // len(member.then)
        if not member.left and member.opened and member.goes_on:
            member.begin_session()
            self._open_again(member)
            return
        self._poll.modify(member.socket, self._interest(member))


def flood(crowd: Crowd, clients: int) -> None:
    """5 clients send valid frames as fast as TCP takes them."""
    frames = b"".join(single_messages(_FLOOD_MESSAGES))
    crowd.fill(Nuisance(f"flood-{n}", frames, _FLOOD_MESSAGES, goes_on=True) for n in range(clients))


def unusable(crowd: Crowd, clients: int) -> None:
    """5 clients send messages that cannot be used as fast as TCP takes them, and come back when cut off."""
    wrong = [
        b"not JSON",
        b'{"seq":-1}',
        b'{"type":"nonsense"}',
        b"[" * 1000,
        b'{"frame_data":{"face_x":"x"}}',
    ]
    sent = b"".join(client_frame(wrong[number % len(wrong)]) for number in range(_UNUSABLE_MESSAGES))
    for number in range(clients):
        crowd.add(Nuisance(f"unusable-{number}", sent, _UNUSABLE_MESSAGES))


def idle(crowd: Crowd, clients: int) -> None:
    """10,000 clients are connected and do nothing but show that they live."""
    crowd.fill(Nuisance(f"idle-{number}", answer=_PONG) for number in range(clients))


def deaf(crowd: Crowd, clients: int) -> None:
    """50 clients send valid frames as fast as TCP takes them and never read an acknowledgement."""
    frames = b"".join(single_messages(_FLOOD_MESSAGES))
    crowd.fill(Nuisance(f"deaf-{number}", frames, _FLOOD_MESSAGES, reads=False) for number in range(clients))


def half_open(crowd: Crowd, clients: int) -> None:
    """200 clients are connected and say nothing, or half a request, or fall silent after the handshake.

    The last are as a client whose network is gone: no FIN, and no answer to any ping.
    """
    for number in range(clients):
        member = Nuisance(f"half-open-{number}", reads=False)
        member.first = (b"", member.first[: len(member.first) // 2], member.first)[number % 3]
        crowd.add(member)


def slow_handshakes(crowd: Crowd, clients: int) -> None:
    """200 clients send their handshake at one byte in 0.1 s, and come back when cut off."""
    for number in range(clients):
        crowd.add(Nuisance(f"slow-{number}"))


class Neighbour(NamedTuple):
    """One kind of bad clients."""

    join: Callable[[Crowd, int], None]
    """Let so many of them join a crowd; returns when they are at work."""
    clients: int
    byte_seconds: float = 0.0


NEIGHBOURS = {
    "flood": Neighbour(flood, FLOODING_CLIENTS),
    "unusable": Neighbour(unusable, FLOODING_CLIENTS),
    "idle": Neighbour(idle, IDLE_CLIENTS),
    "deaf": Neighbour(deaf, DEAF_CLIENTS),
    "half-open": Neighbour(half_open, HALF_OPEN_CLIENTS),
    "slow-handshakes": Neighbour(slow_handshakes, SLOW_CLIENTS, _BYTE_SECONDS),
}


def allow_many_files() -> None:
    """Let this process and those that it starts open as many files as the system lets them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Nearby:
    """A neighbour in a process of its own. Use in a `with`, which ends it."""

    def __init__(self, name: str, port: int, scale: float) -> None:
        context = get_context("spawn")
        self.tally = Tally(context.Value("q", 0), context.Value("q", 0))
        self._ready = context.Event()
        self._until = time.monotonic() + _READY_SECONDS
        arguments = (name, port, scale, self.tally, self._ready)
        self._process = context.Process(target=_misbehave, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def at_work(self) -> bool:
        """Return whether it has begun. Raises Failed if it never will, or has given up since."""
        if not self._process.is_alive():
            raise Failed("the neighbour gave up; see above")
        if not self._ready.is_set() and time.monotonic() > self._until:
            raise Failed(f"{self.tally.connections.value} bad clients connected, and then no more")
        return self._ready.is_set()


def _misbehave(name: str, port: int, scale: float, tally: Tally, ready: Event) -> None:
    allow_many_files()
    neighbour = NEIGHBOURS[name]
    crowd = Crowd(port, tally, neighbour.byte_seconds)
    neighbour.join(crowd, max(round(neighbour.clients * scale), 1))
    os.nice(_NICENESS)
    ready.set()
    crowd.run()
