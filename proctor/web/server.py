"""The server on the port: hypercorn's protocol parts under an accept loop of our own.

What stands between the application and the internet, and what hypercorn 0.18 by itself does not promise:

- Whatever one peer sends, or an error while serving it, ends that peer's connection and no other.
- A peer that does not take what it is sent is cut off after `send_timeout_seconds`, also at shutdown.
- Nothing spins or waits on a connection that is gone.
- HTTP/1.1 only: no upgrade to h2c.

A WebSocket leaves hypercorn once it is accepted (`proctor.web.upgrade`) and is served from
`proctor.web.sockets`.
"""

import math
import socket as stdlib_socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    LifespanState,
    Scope,
)
from hypercorn.utils import parse_socket_addr

from proctor.settings import Settings
from proctor.web.sockets import Sockets
from proctor.web.upgrade import ClientGone, Protocol, Serve, UpgradeStream
from proctor.web.websocket import WebSocket
from proctor.wire import CloseCode

_log = structlog.get_logger(__name__)

HEADER_MAX_BYTES = 16_384
"""Request line and headers together."""

APP_QUEUE_MESSAGES = 4
"""Messages of one connection between protocol and application; when full, its socket is not read."""

_KEEP_ALIVE_SECONDS = 15.0
"""How long a connection may take to begin a request, and to send its headers."""

_DRAIN_SHARE = 0.6
"""Of the time to shut down; the rest is for storing what was received and for ending the workers."""

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
    return config


