"""HTTP/1.1, and the opening handshake of a WebSocket up to where the socket changes hands.

Compression is not negotiated. Bytes ahead of the handshake's end, which RFC 6455 section 4.1 forbids, are
refused.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import h11
import trio
from hypercorn.events import Closed
from hypercorn.protocol.events import Body, Data, Event, Request, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.typing import HTTPScope, WebsocketScope

from proctor.web.websocket import WebSocket

Serve = Callable[[WebSocket], Awaitable[None]]
"""Serves a WebSocket until it is gone; then the socket is closed."""

_SERVE = "proctor.serve"


def hand_over(scope: HTTPScope | WebsocketScope, serve: Serve) -> None:
    """Have `serve` called with the WebSocket of this scope when it is accepted, which is to happen next."""
    cast("dict[str, Any]", scope)[_SERVE] = serve


class ClientGone(ConnectionError):
    """The application answers a peer that is gone; what ASGI asks a server to raise then."""


class UpgradeStream(WSStream):
    """A request for a WebSocket, between the HTTP connection and the ASGI application.

    The application refuses, or hands over and accepts; it takes no part in what follows.
    """

    def __init__(self, *args: Any, accepted: Callable[[Serve], None]) -> None:
        super().__init__(*args)
        self._accepted = accepted
        self._answering = False
        """The application has begun to."""
        self._refused = False
        """Whatever the application answers."""
        self.early = b""
        """What came behind the handshake before the socket changed hands."""

    async def handle(self, event: Event) -> None:
        """Take in one event of the HTTP protocol."""
        if not isinstance(event, (Body, Data)):
            await super().handle(event)
            if self.closed and isinstance(event, Request):  # it is no handshake, and was told so
                await self.send(StreamClosed(stream_id=self.stream_id))
        elif self.closed:
            pass
        elif self.handshake.accepted:
            self.early += event.data
        elif not (self._answering or self._refused):  # else it is closed behind the answer
            self._refused = True
            await self._send_error_response(400)
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def app_send(self, message: Any) -> None:
        """Take what the application sends. A checkpoint.

        Raises:
            ClientGone: the peer is, so that an application that only sends comes to an end.
        """
        await trio.lowlevel.checkpoint()
        if (self.closed or self._refused) and message is not None:
            raise ClientGone
        self._answering = True
        if self.state is not ASGIWebsocketState.CONNECTED and not self._refused:
            await super().app_send(message)

    async def _accept(self, message: Any) -> None:
        serve: Serve = cast("dict[str, Any]", self.scope)[_SERVE]
        self.handshake.extensions = None
        await super()._accept(message)
        self._accepted(serve)


class Protocol(H11Protocol):
    """HTTP/1.1 that upgrades to WebSocket and to nothing else."""

    accepted: Callable[[Serve], None]
    """Called when a WebSocket is."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore h2c: the request is served over HTTP/1.1, as RFC 9110 section 7.8 allows."""

    async def _create_stream(self, request: h11.Request) -> None:
        refused = 0 if request.target.isascii() else 400
        # h11 holds what has not come to its end to the limit, and not what comes in one piece.
        if (
            sum(len(name) + len(value) for name, value in request.headers)
            > self.config.h11_max_incomplete_size
        ):
            refused = 431
        if refused:
            await self._send_error_response(refused)
            await self.send(Closed())
            return
        parts = self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server
        if not _wants_websocket(request):
            self.stream = HTTPStream(*parts, self.stream_send, STREAM_ID)
        else:
            self.stream = UpgradeStream(*parts, self.stream_send, STREAM_ID, accepted=self.accepted)
            self.connection = H11WSConnection(cast("h11.Connection", self.connection))
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
