"""From checked frames to stored ones: what a settled message means, whatever the store does."""

import json

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proctor.archive import Archive
from proctor.clock import ClientClock
from proctor.errors import Unavailable
from proctor.ingest import Ingest, frame_message
from proctor.metrics import Metrics
from proctor.model import FrameId
from proctor.settings import Settings
from proctor.storage.frames import FrameMessage, Outcome, Receipt, frame_id_of
from proctor.supervisor import Supervisor
from proctor.wire import Frames, decode
from tests.fakes import BrokenStore, FailingStore, HalfFailingStore, MemoryStore, SlowStore

NOW = 1_767_603_600_000
RECEIVED_AT = "2026-01-05T09:00:00.000Z"


def read(message: object, session_id: str = "exam") -> Frames:
    decoded = decode(json.dumps(message), session_id, 500)
    assert isinstance(decoded, Frames)
    return decoded


def message(session_id: str = "exam", seq: int | None = None, **features: object) -> FrameMessage:
    decoded = read({"extracted_features": features, "seq": seq}, session_id)
    return frame_message(session_id, decoded, ClientClock(), NOW)


def stored_form(decoded: Frames, clock: ClientClock | None = None) -> list[dict[str, object]]:
    prepared = frame_message("exam", decoded, clock or ClientClock(), NOW)
    return [json.loads(frame.head + b'0-0"}') | {"ms": frame.time_ms} for frame in prepared.frames]


