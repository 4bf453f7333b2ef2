"""The server on the port: hypercorn's protocol parts under an accept loop of our own.

What stands between the application and the internet, and what hypercorn 0.18 by itself does not promise:

- Whatever one peer sends, or an error while serving it, ends that peer's connection and no other.
- A peer that does not take what it is sent is cut off after `send_timeout_seconds`, also at shutdown.
- Nothing spins or waits on a connection that is gone.
- HTTP/1.1 only: no upgrade to h2c, no permessage-deflate (see `proctor.web.websocket`).
"""

import socket as stdlib_socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from proctor.settings import Settings
from proctor.web.websocket import WebSocketStream

_log = structlog.get_logger(__name__)

HEADER_MAX_BYTES = 16_384
"""Request line and headers together."""

APP_QUEUE_MESSAGES = 4
"""Messages of one connection between protocol and application; when full, its socket is not read."""

_LINGER_SECONDS = 2.0
"""How long a closed connection may take to read what was sent last."""


def server_config(settings: Settings) -> Config:
    """Return hypercorn's configuration for `settings`."""
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.h11_max_incomplete_size = HEADER_MAX_BYTES
    config.max_app_queue_size = APP_QUEUE_MESSAGES
    config.include_server_header = False
    config.websocket_max_message_size = settings.message_max_bytes
    return config


class _Tasks:
    """What hypercorn's streams use to start the application: hypercorn's TaskGroup on a nursery it is given."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(
        self,
        app: ASGIWrapper,
        config: Config,
        scope: Any,
        send: Callable[[Any], Awaitable[None]],
    ) -> Callable[[Any], Awaitable[None]]:
        to_app, from_peer = trio.open_memory_channel[Any](config.max_app_queue_size)

        async def put(event: Any) -> None:
            with suppress(trio.BrokenResourceError):  # the application has returned and wants no more
                await to_app.send(event)

        self._nursery.start_soon(self._run_app, app, scope, from_peer, send)
        return put

    def spawn(self, task: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._nursery.start_soon(task, *args)

    @staticmethod
    async def _run_app(
        app: ASGIWrapper,
        scope: Any,
        from_peer: trio.MemoryReceiveChannel[Any],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        with from_peer:
            try:
                await app(scope, from_peer.receive, send, trio.to_thread.run_sync, trio.from_thread.run)
            except Exception:
                _log.exception("request failed", path=scope["path"])
            await send(None)


class _Protocol(H11Protocol):
    """HTTP/1.1 that upgrades to WebSocket and to nothing else."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore h2c: the request is served over HTTP/1.1, as RFC 9110 section 7.8 allows."""

    async def _create_stream(self, request: h11.Request) -> None:
        if not request.target.isascii():
            await self._send_error_response(400)
            await self.send(Closed())
            return
        stream = WebSocketStream if _wants_websocket(request) else HTTPStream
        self.stream = stream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        if isinstance(self.stream, WebSocketStream):
            self.connection = H11WSConnection(self.connection)
        self.keep_alive_requests += 1
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )


def _wants_websocket(request: h11.Request) -> bool:
    headers = dict(request.headers)
    tokens = headers.get(b"connection", b"").lower().split(b",")
    return (
        request.method == b"GET"
        and headers.get(b"upgrade", b"").strip().lower() == b"websocket"
        and any(token.strip() == b"upgrade" for token in tokens)
    )


class _Peer(TCPServer):
    """One TCP connection, one nursery. Whatever goes wrong in it stays in it."""

    def __init__(self, app: ASGIWrapper, config: Config, context: WorkerContext, settings: Settings) -> None:
        self._settings = settings
        super().__init__(app, config, context, LifespanState(), None)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one accepted connection until either side ends it; never raises but for cancellation."""
        self.stream = stream
        try:
            client = parse_socket_addr(stream.socket.family, stream.socket.getpeername())
            server = parse_socket_addr(stream.socket.family, stream.socket.getsockname())
            async with trio.open_nursery() as nursery:
                tasks = self._task_group = _Tasks(nursery)
                tasks._nursery = nursery  # noqa: SLF001 - TrioSingleTask starts its timers there
                state = ConnectionState(self.state)
                self.protocol = _Protocol(
                    self.app,
                    self.config,
                    self.context,
                    tasks,
                    state,
                    False,
                    client,
                    server,
                    self.protocol_send,
                )
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()
        except* OSError:
            pass  # the peer is gone
        except* Exception:
            _log.exception("connection failed")
        finally:
            self._abort()

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol wants done: send bytes, close, or note whether a request is under way."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            await self._close()
            await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            if event.idle:
                await self.idle_task.restart(self._task_group, self._idle_timeout)
            else:
                await self.idle_task.stop()

    async def _send(self, data: bytes) -> None:
        sent = False
        async with self.send_lock:
            # Shielded, because a message that is cut in the middle breaks the stream for the ones after it.
            with trio.move_on_after(self._settings.send_timeout_seconds, shield=True):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self.stream.send_all(data)
                    sent = True
        if not sent:
            self._abort()
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        while True:
            try:
                data = await self.stream.receive_some(MAX_RECV)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if not data:
                break
            await self.protocol.handle(RawData(bytes(data)))
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        """Close so that the peer still reads what was sent: half-close, then discard what it sends."""
        with trio.move_on_after(_LINGER_SECONDS, shield=True):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                await self.stream.send_eof()
                while await self.stream.receive_some(MAX_RECV):
                    pass
        self._abort()

    def _abort(self) -> None:
        """Let go of the socket at once. Idempotent."""
        if self.stream.socket.fileno() != -1:
            # Without lingering the kernel drops what a vanished peer never acknowledged.
            linger = struct.pack("ii", 1, 0)
            with suppress(OSError):
                self.stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, linger)
            self.stream.socket.close()

    async def _initiate_server_close(self) -> None:
        await self.protocol.handle(Closed())
        self._abort()


async def serve(
    app: ASGIFramework,
    settings: Settings,
    listeners: list[trio.SocketListener],
    *,
    shutdown: trio.Event,
    before_drain: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on `listeners` until `shutdown` is set, then drain and return.

    Draining: no new connections, idle ones are closed, `before_drain` says goodbye to the WebSockets, requests
    under way may finish. What is left after `shutdown_timeout_seconds` is cancelled. Closes the listeners.
    """
    context = WorkerContext(None)
    wrapped = ASGIWrapper(app)
    config = server_config(settings)

    async def serve_peer(stream: trio.SocketStream) -> None:
        await _Peer(wrapped, config, context, settings).serve(stream)

    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, serve_peer, listeners, handler_nursery=connections)
            )
            task_status.started()
            await shutdown.wait()
            accepting.cancel_scope.cancel(reason="server stopping")
        connections.cancel_scope.deadline = trio.current_time() + settings.shutdown_timeout_seconds
        await context.terminated.set()
        await before_drain()
