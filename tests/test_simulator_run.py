"""Whole simulations against the real server, over real HTTP and WebSockets."""

import io
import json
import time
from functools import partial

import httpx
import pytest
import trio
from rich.console import Console

from proctor.errors import InvalidRequest
from proctor.main import run
from proctor.settings import Settings
from proctor.simulator import exam_taker
from proctor.simulator.demo import DEMO_KINDS, run_demo_candidates
from proctor.simulator.exam import Candidate, Outcome
from proctor.simulator.replay import stored_frames
from proctor.simulator.run import SimulateOptions, replay, simulate
from proctor.simulator.summary import as_dict, print_table
from proctor.simulator.tally import Tally
from proctor.times import ms_from_iso
from tests.fixtures.server import settings_for


@pytest.fixture
async def url(nursery, tmp_path):
    """The address of a server of its own, on the embedded stores."""
    settings = Settings(
        _env_file=None,
        port=0,
        database_url=f"sqlite:///{tmp_path}/proctor.sqlite3",
        frame_store_path=tmp_path / "frames.sqlite3",
        dump_directory=tmp_path / "dumps",
    )
    shutdown = trio.Event()
    yield await nursery.start(partial(run, settings, shutdown=shutdown))
    shutdown.set()


def screen(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=140)


@pytest.mark.slow
async def test_everything_simulated_is_acknowledged_stored_and_judged(url):
    """Exit status 0 and a JSON summary whose counts agree, sent = acknowledged = stored, for every kind."""
    console = screen()
    options = SimulateOptions(url=url, candidates=10, minutes=2, speed=100, seed=3)
    status = await simulate(options, console=console, as_json=True)
    assert status == 0, console.file.getvalue()
    summary = json.loads(console.file.getvalue())
    assert len({session["session_id"] for session in summary["sessions"]}) == 10
    for session in summary["sessions"]:
        assert session["sent"] == session["acknowledged"] == session["stored"] > 300
        assert bool(session["truth"]) != session["kind"].startswith("honest")
        assert session["priority"] in ("none", "low", "medium", "high", "insufficient")
        assert session["ack_ms"]["p50"] <= session["ack_ms"]["p99"]
    assert summary["totals"]["failed_sessions"] == summary["totals"]["missing"] == 0


@pytest.mark.slow
async def test_a_server_that_is_not_as_fast_is_waited_for(nursery, tmp_path):
    """It says so, and that is no failure."""
    settings = settings_for(tmp_path, max_frames_per_second=14, batch_max_frames=100)
    url = await nursery.start(partial(run, settings, shutdown=trio.Event()))
    console = screen()
    options = SimulateOptions(url=url, candidates=1, minutes=2, speed=200, kinds=("honest-calm",))
    assert await simulate(options, console=console, as_json=True) == 0
    [session] = json.loads(console.file.getvalue())["sessions"]
    assert session["sent"] == session["acknowledged"] == session["stored"] > 450
    assert session["errors"] == {"too_fast": 1}
    nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_terminal_shows_progress_and_then_a_table(url):
    console = screen(terminal=True)
    options = SimulateOptions(url=url, candidates=2, minutes=1, speed=60, kinds=("phone",))
    assert await simulate(options, console=console) == 0
    shown = console.file.getvalue()
    assert "0 reconnects" in shown
    assert "phone-1." in shown
    assert "phone-2." in shown


@pytest.mark.slow
async def test_a_dump_of_one_server_replays_into_the_same_session_elsewhere(url, tmp_path):
    """Its own times become the client's; event times lie as far apart, however fast it was replayed."""
    taker = exam_taker("switches-tabs", 1, 3)
    dump = tmp_path / "recorded_frames.json"
    recorded = list(stored_frames(taker, "recorded", 1_767_603_600_000))
    dump.write_bytes(b"[" + b",".join(recorded) + b"]")
    console = screen()
    assert await replay(dump, url, speed=500, session_id="again", console=console, as_json=True) == 0
    [session] = json.loads(console.file.getvalue())["sessions"]
    assert session["session_id"] == "again"
    assert session["stored"] == len(recorded)
    again = json.loads((tmp_path / "dumps" / "again_frames.json").read_bytes())
    times_ms = [ms_from_iso(json.loads(frame)["timestamp"]) for frame in recorded]
    assert [frame["client_timestamp"] for frame in again] == times_ms
    moved_ms = [ms_from_iso(frame["timestamp"]) for frame in again]
    shifts = [moved - own for moved, own in zip(moved_ms, times_ms, strict=True)]
    assert max(shifts) - min(shifts) < 50  # the last may arrive faster than the clock message did
    assert time.time() * 1000 - 10_000 < moved_ms[-1] <= time.time() * 1000


async def test_nothing_to_connect_to_is_exit_status_1(unused_tcp_port, monkeypatch):
    monkeypatch.setattr("proctor.simulator.api.START_PATIENCE_SECONDS", 0.5)
    console = screen()
    url = f"http://127.0.0.1:{unused_tcp_port}"
    assert await simulate(SimulateOptions(url=url, candidates=2, minutes=1), console=console) == 1
    assert "phone-1." in console.file.getvalue()
    assert "POST http://" in console.file.getvalue()


@pytest.fixture
async def unused_tcp_port():
    """A port that nothing listens on."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


@pytest.mark.slow
async def test_the_demo_keeps_every_seat_taken(url):
    """Sessions end with a report and the next candidate of the kind begins, until cancelled."""
    async with httpx.AsyncClient() as client, trio.open_nursery() as demo:
        demo.start_soon(partial(run_demo_candidates, url, minutes=0.02, fps=4, pause_seconds=0.1))
        with trio.fail_after(30):
            while True:
                await trio.sleep(0.2)
                listed = (await client.get(f"{url}/api/v1/session?limit=500")).json()["sessions"]
                names = {session["candidate_id"] for session in listed if session["status"] == "ended"}
                if names >= {f"{kind}-{number}" for kind in DEMO_KINDS for number in (1, 2)}:
                    break
        demo.cancel_scope.cancel()


@pytest.mark.parametrize("wrong", [{"candidates": 0}, {"speed": 0}, {"kinds": ()}, {"kinds": ("villain",)}])
async def test_simulations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidRequest):
        await simulate(SimulateOptions(**wrong))
    with pytest.raises(InvalidRequest):
        await run_demo_candidates("http://127.0.0.1:9", minutes=0)


async def test_a_replay_needs_a_speed(tmp_path):
    with pytest.raises(InvalidRequest):
        await replay(tmp_path / "x.json", "http://127.0.0.1:9", speed=0)


def test_the_summary_tells_what_went_wrong():
    """Errors by code and why a stream ended early, next to the session that it happened to."""
    outcome = Outcome(
        Candidate("s1", "c1", "e1", exam_taker("talks", 1, 1)), Tally(failure="the server went away")
    )
    outcome.tally.errors["invalid_feature"] = 2
    console = screen()
    print_table([outcome], console)
    assert "s1: the server went away; invalid_feature (2)" in console.file.getvalue()
    totals = as_dict([outcome])["totals"]
    assert totals["failed_sessions"] == 1
    assert totals["ack_ms"] == {"p50": None, "p99": None}
