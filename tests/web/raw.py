"""A client of bytes: what a well-behaved library would never send."""

import os
import struct
from collections.abc import Iterator

import trio

UPGRADE = (
    b"GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


def upgrade(path: str = "/ws", *headers: str) -> bytes:
    """Return a WebSocket handshake."""
    more = "".join(f"{header}\r\n" for header in headers).encode()
    return UPGRADE.replace(b"{path}", path.encode()).replace(b"{more}", more)


def client_frame(payload: bytes, opcode: int = 1, *, fin: bool = True, length: int | None = None) -> bytes:
    """Return a masked WebSocket frame; `length` lies about its size."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    mask = os.urandom(4)
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload) ^ int.from_bytes(key)
    return head + mask + masked.to_bytes(len(payload))


def server_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what a server sent into (opcode, payload)."""
    while data:
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = struct.unpack("!H", data[2:4])[0], 4
        elif size == 127:
            size, start = struct.unpack("!Q", data[2:10])[0], 10
        yield data[0] & 0x0F, data[start : start + size]
        data = data[start + size :]


async def read_head(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """Read to the end of the response's headers; returns them and what came behind."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        assert more, data
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """Read until the server closes, by a FIN or a reset."""
    data = b""
    try:
        while more := await stream.receive_some():
            data += more
    except trio.BrokenResourceError:
        pass
    return data


def close_code(frames: bytes) -> int:
    """Return the code of the first close frame."""
    return next(
        struct.unpack("!H", payload[:2])[0] for opcode, payload in server_frames(frames) if opcode == 8
    )
