"""One client's connection, at exact times: replies, heartbeats, and each way in which it can end."""

import json
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proctor.archive import Archive
from proctor.clock import ClientClock
from proctor.connection import DRAIN_SECONDS, QUIET_SECONDS, UNSETTLED_MAX, Connection
from proctor.ingest import Ingest
from proctor.metrics import Metrics
from proctor.pace import Allowance, Pace
from proctor.settings import Settings
from proctor.storage.frames import FrameMessage, Outcome, Receipt, ResumePoint
from proctor.times import iso_from_ms
from proctor.wire import CloseCode
from tests.fakes import FailingStore, FakeSocket, HalfFailingStore, MemoryStore, SlowStore

NOW = 1_767_603_600_000
SESSION = "exam"


class Stage:
    """A connection with its client, and a wall clock that goes with Trio's."""

    def __init__(self, store: Any, *, allowance: Allowance | None = None, **settings: object) -> None:
        self.store = store
        self.settings = Settings(_env_file=None, **settings)
        self.allowance = allowance or Allowance(self.settings)
        self.metrics = Metrics()
        self.resume_point = ResumePoint(None, "epoch")
        archive = Archive(store, self.settings, self.metrics)
        self.ingest = Ingest(
            store, archive, self.settings, self.metrics, lambda epoch: self.connection.renew(epoch)
        )
        self.socket = FakeSocket()
        self._began = trio.current_time()
        self.connection = Connection(
            self.socket,
            SESSION,
            clock=ClientClock(),
            pace=Pace(self.allowance),
            ingest=self.ingest,
            settings=self.settings,
            metrics=self.metrics,
            now_ms=self.now_ms,
        )
        self.ended = trio.Event()

    def now_ms(self) -> int:
        return NOW + round((trio.current_time() - self._began) * 1000)

    async def run(self) -> None:
        await self.connection.run(self.resume_point)
        self.ended.set()

    async def stored(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in (await self.store.read(SESSION)).frames]

    def start(self, nursery: trio.Nursery) -> "Stage":
        nursery.start_soon(self.ingest.write)
        nursery.start_soon(self.run)
        return self


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def stage(store, nursery, autojump_clock) -> Stage:
    return Stage(store).start(nursery)


def frame(seq: int | None = None, **features: object) -> dict[str, object]:
    return {"extracted_features": features} | ({} if seq is None else {"seq": seq})


async def test_a_silent_client_hears_a_heartbeat_every_ten_seconds(stage, autojump_clock):
    """At exactly these times, with exactly the three documented keys."""
    await trio.sleep(35)
    assert stage.socket.told == [
        (
            at,
            {"type": "heartbeat", "session_id": SESSION, "timestamp": iso_from_ms(NOW + round(at * 1000))},
        )
        for at in (10.0, 20.0, 30.0)
    ]


async def test_a_client_is_told_first_what_is_stored_of_its_messages(store, nursery, autojump_clock):
    """At once; and again when the store was emptied, before anything that is stored in it then."""
    stage = Stage(store)
    stage.resume_point = ResumePoint(7, "epoch")
    stage.start(nursery)
    await trio.sleep(1)
    stage.store.epoch = "another"
    stage.socket.say(frame(1))
    await trio.sleep(1)
    told = {"type": "resume", "session_id": SESSION}
    assert stage.socket.received == [
        (0.0, told | {"last_seq": 7, "epoch": "epoch"}),
        (1.0, told | {"last_seq": None, "epoch": "another"}),
        (1.0, {"type": "ack", "seq": 1}),
    ]


async def test_heartbeats_keep_their_rhythm_while_replies_are_sent(stage, autojump_clock):
    for number in range(70):
        stage.socket.say(frame(number))
        await trio.sleep(0.5)
    beats = [at for at, message in stage.socket.told if message["type"] == "heartbeat"]
    assert beats == [10.0, 20.0, 30.0]
    assert stage.socket.acked == list(range(70))


