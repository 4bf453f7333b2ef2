"""The simulated client against a server that can be made to fail: nothing is lost, nothing waits for ever."""

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from proctor.errors import Unavailable
from proctor.simulator import exam_taker
from proctor.simulator.api import START_PATIENCE_SECONDS, ExamApi
from proctor.simulator.client import ExamClock, ExamStream, frame_ms
from proctor.simulator.exam import Candidate, Outcome, take_exam
from proctor.simulator.scene import Span
from proctor.simulator.tally import Tally, percentile

FAST = 100_000.0
"""So fast that only the server and the window set the pace."""


class FlakyServer:
    """Stores and acknowledges messages as the contract says, except where a test makes it misbehave."""

    def __init__(self) -> None:
        self.url = ""
        self.epoch = "epoch"
        self.connections = 0
        self.clocks: list[dict] = []
        self.stored: dict[int, dict] = {}
        self.received: Counter[int] = Counter()
        self.misbehave: Callable[[dict, int], str | None] = lambda message, connection: None
        """Given a message and the number of its connection, from 1: what to do instead of acknowledging."""

    @property
    def frames(self) -> list[dict]:
        """Stored frames in the order of their numbers, unwrapped."""
        frames = []
        for _, message in sorted(self.stored.items()):
            frames += [
                part.get("event") or part["extracted_features"] for part in message.get("frames", [message])
            ]
        return frames

    async def serve(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_websocket, self._handle, "127.0.0.1", 0, None))
            self.url = f"ws://127.0.0.1:{server.port}/api/v1/session/ws/s"
            task_status.started(self)

    async def _handle(self, request: WebSocketRequest) -> None:
        self.connections += 1
        connection = self.connections
        if self.misbehave({}, connection) == "refuse":
            await request.reject(409)
            return
        socket = await request.accept()
        try:
            last = next(number for number in count(1) if number not in self.stored) - 1
            await self._tell(socket, "resume", session_id="s", last_seq=last or None, epoch=self.epoch)
            while True:
                message = json.loads(await socket.get_message())
                if message.get("type") == "clock":
                    self.clocks.append(message)
                elif not await self._answer(socket, message, connection):
                    return
        except ConnectionClosed:
            pass

    async def _answer(self, socket: WebSocketConnection, message: dict, connection: int) -> bool:
        seq = message["seq"]
        self.received[seq] += 1
        match self.misbehave(message, connection):
            case "close":
                return False
            case "store and close":
                self.stored.setdefault(seq, message)
                return False
            case "restart":
                self.stored.setdefault(seq, message)
                await socket.aclose(1012, "restarting; retry_after_ms=700")
                return False
            case "refuse message":
                await self._tell(socket, "error", code="invalid_feature", detail="", seq=seq)
            case "end":
                await self._tell(socket, "session_ended", session_id="s", timestamp="")
                return False
            case "be silent":
                self.stored.setdefault(seq, message)
            case _:
                self.stored.setdefault(seq, message)
                await self._tell(socket, "heartbeat", session_id="s", timestamp="")
                await self._tell(socket, "ack", seq=seq)
        return True

    async def _tell(self, socket: WebSocketConnection, kind: str, **fields: object) -> None:
        await socket.send_message(json.dumps({"type": kind, **fields}))


@pytest.fixture
async def server(nursery):
    return await nursery.start(FlakyServer().serve)


async def stream(server, taker, tally, *, speed=FAST, **options):
    clock = ExamClock(taker.seconds, speed)
    with trio.fail_after(20):
        await ExamStream(server.url, clock, tally, **options).run(taker.frames(clock.start_ms))
    return clock


def plain(frames):
    """Frames as they come out of JSON."""
    return json.loads(json.dumps(list(frames)))


