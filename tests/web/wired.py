"""A WebSocket on one end of a real pair of sockets, served as in the server; the test has the other end."""

import re
import socket as stdlib_socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Self

import trio

from proctor.settings import Settings
from proctor.web.sockets import Sockets
from proctor.web.websocket import WebSocket
from tests.web.raw import client_frame

_ACK = re.compile(rb'\{"type":"ack","seq":(\d+)\}')


async def tcp_pair() -> tuple[stdlib_socket.socket, trio.SocketStream]:
    """Two connected ends; kernel buffers are small, so that a peer that does not read shows soon."""
    with stdlib_socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, 8192)
        far = stdlib_socket.socket()
        far.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, 8192)
        far.connect(listener.getsockname())
        near, _ = listener.accept()
    near.setblocking(False)
    return near, trio.SocketStream(trio.socket.from_stdlib_socket(far))


class Wired:
    """Both ends. The near one is open in the block."""

    def __init__(
        self, near: stdlib_socket.socket, peer: trio.SocketStream, sockets: Sockets, settings: Settings
    ) -> None:
        self.peer = peer
        self.near = near
        self.socket = WebSocket(near, settings)
        self.taken: list[bytes] = []
        self._opened: AbstractContextManager[None] = sockets.open(self.socket)

    def __enter__(self) -> Self:
        self._opened.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__(None, None, None)
        self.peer.socket.close()

    def receive(self, take: Callable[[bytes], None] | None = None) -> None:
        """Begin to read; by default, messages are only noted."""
        self.socket.receive(take or self.taken.append)

    async def say(self, *messages: bytes) -> None:
        """Send messages from the peer."""
        await self.peer.send_all(b"".join(map(client_frame, messages)))

    async def comes(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        while not condition():  # noqa: ASYNC110 - what the test sees of it sets no event
            await trio.sleep(0.002)

    async def read(self, size: int) -> bytes:
        """Read so many bytes at the peer."""
        data = b""
        while len(data) < size:
            more = await self.peer.receive_some(size - len(data))
            assert more, data
            data += more
        return data

    async def read_acks(self, count: int) -> list[int]:
        """Read until so many acknowledgements came; returns their numbers, which are in order."""
        data = b""
        while len(acks := _ACK.findall(data)) < count:
            more = await self.peer.receive_some(65_536)
            assert more, acks
            data += more
        return list(map(int, acks))

    def reset(self) -> None:
        """Vanish with an RST."""
        self.peer.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.socket.close()


async def wire(sockets: Sockets, **settings: Any) -> Wired:
    """Make a pair; enter it to have it served."""
    return Wired(*await tcp_pair(), sockets, Settings(_env_file=None, **settings))