async def test_a_heartbeat_that_was_held_up_does_not_shift_the_next_ones(stage, autojump_clock):
    stage.socket.stall()
    stage.socket.say(frame(1))
    await trio.sleep(13)
    stage.socket.read_on()
    await trio.sleep(20)
    assert [(at, message["type"]) for at, message in stage.socket.told] == [
        (13.0, "ack"),
        (13.0, "heartbeat"),
        (20.0, "heartbeat"),
        (30.0, "heartbeat"),
    ]


async def test_an_acknowledgement_follows_its_commit(store, nursery, autojump_clock):
    stage = Stage(SlowStore(store, 2)).start(nursery)
    stage.socket.say(frame(1))
    await trio.sleep(1.9)
    assert stage.socket.told == []
    await trio.sleep(0.2)
    assert stage.socket.told == [(2.0, {"type": "ack", "seq": 1})]
    assert len(await stage.stored()) == 1


async def test_nothing_is_acknowledged_while_the_store_is_down(store, nursery, autojump_clock):
    """Heartbeats go on, and what waited is acknowledged when the store is back."""
    failing = FailingStore(store)
    failing.down = True
    stage = Stage(failing).start(nursery)
    stage.socket.say(*(frame(number) for number in range(5)))
    await trio.sleep(31)
    assert [message["type"] for _, message in stage.socket.told] == ["heartbeat"] * 3
    failing.down = False
    await trio.sleep(7)
    assert stage.socket.acked == list(range(5))


async def test_each_seq_is_acknowledged_once_each_time_it_is_sent_and_stored_once(stage, autojump_clock):
    stage.socket.say(frame(1), frame(2), frame(1), frame(1), frame(3), frame(), frame())
    await trio.sleep(1)
    assert stage.socket.acked == [1, 2, 1, 1, 3]
    assert len(await stage.stored()) == 5


async def test_a_batch_is_acknowledged_as_one_message(stage, autojump_clock):
    stage.socket.say({"type": "batch", "seq": 5, "frames": [{"face_x": number} for number in range(4)]})
    await trio.sleep(1)
    assert stage.socket.acked == [5]
    assert [stored["face_x"] for stored in await stage.stored()] == [0, 1, 2, 3]


async def test_a_seq_with_other_content_is_an_error_and_the_first_stands(stage, autojump_clock):
    stage.socket.say(frame(1, face_x=1), frame(1, face_x=2))
    await trio.sleep(1)
    (error,) = stage.socket.messages("error")
    assert (error["code"], error["seq"]) == ("seq_conflict", 1)
    assert stage.socket.acked == [1]
    assert [stored["face_x"] for stored in await stage.stored()] == [1]


@pytest.mark.parametrize("message", ["", b"", "[]", b"\xff", "{", "[" * 60_000])
async def test_what_cannot_be_used_is_answered_and_the_connection_goes_on(stage, message, autojump_clock):
    """Also the empty message."""
    stage.socket.say(message, frame(1))
    await trio.sleep(1)
    (error,) = stage.socket.messages("error")
    assert error.keys() == {"type", "code", "detail"}
    assert error["code"] in ("invalid_json", "invalid_message")
    assert stage.socket.acked == [1]
    assert stage.socket.closed is None


async def test_an_error_names_the_message_by_its_seq(stage, autojump_clock):
    stage.socket.say({"seq": 4, "extracted_features": {"face_x": "left"}}, {"seq": 5, "type": "video"})
    await trio.sleep(1)
    errors = [(error["code"], error["seq"]) for error in stage.socket.messages("error")]
    assert errors == [("invalid_feature", 4), ("unknown_type", 5)]
    assert await stage.stored() == []
    assert 'proctor_message_errors_total{code="unknown_type"} 1.0' in stage.metrics.render().decode()


async def test_a_clock_message_is_answered_and_places_the_frames_after_it(stage, autojump_clock):
    """A frame the client made 5 s before it said what time it has is stored 5 s earlier."""
    stage.socket.say({"type": "clock", "timestamp": 1_000_000}, {**frame(), "ts": 995_000})
    await trio.sleep(1)
    assert stage.socket.messages("clock") == [
        {"type": "clock", "timestamp": 1_000_000, "server_timestamp": iso_from_ms(NOW)}
    ]
    (stored,) = await stage.stored()
    assert stored["timestamp"] == iso_from_ms(NOW - 5000)
    assert stored["received_at"] == iso_from_ms(NOW)


