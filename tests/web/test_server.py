"""The server under an application that is not Proctor's: each promise over a raw socket."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio

from proctor.logs import set_up_logging
from proctor.settings import Settings
from proctor.web.server import serve
from proctor.web.sockets import Sockets
from proctor.web.upgrade import hand_over
from proctor.web.websocket import WebSocket
from tests.web.raw import client_frame, close_code, read_head, read_to_end, server_frames, upgrade

pytestmark = pytest.mark.usefixtures("hard_limit")


class App:
    """An ASGI application with a route for each kind of trouble."""

    def __init__(self) -> None:
        self.left = trio.Event()
        self.received: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"].removeprefix("/")
        if scope["type"] != "websocket" or name in ("refuse", "answer", "crash"):
            await getattr(self, f"at_{name}")(receive, send)
            return
        hand_over(scope, getattr(self, f"serve_{name}"))
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})

    async def at_hello(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})

    async def at_slow(self, receive: Any, send: Any) -> None:
        await trio.sleep(0.3)
        await self.at_hello(receive, send)

    async def at_crash(self, receive: Any, send: Any) -> None:
        raise RuntimeError("on purpose")

    async def at_refuse(self, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    async def at_answer(self, receive: Any, send: Any) -> None:
        kind = "websocket.http.response"
        await send({"type": f"{kind}.start", "status": 401, "headers": [(b"content-length", b"6")]})
        await send({"type": f"{kind}.body", "body": b"not", "more_body": True})
        await trio.sleep(0.05)
        await send({"type": f"{kind}.body", "body": b"you", "more_body": False})

    async def serve_ws(self, socket: WebSocket) -> None:
        """Echo."""

        def take(message: bytes) -> None:
            self.received.append(message)
            socket.send(repr(message)[:50].encode())

        socket.receive(take)
        await socket.gone.wait()
        self.left.set()

    async def serve_sender(self, socket: WebSocket) -> None:
        """Send for ever and never look at what comes."""
        while not socket.gone.is_set():
            socket.send(b"x" * 10_000)
            socket.flush()
            await trio.sleep(0.001)
        self.left.set()

    async def serve_early(self, socket: WebSocket) -> None:
        """Fail before anything is read."""
        raise RuntimeError("on purpose")

    async def serve_late(self, socket: WebSocket) -> None:
        """Fail with each message."""
        socket.receive(lambda message: 1 // 0)
        await socket.gone.wait()
        self.left.set()

    async def serve_goodbye(self, socket: WebSocket) -> None:
        socket.send(b"last words")
        socket.close(1000)
        await socket.gone.wait()


class Running:
    """A server of the app on a free port."""

    def __init__(self, app: App, listener: trio.SocketListener) -> None:
        self.app = app
        self.port: int = listener.socket.getsockname()[1]
        self.shutdown = trio.Event()
        self.stopped = trio.Event()
        self.streams: list[trio.SocketStream] = []

    async def connect(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.streams.append(stream)
        return stream

    async def websocket(self, path: str = "/ws") -> trio.SocketStream:
        stream = await self.connect()
        await stream.send_all(upgrade(path))
        head, rest = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 101"), head
        assert not rest
        return stream

    async def serves(self) -> bool:
        """Whether somebody else is still served."""
        stream = await self.connect()
        await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return (await read_to_end(stream)).endswith(b"hello")


Start = Callable[..., Any]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Running]:
    """Run a server; the block's end shuts it down and waits."""
    chosen = Settings(_env_file=None, **{"shutdown_timeout_seconds": 2, **settings})
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    app = App()
    server = Running(app, listeners[0])

    sockets = Sockets(chosen)

    async def main(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        await serve(
            app,
            chosen,
            listeners,
            sockets=sockets,
            shutdown=server.shutdown,
            before_drain=partial(trio.sleep, 0),
            task_status=task_status,
        )
        server.stopped.set()

    async with trio.open_nursery() as services:
        services.start_soon(sockets.run)
        async with trio.open_nursery() as nursery:
            await nursery.start(main)
            try:
                yield server
            finally:
                server.shutdown.set()
                for stream in server.streams:
                    stream.socket.close()
        services.cancel_scope.cancel(reason="server stopped")


@pytest.mark.parametrize(
    "behind", [b"x", client_frame(b"early"), b"\x00" * 100_000], ids=["byte", "frame", "flood"]
)
@pytest.mark.parametrize("path", ["/ws", "/nowhere"])
async def test_bytes_behind_an_upgrade_end_their_connection_only(path, behind):
    async with running() as server:
        other = await server.websocket()
        stream = await server.connect()
        await stream.send_all(upgrade(path) + behind)
        await read_to_end(stream)
        assert await server.serves()
        await other.send_all(client_frame(b"still here"))
        assert b"still here" in (await other.receive_some())


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (client_frame(b"\xff\xfe"), 1007),
        (b"\xff\xff\xff\xff", 1002),
        (client_frame(b"unmasked")[:1] + b"\x01a", 1002),
        (client_frame(b"x" * 5000, fin=False) + client_frame(b"x" * 5000, 0), 1009),
        (client_frame(b"", 2, length=2**40), 1009),
    ],
    ids=["bad utf-8", "bad opcode", "no mask", "fragments", "claimed size"],
)
async def test_protocol_errors_are_answered_with_their_code(sent, code):
    async with running(message_max_bytes=8192) as server:
        stream = await server.websocket()
        await stream.send_all(sent)
        if code == 1009:  # a size that is only claimed is refused once the bytes come
            with trio.move_on_after(1):
                while True:
                    await stream.send_all(b"x" * 10_000)
        assert close_code(await read_to_end(stream)) == code
        assert await server.serves()


