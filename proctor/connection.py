"""One client of an exam session: what it says, and what it is told.

A frame's way: socket → `_receive` → `Ingest.add` → group commit → `settle` → acknowledgement. None of it
waits, so that one task can serve all sockets. Who ends a connection is explicit: the client by leaving; the
server by `finish` with the reason.
"""

import random
from collections import deque
from collections.abc import Callable, Collection

import structlog
import trio

from proctor import express
from proctor.clock import ClientClock
from proctor.ingest import Ingest, clock_message, frame_message
from proctor.metrics import Metrics
from proctor.minimise import drop_features
from proctor.pace import Pace, Unusable
from proctor.peer import Socket
from proctor.replies import Clock, Error, Heartbeat, Resume, ServerMessage, SessionEnded, encode, encode_ack
from proctor.settings import Settings
from proctor.storage.frames import FrameMessage, Outcome, Receipt, ResumePoint
from proctor.times import iso_from_ms
from proctor.wire import ClockReading, CloseCode, ErrorCode, Rejected, decode

_log = structlog.get_logger(__name__)

QUIET_SECONDS = 0.05
"""When intake stops: a client that sends nothing for so long has been heard to the end."""
DRAIN_SECONDS = 0.5
"""When intake stops: the longest that a client is still heard."""
UNSETTLED_MAX = 32
"""Messages that one client may have on their way into the store; others wait behind them."""
_OWED_SECONDS = 5.0
"""When the connection ends: the longest that acknowledgements which are still owed are waited for."""
_KEPT = (Outcome.STORED, Outcome.DUPLICATE)


class Connection:
    """One client of one exam session."""

    def __init__(
        self,
        socket: Socket,
        session_id: str,
        *,
        dropped: Collection[str] = (),
        clock: ClientClock,
        pace: Pace,
        ingest: Ingest,
        settings: Settings,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self.session_id = session_id
        self._dropped = dropped
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
        self._held: deque[tuple[bytes, int]] = deque()
        """Messages for which there was no room, and when they came; at most what one read brings."""
        self._unsettled: deque[FrameMessage] = deque()
        self._overtaking: dict[int, Receipt] = {}
        """By id of the message: settled before an earlier one, which no acknowledgement may pass."""
        self._acks = 0
        self._epoch = ""
        """Of the frame store, as the client knows it."""
        self._heard_out = False
        self._drained = trio.Event()
        self._unusable, self._pace = Unusable(settings), pace
        self._pause = trio.CancelScope()

    async def run(self, resume: ResumePoint) -> None:
        """Serve the client until either side ends the connection. Cancelled, it still says goodbye."""
        self._metrics.connections.inc()
        try:
            self.greet(resume)
            self._count(0)  # perhaps it has come back because it owed something
            self._socket.receive(self._receive)
            if self._pace.owes:
                self._socket.pause()
                self._socket.flush()
            interval = self._settings.heartbeat_interval_seconds
            next_heartbeat = trio.current_time() + interval
            while not self._socket.gone.is_set():
                finishing = self._finishing
                owed_until = trio.current_time() + _OWED_SECONDS
                until = owed_until if finishing else min(next_heartbeat, self._pace.paid_at)
                with trio.CancelScope(deadline=until) as self._pause:
                    await self._socket.gone.wait()
                if finishing:
                    self._conclude(owed=False)
                    continue
                if trio.current_time() >= self._pace.paid_at:
                    self._pace.settle()
                    self.room()
                if trio.current_time() >= next_heartbeat:
                    next_heartbeat = max(next_heartbeat + interval, trio.current_time())
                    self._tell(Heartbeat(self.session_id, iso_from_ms(self._now_ms())))
                    self._socket.flush()
            if self._pace.lift():
                self._take_held()  # what it had sent before it left
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
            if self._pace.lift():
                self._take_held()
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
        """Use what had to wait, for room in the ingest buffer or for the pace."""
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
        if self._held:
            self._take_held()  # also if the client has left meanwhile
        elif self._finishing:
            self._conclude(owed=True)
        self._socket.flush()

    def _receive(self, data: bytes) -> None:
        self._heard += 1
        if self._finishing:
            return
        received_ms = self._now_ms()
        if self._held or not self._has_room():
            self._held.append((data, received_ms))
            self._socket.pause()
            self._await_room()
        else:
            self._use(data, received_ms)

    def _has_room(self) -> bool:
        return len(self._unsettled) < UNSETTLED_MAX and self._ingest.has_room and not self._pace.owes

    def _await_room(self) -> None:
        if not self._ingest.has_room:
            self._ingest.call_when_room(self)
        # Else its own messages are in the way, until they are settled, or its pace, for which `run` waits.

    def _take_held(self) -> None:
        while self._held and self._has_room():
            self._use(*self._held.popleft())
        if self._held:
            self._await_room()
        elif self._heard_out:
            self._socket.pause()
            self._drained.set()
        elif not (self._finishing or self._pace.owes):
            self._socket.resume()

    def _use(self, data: bytes, received_ms: int) -> None:
        most = self._settings.batch_max_frames
        try:
            message = express.read(data, self.session_id, most) or decode(data, self.session_id, most)
        except Rejected as rejected:
            self._reject(rejected)
            return
        if isinstance(message, ClockReading):
            if not self._pace.is_behind(trio.current_time()):  # else it may have waited, and so be wrong
                self._clock.fix(message.client_ms, received_ms)
            self._tell(Clock(message.timestamp, iso_from_ms(received_ms)))
            self._count(1)
            if message.seq is None:
                return
            stored_form = clock_message(self.session_id, message)
        else:
            drop_features(message, self._dropped)
            stored_form = frame_message(self.session_id, message, self._clock, received_ms)
            self._count(len(message.frames))
        self._unsettled.append(stored_form)
        self._ingest.add(stored_form, self)

    def _count(self, frames: int) -> None:
        """Count towards the pace. A client that owes anything is not read until it has paid."""
        now = trio.current_time()
        if self._pace.spend(frames, now):
            self._socket.pause()
            self._pause.deadline = min(self._pause.deadline, self._pace.paid_at)
            if self._pace.falls_behind(now):
                _log.info("client slowed down", session=self.session_id)
                self._metrics.errors.labels(ErrorCode.TOO_FAST.value).inc()
                self._tell(Error(ErrorCode.TOO_FAST, self._pace.complaint))

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
        if self._unusable.is_flood(trio.current_time()):
            if not self._finishing:
                _log.warning("flood of unusable messages", session=self.session_id)
            self.finish(CloseCode.FLOOD)

    def tell(self, message: ServerMessage) -> None:
        """Tell the client something as soon as it takes it."""
        if not self._finishing:
            self._tell(message)
            self._socket.flush()

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
