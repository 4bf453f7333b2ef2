"""A report depends on what was seen and when, not on which way and in which order its frames came."""

import json
import re
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.clock import ClientClock
from proctor.ingest import frame_message
from proctor.services import now_ms
from proctor.times import ms_from_iso
from proctor.wire import Frames, read_message
from tests.fixtures.server import open_server, settings_for
from tests.house import House, house_settings, open_house
from tests.test_live import SESSION, T0, exam, without_time

CHUNKS = [exam(5 * chunk, 5 * chunk + 5) for chunk in range(12) if chunk not in (5, 9)]
"""A minute in messages of five seconds, two of which never come."""
HOUR = 3_600_000
ORDERS = st.permutations(range(len(CHUNKS)))
CONNECTIONS = st.lists(st.integers(0, 2), min_size=len(CHUNKS), max_size=len(CHUNKS))
PLACES = st.sets(st.integers(0, len(CHUNKS)))


class Student:
    """A client an hour behind, on several connections, each of which says what time it has."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.received_ms = T0 + 60_000
        self._clocks: dict[int, ClientClock] = {}

    async def send(self, connection: int, frames: list[dict[str, Any]]) -> None:
        self.received_ms += 700
        clock = self._clocks.setdefault(connection, ClientClock())
        clock.fix(self.received_ms - HOUR, self.received_ms)
        asked = [{**frame, "ts": frame["ts"] - HOUR} for frame in frames]
        message = read_message({"type": "batch", "frames": asked}, "exam", 100)
        assert isinstance(message, Frames)
        await self.house.ingest.store(frame_message("exam", message, clock, self.received_ms))


def comparable(report: bytes) -> dict[str, Any]:
    """A report without what tells when frames arrived: their numbers, and the digest of when."""
    value = without_time(re.sub(rb'"(\d{13})-\d+"', rb'"\1"', report))
    del value["provenance"]["frames"]["digest"], value["session_info"]["final"]
    return value


async def reported(
    order: list[int], connections: list[int], folds: set[int], flushes: set[int]
) -> dict[str, Any]:
    """The final report, which the live one right before was the same as."""
    with TemporaryDirectory() as folder:
        async with open_house(house_settings(Path(folder)), finalize=False) as house:
            student = Student(house)
            for place, (chunk, connection) in enumerate(zip(order, connections, strict=True)):
                await student.send(connection, CHUNKS[chunk])
                if place in folds:
                    await house.live.advance(SESSION)
                if place in flushes:
                    await house.archive.flush()
            live = await house.live.report(SESSION, final=False)
            final = await house.live.report(SESSION, final=True)
    assert comparable(live) == comparable(final)
    assert json.loads(live)["provenance"] == json.loads(final)["provenance"]
    return comparable(final)


@pytest.fixture(scope="module")
def in_order() -> dict[str, Any]:
    """The report when every frame comes in time, on one connection."""
    return trio.run(reported, list(range(len(CHUNKS))), [0] * len(CHUNKS), set(), set())


@pytest.mark.slow
@pytest.mark.no_cover
@settings(max_examples=10, deadline=None)
@given(order=ORDERS, connections=CONNECTIONS, folds=PLACES, flushes=PLACES)
def test_whichever_way_and_however_late_frames_come_the_report_is_the_same(
    in_order, order, connections, folds, flushes
):
    """Over up to three connections, in any order, folded and spooled at any time in between."""
    assert trio.run(reported, list(order), connections, folds, flushes) == in_order


def test_what_never_comes_is_a_gap_and_nothing_is_made_up_in_it(in_order):
    gaps = in_order["data_quality"]["gaps"]
    assert [(gap["start_seconds"], gap["end_seconds"]) for gap in gaps["longest"]] == [
        (24.5, 30.0),
        (44.5, 50.0),
    ]
    assert in_order["session_info"]["total_frames"] == 100
    assert in_order["data_quality"]["clock_offset"]["least_seconds"] == 3600
    for window in in_order["window_analysis"]["predictions_per_window"]:
        assert window["start_frame"] != window["end_frame"]


def test_with_delays_and_drift_frames_are_where_they_belong_within_the_delay():
    """Live on one connection, with a clock message at its start and a backlog on another after an outage."""
    random, rate = Random(1), 1 + 80e-6
    first, second, errors = ClientClock(), ClientClock(), []
    for half in range(2 * 3600):
        made = T0 + 500 * half
        client_ms = T0 - HOUR + (made - T0) * rate
        received = round(made + 40 + random.expovariate(0.05))
        if half == 0:
            first.fix(client_ms, received)
        if half == 4000:
            second.fix(client_ms, received)
            for back in range(600, 0, -1):
                earlier = client_ms - 500 * back * rate
                second.observe(earlier, received)
                errors.append(second.event_ms(earlier, received) - (made - 500 * back))
        clock = first if half < 3400 else second
        if not 3400 <= half < 4000:
            clock.observe(client_ms, received)
            errors.append(clock.event_ms(client_ms, received) - made)
    assert min(errors) > -60
    assert max(errors) < 160


async def test_a_client_that_comes_back_with_a_backlog_is_known_by_its_last_connection(tmp_path):
    """Its clock is an hour slow, it never says so, and after its outage it sends the backlog first."""
    async with open_server(settings_for(tmp_path)) as server:
        began = now_ms()

        def frame(made_ms: int) -> dict[str, Any]:
            return {"session_id": "exam", "made": made_ms, "timestamp": made_ms - HOUR}

        async with server.stream("exam") as client:
            assert (await client.ask(frame(began) | {"seq": 1}))["seq"] == 1
        backlog = [frame(began - minute * 60_000) for minute in range(5, 0, -1)]
        async with server.stream("exam") as client:
            reply = await client.ask({"type": "batch", "seq": 2, "frames": backlog[:3]})
            assert reply["seq"] == 2
        for late in backlog[3:]:
            sent = await server.http.post("/api/v1/session/ws/fallback", json=late)
            assert sent.is_success
        frames = await server.frames("exam")
    errors = [ms_from_iso(frame["timestamp"]) - frame["made"] for frame in frames]
    assert len(errors) == 6
    assert len(set(errors)) == 1, "distances are as they were"
    assert 0 <= errors[0] < 1000, "what the first frame was delayed"