async def test_whatever_time_a_client_claims_its_connection_goes_on(stage, autojump_clock):
    """One frame from the year 5138 must not move the next one out of the calendar."""
    stage.socket.say({**frame(1), "ts": 99_999_999_999_999}, {**frame(2), "ts": 0})
    await trio.sleep(1)
    assert stage.socket.acked == [1, 2]
    assert [stored["timestamp"] for stored in await stage.stored()] == [iso_from_ms(NOW)] * 2


async def test_a_flood_of_unusable_messages_closes_with_1008(store, nursery, autojump_clock):
    stage = Stage(store, invalid_messages_max=10).start(nursery)
    stage.socket.say(*["nonsense"] * 9)
    await trio.sleep(1)
    assert stage.socket.closed is None
    stage.socket.say(*["nonsense"] * 500)
    with trio.fail_after(1):
        await stage.ended.wait()
    assert stage.socket.closed == (CloseCode.FLOOD, "flood")
    assert len(stage.socket.messages("error")) == 10
    assert not stage.socket.messages("session_ended")


async def test_unusable_messages_over_more_than_a_minute_are_no_flood(store, nursery, autojump_clock):
    stage = Stage(store, invalid_messages_max=10).start(nursery)
    for _ in range(100):
        stage.socket.say("nonsense")
        await trio.sleep(6.7)
    assert stage.socket.closed is None


async def test_while_the_ingest_buffer_is_full_nothing_is_read(store, nursery, autojump_clock):
    failing = FailingStore(store)
    failing.down = True
    stage = Stage(failing, ingest_buffer_messages=3, commit_max_messages=2).start(nursery)
    stage.socket.say(*(frame(number) for number in range(20)))
    await trio.sleep(5)
    assert 20 - stage.socket.unread == 3 + 1  # in the buffer, and held
    assert not stage.socket.reading
    failing.down = False
    await trio.sleep(10)
    assert stage.socket.acked == list(range(20))


async def test_the_time_of_receipt_is_when_the_message_came_not_when_there_was_room(
    store, nursery, autojump_clock
):
    """Also for what is held when intake stops, which is taken in then."""
    failing = FailingStore(store)
    failing.down = True
    stage = Stage(failing, ingest_buffer_messages=1, commit_max_messages=1).start(nursery)
    stage.socket.say_at_once(*(frame(number) for number in range(3)))
    await trio.sleep(5)
    nursery.start_soon(stage.connection.stop_intake)
    await trio.sleep(1)
    failing.down = False
    await trio.sleep(10)
    assert {stored["received_at"] for stored in await stage.stored()} == {iso_from_ms(NOW)}
    assert stage.socket.acked == [0, 1, 2]


@pytest.mark.parametrize("hanging", [False, True])
async def test_a_client_that_leaves_ends_its_connection_at_once(store, nursery, autojump_clock, hanging):
    """Also while replies to it hang; everything it had sent is stored."""
    stage = Stage(store).start(nursery)
    if hanging:
        stage.socket.stall()
    stage.socket.say(*(frame(number) for number in range(50)))
    stage.socket.leave()
    with trio.fail_after(0.01):
        await stage.ended.wait()
    await stage.ingest.flush()
    assert len(await stage.stored()) == 50
    assert stage.socket.closed is None
    assert "proctor_connections 0.0" in stage.metrics.render().decode()


async def test_the_end_of_the_session_reaches_a_silent_client(stage, autojump_clock):
    """At once, with the documented message, then a close that is no error."""
    await trio.sleep(3)
    stage.connection.finish(CloseCode.SESSION_ENDED)
    with trio.fail_after(0.01):
        await stage.ended.wait()
    ended = {"type": "session_ended", "session_id": SESSION, "timestamp": iso_from_ms(NOW + 3000)}
    assert stage.socket.told == [(3.0, ended)]
    assert stage.socket.closed == (1000, "session_ended")


