"""Any history of clients, a store that fails in every way, and crashes: an acknowledgement passes no gap."""

import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proctor.archive import Archive
from proctor.clock import ClientClock
from proctor.connection import Connection
from proctor.errors import Unavailable
from proctor.ingest import Ingest
from proctor.metrics import Metrics
from proctor.pace import Allowance, Pace
from proctor.settings import Settings
from proctor.storage.frames import FrameMessage, Outcome, PartlyStored, Receipt, ResumePoint
from proctor.wire import CloseCode
from tests.faults.trio_thread import TrioThread

SETTINGS = Settings(
    _env_file=None,
    ingest_buffer_messages=6,
    commit_max_messages=4,
    max_frames_per_second=0.5,
    batch_max_frames=1,
)
"""Nobody has room for much, and whoever sends more than 15 messages waits for two seconds after each."""
PEERS_MAX = 3


class Shelf:
    """A frame store whose failures are chosen, and which notes what it keeps."""

    epoch = "one"

    def __init__(self, seed: int) -> None:
        self.mode = "well"
        self.kept: dict[int, bytes] = {}
        """Digest by seq."""
        self._noise = random.Random(seed)

    async def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        await trio.lowlevel.checkpoint()
        if self.mode == "down":
            raise Unavailable("down on purpose")
        if self.mode == "slow":
            await trio.sleep(0.7)
        refuses = self.mode == "partly"
        receipts = [
            None if refuses and self._noise.random() < 0.5 else self._take(message) for message in messages
        ]
        if self.mode == "mute":
            raise Unavailable("stored, and the answer got lost")
        if None in receipts:
            raise PartlyStored("refused on purpose", receipts)
        return [receipt for receipt in receipts if receipt is not None]

    def _take(self, message: FrameMessage) -> Receipt:
        assert message.seq is not None
        known = self.kept.setdefault(message.seq, message.digest)
        return Receipt(Outcome.STORED if known is message.digest else self._repeated(known, message))

    @staticmethod
    def _repeated(known: bytes, message: FrameMessage) -> Outcome:
        return Outcome.DUPLICATE if known == message.digest else Outcome.CONFLICT


class Peer:
    """A client's socket as its connection sees it, and the client's view of the acknowledgements."""

    def __init__(self, shelf: Shelf, complain: Callable[[str], None]) -> None:
        self.gone = trio.Event()
        self.unanswered: deque[int] = deque()
        """Usable messages in the order in which they were sent."""
        self.conflicts: set[int] = set()
        self.acked: set[int] = set()
        self.closed: int | None = None
        self._shelf = shelf
        self._complain = complain
        self._reading = False
        self._arriving: deque[bytes] = deque()

    def say(self, message: dict[str, Any]) -> None:
        self._arriving.append(json.dumps(message).encode())
        self.deliver()

    @property
    def unread(self) -> int:
        return len(self._arriving)

    def deliver(self) -> None:
        while self._reading and self._arriving:
            self._take(self._arriving.popleft())

    def receive(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._reading = True

    def pause(self) -> None:
        self._reading = False

    def resume(self) -> None:
        self._reading = True

    def send(self, text: bytes) -> None:
        message = json.loads(text)
        if message["type"] == "ack":
            self._acknowledged(message["seq"])
        elif message["type"] == "error" and message["code"] == "seq_conflict":
            self._expect(message["seq"])

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self, code: int, _reason: str = "") -> None:
        self.closed = code
        self.gone.set()

    def _acknowledged(self, seq: int) -> None:
        self._expect(seq)
        self.acked.add(seq)
        if seq not in self._shelf.kept:
            self._complain(f"{seq} was acknowledged and is not stored")

    def _expect(self, seq: int) -> None:
        """Answers come in the order of the messages, so none of them passes one that is not stored."""
        due = self.unanswered.popleft() if self.unanswered else None
        if seq != due:
            self._complain(f"{seq} was answered when {due} was due")