class _Tasks(TaskGroup):
    """What hypercorn's streams start tasks with, on a nursery that it is given."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self._nursery: trio.Nursery = nursery

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the application for one request; returns what delivers the peer's events to it."""
        to_app, from_peer = trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size)

        async def put(event: ASGIReceiveEvent) -> None:
            with suppress(trio.BrokenResourceError):  # the application has returned and wants no more
                await to_app.send(event)

        self._nursery.start_soon(self._run_app, app, scope, from_peer, send)
        return put

    @staticmethod
    async def _run_app(
        app: AppWrapper,
        scope: Scope,
        from_peer: trio.MemoryReceiveChannel[ASGIReceiveEvent],
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> None:
        with from_peer:
            try:
                await app(scope, from_peer.receive, send, trio.to_thread.run_sync, trio.from_thread.run)
            except ClientGone:
                pass
            except Exception:  # noqa: BLE001 - the border: a request's failure is that request's
                _log.exception("request failed", path=scope.get("path"))
        # Only now that nobody waits to deliver more, for this may wait for the peer's answer to a close.
        with suppress(ClientGone):
            await send(None)


class _Upgraded(NamedTuple):
    """A WebSocket that was accepted, as it leaves HTTP."""

    serve: Serve
    socket: stdlib_socket.socket
    early: bytes


class _Peer:
    """One TCP connection that speaks HTTP, one nursery. Whatever goes wrong in it stays in it."""

    def __init__(self, stream: trio.SocketStream, settings: Settings) -> None:
        self._stream = stream
        self._send_timeout_seconds = settings.send_timeout_seconds
        self._send_lock = trio.Lock()
        self._reading = trio.CancelScope()
        self._idle = True
        self._closing = False
        self._serve: Serve | None = None
        self._protocol: Protocol

    async def serve(self, app: AppWrapper, config: Config, context: WorkerContext) -> _Upgraded | None:
        """Serve until either side ends the connection, or a WebSocket is accepted, which is returned.

        Never raises but for cancellation.
        """
        socket = self._stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with trio.open_nursery() as nursery:
                tasks, state = _Tasks(nursery), ConnectionState(LifespanState())
                self._protocol = Protocol(
                    app, config, context, tasks, state, False, client, server, self._carry_out
                )
                self._protocol.accepted = self._accepted
                self._set_idle(True)
                await self._read()
            stream = self._protocol.stream  # none if the peer went away while it was accepted
            if self._serve is not None and isinstance(stream, UpgradeStream) and socket.fileno() != -1:
                own = stdlib_socket.socket(socket.family, socket.type, socket.proto, fileno=socket.detach())
                own.setblocking(False)
                return _Upgraded(self._serve, own, stream.early)
        except* OSError:
            pass  # the peer is gone
        except* Exception:  # noqa: BLE001 - the border: a connection's failure is that connection's
            _log.exception("connection failed")
        finally:
            self._abort()
            # They refer to each other, and would keep all that was received until garbage is collected.
            with suppress(AttributeError):  # there is none of a peer that was gone at once
                self._protocol.stream = None
                del self._protocol
        return None

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""
        if self._idle:
            self._reading.cancel(reason="server stopping")

    def _accepted(self, serve: Serve) -> None:
        self._serve = serve
        self._reading.cancel(reason="upgraded to a WebSocket")

    def _set_idle(self, idle: bool) -> None:
        self._idle = idle
        if not self._closing:
            self._reading.deadline = trio.current_time() + _KEEP_ALIVE_SECONDS if idle else math.inf

    async def _read(self) -> None:
        with self._reading, suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            while data := await self._stream.receive_some(MAX_RECV):
                if not self._closing:
                    await self._protocol.handle(RawData(bytes(data)))
        if self._serve is None:
            await self._protocol.handle(Closed())

    async def _carry_out(self, event: Event) -> None:
        """Do what the protocol wants done: send bytes, close, or note whether a request is under way."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            self._half_close()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated):
            self._set_idle(event.idle)

    async def _send(self, data: bytes) -> None:
        sent = False
        async with self._send_lock:
            # Shielded, because a message that is cut in the middle breaks the stream for the ones after it.
            with trio.move_on_after(self._send_timeout_seconds, shield=True):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_all(data)
                    sent = True
        if not sent:
            self._abort()
            await self._protocol.handle(Closed())

    def _half_close(self) -> None:
        """Close so that the peer still reads what was sent: half-close, then discard what it sends."""
        self._closing = True
        self._reading.deadline = min(self._reading.deadline, trio.current_time() + _LINGER_SECONDS)
        # No checkpoint: quart-trio cancels a request that is answered, with this as its last step.
        with suppress(OSError):
            self._stream.socket.shutdown(stdlib_socket.SHUT_WR)

    def _abort(self) -> None:
        """Let go of the socket at once. Idempotent."""
        if self._stream.socket.fileno() != -1:
            # Without lingering the kernel drops what a vanished peer never acknowledged.
            linger = struct.pack("ii", 1, 0)
            with suppress(OSError):
                self._stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, linger)
            self._stream.socket.close()


async def _serve_upgraded(serve: Serve, socket: WebSocket) -> None:
    try:
        await serve(socket)
    except Exception:  # noqa: BLE001 - the border: a connection's failure is that connection's
        _log.exception("connection failed")
        socket.close(CloseCode.INTERNAL_ERROR, CloseCode.INTERNAL_ERROR.name.lower())
        await socket.gone.wait()


async def serve(
    app: ASGIFramework,
    settings: Settings,
    listeners: list[trio.SocketListener],
    *,
    sockets: Sockets,
    shutdown: trio.Event,
    before_drain: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on `listeners`, its WebSockets in `sockets`, until `shutdown` is set; then drain.

    Draining: no new connections, idle ones are closed, `before_drain` says goodbye to the WebSockets,
    requests under way may finish. What is left after most of `shutdown_timeout_seconds` is cancelled.
    Closes the listeners.
    """
    context = WorkerContext(None)
    wrapped = ASGIWrapper(app)
    config = server_config(settings)

    peers: set[_Peer] = set()

    async def serve_http(stream: trio.SocketStream) -> _Upgraded | None:
        peer = _Peer(stream, settings)
        peers.add(peer)
        try:
            return await peer.serve(wrapped, config, context)
        finally:
            peers.discard(peer)

    async def serve_peer(stream: trio.SocketStream) -> None:
        upgraded = await serve_http(stream)
        if upgraded is not None:
            socket = WebSocket(upgraded.socket, settings, upgraded.early)
            with sockets.open(socket):
                await _serve_upgraded(upgraded.serve, socket)

    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, serve_peer, listeners, handler_nursery=connections)
            )
            task_status.started()
            await shutdown.wait()
            accepting.cancel_scope.cancel(reason="server stopping")
        connections.cancel_scope.deadline = (
            trio.current_time() + _DRAIN_SHARE * settings.shutdown_timeout_seconds
        )
        await context.terminated.set()
        for peer in peers:
            peer.close_if_idle()
        await before_drain()