async def test_the_end_comes_after_what_is_owed(store, nursery, autojump_clock):
    """Acknowledgements of a commit under way, then `session_ended`, then the close."""
    stage = Stage(SlowStore(store, 2)).start(nursery)
    stage.socket.say("nonsense", frame(1), frame(2))
    await trio.sleep(0.1)
    stage.connection.finish(CloseCode.SESSION_ENDED)
    await stage.ended.wait()
    assert [message["type"] for _, message in stage.socket.told] == [
        "error",
        "ack",
        "ack",
        "session_ended",
    ]
    assert stage.socket.closed == (1000, "session_ended")


def restarting(stage: Stage) -> bool:
    """Whether the client was sent away until a moment of its own."""
    code, reason = stage.socket.closed or (0, "")
    name, _, retry_ms = reason.partition("; retry_after_ms=")
    spread_ms = stage.settings.reconnect_spread_seconds * 1000
    return (code, name) == (1012, "restarting") and 0 <= int(retry_ms) <= spread_ms


async def test_clients_of_a_server_that_stops_are_told_to_come_back_spread_out(nursery, autojump_clock):
    """Evenly over the setting's time; with none, at once."""
    reasons = []
    for seconds in (60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 0):
        stage = Stage(MemoryStore(), reconnect_spread_seconds=seconds).start(nursery)
        stage.connection.finish(CloseCode.RESTARTING)
        assert restarting(stage)
        reasons.append(stage.socket.closed[1])
    assert reasons.pop() == "restarting; retry_after_ms=0"
    times_ms = [int(reason.rpartition("=")[2]) for reason in reasons]
    assert max(times_ms) - min(times_ms) > 10_000  # fails once in a million times
    assert len(set(times_ms)) > 5


async def test_only_the_end_of_the_session_is_announced_as_such(stage, autojump_clock):
    stage.connection.finish(CloseCode.RESTARTING)
    stage.connection.finish(CloseCode.SESSION_ENDED)
    await stage.ended.wait()
    assert stage.socket.told == []
    assert restarting(stage)


async def test_a_frame_for_a_sealed_session_ends_the_connection(stage, store, autojump_clock):
    """However the end came about, its clients learn of it; the frame is not acknowledged."""
    await store.seal(SESSION)
    stage.socket.say(frame(1))
    await stage.ended.wait()
    assert [message["type"] for _, message in stage.socket.told] == ["session_ended"]
    assert stage.socket.closed == (1000, "session_ended")


async def test_stopping_intake_takes_in_what_has_arrived(store, nursery, autojump_clock):
    """Everything that was sent before, and nothing after."""
    stage = Stage(SlowStore(store, 0.2), ingest_buffer_messages=10, commit_max_messages=5).start(nursery)
    stage.socket.say(*(frame(number) for number in range(20)))
    await trio.sleep(0.1)
    await stage.connection.stop_intake()
    stage.socket.say(frame(99))
    await stage.ingest.flush()
    stage.connection.finish(CloseCode.SESSION_ENDED)
    await stage.ended.wait()
    assert stage.socket.acked == list(range(20))
    assert len(await stage.stored()) == 20


async def test_stopping_intake_of_a_silent_client_is_quick_and_of_a_busy_one_bounded(
    stage, nursery, autojump_clock
):
    await trio.sleep(1)
    began = trio.current_time()
    await stage.connection.stop_intake()
    assert trio.current_time() - began == pytest.approx(QUIET_SECONDS)

    busy = Stage(stage.store).start(nursery)

    async def talk() -> None:
        while True:
            busy.socket.say(frame())
            await trio.sleep(QUIET_SECONDS / 2)

    nursery.start_soon(talk)
    await trio.sleep(1)
    began = trio.current_time()
    await busy.connection.stop_intake()
    assert trio.current_time() - began == pytest.approx(DRAIN_SECONDS, abs=QUIET_SECONDS)
    nursery.cancel_scope.cancel()


