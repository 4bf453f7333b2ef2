"""From checked frames to stored ones: the messages of all connections share group commits.

A message enters by `add`, waits in a bounded buffer, and is written with whatever else waits there. Its owner
is told after the commit, so an acknowledgement always follows the store.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Protocol

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
from proctor.unseen import Unseen
from proctor.wire import ClockReading, Frame, Frames

_encode = msgspec.json.Encoder().encode
_RETRY = partial(
    stamina.retry_context, on=Unavailable, attempts=None, timeout=None, wait_initial=0.1, wait_max=2.0
)
_COMMIT_SECONDS = 0.005
"""Least time from one group commit to the next: under load, more messages then share one."""
_COMMIT_BYTES = 4 * 2**20
"""Memory of the messages after which a group commit takes no more of them: the store makes copies of all."""
_STORED = Outcome.STORED  # looked up once, not for each message
_REFUSED_PAUSE_SECONDS = 0.5
"""Before messages that the store refused are tried again, together with newer ones that it may take."""

_log = structlog.get_logger(__name__)


def frame_message(session_id: str, message: Frames, clock: ClientClock, received_ms: int) -> FrameMessage:
    """Turn a decoded message into what the frame store takes, with event times on the server's clock.

    `received_ms` is the time of receipt in milliseconds since the epoch.
    """
    times = [frame.client_ms for frame in message.frames if frame.client_ms is not None]
    if times:
        # The newest frame of a batch was delayed least, so it says most about the clock.
        clock.observe(max(times), received_ms)
    session, received_at = _session_member(session_id), _received_member(received_ms)
    frames, content = [], []
    for frame in message.frames:
        event_ms = clock.event_ms(frame.client_ms, received_ms)
        features, stamp = _members(frame), b""
        if frame.client_timestamp is not None:
            stamp = b'"client_timestamp":%b,' % _encode(frame.client_timestamp)
        content.append(features + stamp)
        head = b'%b%b"timestamp":"%b",%b%b' % (
            features,
            session,
            iso_from_ms(event_ms).encode(),
            stamp,
            received_at,
        )
        frames.append(UnnumberedFrame(event_ms, head))
    digest = b"" if message.seq is None else _digest(b"\n".join(content))
    return FrameMessage(session_id, tuple(frames), message.seq, digest)


def clock_message(session_id: str, reading: ClockReading) -> FrameMessage:
    """Turn a numbered reading of a clock into what the frame store takes: its number alone."""
    return FrameMessage(session_id, (), reading.seq, _digest(b"clock %b" % _encode(reading.timestamp)))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


def _members(frame: Frame) -> bytes:
    """Write what the client sent as the beginning of a JSON object, up to where the next member goes."""
    features = _encode(frame.features)[:-1]
    if len(features) > 1:
        features += b","
    return features if frame.event is None else b'%b"event":%b,' % (features, _encode(frame.event))


@lru_cache(maxsize=10_000)
def _session_member(session_id: str) -> bytes:
    return b'"session_id":"%b",' % session_id.encode()


@lru_cache(maxsize=16)  # what one round of reading brings is received in a few milliseconds
def _received_member(received_ms: int) -> bytes:
    return b'"received_at":"%b","frame_id":"' % iso_from_ms(received_ms).encode()


class Submitter(Protocol):
    """Who hands over messages. No call may raise or wait: it is made among others of the same commit."""

    def settle(self, message: FrameMessage, receipt: Receipt) -> None:
        """Learn what became of a message; called once for each."""
        ...

    def commit_settled(self) -> None:
        """Learn that a group commit is through in which messages of this submitter were settled."""
        ...

    def room(self) -> None:
        """Learn that the buffer has room, perhaps for one message only; see `Ingest.call_when_room`."""
        ...


class _Waiting(msgspec.Struct, frozen=True):
    number: int
    message: FrameMessage
    owner: Submitter
    submitted: float
    size: int


class Ingest:
    """The bounded buffer in front of the frame store, and the one writer behind it."""

    def __init__(
        self,
        store: FrameStore,
        archive: Archive,
        settings: Settings,
        metrics: Metrics,
        new_epoch: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._archive = archive
        self._metrics = metrics
        self._commit_most = settings.commit_max_messages
        self._most_messages = settings.ingest_buffer_messages
        self._most_bytes = settings.ingest_buffer_bytes
        self._new_epoch = new_epoch
        self._epoch = ""
        self._waiting: deque[_Waiting] = deque()
        self._in_hand: list[_Waiting] = []
        self._bytes = self._submitted = 0
        self._blocked: dict[Submitter, None] = {}
        self._arrived = trio.Event()
        self._progress = trio.lowlevel.ParkingLot()
        self.touched: set[str] = set()
        """Sessions that had frames stored since whoever follows them took them out."""
        self.unseen = Unseen()

    @property
    def has_room(self) -> bool:
        """Whether a message may be added. When not, sockets are not read, and TCP slows the clients down."""
        waiting = len(self._waiting) + len(self._in_hand)
        return waiting < self._most_messages and self._bytes < self._most_bytes

    def add(self, message: FrameMessage, owner: Submitter) -> None:
        """Hand over a message, for which there has to be room; its owner learns what becomes of it."""
        size = message.memory_bytes
        self._waiting.append(_Waiting(self._submitted, message, owner, trio.current_time(), size))
        self._submitted += 1
        self._bytes += size
        self._arrived.set()

    def call_when_room(self, owner: Submitter) -> None:
        """Call `owner.room` once there is room again; the others who wait have their turns before."""
        self._blocked[owner] = None

    async def store(self, message: FrameMessage) -> Receipt:
        """Hand over a message and wait until it is settled. If cancelled, it may still be stored."""
        caller = _Caller()
        try:
            while not self.has_room:
                self.call_when_room(caller)
                await caller.woken.wait()
                caller.woken = trio.Event()
        finally:
            self._blocked.pop(caller, None)
        self.add(message, caller)
        while caller.receipt is None:
            await caller.woken.wait()
            caller.woken = trio.Event()
        return caller.receipt

    async def flush(self) -> None:
        """Wait until every message added before this call is settled."""
        end = self._submitted
        while (first := next(chain(self._in_hand, self._waiting), None)) and first.number < end:
            await self._progress.park()

    async def write(self) -> None:
        """Write until cancelled. While the store is down, retry with growing pauses; nothing is dropped.

        If it fails, what it had in hand is written first when it is run again.
        """
        while True:
            if not self._in_hand and not self._waiting:
                self._arrived = trio.Event()
                await self._arrived.wait()
            self._take()
            began = trio.current_time()
            async for attempt in _RETRY():
                with attempt:
                    self._show_waiting()
                    await self._commit()
            await trio.sleep_until(began + _COMMIT_SECONDS)

    def _take(self) -> None:
        """Take in hand what waits longest, next to what was refused, which keeps no others out."""
        messages = taken_bytes = 0
        while self._waiting and messages < self._commit_most and taken_bytes < _COMMIT_BYTES:
            taken = self._waiting.popleft()
            messages += 1
            taken_bytes += taken.size
            self._in_hand.append(taken)

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
        epoch = known = self._store.epoch
        if epoch != self._epoch:
            if self._epoch:
                self._archive.renew()
            known = ""  # some of the group may have been stored before the store was emptied
            self._epoch = epoch
            self._new_epoch(epoch)
        group, self._in_hand = self._in_hand, []
        frames = 0
        owners: dict[Submitter, None] = {}
        for waiting, receipt in zip(group, receipts, strict=True):
            if receipt is None:
                self._in_hand.append(waiting)
                continue
            message = waiting.message
            self._bytes -= waiting.size
            if receipt.outcome is _STORED:
                frames += len(message.frames)
                self.touched.add(message.session_id)
                self.unseen.stored(message)
                self._archive.add(message, receipt.number, known)
            waiting.owner.settle(message, receipt)
            owners[waiting.owner] = None
        for owner in owners:
            owner.commit_settled()
        self._count(receipts, frames, group[0].submitted)
        self._let_in()
        self._progress.unpark_all()

    def _let_in(self) -> None:
        """Give those who wait for room their turn, the first first, as long as there is some."""
        for owner in list(self._blocked):
            if not self.has_room:
                break
            del self._blocked[owner]
            owner.room()

    def _count(self, receipts: Sequence[Receipt | None], frames: int, first_submitted: float) -> None:
        outcomes = [receipt.outcome for receipt in receipts if receipt is not None]
        for outcome in Outcome:
            if messages := outcomes.count(outcome):
                self._metrics.messages.labels(outcome.name.lower()).inc(messages)
        self._metrics.frames_stored.inc(frames)
        self._metrics.store_lag_seconds.observe(trio.current_time() - first_submitted)
        self._show_waiting()

    def _show_waiting(self) -> None:
        self._metrics.ingest_waiting.set(len(self._waiting) + len(self._in_hand))
        self._metrics.ingest_waiting_bytes.set(self._bytes)


class _Caller:
    """Waits for one message of its own."""

    def __init__(self) -> None:
        self.woken = trio.Event()
        self.receipt: Receipt | None = None

    def settle(self, message: FrameMessage, receipt: Receipt) -> None:
        self.receipt = receipt
        self.woken.set()

    def commit_settled(self) -> None:
        pass

    def room(self) -> None:
        self.woken.set()