async def test_all_frames_arrive_once_and_in_order_in_batches_when_fast(server):
    """What the server stored is, frame for frame, what the exam taker produced; events among them."""
    taker, tally = exam_taker("switches-tabs", 1, 5), Tally()
    clock = await stream(server, taker, tally)
    expected = plain(taker.frames(clock.start_ms))
    assert server.frames == expected
    assert any("event" in frame for frame in expected)
    assert tally.complete
    assert tally.frames_sent == tally.frames_acknowledged == len(expected)
    assert tally.messages_acknowledged == tally.messages_sent == len(tally.latencies) < len(expected) / 10
    assert tally.heartbeats == tally.messages_sent
    assert sorted(server.stored) == list(range(1, tally.messages_sent + 1))
    assert (tally.reconnects, tally.messages_resent, server.connections) == (0, 0, 1)


async def test_no_message_is_larger_than_servers_take(server):
    taker = exam_taker("honest-calm", 1, 10, fps=10)
    await stream(server, taker, Tally())
    assert max(len(json.dumps(message)) for message in server.stored.values()) < 65_536


async def test_a_slow_exam_sends_each_frame_by_itself_when_it_is_due(server):
    """In real time there is nothing to batch; the pace is that of the exam."""
    taker, tally = exam_taker("honest-calm", 1, 1 / 60, fps=15), Tally()
    began = trio.current_time()
    await stream(server, taker, tally, speed=1)
    assert trio.current_time() - began == pytest.approx(taker.seconds, abs=0.5)
    assert not any("frames" in message for message in server.stored.values())


async def test_event_times_never_lie_ahead_of_the_clock_the_client_told(server):
    """A fast exam lies in the past and ends about now; the told clock is the real one."""
    taker = exam_taker("honest-calm", 1, 20)
    await stream(server, taker, Tally(), speed=2000)
    now_ms = time.time() * 1000
    assert server.clocks[0]["timestamp"] == pytest.approx(now_ms, abs=5000)
    times = [frame_ms(frame) for frame in server.frames]
    assert now_ms - 5000 < times[-1] <= now_ms
    assert times[-1] - times[0] == pytest.approx(20 * 60_000, abs=5000)


@pytest.mark.parametrize(("fault", "sent"), [("close", 2), ("store and close", 1)])
async def test_lost_connections_lose_nothing(server, fault, sent):
    """Cut before storing: sent again under the same number. Between storing and acknowledging: not again."""
    cut = {2, 5}

    def misbehave(message, connection):
        if message.get("seq") in cut:
            cut.remove(message["seq"])
            return fault
        return None

    server.misbehave = misbehave
    taker, tally = exam_taker("talks", 1, 10), Tally()
    clock = await stream(server, taker, tally, window=4)
    assert server.frames == plain(taker.frames(clock.start_ms))
    assert tally.complete
    assert tally.reconnects == 2
    assert server.connections == len(server.clocks) == 3
    assert server.received[2] == server.received[5] == sent


async def test_a_restarting_server_is_given_the_time_it_asks_for(server):
    """And not more, for what it has stored meanwhile is not sent again."""
    moments = []

    def misbehave(message, connection):
        if not message:
            moments.append(trio.current_time())
        elif len(moments) == 1:
            moments.append(trio.current_time())
            return "restart"
        return None

    server.misbehave = misbehave
    tally = Tally()
    await stream(server, exam_taker("talks", 1, 10), tally, window=4)
    assert tally.complete
    asked, came_back = moments[1:]
    assert 0.7 <= came_back - asked < 1.2


async def test_that_the_store_was_emptied_is_noted(server):
    """What was acknowledged is lost then, and the exam not complete though it went to its end."""

    def misbehave(message, connection):
        if message.get("seq") == 3 and connection == 1:
            server.epoch = "another"
            server.stored.clear()
            return "close"
        return None

    server.misbehave = misbehave
    tally = Tally()
    await stream(server, exam_taker("talks", 1, 10), tally, window=4)
    assert tally.stores_emptied == 1
    assert tally.frames_acknowledged == tally.frames_sent
    assert not tally.failure
    assert not tally.complete