async def test_stopping_intake_that_is_cancelled_may_be_asked_for_again(stage, autojump_clock):
    with trio.move_on_after(QUIET_SECONDS / 2):
        await stage.connection.stop_intake()
    stage.socket.say(frame(1))
    with trio.fail_after(DRAIN_SECONDS):
        await stage.connection.stop_intake()
    stage.socket.say(frame(2))
    await trio.sleep(1)
    assert stage.socket.acked == [1]


async def test_stopping_intake_may_be_asked_for_again_and_after_the_end(stage, autojump_clock):
    await stage.connection.stop_intake()
    await stage.connection.stop_intake()
    stage.connection.finish(CloseCode.SESSION_ENDED)
    await stage.ended.wait()
    await stage.connection.stop_intake()


async def test_heartbeats_go_on_between_the_stop_of_intake_and_the_end(stage, autojump_clock):
    await stage.connection.stop_intake()
    await trio.sleep(25)
    assert len(stage.socket.messages("heartbeat")) == 2


async def test_a_connection_that_was_finished_before_it_ran_closes_at_once(store, autojump_clock):
    stage = Stage(store)
    stage.connection.finish(CloseCode.RESTARTING)
    with trio.fail_after(0.01):
        await stage.run()
    assert restarting(stage)


async def test_a_client_whose_messages_wait_for_the_store_hears_goodbye_as_well(
    store, nursery, autojump_clock
):
    """When the time to drain is over, its connection is cancelled."""
    stage = Stage(FailingStore(store), ingest_buffer_messages=2)
    stage.store.down = True
    nursery.start_soon(stage.ingest.write)
    stage.socket.say(*map(frame, range(1, 9)))
    with trio.move_on_after(3):
        async with trio.open_nursery() as draining:
            draining.start_soon(stage.run)
            await trio.sleep(1)
            await stage.connection.stop_intake()
    assert restarting(stage)
    assert stage.socket.acked == []


async def test_a_refused_part_of_a_commit_is_acknowledged_when_it_is_stored(store, nursery, autojump_clock):
    half = HalfFailingStore(store, SESSION)
    stage = Stage(half).start(nursery)
    stage.socket.say(frame(1), frame(2))
    await trio.sleep(5)
    assert stage.socket.acked == []
    half.refused.clear()
    await trio.sleep(1)
    assert stage.socket.acked == [1, 2]


async def test_an_error_in_the_server_ends_the_connection_as_an_error(store, autojump_clock, monkeypatch):
    """It leaves `run`, whose caller knows how to close; and whoever waits for the intake is let go."""
    stage = Stage(store)
    monkeypatch.setattr(stage.socket, "receive", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await stage.run()
    await stage.connection.stop_intake()
    assert "proctor_connections 0.0" in stage.metrics.render().decode()


OUTCOMES = st.sampled_from([Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT])


@given(st.lists(OUTCOMES, min_size=1, max_size=12), st.data())
@hypothesis_settings(deadline=None)
def test_no_reply_passes_an_earlier_message_that_is_not_settled(outcomes, data):
    """In whatever order the store settles a connection's messages, each with whatever outcome."""
    order = data.draw(st.permutations(range(len(outcomes))))

    async def scenario() -> None:
        stage = Stage(MemoryStore())
        taken: list[FrameMessage] = []
        stage.ingest.add = lambda message, _: taken.append(message)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.run)
            stage.socket.say(*(frame(number) for number in range(len(outcomes))))
            await trio.testing.wait_all_tasks_blocked()
            settled: set[int] = set()
            for number in order:
                stage.connection.settle(taken[number], Receipt(outcomes[number]))
                stage.connection.commit_settled()
                settled.add(number)
                first_open = next((n for n in range(len(outcomes)) if n not in settled), len(outcomes))
                assert [message["seq"] for _, message in stage.socket.told] == list(range(first_open))
            kinds = ["error" if outcome is Outcome.CONFLICT else "ack" for outcome in outcomes]
            assert [message["type"] for _, message in stage.socket.told] == kinds
            nursery.cancel_scope.cancel()

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_the_end_waits_for_what_was_overtaken(stage, autojump_clock):
    """Later messages are stored, an earlier one is not yet: until it is, no acknowledgement and no close."""
    taken: list[FrameMessage] = []
    stage.ingest.add = lambda message, _: taken.append(message)
    stage.socket.say(frame(1), frame(2), frame(3))
    await trio.sleep(1)
    for message in taken[1:]:
        stage.connection.settle(message, Receipt(Outcome.STORED))
    stage.connection.commit_settled()
    stage.connection.finish(CloseCode.SESSION_ENDED)
    await trio.sleep(1)
    assert stage.socket.told == []
    assert stage.socket.closed is None
    stage.connection.settle(taken[0], Receipt(Outcome.STORED))
    stage.connection.commit_settled()
    with trio.fail_after(0.01):
        await stage.ended.wait()
    assert stage.socket.acked == [1, 2, 3]
    assert stage.socket.closed == (1000, "session_ended")