async def test_message_size_counts_bytes_and_not_characters():
    async with running(message_max_bytes=1024) as server:
        stream = await server.websocket()
        await stream.send_all(client_frame("é".encode() * 600))
        assert close_code(await read_to_end(stream)) == 1009


async def test_what_follows_a_refused_message_is_discarded():
    """The client goes on sending after 1009, and the server's memory does not grow by it."""
    async with running(message_max_bytes=1024) as server:
        stream = await server.websocket()
        await stream.send_all(client_frame(b"x" * 2000))
        with suppress(trio.BrokenResourceError), trio.fail_after(5):
            while True:
                await stream.send_all(client_frame(b"y" * 1000))
        assert server.app.received == []


async def test_compression_is_not_negotiated():
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(upgrade("/ws", "Sec-WebSocket-Extensions: permessage-deflate"))
        head, _ = await read_head(stream)
        assert b"101" in head
        assert b"extensions" not in head.lower()


async def test_a_peer_that_never_reads_is_cut_off_and_blocks_no_shutdown():
    async with running(send_timeout_seconds=0.3) as server:
        await server.websocket("/sender")
        with trio.fail_after(5):
            await server.app.left.wait()
        assert await server.serves()
        server.shutdown.set()
        with trio.fail_after(3):
            await server.stopped.wait()


async def test_shutdown_does_not_wait_for_a_peer_that_never_reads():
    async with running(send_timeout_seconds=1, shutdown_timeout_seconds=0.5) as server:
        await server.websocket("/sender")
        await trio.sleep(0.1)
        server.shutdown.set()
        with trio.fail_after(3):
            await server.stopped.wait()


async def test_a_handler_that_only_sends_does_not_spin_after_a_reset():
    async with running() as server:
        stream = await server.websocket("/sender")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        stream.socket.close()
        for _ in range(3):
            with trio.fail_after(2):
                assert await server.serves()


async def test_a_peer_that_answers_no_ping_is_let_go():
    async with running(liveness_timeout_seconds=0.3) as server:
        stream = await server.websocket()
        with trio.fail_after(3):
            await server.app.left.wait()
        frames = list(server_frames(await read_to_end(stream)))
        assert frames
        assert {opcode for opcode, _ in frames} == {9}


async def test_a_silent_peer_that_answers_pings_stays():
    async with running(liveness_timeout_seconds=0.3) as server:
        stream = await server.websocket()
        pings = 0
        with trio.move_on_after(1):
            while True:
                for opcode, payload in server_frames(await stream.receive_some()):
                    assert opcode == 9
                    pings += 1
                    await stream.send_all(client_frame(payload, 10))
        assert pings >= 3
        assert not server.app.left.is_set()


