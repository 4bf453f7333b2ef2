"""The WebSocket side of the protocol: hypercorn's WSStream, made safe against its peers.

Differences to hypercorn 0.18: message size is bounded in bytes and stays bounded after a refusal; compression
is not negotiated; bytes ahead of the handshake's end, which RFC 6455 section 4.1 forbids, end the connection;
protocol errors are answered with their close code; a peer that answers no ping is let go; a close is given
time to arrive.
"""

import math
from typing import Any

import trio
from hypercorn.protocol.events import Body, Data, EndData, Event, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from proctor.wire import CloseCode

_CLOSE_SECONDS = 2.0
"""How long a peer may take to answer a close."""

PINGS_PER_TIMEOUT = 3
"""A peer is let go after so many ping intervals of silence."""


class ClientGone(ConnectionError):
    """The application sends to a peer that is gone; what ASGI asks a server to raise then."""


class WebSocketStream(WSStream):
    """One WebSocket between its bytes and the ASGI application."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._parts: list[str | bytes] = []
        self._size = 0
        self._refused = False
        self._heard = 0.0
        self._delivering = False
        self._peer_done = trio.Event()

    async def handle(self, event: Event) -> None:
        """Take in one event of the HTTP protocol."""
        if isinstance(event, (Body, Data)):
            if not self.closed and not self._refused:
                await self._take(event.data)
            return
        if isinstance(event, StreamClosed):
            self._peer_done.set()
        await super().handle(event)

    async def _take(self, data: bytes) -> None:
        if not self.handshake.accepted:
            self._refused = True
            await self._send_error_response(400)
            await self.send(StreamClosed(stream_id=self.stream_id))
            return
        self._heard = trio.current_time()
        try:
            self.connection.receive_data(data)
            await self._handle_events()
        except (LocalProtocolError, RemoteProtocolError):
            await self._refuse(CloseCode.PROTOCOL_ERROR)

    async def app_send(self, message: Any) -> None:
        """Take what the application sends. A checkpoint.

        Raises:
            ClientGone: the peer is, so that an application that only sends comes to an end.
        """
        await trio.lowlevel.checkpoint()
        if self.closed and message is not None:
            raise ClientGone
        if message is None and self.state is ASGIWebsocketState.CLOSED and not self.closed:
            # The application has closed: its peer answers, or has had its time.
            with trio.move_on_after(_CLOSE_SECONDS):
                await self._peer_done.wait()
        await super().app_send(message)

    async def _accept(self, message: Any) -> None:
        self.handshake.extensions = None
        self._heard = trio.current_time()
        await super()._accept(message)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                await self._take_part(event)
                if self._refused:
                    return
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state is ConnectionState.OPEN:  # how wsproto reports what it cannot parse
                    await self._refuse(event.code)
                    return
                if self.connection.state is ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                self._peer_done.set()
                await self.send(StreamClosed(stream_id=self.stream_id))

    async def _take_part(self, event: Message[Any]) -> None:
        part = event.data
        text = isinstance(part, str)
        self._size += len(part) if not text or part.isascii() else len(part.encode())
        if self._size > self.config.websocket_max_message_size:
            await self._refuse(CloseCode.TOO_BIG)
            return
        self._parts.append(part if text else bytes(part))
        if not event.message_finished:
            return
        whole = ("" if text else b"").join(self._parts)  # type: ignore[arg-type]
        self._parts, self._size = [], 0
        if self.state is not ASGIWebsocketState.CONNECTED:
            return  # the application has closed and reads no more
        if self.app_put is not None:
            self._delivering = True
            message = {"bytes": None if text else whole, "text": whole if text else None}
            await self.app_put({"type": "websocket.receive", **message})
            self._delivering = False

    async def _refuse(self, code: int) -> None:
        """Close because of what the peer sent; everything else it sends is discarded unread."""
        self._refused = True
        self._parts, self._size = [], 0
        await self._send_wsproto_event(CloseConnection(code=code))
        await self.send(EndData(stream_id=self.stream_id))
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        """Ping a silent peer and let it go when it does not answer; time spent on delivery is not its."""
        interval = self.config.websocket_ping_interval or math.inf
        while True:
            with trio.move_on_after(interval):
                await self._peer_done.wait()
                return
            silent_seconds = trio.current_time() - self._heard
            if self._delivering:
                self._heard = trio.current_time()
            elif silent_seconds >= interval * PINGS_PER_TIMEOUT:
                await self.send(StreamClosed(stream_id=self.stream_id))
            elif silent_seconds >= interval:
                await self._send_wsproto_event(Ping())