async def test_the_window_bounds_what_is_not_acknowledged(server):
    """A server that stores but never acknowledges gets no more than the window, then the client gives up."""
    server.misbehave = lambda message, connection: "be silent"
    tally = Tally()
    await stream(server, exam_taker("honest-calm", 1, 40, fps=10), tally, window=3, patience_seconds=0.3)
    assert len(server.stored) == tally.messages_sent == 3
    assert tally.failure == "nothing acknowledged for 0.3 s"
    assert not tally.complete


async def test_refused_messages_are_counted_and_hold_up_nothing(server):
    server.misbehave = lambda message, connection: "refuse message" if message.get("seq") == 1 else None
    tally = Tally()
    await stream(server, exam_taker("honest-calm", 1, 10), tally)
    assert tally.errors == {"invalid_feature": 1}
    assert tally.messages_acknowledged == tally.messages_sent - 1
    assert not tally.failure
    assert not tally.complete


async def test_a_session_that_the_server_ends_is_not_fought_for(server):
    server.misbehave = lambda message, connection: "end" if message.get("seq") == 1 else None
    tally = Tally()
    await stream(server, exam_taker("honest-calm", 1, 10), tally, window=2)
    assert tally.failure == "the server ended the session"
    assert server.connections == 1


async def test_a_refused_websocket_is_not_tried_again(server):
    server.misbehave = lambda message, connection: "refuse"
    tally = Tally()
    await stream(server, exam_taker("honest-calm", 1, 1), tally)
    assert "409" in tally.failure
    assert server.connections == 1


async def test_an_unreachable_server_is_given_up_after_the_patience():
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    tally = Tally()
    clock = ExamClock(60, FAST)
    taker = exam_taker("honest-calm", 1, 1)
    with trio.fail_after(10):
        client = ExamStream(f"ws://127.0.0.1:{port}/", clock, tally, patience_seconds=0.4)
        await client.run(taker.frames(clock.start_ms))
    assert tally.failure == "nothing acknowledged for 0.4 s"
    assert tally.reconnects == tally.frames_acknowledged == 0


@pytest.mark.slow
async def test_outages_cut_the_connection_and_their_frames_come_afterwards(server):
    """During an outage nothing arrives; after it, everything, in order."""
    taker, tally = exam_taker("honest-calm", 1, 0.5, fps=10), Tally()
    arrivals = []
    server.misbehave = lambda message, connection: arrivals.append((trio.current_time(), connection))
    began = trio.current_time()
    clock = await stream(server, taker, tally, speed=15, outages=[Span(6, 15)])
    assert server.frames == plain(taker.frames(clock.start_ms))
    assert tally.complete
    assert (server.connections, tally.reconnects) == (2, 1)
    offline = [moment for moment, _ in arrivals if 0.45 < moment - began < 1.0]
    assert not offline


async def call(handler, method, *arguments, patience_seconds=5.0):
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        api = ExamApi("http://exams.test:8000", client, patience_seconds)
        return await getattr(api, method)(*arguments)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("ws://exams.test:8000/api/v1/session/ws/s1", "ws://exams.test:8000/api/v1/session/ws/s1"),
        ("/api/v1/session/ws/s1", "ws://exams.test:8000/api/v1/session/ws/s1"),
        ("https://exams.test/ws", "wss://exams.test/ws"),
    ],
)
async def test_start_names_the_candidate_and_returns_a_websocket_address_with_its_token(told, expected):
    """Whether the server gives a whole address, a path, or one with an HTTP scheme."""

    def handler(request):
        assert request.url == "http://exams.test:8000/api/v1/session/start"
        assert json.loads(request.content) == {"exam_session_id": "s1", "candidate_id": "c1", "exam_id": "e1"}
        return httpx.Response(200, json={"session_id": "s1", "websocket_url": told, "token": "a.b-c_d.e"})

    assert await call(handler, "start", "s1", "c1", "e1") == f"{expected}?token=a.b-c_d.e"