async def test_what_is_never_settled_holds_up_the_end_for_seconds_only(stage, autojump_clock):
    stage.ingest.add = lambda message, _: None
    stage.socket.say(frame(1))
    await trio.sleep(1)
    stage.connection.finish(CloseCode.SESSION_ENDED)
    with trio.fail_after(5.01):
        await stage.ended.wait()
    assert trio.current_time() == pytest.approx(6.0)
    assert stage.socket.acked == []
    assert stage.socket.closed == (1000, "session_ended")


async def test_a_client_has_only_so_many_messages_on_their_way(store, nursery, autojump_clock):
    """Its socket is not read then, though the buffer has room for others; all are stored in the end."""
    failing = FailingStore(store)
    failing.down = True
    stage = Stage(failing).start(nursery)
    stage.socket.say(*(frame(number) for number in range(UNSETTLED_MAX + 100)))
    await trio.sleep(5)
    assert stage.socket.unread == 100 - 1  # one is held
    assert stage.ingest.has_room
    failing.down = False
    await trio.sleep(10)
    assert stage.socket.acked == list(range(UNSETTLED_MAX + 100))
    assert stage.socket.reading


async def test_what_one_read_brings_is_held_whole_and_kept_in_order(store, nursery, autojump_clock):
    failing = FailingStore(store)
    failing.down = True
    stage = Stage(failing, ingest_buffer_messages=3).start(nursery)
    stage.socket.say_at_once(*(frame(number) for number in range(20)))
    stage.socket.say(frame(20))
    await trio.sleep(5)
    assert stage.socket.unread == 1
    failing.down = False
    await trio.sleep(10)
    assert stage.socket.acked == list(range(21))
    assert [each["received_at"] for each in (await stage.stored())[:20]] == [iso_from_ms(NOW)] * 20


async def test_a_numbered_clock_message_is_acknowledged_in_its_turn_and_leaves_no_gap(stage, autojump_clock):
    """It is no frame, but a client that numbers everything it sends goes on after it."""
    stage.socket.say(frame(1), {"type": "clock", "timestamp": NOW, "seq": 2}, frame(3))
    await trio.sleep(1)
    assert stage.socket.acked == [1, 2, 3]
    assert len(stage.socket.messages("clock")) == 1
    assert len(await stage.stored()) == 2
    assert (await stage.store.resume_point(SESSION)).last_seq == 3


