"""One WebSocket connection of an exam taker: one nursery with a receiving and a sending task.

A frame's way: socket → `decode` → `Ingest.submit` → group commit → `_settle` → acknowledgement. Who ends a
connection is explicit: the client by leaving; the server by `finish` with the reason.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Protocol

import structlog
import trio

from proctor.clock import ClientClock
from proctor.ingest import Ingest, frame_message
from proctor.metrics import Metrics
from proctor.settings import Settings
from proctor.storage.frames import Outcome
from proctor.times import iso_from_ms
from proctor.wire import (
    Ack,
    Clock,
    ClockReading,
    CloseCode,
    Error,
    ErrorCode,
    Heartbeat,
    Rejected,
    ServerMessage,
    SessionEnded,
    decode,
    encode,
)

_log = structlog.get_logger(__name__)

QUIET_SECONDS = 0.05
"""When intake stops: a client that sends nothing for so long has been heard to the end."""
DRAIN_SECONDS = 0.5
"""When intake stops: the longest that a client is still heard."""
_FLOOD_SECONDS = 60.0
_OUTBOX_MESSAGES = 1000
"""Replies that wait for a slow client; when full, its messages are not read."""


class PeerGone(Exception):
    """The client closed the connection or vanished."""


class Socket(Protocol):
    """What a connection needs of a WebSocket."""

    async def receive(self) -> bytes | str:
        """Return the next message. Raises PeerGone. A cancelled call has taken nothing."""
        ...

    async def send(self, data: str) -> None:
        """Send a text message; a checkpoint. To a peer that is gone it does nothing."""
        ...

    async def close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""
        ...


class _Stage(Enum):
    OPEN = auto()
    INTAKE_STOPPED = auto()
    """What had arrived is taken in; nothing more is read."""
    FINISHING = auto()
    """The last replies are sent, then the close."""


class Connection:
    """One client of one exam session."""

    def __init__(
        self,
        socket: Socket,
        session_id: str,
        *,
        ingest: Ingest,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self.session_id = session_id
        self._socket = socket
        self._ingest = ingest
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._clock = ClientClock()
        self._stage = _Stage.OPEN
        self._outbox: deque[ServerMessage] = deque()
        self._unsettled = 0
        self._close_code = CloseCode.SESSION_ENDED
        self._wake_sender = trio.Event()
        self._outbox_sent = trio.Event()
        self._receiving = trio.CancelScope()
        self._drained = trio.Event()
        self._in_hand: tuple[bytes | str, int] | None = None
        """Received, and when, but not handed over; stopping intake must not lose it."""
        self._invalid_times: deque[float] = deque(maxlen=settings.invalid_messages_max)

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        self._metrics.connections.inc()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive_loop, nursery, name=f"receive session={self.session_id}")
                await self._send_loop()
                nursery.cancel_scope.cancel(reason="connection finished")
        finally:
            self._metrics.connections.dec()
            self._drained.set()

    async def stop_intake(self) -> None:
        """Take in what the client has sent already, then read no more.

        Takes `DRAIN_SECONDS` at most, and however long the ingest buffer has no room.
        """
        if self._stage is _Stage.OPEN:
            self._stage = _Stage.INTAKE_STOPPED
            self._receiving.cancel(reason="intake stopped")
        await self._drained.wait()

    def finish(self, code: CloseCode) -> None:
        """Send what is still owed to the client, say why, and close. Idempotent; the first reason stands."""
        if self._stage is not _Stage.FINISHING:
            self._stage = _Stage.FINISHING
            self._close_code = code
            self._receiving.cancel(reason=f"closing with {code.name}")
            self._wake_sender.set()

    async def _receive_loop(self, nursery: trio.Nursery) -> None:
        try:
            with self._receiving:
                while True:
                    self._in_hand = await self._socket.receive(), self._now_ms()
                    await self._take(*self._in_hand)
                    self._in_hand = None
            if self._stage is _Stage.INTAKE_STOPPED:
                await self._drain()
        except PeerGone:
            nursery.cancel_scope.cancel(reason="client gone")
        finally:
            self._drained.set()

    async def _drain(self) -> None:
        if self._in_hand is not None:
            await self._take(*self._in_hand)
        ends = trio.current_time() + DRAIN_SECONDS
        while self._stage is _Stage.INTAKE_STOPPED and trio.current_time() < ends:
            with trio.move_on_after(QUIET_SECONDS) as waiting:
                data = await self._socket.receive()
            if waiting.cancelled_caught:
                return
            await self._take(data, self._now_ms())

    async def _take(self, data: bytes | str, received_ms: int) -> None:
        """Use one message. A cancelled call has used nothing of it and may be repeated."""
        # A client that has been heard to the end adds no more replies, and must not hold up the others.
        while self._stage is _Stage.OPEN and len(self._outbox) >= _OUTBOX_MESSAGES:
            self._outbox_sent = trio.Event()
            await self._outbox_sent.wait()
        try:
            message = decode(data, self.session_id, self._settings.batch_max_frames)
        except Rejected as rejected:
            self._reject(rejected)
            return
        if isinstance(message, ClockReading):
            self._clock.fix(message.client_ms, received_ms)
            self._reply(Clock(message.timestamp, iso_from_ms(received_ms)))
            return
        stored_form = frame_message(self.session_id, message, self._clock, received_ms)
        self._unsettled += 1
        try:
            await self._ingest.submit(stored_form, partial(self._settle, message.seq))
        except trio.Cancelled:
            self._unsettled -= 1
            raise

    def _settle(self, seq: int | None, outcome: Outcome) -> None:
        """Answer for one message after its group commit."""
        self._unsettled -= 1
        if outcome is Outcome.SEALED:
            self.finish(CloseCode.SESSION_ENDED)
        elif outcome is Outcome.CONFLICT:
            detail = f"seq {seq} was stored before with other content; number new messages upwards"
            self._reject(Rejected(ErrorCode.SEQ_CONFLICT, detail, seq))
        elif seq is not None:
            self._metrics.acks.inc()
            self._reply(Ack(seq))
        if self._stage is _Stage.FINISHING:
            self._wake_sender.set()

    def _reject(self, rejected: Rejected) -> None:
        self._metrics.errors.labels(rejected.code.value).inc()
        self._reply(Error(rejected.code, rejected.detail, rejected.seq))
        now = trio.current_time()
        times = self._invalid_times
        times.append(now)
        flood = len(times) == times.maxlen and now - times[0] < _FLOOD_SECONDS
        if flood and self._stage is not _Stage.FINISHING:
            _log.warning("flood of unusable messages", session=self.session_id)
            self.finish(CloseCode.FLOOD)

    def _reply(self, message: ServerMessage) -> None:
        self._outbox.append(message)
        self._wake_sender.set()

    async def _send_loop(self) -> None:
        """Send replies as they come due and a heartbeat every interval, until the connection finishes."""
        interval = self._settings.heartbeat_interval_seconds
        next_heartbeat = trio.current_time() + interval
        while self._stage is not _Stage.FINISHING or (
            self._unsettled and self._close_code is not CloseCode.FLOOD
        ):
            with trio.move_on_at(next_heartbeat):
                await self._wake_sender.wait()
            self._wake_sender = trio.Event()
            await self._send_outbox()
            if trio.current_time() >= next_heartbeat:
                next_heartbeat = max(next_heartbeat + interval, trio.current_time())
                await self._send(Heartbeat(self.session_id, iso_from_ms(self._now_ms())))
        await self._send_outbox()
        if self._close_code is CloseCode.SESSION_ENDED:
            await self._send(SessionEnded(self.session_id, iso_from_ms(self._now_ms())))
        await self._socket.close(self._close_code, self._close_code.name.lower())

    async def _send_outbox(self) -> None:
        while self._outbox:
            await self._send(self._outbox.popleft())
        self._outbox_sent.set()

    async def _send(self, message: ServerMessage) -> None:
        await self._socket.send(encode(message))