async def test_requests_are_repeated_while_the_server_asks_for_it(autojump_clock):
    """429 after the seconds it says, 202 and 503 after a moment, a lost connection too."""
    answers = iter(
        [
            httpx.Response(429, headers={"Retry-After": "3"}),
            httpx.Response(202),
            httpx.Response(503),
            httpx.ConnectError("down"),
            httpx.Response(204),
        ]
    )

    def handler(request):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    began = trio.current_time()
    await call(handler, "end", "s1", patience_seconds=30.0)
    assert trio.current_time() - began == pytest.approx(3 + 3 * 0.5)


async def test_a_refusal_says_what_the_problem_document_says():
    def handler(request):
        return httpx.Response(409, json={"title": "Session ended", "detail": "it is over"})

    with pytest.raises(Unavailable, match="409 it is over"):
        await call(handler, "start", "s1", "c1", "e1", "strict")


async def test_patience_with_requests_has_an_end(autojump_clock):
    with pytest.raises(Unavailable, match="502 Bad gateway, in a page"):
        await call(lambda request: httpx.Response(502, text="Bad gateway, in a page"), "analyze", "s1")


async def test_a_server_that_is_there_may_take_its_time_to_start_an_exam(autojump_clock):
    """One that is not there may not."""

    async def slow(request):
        await trio.sleep(3 * START_PATIENCE_SECONDS)
        return httpx.Response(200, json={"session_id": "s1", "websocket_url": "/ws/s1", "token": "t"})

    def absent(request):
        raise httpx.ConnectError("nobody listens")

    assert await call(slow, "start", "s1", "c1", "e1", patience_seconds=60.0)
    began = trio.current_time()
    with pytest.raises(Unavailable, match="nobody listens"):
        await call(absent, "start", "s1", "c1", "e1", patience_seconds=60.0)
    assert trio.current_time() - began == pytest.approx(START_PATIENCE_SECONDS)


async def test_an_exam_is_started_streamed_ended_and_judged(server):
    """In this order; the outcome knows the verdict and finds what the report does not know of."""
    calls = []
    report = {"session_info": {"total_frames": 0}, "verdict": {"review_priority": "low", "score": 12.5}}

    def handler(request):
        calls.append(request.url.path)
        if request.url.path.endswith("analyze"):
            return httpx.Response(200, json=report)
        return httpx.Response(200, json={"websocket_url": server.url, "token": "t"})

    taker = exam_taker("honest-lively", 1, 2)
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        api = ExamApi("http://exams.test", client)
        outcome = await take_exam(api, Candidate("s", "c", "e", taker), Tally(), speed=FAST)
        assert calls == [f"/api/v1/session/{path}" for path in ("start", "s/end", "s/analyze")]
        assert outcome.verdict("review_priority") == "low"
        assert outcome.tally.complete
        assert outcome.missing == outcome.tally.frames_acknowledged > 0
        assert not outcome.ok
        outcome.report["session_info"]["total_frames"] = outcome.tally.frames_acknowledged
        assert outcome.ok


async def test_an_exam_on_a_server_that_refuses_it_is_an_outcome_too():
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda request: httpx.Response(400))
    ) as client:
        candidate = Candidate("s", "c", "e", exam_taker("phone", 1, 1))
        outcome = await take_exam(ExamApi("http://exams.test", client), candidate, Tally())
    assert "400" in outcome.tally.failure
    assert isinstance(outcome, Outcome)
    assert not outcome.ok


def test_percentiles_are_values_that_occurred():
    latencies = [0.4, 0.1, 0.3, 0.2]
    assert percentile(latencies, 0.5) == 0.2
    assert percentile(latencies, 0.99) == 0.4
    assert percentile(latencies, 0.0) == 0.1
    assert percentile([], 0.5) is None