class TestPace:
    """A client that sends more than its frames per second is read more slowly."""

    @pytest.fixture
    async def slow(self, store, nursery, autojump_clock) -> Stage:
        """Ten frames per second, 300 at once; a single unusable message would be a flood."""
        limits = {"max_frames_per_second": 10, "batch_max_frames": 100, "invalid_messages_max": 1}
        return Stage(store, **limits).start(nursery)

    async def test_what_is_over_the_limit_waits_and_nothing_is_lost(self, slow, autojump_clock):
        """The message that goes over it is taken whole. Heartbeats go on, and nobody is thrown out."""
        slow.socket.say(*(batch(number) for number in range(7)), frame(7))
        await trio.sleep(9.9)
        assert slow.socket.acked == [0, 1, 2, 3]
        assert slow.socket.unread == 4
        assert not slow.socket.reading
        await trio.sleep(40)
        assert [at for at, message in slow.socket.told if message["type"] == "ack"] == pytest.approx(
            [0.0] * 4 + [10.0, 20.0, 30.0, 40.0], abs=0.01
        )
        assert slow.socket.acked == list(range(8))
        assert slow.socket.reading
        assert slow.socket.closed is None
        assert len(slow.socket.messages("heartbeat")) == 4
        markers = [stored["marker"] for stored in await slow.stored() if "marker" in stored]
        assert markers == [[seq, place] for seq in range(7) for place in range(100)]

    async def test_a_backlog_within_the_burst_is_not_held_up(self, slow, autojump_clock):
        slow.socket.say(*(batch(number) for number in range(3)))
        await trio.sleep(1)
        assert slow.socket.acked == [0, 1, 2]
        assert slow.socket.messages("error") == []
        for seq in range(3, 103):
            slow.socket.say(frame(seq))
            await trio.sleep(0.1)
        assert slow.socket.acked == list(range(103))
        assert slow.socket.messages("error") == []

    async def test_it_is_told_once_until_it_has_kept_to_the_limit_for_a_while(self, slow, autojump_clock):
        """However long it goes on."""
        slow.socket.say(*(batch(number) for number in range(13)))
        await trio.sleep(1)
        (error,) = slow.socket.messages("error")
        assert error.keys() == {"type", "code", "detail"}
        assert error["code"] == "too_fast"
        assert "10 frames per second (MAX_FRAMES_PER_SECOND)" in error["detail"]
        await trio.sleep(104)
        assert slow.socket.acked == list(range(13))
        slow.socket.say(batch(13))
        await trio.sleep(7)
        assert len(slow.socket.messages("error")) == 1
        await trio.sleep(10)
        slow.socket.say(batch(14), batch(15), batch(16))
        await trio.sleep(1)
        assert [error["code"] for error in slow.socket.messages("error")] == ["too_fast"] * 2
        assert 'proctor_message_errors_total{code="too_fast"} 2.0' in slow.metrics.render().decode()

    async def test_what_one_read_brings_is_held_in_order_with_its_time_of_receipt(self, slow, autojump_clock):
        slow.socket.say_at_once(*(batch(number) for number in range(4)), *(frame(n) for n in range(4, 30)))
        await trio.sleep(9.9)
        assert slow.socket.acked == [0, 1, 2, 3]
        await trio.sleep(3)
        assert slow.socket.acked == list(range(30))
        assert {stored["received_at"] for stored in await slow.stored()} == {iso_from_ms(NOW)}

    async def test_what_was_held_is_paid_for_before_more_is_read(self, slow, autojump_clock):
        slow.socket.say_at_once(*(batch(number) for number in range(5)))
        slow.socket.say(frame(5))
        await trio.sleep(19.9)
        assert slow.socket.acked == [0, 1, 2, 3, 4]
        assert slow.socket.unread == 1
        assert not slow.socket.reading
        await trio.sleep(0.2)
        assert slow.socket.acked == [0, 1, 2, 3, 4, 5]

    async def test_the_end_does_not_wait_for_the_pace(self, slow, autojump_clock):
        """Neither for what is held nor for what is not read yet."""
        slow.socket.say(*(batch(number) for number in range(4)))
        slow.socket.say_at_once(*(batch(number) for number in range(4, 7)))
        slow.socket.say(*(batch(number) for number in range(7, 20)))
        await trio.sleep(1)
        assert slow.socket.acked == [0, 1, 2, 3]
        with trio.fail_after(DRAIN_SECONDS):
            await slow.connection.stop_intake()
        await slow.ingest.flush()
        slow.connection.finish(CloseCode.SESSION_ENDED)
        with trio.fail_after(0.01):
            await slow.ended.wait()
        assert slow.socket.acked == list(range(20))
        assert slow.socket.closed == (1000, "session_ended")

    async def test_whoever_leaves_meanwhile_loses_nothing_that_was_read(self, slow, store, autojump_clock):
        """Also what the store has no room for at that moment."""
        slow.socket.say_at_once(*(batch(number) for number in range(4)), *(frame(n) for n in range(4, 100)))
        await trio.sleep(1)
        slow.socket.gone.set()
        with trio.fail_after(0.01):
            await slow.ended.wait()
        await trio.sleep(1)
        assert (await store.resume_point(SESSION)).last_seq == 99
        assert len(await slow.stored()) == 496

    async def test_whoever_comes_back_waits_until_it_is_paid(self, slow, store, nursery, autojump_clock):
        """And is told so at once; not even what came right behind the handshake is taken meanwhile."""
        slow.socket.say(*(batch(number) for number in range(4)))
        await trio.sleep(1)
        slow.socket.gone.set()
        again = Stage(store, allowance=slow.allowance, max_frames_per_second=10, batch_max_frames=100)
        again.socket.say_at_once(frame(4), frame(5))
        again.socket.say(frame(6))
        again.start(nursery)
        await trio.sleep(8.9)
        assert [error["code"] for error in again.socket.messages("error")] == ["too_fast"]
        assert again.socket.unread == 3
        await trio.sleep(0.5)
        assert again.socket.acked == [4, 5, 6]

    async def test_room_in_the_buffer_does_not_let_it_go_on(self, store, nursery, autojump_clock):
        """Nor does a debt that is paid as long as there is no room."""
        failing = FailingStore(store)
        failing.down = True
        limits = {"max_frames_per_second": 10, "batch_max_frames": 100, "ingest_buffer_messages": 4}
        stage = Stage(failing, **limits).start(nursery)
        stage.socket.say(*(batch(number) for number in range(4)))
        stage.socket.say_at_once(batch(4), batch(5))
        await trio.sleep(5)
        failing.down = False
        await trio.sleep(4.9)
        assert stage.socket.acked == [0, 1, 2, 3]
        failing.down = True
        await trio.sleep(20)
        assert stage.socket.acked == [0, 1, 2, 3]
        failing.down = False
        await trio.sleep(30)
        assert stage.socket.acked == list(range(6))

    async def test_without_a_limit_everything_is_read_at_once(self, store, nursery, autojump_clock):
        stage = Stage(store, max_frames_per_second=0).start(nursery)
        stage.socket.say(*(batch(number) for number in range(100)))
        await trio.sleep(1)
        assert stage.socket.acked == list(range(100))
        assert stage.socket.messages("error") == []

    async def test_clock_messages_count_as_well(self, slow, autojump_clock):
        slow.socket.say(*[{"type": "clock", "timestamp": NOW}] * 500)
        await trio.sleep(1.05)
        assert len(slow.socket.messages("clock")) == 301 + 10
        assert len(slow.socket.messages("error")) == 1

    async def test_a_clock_message_that_may_have_waited_moves_no_frames(self, slow, autojump_clock):
        """It is answered all the same, and counts again when the client has come to rest."""
        slow.socket.say({"type": "clock", "timestamp": NOW}, *(batch(number) for number in range(4)))
        slow.socket.say({"type": "clock", "timestamp": NOW}, {**frame(4, face_x=4), "timestamp": NOW + 1})
        await trio.sleep(30)
        assert [answer["server_timestamp"] for answer in slow.socket.messages("clock")] == [
            iso_from_ms(NOW),
            iso_from_ms(NOW + 10_100),
        ]
        slow.socket.say({"type": "clock", "timestamp": NOW}, {**frame(5, face_x=5), "timestamp": NOW + 2})
        await trio.sleep(1)
        times = {
            stored["face_x"]: stored["timestamp"] for stored in await slow.stored() if "face_x" in stored
        }
        assert times == {4: iso_from_ms(NOW + 1), 5: iso_from_ms(NOW + 30_002)}


def batch(seq: int) -> dict[str, object]:
    """A hundred frames, each of which says where it was."""
    return {"type": "batch", "seq": seq, "frames": [{"marker": [seq, place]} for place in range(100)]}