@pytest.mark.parametrize("path", ["/early", "/late"])
async def test_an_application_that_fails_closes_its_own_websocket_with_1011(path):
    """Whether what serves the WebSocket fails or what takes its messages; what was sent before arrives."""
    async with running() as server:
        other = await server.websocket()
        stream = await server.websocket(path)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(client_frame(b"one") + client_frame(b"two"))
        assert close_code(await read_to_end(stream)) == 1011
        assert await server.serves()
        await other.send_all(client_frame(b"still here"))
        assert b"still here" in (await other.receive_some())


async def test_an_application_may_refuse_a_websocket():
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(upgrade("/refuse"))
        head, _ = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 403")
        assert await server.serves()


@pytest.mark.parametrize("path", ["/refuse", "/answer", "/crash", "/ws"])
@pytest.mark.parametrize("together", [True, False])
async def test_a_request_behind_a_handshake_is_no_failure(path, together, capsys):
    """Whichever answer wins: there is one, and then the connection is closed."""
    set_up_logging("text", "info")  # to the standard error that is captured here
    first, second = upgrade(path), b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n"
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(first + second if together else first)
        answered = b"" if together else await stream.receive_some()
        with suppress(trio.BrokenResourceError):
            await stream.send_all(second)
        assert (answered + await read_to_end(stream)).count(b"HTTP/1.1 ") == 1
        assert await server.serves()
    logged = capsys.readouterr().err
    assert logged.count("Traceback") == logged.count("RuntimeError: on purpose")
    assert "connection failed" not in logged


async def test_what_is_no_handshake_is_told_so_and_closed():
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(upgrade("/ws").replace(b"Sec-WebSocket-Key", b"No-Key"))
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400")


async def test_a_message_right_behind_the_handshakes_end_is_not_lost():
    """Many at once, from clients that send as soon as they are let in."""
    async with running() as server:
        for number in range(20):
            stream = await server.websocket()
            await stream.send_all(client_frame(b"%d" % number))
            assert b"%d" % number in (await stream.receive_some())
        assert server.app.received == [b"%d" % number for number in range(20)]


async def test_an_application_that_fails_before_answering_gives_500():
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(b"GET /crash HTTP/1.1\r\nHost: test\r\n\r\n")
        head, _ = await read_head(stream)
        assert head.startswith(b"HTTP/1.1 500")


async def test_last_words_arrive_although_the_client_is_still_sending():
    """Closing with unread data would reset the connection and destroy what was sent last."""
    async with running() as server:
        stream = await server.websocket("/goodbye")
        await stream.send_all(client_frame(b"x" * 1000) * 50)
        data = await read_to_end(stream)
        assert next(server_frames(data)) == (1, b"last words")
        assert close_code(data) == 1000


async def test_h2c_is_not_offered():
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(
            b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        data = await read_to_end(stream)
        assert data.startswith(b"HTTP/1.1 200")
        assert b"server:" not in data.lower()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: t\r\n\r\n",
        b"A" * 40_000,
    ],
    ids=["tls", "version", "target", "long"],
)
async def test_what_is_not_http_gets_a_400_or_a_close(request_bytes):
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(request_bytes)
        data = await read_to_end(stream)
        assert data == b"" or data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
        assert await server.serves()


async def test_shutdown_lets_a_request_finish_and_closes_idle_connections():
    async with running() as server:
        idle = await server.connect()
        busy = await server.connect()
        await busy.send_all(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        await trio.sleep(0.1)
        server.shutdown.set()
        assert await read_to_end(idle) == b""
        assert (await read_to_end(busy)).endswith(b"hello")
        with trio.fail_after(2):
            await server.stopped.wait()
        with pytest.raises(OSError, match="connect"):
            await server.connect()


async def test_two_requests_on_one_connection():
    async with running() as server:
        stream = await server.connect()
        await stream.send_all(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n" * 2)
        data = b""
        while data.count(b"hello") < 2:
            data += await stream.receive_some()
