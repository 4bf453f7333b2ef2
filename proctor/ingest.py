"""From checked frames to stored ones: the messages of all connections share group commits.

A message enters by `submit`, waits in a bounded buffer, and is written with whatever else waits there. Its
`settle` callback runs after the commit, so an acknowledgement always follows the store.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import stamina
import structlog
import trio

from proctor.archive import Archive
from proctor.clock import ClientClock
from proctor.errors import Unavailable
from proctor.metrics import Metrics
from proctor.settings import Settings
from proctor.storage.frames import FrameMessage, FrameStore, Outcome, PartlyStored, Receipt, UnnumberedFrame
from proctor.times import iso_from_ms
from proctor.wire import Frame, Frames

_encode = msgspec.json.Encoder().encode
_DIGEST_BYTES = 8
_RETRY = partial(
    stamina.retry_context, on=Unavailable, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0
)
_REFUSED_PAUSE_SECONDS = 0.5
"""Before messages that the store refused are tried again, together with newer ones that it may take."""

_log = structlog.get_logger(__name__)

Settle = Callable[[Outcome], None]
"""Must not raise, for it is called among the others of its group commit."""


class _Waiting(NamedTuple):
    number: int
    message: FrameMessage
    settle: Settle
    submitted: float


def frame_message(session_id: str, message: Frames, clock: ClientClock, received_ms: int) -> FrameMessage:
    """Turn a decoded message into what the frame store takes, with event times on the server's clock.

    `received_ms` is the time of receipt in milliseconds since the epoch.
    """
    # The newest frame of a batch was delayed least, so it says most about the clock.
    newest = max((f.client_ms for f in message.frames if f.client_ms is not None), default=None)
    if newest is not None:
        clock.observe(newest, received_ms)
    received_at = iso_from_ms(received_ms)
    frames = tuple(
        _stored_form(frame, session_id, clock, received_ms, received_at) for frame in message.frames
    )
    digest = b""
    if message.seq is not None:
        digest = hashlib.blake2b(_encode(message.frames), digest_size=_DIGEST_BYTES).digest()
    return FrameMessage(session_id, frames, message.seq, digest)


def _stored_form(
    frame: Frame, session_id: str, clock: ClientClock, received_ms: int, received_at: str
) -> UnnumberedFrame:
    event_ms = clock.event_ms(frame.client_ms, received_ms)
    stored = {**frame.features}
    if frame.event is not None:
        stored["event"] = frame.event
    stored["session_id"] = session_id
    stored["timestamp"] = iso_from_ms(event_ms)
    if frame.client_timestamp is not None:
        stored["client_timestamp"] = frame.client_timestamp
    stored["received_at"] = received_at
    return UnnumberedFrame(event_ms, _encode(stored)[:-1] + b',"frame_id":"')


class Ingest:
    """The bounded buffer in front of the frame store, and the one writer behind it."""

    def __init__(self, store: FrameStore, archive: Archive, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._archive = archive
        self._metrics = metrics
        self._most = settings.commit_max_messages
        # When full, `submit` waits, the connection's socket is not read, and TCP slows the client down.
        self._entrance, self._exit = trio.open_memory_channel[_Waiting](settings.ingest_buffer_messages)
        self._in_hand: list[_Waiting] = []
        self._submitted = 0
        self._unsettled: dict[int, None] = {}
        """Numbers of the messages that are on their way, the oldest first."""
        self._progress = trio.lowlevel.ParkingLot()
        self.touched: set[str] = set()
        """Sessions that had frames stored since whoever follows them last took them out."""

    async def submit(self, message: FrameMessage, settle: Settle) -> None:
        """Hand over a message; `settle` is called once, after the commit, with what became of it.

        Waits while the buffer is full. A cancelled call has handed over nothing.
        """
        number = self._submitted
        self._submitted += 1
        self._unsettled[number] = None
        waiting = _Waiting(number, message, settle, trio.current_time())
        try:
            try:
                self._entrance.send_nowait(waiting)
            except trio.WouldBlock:
                await self._entrance.send(waiting)
        except trio.Cancelled:
            del self._unsettled[number]
            self._progress.unpark_all()
            raise

    async def store(self, message: FrameMessage) -> Outcome:
        """Hand over a message and wait until it is settled. If cancelled, it may still be stored."""
        settled = trio.Event()
        outcomes: list[Outcome] = []

        def settle(outcome: Outcome) -> None:
            outcomes.append(outcome)
            settled.set()

        await self.submit(message, settle)
        await settled.wait()
        return outcomes[0]

    async def flush(self) -> None:
        """Wait until every message submitted before this call is settled."""
        end = self._submitted
        while next(iter(self._unsettled), end) < end:
            await self._progress.park()

    async def write(self) -> None:
        """Write until cancelled. While the store is down, retry with growing pauses; nothing is dropped.

        If it fails, what it had in hand is written first when it is run again.
        """
        while True:
            if not self._in_hand:
                self._in_hand.append(await self._exit.receive())
            while len(self._in_hand) < self._most:
                try:
                    self._in_hand.append(self._exit.receive_nowait())
                except trio.WouldBlock:
                    break
            self._metrics.ingest_waiting.set(len(self._unsettled))
            async for attempt in _RETRY():
                with attempt:
                    await self._commit()

    async def _commit(self) -> None:
        """Write what is in hand; what the store refuses stays in hand."""
        began = trio.current_time()
        try:
            receipts = await self._store.append([waiting.message for waiting in self._in_hand])
        except PartlyStored as partly:
            self._settle(partly.receipts)
            _log.warning("messages wait", messages=len(self._in_hand), reason=partly.detail)
            await trio.sleep(_REFUSED_PAUSE_SECONDS)
            return
        self._metrics.commit_messages.observe(len(receipts))
        self._metrics.commit_seconds.observe(trio.current_time() - began)
        self._settle(receipts)

    def _settle(self, receipts: Sequence[Receipt | None]) -> None:
        group, self._in_hand = self._in_hand, []
        now = trio.current_time()
        for waiting, receipt in zip(group, receipts, strict=True):
            if receipt is None:
                self._in_hand.append(waiting)
                continue
            outcome = receipt.outcome
            del self._unsettled[waiting.number]
            self._metrics.messages.labels(outcome.name.lower()).inc()
            if outcome is Outcome.STORED:
                self._metrics.frames_stored.inc(len(waiting.message.frames))
                self._metrics.store_lag_seconds.observe(now - waiting.submitted)
                self.touched.add(waiting.message.session_id)
                self._archive.add(waiting.message, receipt.number)
            waiting.settle(outcome)
        self._metrics.ingest_waiting.set(len(self._unsettled))
        self._progress.unpark_all()