class ConnectionMachine(RuleBasedStateMachine):
    """One session's clients, one ingest, one store."""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.trio = TrioThread(trio.testing.MockClock())
        self.shelf = Shelf(seed)
        self.faults: list[str] = []
        self.sent: dict[int, set[int]] = {}
        self.peers: list[Peer] = []
        self.acked: set[int] = set()
        self.last = 0
        self._boot()

    def _boot(self) -> None:
        archive = Archive(self.shelf, SETTINGS, Metrics())  # type: ignore[arg-type]
        self.ingest = Ingest(self.shelf, archive, SETTINGS, Metrics())  # type: ignore[arg-type]
        self.process = self.trio.call(self.trio.nursery.start, self._live)
        self.trio.do(self.process.start_soon, self.ingest.write)

    @staticmethod
    async def _live(task_status: trio.TaskStatus[trio.Nursery]) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()

    @precondition(lambda self: len(self.peers) < PEERS_MAX)
    @rule()
    def connect(self) -> None:
        self.trio.do(self._connect)

    def _connect(self) -> None:
        peer = Peer(self.shelf, self.faults.append)
        connection = Connection(
            peer,
            "exam",
            clock=ClientClock(),
            pace=Pace(Allowance(SETTINGS)),
            ingest=self.ingest,
            settings=SETTINGS,
            metrics=Metrics(),
            now_ms=lambda: 0,
        )
        self.process.start_soon(connection.run, ResumePoint(None, "one"))
        self.peers.append(peer)

    @precondition(lambda self: self.peers)
    @rule(
        data=st.data(),
        kinds=st.lists(
            st.sampled_from(["next", "next", "next", "skip", "swap", "again", "other", "junk"]),
            min_size=3,
            max_size=8,
        ),
    )
    def say(self, data: st.DataObject, kinds: list[str]) -> None:
        peer = data.draw(st.sampled_from(self.peers))
        for kind in kinds:
            if kind == "junk":
                self._say(peer, None, 0)
            elif kind in ("again", "other"):
                seq = data.draw(st.integers(1, max(1, self.last)))
                self._say(peer, seq, seq if kind == "again" else -seq)
            else:
                self.last += {"next": 1, "skip": 2, "swap": 2}[kind]
                self._say(peer, self.last, self.last)
                if kind == "swap":
                    self._say(peer, self.last - 1, self.last - 1)

    def _say(self, peer: Peer, seq: int | None, marker: int) -> None:
        message: dict[str, Any] = {"extracted_features": {"marker": marker}}
        if seq is None:
            message = {"type": "nonsense"}
        else:
            message["seq"] = seq
            peer.unanswered.append(seq)
            self.sent.setdefault(seq, set()).add(marker)
        self.trio.do(peer.say, message)

    @rule(mode=st.sampled_from(["well", "down", "slow", "partly", "partly", "mute"]))
    def store(self, mode: str) -> None:
        self.shelf.mode = mode

    @rule(seconds=st.sampled_from([0.01, 0.6, 3.0]))
    def wait(self, seconds: float) -> None:
        self.trio.pass_time(seconds)
        self._deliver()

    def _deliver(self) -> bool:
        """Have all peers send on, as far as they are read; says whether that is further than before."""
        before = sum(peer.unread for peer in self.peers)
        for peer in self.peers:
            self.trio.do(peer.deliver)
        return sum(peer.unread for peer in self.peers) < before

    @precondition(lambda self: len(self.peers) > 1)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(self.peers))
        self._forget(peer)
        self.trio.do(peer.gone.set)

    def _forget(self, peer: Peer) -> None:
        self.peers.remove(peer)
        self.acked |= peer.acked

    @precondition(lambda self: len(self.peers) == PEERS_MAX)
    @rule()
    def crash(self) -> None:
        self.trio.do(self.process.cancel_scope.cancel)
        for peer in list(self.peers):
            self._forget(peer)
        self._boot()

    @invariant()
    def acknowledged_is_stored(self) -> None:
        if hasattr(self, "faults"):
            assert not self.faults
            for peer in self.peers:
                assert peer.acked <= self.shelf.kept.keys()
            assert self.acked <= self.shelf.kept.keys()
            assert self.shelf.kept.keys() <= self.sent.keys()

    def teardown(self) -> None:
        """When the store is well again, everybody is answered, by itself."""
        if not hasattr(self, "trio"):
            return
        try:
            self.shelf.mode = "well"
            for _ in range(8):
                self.trio.pass_time(2)
                while self._deliver():
                    self.trio.pass_time(2)  # which pays for a message
            self.acknowledged_is_stored()
            assert not [peer.unanswered for peer in self.peers if peer.closed is None and peer.unanswered]
            assert all(peer.closed in (None, CloseCode.FLOOD) for peer in self.peers)
        finally:
            self.trio.close()


ConnectionMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestConnections = pytest.mark.no_cover(ConnectionMachine.TestCase)