class Tally:
    """Hands over messages, waiting for room, and notes what became of each, in order."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[object, Outcome]] = []
        self.commits: list[int] = []
        """How many messages were settled when each group commit was through."""
        self._names: dict[int, tuple[object, FrameMessage]] = {}
        self._room = trio.Event()

    def add(self, ingest: Ingest, message: FrameMessage, name: object) -> None:
        """There has to be room."""
        self._names[id(message)] = name, message
        ingest.add(message, self)

    async def submit(self, ingest: Ingest, message: FrameMessage, name: object) -> None:
        """If cancelled, nothing was handed over."""
        while not ingest.has_room:
            self._room = trio.Event()
            ingest.call_when_room(self)
            await self._room.wait()
        self.add(ingest, message, name)

    def settle(self, message: FrameMessage, receipt: Receipt) -> None:
        name, _ = self._names[id(message)]
        self.outcomes.append((name, receipt.outcome))

    def commit_settled(self) -> None:
        self.commits.append(len(self.outcomes))

    def room(self) -> None:
        self._room.set()

    @property
    def names(self) -> list[object]:
        return [name for name, _ in self.outcomes]


def ingest_into(store: object, metrics: Metrics | None = None, **settings: object) -> Ingest:
    chosen, metrics = Settings(_env_file=None, **settings), metrics or Metrics()
    return Ingest(store, Archive(store, chosen, metrics), chosen, metrics)  # type: ignore[arg-type]


def test_a_stored_frame_is_its_features_and_what_the_server_knows():
    """The id comes last, for the store completes it."""
    decoded = read({"extracted_features": {"face_x": 2.5, "odd": [None]}, "timestamp": NOW - 1000})
    (frame,) = stored_form(decoded)
    assert list(frame)[-2] == "frame_id"
    assert frame == {
        "face_x": 2.5,
        "odd": [None],
        "session_id": "exam",
        "timestamp": RECEIVED_AT,
        "client_timestamp": NOW - 1000,
        "received_at": RECEIVED_AT,
        "frame_id": "0-0",
        "ms": NOW,
    }


def test_a_stored_event_keeps_the_rest_of_it_and_an_unknown_time_is_absent():
    (frame,) = stored_form(read({"event": "COPY_ATTEMPT", "lv": 7, "extractedFeatures": {"face_x": 1}}))
    assert frame["event"] == {"event": "COPY_ATTEMPT", "lv": 7}
    assert frame["face_x"] == 1
    assert "client_timestamp" not in frame


def test_what_a_client_claims_does_not_replace_what_the_server_knows():
    """Neither the id, nor the session, nor when the frame was received."""
    claims = {"frame_id": "9-9", "received_at": "never", "client_timestamp": 7, "session_id": "exam"}
    (frame,) = stored_form(read({"extracted_features": claims}))
    assert frame["frame_id"] == "0-0"
    assert frame["received_at"] == RECEIVED_AT
    assert "client_timestamp" not in frame


def test_a_batch_keeps_its_distances_and_ends_when_it_came():
    """The newest frame was delayed least, wherever in the batch it stands."""
    frames = [{"ts": 5000}, {"ts": 7000}, {"face_x": 1}, {"ts": 6000}]
    times = [frame["ms"] for frame in stored_form(read({"type": "batch", "frames": frames}))]
    assert times == [NOW - 2000, NOW, NOW, NOW - 1000]


def test_a_payload_has_the_same_digest_whenever_and_wherever_it_comes():
    """Otherwise a message sent again after a reconnect would contradict itself."""
    sent = {"seq": 1, "extracted_features": {"face_x": 1, "ts": 5000}}
    first = frame_message("exam", read(sent), ClientClock(), NOW)
    late_clock = ClientClock()
    late_clock.fix(0.0, NOW)
    again = frame_message("exam", read(sent), late_clock, NOW + 60_000)
    other = frame_message("exam", read({"seq": 1, "extracted_features": {"face_x": 2}}), ClientClock(), NOW)
    assert first.digest == again.digest != other.digest
    assert len(first.digest) == 8
    assert frame_message("exam", read({"extracted_features": {}}), ClientClock(), NOW).digest == b""


async def test_a_message_is_settled_after_its_commit_and_in_order(nursery, autojump_clock):
    store, tally = MemoryStore(), Tally()
    ingest = ingest_into(SlowStore(store, 0.5), commit_max_messages=3)
    nursery.start_soon(ingest.write)
    for number in range(7):
        await tally.submit(ingest, message(number=number), number)
    await trio.sleep(0.4)
    assert not tally.outcomes
    await ingest.flush()
    assert tally.outcomes == [(number, Outcome.STORED) for number in range(7)]
    assert [len(commit) for commit in store.commits] == [3, 3, 1]
    assert [json.loads(frame)["number"] for frame in (await store.read("exam")).frames] == list(range(7))


async def test_each_message_learns_its_own_outcome(nursery, autojump_clock):
    store = MemoryStore()
    ingest = ingest_into(store)
    nursery.start_soon(ingest.write)
    assert (await ingest.store(message(seq=1))).outcome is Outcome.STORED
    assert (await ingest.store(message(seq=1))).outcome is Outcome.DUPLICATE
    assert (await ingest.store(message(seq=1, face_x=2))).outcome is Outcome.CONFLICT
    await store.seal("exam")
    assert (await ingest.store(message(seq=2))).outcome is Outcome.SEALED
    assert (await ingest.store(message("other", seq=2))).outcome is Outcome.STORED
    assert ingest.touched == {"exam", "other"}


async def test_when_the_buffer_is_full_storing_waits(nursery, autojump_clock):
    """And a message whose caller was cancelled then was never handed over."""
    store, tally = MemoryStore(), Tally()
    ingest = ingest_into(store, ingest_buffer_messages=2)
    for number in range(2):
        await tally.submit(ingest, message(number=number), number)
    assert not ingest.has_room
    with trio.move_on_after(1) as waiting:
        await ingest.store(message(number=2))
    assert waiting.cancelled_caught
    nursery.start_soon(tally.submit, ingest, message(number=3), 3)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(ingest.write)
    await trio.sleep(1)
    assert tally.names == [0, 1, 3]
    assert (await store.read("exam")).stored == 3
    assert ingest.has_room


@pytest.mark.parametrize(
    "limit", [{"ingest_buffer_messages": 3}, {"ingest_buffer_bytes": 4000}], ids=["messages", "bytes"]
)
async def test_the_buffer_is_bounded_in_messages_and_in_bytes(nursery, autojump_clock, limit):
    """Room comes back as messages are settled; what is in hand counts."""
    failing = FailingStore(MemoryStore())
    failing.down = True
    tally, ingest = Tally(), ingest_into(failing, **limit)
    nursery.start_soon(ingest.write)
    added = 0
    while ingest.has_room:
        tally.add(ingest, message(text="x" * 800), added)
        await trio.sleep(0.1)
        added += 1
    assert added == 3
    failing.down = False
    await ingest.flush()
    assert tally.names == [0, 1, 2]
    assert ingest.has_room


async def test_those_who_wait_for_room_have_their_turns_in_order(nursery, autojump_clock):
    """Nobody who comes back for more is let in before somebody who has waited longer."""
    turns: list[str] = []
    ingest = ingest_into(SlowStore(MemoryStore(), 1), ingest_buffer_messages=1)

    class Eager(Tally):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def settle(self, message: FrameMessage, receipt: Receipt) -> None:
            turns.append(self.name)

        def room(self) -> None:
            ingest.add(message(), self)
            ingest.call_when_room(self)

    nursery.start_soon(ingest.write)
    await ingest.store(message())
    for name in "abc":
        ingest.call_when_room(Eager(name))
    await ingest.store(message())
    await trio.sleep(6.5)
    assert "".join(turns) == "abcabc"


async def test_owners_learn_of_a_commit_once_and_after_all_its_messages(nursery, autojump_clock):
    """So that the replies of a commit leave together."""
    tally, other = Tally(), Tally()
    ingest = ingest_into(SlowStore(MemoryStore(), 1), commit_max_messages=4)
    for number in range(6):
        await tally.submit(ingest, message(number=number), number)
        await other.submit(ingest, message("other"), number)
    nursery.start_soon(ingest.write)
    await ingest.flush()
    assert tally.commits == other.commits == [2, 4, 6]


async def test_a_new_epoch_of_the_store_is_made_known_before_what_is_stored_in_it(nursery, autojump_clock):
    store, heard = MemoryStore(), []
    settings, metrics = Settings(_env_file=None), Metrics()
    archive = Archive(store, settings, metrics)
    ingest = Ingest(store, archive, settings, metrics, heard.append)
    nursery.start_soon(ingest.write)
    doubtful = []
    for epoch in ("epoch", "epoch", "another", "another"):
        store.epoch = epoch
        await ingest.store(message())
        doubtful.append("exam" in archive._behind)
        archive._behind.clear()
    assert heard == ["epoch", "another"]
    assert doubtful == [True, False, True, False], "a group may have been stored in part before"
    assert [stored.epoch for stored in archive._pending] == ["epoch", "another"]


async def test_commits_under_load_are_milliseconds_apart(nursery, autojump_clock):
    """So that more messages share one; a single message does not wait."""
    store, tally = MemoryStore(), Tally()
    ingest = ingest_into(store)
    nursery.start_soon(ingest.write)
    began = trio.current_time()
    await ingest.store(message())
    assert trio.current_time() == began
    for number in range(20):
        await tally.submit(ingest, message(), number)
        await trio.sleep(0.00102)  # so that none comes at the very time of a commit
    await ingest.flush()
    assert [len(commit) for commit in store.commits] == [1, 5, 5, 5, 5]


async def test_a_commit_is_bounded_in_messages_and_in_bytes(nursery, autojump_clock):
    """What the store makes of it takes memory too."""
    store, tally = MemoryStore(), Tally()
    ingest = ingest_into(store, commit_max_messages=3)
    sizes = [10, 10, 10, 10, 2**21, 2**21, 10, 5 * 2**20, 10]
    for number, size in enumerate(sizes):
        await tally.submit(ingest, message(text="x" * size), number)
    nursery.start_soon(ingest.write)
    await ingest.flush()
    assert [len(commit) for commit in store.commits] == [3, 3, 2, 1]


async def test_flush_of_nothing_does_not_wait():
    with trio.fail_after(1):
        await ingest_into(MemoryStore()).flush()


async def test_while_the_store_is_down_everything_waits_and_nothing_is_lost(nursery, autojump_clock):
    """Retries come at growing distances of at most some seconds; nothing is settled before its commit."""
    store, tally = MemoryStore(), Tally()
    failing = FailingStore(store)
    failing.down = True
    ingest = ingest_into(failing)
    nursery.start_soon(ingest.write)
    for number in range(20):
        await tally.submit(ingest, message(seq=number), number)
    await trio.sleep(60)
    assert not tally.outcomes
    assert 60 / 3 < failing.attempts < 60
    failing.down = False
    with trio.fail_after(3):
        await ingest.flush()
    assert tally.outcomes == [(number, Outcome.STORED) for number in range(20)]
    assert (await store.read("exam")).stored == 20


async def test_of_a_partly_stored_commit_the_refused_part_is_tried_again(nursery, autojump_clock):
    """What was stored is settled at once, and not stored a second time; each session keeps its order."""
    store, tally = MemoryStore(), Tally()
    half = HalfFailingStore(store, "bad")
    ingest = ingest_into(half)
    for number in range(6):
        session_id = ("good", "bad")[number % 2]
        await tally.submit(ingest, message(session_id, number=number), number)
    nursery.start_soon(ingest.write)
    await trio.sleep(0.1)
    assert tally.names == [0, 2, 4]
    half.refused.clear()
    await ingest.flush()
    assert tally.names == [0, 2, 4, 1, 3, 5]
    for session_id, numbers in (("good", [0, 2, 4]), ("bad", [1, 3, 5])):
        page = await store.read(session_id)
        assert [json.loads(frame)["number"] for frame in page.frames] == numbers


async def test_a_refused_session_does_not_keep_others_from_being_stored(nursery, autojump_clock):
    """However long it stays refused, and however much of it there is."""
    ingest = ingest_into(HalfFailingStore(MemoryStore(), "bad"), commit_max_messages=2)
    nursery.start_soon(ingest.write)
    for _ in range(3):
        await Tally().submit(ingest, message("bad", text="x" * 2**21), None)
    for _ in range(20):
        with trio.fail_after(1):
            assert (await ingest.store(message("good"))).outcome is Outcome.STORED


async def test_flush_waits_for_what_was_refused_though_later_messages_are_stored(nursery, autojump_clock):
    """Counting settled messages would let the later ones stand in for the earlier."""
    half, tally = HalfFailingStore(MemoryStore(), "bad"), Tally()
    ingest = ingest_into(half)
    nursery.start_soon(ingest.write)
    await tally.submit(ingest, message("bad"), "bad")
    flushed = trio.Event()

    async def flush() -> None:
        await ingest.flush()
        flushed.set()

    nursery.start_soon(flush)
    for _ in range(3):
        await ingest.store(message("good"))
    await trio.sleep(5)
    assert not flushed.is_set()
    half.refused.clear()
    await flushed.wait()
    assert tally.names == ["bad"]


async def test_a_writer_that_fails_goes_on_with_what_it_had_in_hand(nursery, autojump_clock):
    """Under the supervisor nothing is lost and nothing stored twice."""
    store, tally, supervisor = MemoryStore(), Tally(), Supervisor()
    ingest = ingest_into(BrokenStore(store, healthy=1), commit_max_messages=2)
    nursery.start_soon(supervisor.run, "ingest", ingest.write)
    for number in range(6):
        await tally.submit(ingest, message(number=number), number)
    await trio.sleep(0.1)
    assert tally.names == [0, 1]
    assert supervisor.failures == {"ingest": "RuntimeError: broken on purpose"}
    await ingest.flush()
    assert tally.names == list(range(6))
    assert (await store.read("exam")).stored == 6


async def test_a_writer_that_is_cancelled_in_a_commit_leaves_it_to_the_next(autojump_clock):
    """The commit may have happened, but nobody was told so: it is repeated, and seqs keep it single."""
    store, tally = MemoryStore(), Tally()
    ingest = ingest_into(SlowStore(store, 1))
    await tally.submit(ingest, message(seq=1), 1)
    with trio.move_on_after(0.5):
        await ingest.write()
    assert not tally.outcomes
    with trio.move_on_after(2):
        await ingest.write()
    assert tally.outcomes == [(1, Outcome.STORED)]


async def test_the_metrics_show_what_waits_and_what_was_stored(nursery, autojump_clock):
    metrics = Metrics()
    ingest = ingest_into(SlowStore(MemoryStore(), 1), metrics, commit_max_messages=2)
    for number in range(3):
        await Tally().submit(ingest, message(seq=number), None)
    nursery.start_soon(ingest.write)
    await trio.sleep(0.5)
    assert "proctor_ingest_waiting_messages 3.0" in metrics.render().decode()
    await ingest.flush()
    shown = metrics.render().decode()
    assert "proctor_ingest_waiting_messages 0.0" in shown
    assert "proctor_frames_stored_total 3.0" in shown
    assert 'proctor_messages_total{outcome="stored"} 3.0' in shown
    assert "proctor_commit_messages_count 2.0" in shown


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2)), min_size=1, max_size=25),
    st.lists(st.sampled_from(["ok", "down", "refuse a", "refuse bc"]), max_size=12),
    st.integers(1, 5),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_fails_each_message_is_stored_once_and_settled_once(arrivals, faults, commit_max):
    """In each session's order, with ids that have no gap, once the store is well again."""

    async def scenario() -> None:
        store, tally = MemoryStore(), Tally()
        ingest = ingest_into(Faulty(store, faults), commit_max_messages=commit_max, ingest_buffer_messages=4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.write)
            for number, (session_id, pause) in enumerate(arrivals):
                await trio.sleep(pause)
                await tally.submit(ingest, message(session_id, number=number), number)
            await ingest.flush()
            nursery.cancel_scope.cancel()
        assert sorted(tally.names) == list(range(len(arrivals)))
        for name in "abc":
            frames = (await store.read(name)).frames
            expected = [number for number, (session_id, _) in enumerate(arrivals) if session_id == name]
            assert [json.loads(frame)["number"] for frame in frames] == expected
            assert [frame_id_of(frame) for frame in frames] == [FrameId(NOW, n) for n in range(len(frames))]

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


class Faulty(HalfFailingStore):
    """Goes through a list of faults, one at each commit, and is well afterwards."""

    def __init__(self, inner: MemoryStore, faults: list[str]) -> None:
        super().__init__(inner)
        self.faults = list(faults)

    async def append(self, messages: list[FrameMessage]) -> list[Receipt]:
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault == "down":
            raise Unavailable("frame store: down on purpose")
        self.refused = set(fault.removeprefix("refuse ")) if fault.startswith("refuse") else set()
        return await super().append(messages)


@pytest.mark.parametrize("count", [1, 500])
async def test_store_answers_each_caller_for_itself(nursery, autojump_clock, count):
    ingest = ingest_into(SlowStore(MemoryStore(), 0.01), ingest_buffer_messages=10)
    nursery.start_soon(ingest.write)
    outcomes: dict[int, Outcome] = {}

    async def store(number: int) -> None:
        outcomes[number] = (await ingest.store(message(seq=number // 2))).outcome

    async with trio.open_nursery() as callers:
        for number in range(2 * count):
            callers.start_soon(store, number)
    assert sorted(outcome.name for outcome in outcomes.values()) == ["DUPLICATE"] * count + ["STORED"] * count
