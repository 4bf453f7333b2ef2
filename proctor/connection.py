"""One client of an exam session: what it says, and what it is told.

A frame's way: socket → `_receive` → `Ingest.offer` → group commit → `settle` → acknowledgement. None of it
waits, so that one task can serve all sockets. Who ends a connection is explicit: the client by leaving; the
server by `finish` with the reason.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog
import trio

from proctor import express
from proctor.clock import ClientClock
from proctor.ingest import Ingest, clock_message, frame_message
from proctor.metrics import Metrics
from proctor.settings import Settings
from proctor.storage.frames import FrameMessage, Outcome, Receipt, ResumePoint
from proctor.times import iso_from_ms
from proctor.wire import (
    Clock,
    ClockReading,
    CloseCode,
    Error,
    ErrorCode,
    Heartbeat,
    Rejected,
    Resume,
    ServerMessage,
    SessionEnded,
    decode,
    encode,
    encode_ack,
)

_log = structlog.get_logger(__name__)

QUIET_SECONDS = 0.05
"""When intake stops: a client that sends nothing for so long has been heard to the end."""
DRAIN_SECONDS = 0.5
"""When intake stops: the longest that a client is still heard."""
UNSETTLED_MAX = 32
"""Messages that one client may have on their way into the store; others wait behind them."""
_OWED_SECONDS = 5.0
"""When the connection ends: the longest that acknowledgements which are still owed are waited for."""
_FLOOD_SECONDS = 60.0
_KEPT = (Outcome.STORED, Outcome.DUPLICATE)


class Socket(Protocol):
    """What a connection needs of a WebSocket; see `proctor.web.websocket`."""

    gone: trio.Event

    def receive(self, take: Callable[[bytes], None]) -> None:
        """Begin to read."""

    def pause(self) -> None:
        """Read no more until `resume`."""

    def resume(self) -> None:
        """Read again."""

    def hear_out(self) -> None:
        """Read from now on also if the peer does not take what it is sent."""

    def send(self, text: bytes) -> None:
        """Send with the next `flush`; nothing, once closed."""

    def flush(self) -> None:
        """Send now."""

    def close(self, code: int, reason: str = "") -> None:
        """Send a close, behind what was sent before. The first one stands."""


class _Arrival(NamedTuple):
    data: bytes
    received_ms: int


class Connection:
    """One client of one exam session."""

    def __init__(
        self,
        socket: Socket,
        session_id: str,
        *,
        clock: ClientClock,
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
        self._clock = clock
        self._finishing = False
        """The last replies are sent, then the close."""
        self._close_code = CloseCode.RESTARTING
        self._heard = 0
        """Messages that came."""
        self._held: deque[_Arrival] = deque()
        """Came while there was no room for them; at most what one read of the socket brings."""
        self._unsettled: deque[FrameMessage] = deque()
        self._overtaking: dict[int, Receipt] = {}
        """By id of the message: settled before an earlier one, which no acknowledgement may pass."""
        self._acks = 0
        self._epoch = ""
        """Of the frame store, as the client knows it."""
        self._heard_out = False
        self._drained = trio.Event()
        self._invalid_times: deque[float] = deque(maxlen=settings.invalid_messages_max)
        self._pause = trio.CancelScope()

    async def run(self, resume: ResumePoint) -> None:
        """Serve the client until either side ends the connection. Cancelled, it still says goodbye."""
        self._metrics.connections.inc()
        try:
            self.greet(resume)
            self._socket.receive(self._receive)
            interval = self._settings.heartbeat_interval_seconds
            next_heartbeat = trio.current_time() + interval
            while not self._socket.gone.is_set():
                finishing = self._finishing
                owed_until = trio.current_time() + _OWED_SECONDS
                with trio.CancelScope(deadline=owed_until if finishing else next_heartbeat) as self._pause:
                    await self._socket.gone.wait()
                if finishing:
                    self._conclude(owed=False)
                elif trio.current_time() >= next_heartbeat:
                    next_heartbeat = max(next_heartbeat + interval, trio.current_time())
                    self._tell(Heartbeat(self.session_id, iso_from_ms(self._now_ms())))
                    self._socket.flush()
        except trio.Cancelled:
            self._conclude(owed=False)
            raise
        finally:
            self._metrics.connections.dec()
            self._finishing = True
            self._drained.set()

    def greet(self, resume: ResumePoint) -> None:
        """Tell the client what is stored of its messages, and in which store."""
        self._epoch = resume.epoch
        self._tell(Resume(self.session_id, resume.last_seq, resume.epoch))
        self._socket.flush()

    def renew(self, epoch: str) -> None:
        """Tell the client that the frame store holds nothing of before, unless it knows."""
        if epoch != self._epoch:
            self.greet(ResumePoint(None, epoch))

    async def stop_intake(self) -> None:
        """Take in what the client has sent already, then read no more.

        Takes `DRAIN_SECONDS` at most, and however long the ingest buffer has no room.
        """
        if not self._heard_out:  # perhaps not, if whoever asked before was cancelled
            self._socket.hear_out()
            with trio.move_on_after(DRAIN_SECONDS):
                heard = -1
                # While something is held the socket is not read, so that its silence means nothing.
                while (self._held or heard != self._heard) and not self._drained.is_set():
                    heard = self._heard
                    await trio.sleep(QUIET_SECONDS)
            self._heard_out = True
            self._take_held()
            self._socket.flush()
        await self._drained.wait()

    def finish(self, code: CloseCode) -> None:
        """Send what is still owed to the client, say why, and close. Idempotent; the first reason stands."""
        if not self._finishing:
            self._finishing = True
            self._close_code = code
            self._held.clear()
            self._socket.pause()
            self._drained.set()
            self._pause.cancel()
            self._conclude(owed=code is not CloseCode.FLOOD)

    def room(self) -> None:
        """Use what had to wait for room in the ingest buffer."""
        self._take_held()
        self._socket.flush()

    def settle(self, message: FrameMessage, receipt: Receipt) -> None:
        """Answer for one message after its group commit, and for those that it had overtaken."""
        self._overtaking[id(message)] = receipt
        while self._unsettled and (known := self._overtaking.pop(id(self._unsettled[0]), None)):
            self._answer(self._unsettled.popleft(), known)

    def commit_settled(self) -> None:
        """Send the answers of a group commit, and use what had to wait for them."""
        self._metrics.acks.inc(self._acks)
        self._acks = 0
        if self._finishing:
            self._conclude(owed=True)
        elif self._held:
            self._take_held()
        self._socket.flush()

    def _receive(self, data: bytes) -> None:
        self._heard += 1
        if self._finishing:
            return
        received_ms = self._now_ms()
        if self._held or not self._has_room():
            self._held.append(_Arrival(data, received_ms))
            self._socket.pause()
            self._await_room()
        else:
            self._use(data, received_ms)

    def _has_room(self) -> bool:
        return len(self._unsettled) < UNSETTLED_MAX and self._ingest.has_room

    def _await_room(self) -> None:
        if not self._ingest.has_room:
            self._ingest.call_when_room(self)  # else its own messages are in the way, until they are settled

    def _take_held(self) -> None:
        while self._held and self._has_room():
            self._use(*self._held.popleft())
        if self._held:
            self._await_room()
        elif self._heard_out:
            self._socket.pause()
            self._drained.set()
        elif not self._finishing:
            self._socket.resume()

    def _use(self, data: bytes, received_ms: int) -> None:
        most = self._settings.batch_max_frames
        try:
            message = express.read(data, self.session_id, most) or decode(data, self.session_id, most)
        except Rejected as rejected:
            self._reject(rejected)
            return
        if isinstance(message, ClockReading):
            self._clock.fix(message.client_ms, received_ms)
            self._tell(Clock(message.timestamp, iso_from_ms(received_ms)))
            if message.seq is None:
                return
            stored_form = clock_message(self.session_id, message)
        else:
            stored_form = frame_message(self.session_id, message, self._clock, received_ms)
        self._unsettled.append(stored_form)
        self._ingest.add(stored_form, self)

    def _answer(self, message: FrameMessage, receipt: Receipt) -> None:
        seq, outcome = message.seq, receipt.outcome
        if outcome in _KEPT:
            if seq is not None:
                self._acks += 1
                self._socket.send(encode_ack(seq))
        elif outcome is Outcome.SEALED:
            self.finish(CloseCode.SESSION_ENDED)
        else:
            detail = f"seq {seq} was stored before with other content; number new messages upwards"
            self._reject(Rejected(ErrorCode.SEQ_CONFLICT, detail, seq))

    def _reject(self, rejected: Rejected) -> None:
        self._metrics.errors.labels(rejected.code.value).inc()
        self._tell(Error(rejected.code, rejected.detail, rejected.seq))
        now = trio.current_time()
        times = self._invalid_times
        times.append(now)
        if len(times) == times.maxlen and now - times[0] < _FLOOD_SECONDS:
            if not self._finishing:
                _log.warning("flood of unusable messages", session=self.session_id)
            self.finish(CloseCode.FLOOD)

    def _tell(self, message: ServerMessage) -> None:
        self._socket.send(encode(message))

    def _conclude(self, *, owed: bool) -> None:
        """Close, unless acknowledgements are still `owed`."""
        if owed and self._unsettled:
            return
        if self._close_code is CloseCode.SESSION_ENDED:
            self._tell(SessionEnded(self.session_id, iso_from_ms(self._now_ms())))
        self._socket.close(self._close_code, self._reason())

    def _reason(self) -> str:
        name = self._close_code.name.lower()
        if self._close_code is not CloseCode.RESTARTING:
            return name
        # Clients that come back all at once would find the next server as busy as it ever gets.
        spread_ms = round(self._settings.reconnect_spread_seconds * 1000)
        return f"{name}; retry_after_ms={random.randint(0, spread_ms)}"  # noqa: S311 - spreads, hides nothing
