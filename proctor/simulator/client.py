"""One exam taker's browser at the other end of a WebSocket: paced, bounded, reconnecting, counting."""

import random
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from proctor.simulator.outbox import Outbox
from proctor.simulator.scene import Span
from proctor.simulator.tally import Tally

_TICK_SECONDS = 0.02
"""Frames that fall due within so short a time travel together; matters only faster than real time."""
_BATCH_FRAMES = 100
_BATCH_BYTES = 48 * 1024
"""Servers take messages of 64 KiB; a frame is under 1 KiB."""
_CONNECT_SECONDS = 5.0
"""For reaching the server, and again for the WebSocket handshake."""
_CLOSE_SECONDS = 2.0
_SILENCE_SECONDS = 35.0
"""A server sends a heartbeat every ten seconds; after three that did not come the connection is dead."""
_RETRY_AFTER = re.compile(r"retry_after_ms=(?P<ms>\d{1,6})\b")
_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_encoder = msgspec.json.Encoder()


class ExamClock:
    """How exam time runs against the wall clock, from now on, and what the client's own clock shows.

    Simulated faster than real time, an exam lies in the past: it ends when its simulation does, so that none
    of its frames is ever ahead of the clock. In real time it simply begins now.

    Args:
        seconds: Length of the exam.
        speed: Exam seconds per wall-clock second.
        start_ms: What the client's clock showed at the exam's first moment, for a recording whose times are
            given. The server is told of that clock, so it places such an exam where any other would be.
    """

    def __init__(self, seconds: float, speed: float, start_ms: int | None = None) -> None:
        self._began = trio.current_time()
        self._speed = speed
        really_ms = round((time.time() - seconds * max(0.0, 1 - 1 / speed)) * 1000)
        self.start_ms = really_ms if start_ms is None else start_ms
        """The exam's first moment by the client's clock, milliseconds since the epoch."""
        self._slow_ms = really_ms - self.start_ms

    def now_ms(self) -> int:
        """Return what the client's clock shows, milliseconds since the epoch."""
        return round(time.time() * 1000) - self._slow_ms

    def due(self, exam_seconds: float) -> float:
        """Return when, by Trio's clock, a moment of the exam comes."""
        return self._began + exam_seconds / self._speed


