"""The opening handshake of a WebSocket: hypercorn's WSStream, up to where the socket changes hands.

Compression is not negotiated. Bytes ahead of the handshake's end, which RFC 6455 section 4.1 forbids, are
refused.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio
from hypercorn.protocol.events import Body, Data, Event, StreamClosed
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
        self.early = b""
        """What came behind the handshake before the socket changed hands."""

    async def handle(self, event: Event) -> None:
        """Take in one event of the HTTP protocol."""
        if isinstance(event, (Body, Data)) and not self.closed:
            if self.handshake.accepted:
                self.early += event.data
            else:
                await self._send_error_response(400)
                await self.send(StreamClosed(stream_id=self.stream_id))
        elif not isinstance(event, (Body, Data)):
            await super().handle(event)

    async def app_send(self, message: Any) -> None:
        """Take what the application sends. A checkpoint.

        Raises:
            ClientGone: the peer is, so that an application that only sends comes to an end.
        """
        await trio.lowlevel.checkpoint()
        if self.closed and message is not None:
            raise ClientGone
        if self.state is not ASGIWebsocketState.CONNECTED:
            await super().app_send(message)

    async def _accept(self, message: Any) -> None:
        serve: Serve = cast("dict[str, Any]", self.scope)[_SERVE]
        self.handshake.extensions = None
        await super()._accept(message)
        self._accepted(serve)