class ExamStream:
    """Streams one exam; `run` once.

    Args:
        url: `ws://` or `wss://` address of the session.
        clock: Pace of the exam.
        tally: Counts what happens.
        window: Most messages without acknowledgement.
        patience_seconds: Give up when nothing was acknowledged for so long though something waits.
        outages: Exam seconds during which the connection is cut.
    """

    def __init__(
        self,
        url: str,
        clock: ExamClock,
        tally: Tally,
        *,
        window: int = 64,
        patience_seconds: float = 60.0,
        outages: Iterable[Span] = (),
    ) -> None:
        self._address = urlsplit(url)
        self._clock = clock
        self._tally = tally
        self._patience_seconds = patience_seconds
        self._outages = [Span(clock.due(span.start), clock.due(span.end)) for span in outages]
        self._outbox = Outbox(window, tally)
        self._connections = 0
        self._epoch: str | None = None
        """Of the server's store, as the server said last."""
        self._resumed = trio.Event()
        """The server has said what it has; until then, what waits might be sent for nothing."""
        self._retry_seconds: float | None = None
        """The server asked to wait for so long before coming back."""
        self._giving_up = trio.CancelScope()

    async def run(self, frames: Iterable[dict[str, Any]]) -> None:
        """Send the frames when they are due and return when all are acknowledged or hope is lost.

        Args:
            frames: Features with `timestamp` or engine events with `ts`, in order of time.
        """
        with self._giving_up:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._produce, frames)
                nursery.start_soon(self._watch)
                await self._stay_connected()
                nursery.cancel_scope.cancel(reason="stream finished")

    def _give_up(self, failure: str) -> None:
        self._tally.failure = failure
        self._giving_up.cancel(reason=failure)

    async def _produce(self, frames: Iterable[dict[str, Any]]) -> None:
        batch: list[bytes] = []
        size, flushed_at = 0, -1.0
        now = trio.current_time()
        for frame in frames:
            due = self._clock.due((frame_ms(frame) - self._clock.start_ms) / 1000)
            encoded = _encoder.encode(wrapped(frame))
            if batch and (due > now or len(batch) == _BATCH_FRAMES or size + len(encoded) > _BATCH_BYTES):
                await self._outbox.put(batch)
                batch, size = [], 0
                flushed_at = now = trio.current_time()
            if due > now:
                await trio.sleep_until(max(due, flushed_at + _TICK_SECONDS))
                now = trio.current_time()
            batch.append(encoded)
            size += len(encoded)
        if batch:
            await self._outbox.put(batch)
        self._outbox.close()

    async def _watch(self) -> None:
        while True:
            before = self._tally.messages_acknowledged
            await trio.sleep(self._patience_seconds)
            if self._outbox.waiting and self._tally.messages_acknowledged == before:
                self._give_up(f"nothing acknowledged for {self._patience_seconds:g} s")

    async def _stay_connected(self) -> None:
        pauses = _pauses()
        while not self._outbox.drained:
            now = trio.current_time()
            outage = next((span for span in self._outages if span.end > now), None)
            if outage and outage.start <= now:
                await trio.sleep_until(outage.end)
                continue
            acknowledged = self._tally.messages_acknowledged
            with trio.CancelScope() as connected:
                if outage:
                    connected.deadline = outage.start
                await self._converse()
            if self._outbox.drained:
                return
            if connected.cancelled_caught:
                continue
            if self._tally.messages_acknowledged > acknowledged:
                pauses = _pauses()
            asked, self._retry_seconds = self._retry_seconds, None
            await trio.sleep(next(pauses) if asked is None else asked)

    async def _converse(self) -> None:
        """Hold one connection until everything is acknowledged or it is lost."""
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                stream = await _open_stream(self._address)
        except (OSError, trio.TooSlowError):
            return
        try:
            # The stream is ours to close: trio-websocket leaves it open when the server closes first.
            async with stream, trio.open_nursery() as nursery:
                await self._talk(stream, nursery)
                nursery.cancel_scope.cancel(reason="conversation over")
        except* ConnectionRejected as group:
            [rejected] = group.exceptions
            if isinstance(rejected, ConnectionRejected) and 400 <= rejected.status_code < 500:
                self._give_up(f"the server refused the WebSocket with status {rejected.status_code}")

    async def _talk(self, stream: _Stream, nursery: trio.Nursery) -> None:
        address = self._address
        resource = (address.path or "/") + (f"?{address.query}" if address.query else "")
        with trio.move_on_after(_CONNECT_SECONDS) as shaking_hands:
            socket = await wrap_client_stream(nursery, stream, address.netloc, resource)
        if shaking_hands.cancelled_caught:
            return
        self._connections += 1
        self._tally.reconnects = self._connections - 1
        self._resumed = trio.Event()
        nursery.start_soon(self._receive, socket, nursery.cancel_scope)
        try:
            await self._send(socket)
            with trio.move_on_after(_CLOSE_SECONDS):
                await socket.aclose()
        except ConnectionClosed:
            pass

    async def _send(self, socket: WebSocketConnection) -> None:
        clock = {"type": "clock", "timestamp": self._clock.now_ms()}
        await socket.send_message(_encoder.encode(clock).decode())
        await self._resumed.wait()
        seq = 0
        while (message := await self._outbox.after(seq)) is not None:
            seq = message.seq
            if message.sent_at is None:
                message.sent_at = trio.current_time()
                self._tally.messages_sent += 1
            else:
                self._tally.messages_resent += 1
            await socket.send_message(message.text)

    async def _receive(self, socket: WebSocketConnection, connected: trio.CancelScope) -> None:
        try:
            while True:
                with trio.fail_after(_SILENCE_SECONDS):
                    reply = msgspec.json.decode(await socket.get_message())
                self._take(reply)
        except ConnectionClosed as closed:
            retry = _RETRY_AFTER.search((closed.reason and closed.reason.reason) or "")
            self._retry_seconds = int(retry["ms"]) / 1000 if retry else None
            connected.cancel(reason="connection lost")
        except trio.TooSlowError:
            connected.cancel(reason="connection lost")

    def _take(self, reply: dict[str, Any]) -> None:
        match reply.get("type"):
            case "ack":
                self._outbox.acknowledge(reply["seq"])
            case "error":
                self._tally.errors[reply["code"]] += 1
                if "seq" in reply:
                    self._outbox.drop(reply["seq"])
            case "resume":
                self._tally.stores_emptied += self._epoch not in (None, reply["epoch"])
                self._epoch = reply["epoch"]
                self._outbox.stored_up_to(reply["last_seq"] or 0)
                self._resumed.set()
            case "heartbeat":
                self._tally.heartbeats += 1
            case "session_ended":
                if not self._outbox.drained:
                    self._give_up("the server ended the session")


def frame_ms(frame: dict[str, Any]) -> int:
    """Return a frame's or an engine event's own time in milliseconds."""
    time_ms: int = frame["ts"] if "event" in frame else frame["timestamp"]
    return time_ms


def wrapped(frame: dict[str, Any]) -> dict[str, Any]:
    """Return a frame or an engine event in the message shape that is recommended for it."""
    return {"type": "event", "event": frame} if "event" in frame else {"extracted_features": frame}


async def _open_stream(address: SplitResult) -> _Stream:
    host = address.hostname or ""
    if address.scheme == "wss":
        return await trio.open_ssl_over_tcp_stream(host, address.port or 443, https_compatible=True)
    return await trio.open_tcp_stream(host, address.port or 80)


def _pauses() -> Iterator[float]:
    """Yield seconds to wait before connecting again: doubling up to 5, half of each left to chance."""
    longest = 0.1
    while True:
        yield longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        longest = min(2 * longest, 5.0)
