"""Analysis in real worker processes: undisturbed by what goes wrong in an analyzer, and easy to let go of."""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest
import trio

from proctor.analysis import fold
from proctor.analysis.blame import OFFENCES_MAX
from proctor.analysis.discovery import LoadedPlugin, discover, find_plugins
from proctor.analysis.engine import open_engine
from proctor.analysis.policy import built_in_policy
from proctor.errors import InvalidRequest, Misconfigured, Unavailable
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.testing import FACE, ORIGIN_MS, held

ROGUES = Path(__file__).parent / "rogues"
CALM = FACE | {"gaze_on_script": 1, "phone_present": 0}
FRAMES = held((320, CALM), (8, CALM | {"phone_present": 1, "phone_conf": 90}), (20, CALM), fps=2)
SESSION = ExamSession(session_id="s", started_ms=ORIGIN_MS)
QUICK = Settings(analysis_timeout_seconds=0.5, analysis_memory_mb=256)

own = pytest.mark.usefixtures("own_workers")


@pytest.fixture
def installed(monkeypatch):
    """The built-in rules, and of the rogues those asked for."""
    monkeypatch.syspath_prepend(str(ROGUES))

    def choose(*rogues):
        return discover(
            plugins=[
                plugin
                for plugin in find_plugins()
                if plugin.package == "proctor" or plugin.name.removeprefix("rogue_") in rogues
            ]
        )

    yield choose
    sys.modules.pop("rogue_rules", None)


@pytest.fixture
def opened(installed):
    """Opens an engine on the built-in rules and some rogues."""
    return lambda *rogues, settings=QUICK: _open(installed(*rogues), settings)


def _open(analyzers, settings):
    return open_engine(settings, analyzers, {"default": built_in_policy(analyzers)})


async def reported(engine, state, tail=(), session=SESSION):
    return json.loads(await engine.report(state, tail, session, final=False, analysed_ms=ORIGIN_MS))


def statuses(report):
    """Of the rogues: name to status and reason."""
    return {
        name.removeprefix("rogue_"): (section["status"], section["reason"])
        for name, section in report["analyzers"].items()
        if name.startswith("rogue_")
    }


def healthy(report):
    """The built-in rules did their work and found the phone."""
    ours = {each["status"] for each in report["analyzers"].values() if each["plugin"] == "proctor"}
    return ours == {"ok"} and len(report["suspicious_events"]["phone_detections"]) == 1


def workers():
    return [
        child
        for child in psutil.Process().children()
        if any("spawn_main" in part for part in child.cmdline())
    ]


@own
async def test_a_worker_and_this_process_give_the_same_report(opened, installed):
    """A state goes from process to process; the bytes of the report do not depend on where it was made."""
    analyzers = installed()
    job = fold.Job(tuple(each.plugin for each in analyzers), built_in_policy(analyzers))
    request = fold.ReportRequest(SESSION, final=False, analysed_ms=ORIGIN_MS)
    here = fold.report(request, job._replace(frames=FRAMES))
    async with opened() as engine:
        state = await engine.advance(None, FRAMES[:100], SESSION)
    state = fold.advance(job._replace(state=state, frames=FRAMES[100:200]))
    async with opened() as engine:
        state = await engine.advance(state, FRAMES[200:300], SESSION)
        there = await engine.report(state, FRAMES[300:], SESSION, final=False, analysed_ms=ORIGIN_MS)
    assert there == here


@own
async def test_open_leaves_as_many_warm_workers_as_set(opened):
    """The first analysis does not wait for a process to start; on leaving none is left."""
    async with opened(settings=Settings(analysis_workers=2)) as engine:
        warm = {worker.pid for worker in workers()}
        assert len(warm) == 2
        await engine.advance(None, FRAMES, SESSION)
        assert {worker.pid for worker in workers()} == warm
    assert workers() == []


@pytest.mark.parametrize(
    ("rogue", "status", "reason"),
    [
        ("hangs", "timed_out", "took longer than 0.5 s"),
        ("spins", "timed_out", "took longer than 0.5 s"),
        ("hangs_in_assess", "timed_out", "took longer than 0.5 s"),
        ("exits", "failed", "ended its process (exit status 0)"),
        ("dies", "failed", "ended its process (SIGKILL)"),
        ("dies_in_assess", "failed", "ended its process (SIGKILL)"),
        ("segfaults", "failed", "ended its process (SIGSEGV)"),
        ("interrupts", "failed", "ended its process (exit status 70)"),
        ("hoards", "failed", "MemoryError"),
        ("raises_unprintable", "failed", "Unprintable"),
        ("quits", "failed", "SystemExit: 0"),
    ],
)
async def test_a_rogue_costs_its_own_section_only(opened, capfd, rogue, status, reason):
    """Whatever it does to its process; and standard error stays free of tracebacks."""
    # To use up the memory takes a time of its own.
    settings = QUICK.model_copy(update={"analysis_timeout_seconds": 10}) if rogue == "hoards" else QUICK
    async with opened(rogue, settings=settings) as engine:
        state = await engine.advance(None, FRAMES[:-10], SESSION)
        report = await reported(engine, state, FRAMES[-10:])
    assert statuses(report) == {rogue: (status, f"rogue-rules[rogue_{rogue}]: {reason}")}
    assert healthy(report)
    assert "Traceback" not in capfd.readouterr().err


@own
async def test_many_rogues_at_once(opened):
    """All of them in one call, the slow, the deadly and the babbling."""
    rogues = ("hangs", "dies", "raises", "chatters", "scribbles", "returns_nan", "exits")
    async with opened(*rogues) as engine:
        state = await engine.advance(None, FRAMES, SESSION)
        report = await reported(engine, state)
    assert {name: status for name, (status, _) in statuses(report).items()} == {
        "hangs": "timed_out",
        "dies": "failed",
        "raises": "failed",
        "chatters": "ok",
        "scribbles": "failed",
        "returns_nan": "failed",
        "exits": "failed",
    }
    assert healthy(report)


@own
async def test_what_analyzers_print_keeps_out_of_standard_output(opened, capfd):
    """Standard output is the server's log."""
    async with opened("chatters") as engine:
        await engine.advance(None, FRAMES[:10], SESSION)
    assert "xxx" not in capfd.readouterr().out


@own
async def test_an_analyzer_that_is_off_costs_no_more_workers(opened):
    """Later folds and reports of the session run undisturbed in one worker."""
    async with opened("dies") as engine:
        state = await engine.advance(None, FRAMES[:300], SESSION)
        before = {worker.pid for worker in workers()}
        state = await engine.advance(state, FRAMES[300:], SESSION)
        assert healthy(await reported(engine, state))
        assert {worker.pid for worker in workers()} == before


@own
async def test_a_hanging_report_is_not_asked_again(opened):
    """The session remembers who hung on its report, so that the next one comes at once."""
    async with opened("hangs_in_assess") as engine:
        state = await engine.advance(None, FRAMES, SESSION)
        await reported(engine, state)
        before = {worker.pid for worker in workers()}
        with trio.fail_after(QUICK.analysis_timeout_seconds):
            again = await reported(engine, state)
        assert statuses(again)["hangs_in_assess"][0] == "timed_out"
        assert {worker.pid for worker in workers()} == before


async def test_who_hangs_in_every_session_is_not_run_any_more(opened):
    """Otherwise one bad rule would use up the workers' time, session after session."""
    async with opened("hangs") as engine:
        for _ in range(OFFENCES_MAX):
            await engine.advance(None, FRAMES[:50], SESSION)
        with trio.fail_after(QUICK.analysis_timeout_seconds):
            state = await engine.advance(None, FRAMES, SESSION)
        report = await reported(engine, state)
    status, reason = statuses(report)["hangs"]
    assert status == "timed_out"
    assert reason.endswith("took longer than 0.5 s, as in sessions before")
    assert healthy(report)


@own
async def test_a_cancelled_call_ends_its_worker_and_harms_no_other(opened):
    """The next call finds a fresh worker."""
    patient = Settings(analysis_timeout_seconds=60)
    async with opened("hangs", settings=patient) as engine:
        [worker] = workers()
        with trio.move_on_after(0.3) as scope:
            await engine.advance(None, FRAMES, SESSION)
        assert scope.cancelled_caught
        assert not worker.is_running()
    async with opened(settings=patient) as engine:
        with trio.move_on_after(0.0):
            await engine.advance(None, FRAMES, SESSION)
        state = await engine.advance(None, FRAMES, SESSION)
        assert healthy(await reported(engine, state))


@own
async def test_leaving_does_not_wait_for_a_call_that_hangs(opened):
    """A server that stops cancels its tasks; the engine is closed within the moment."""
    with trio.fail_after(5):
        async with (
            opened("hangs", settings=Settings(analysis_timeout_seconds=60)) as engine,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(engine.advance, None, FRAMES, SESSION)
            await trio.sleep(0.3)
            nursery.cancel_scope.cancel()
    assert workers() == []


@own
async def test_calls_share_the_workers(opened):
    """More calls than workers wait for each other, and all are answered."""
    async with opened(settings=Settings(analysis_workers=2)) as engine:
        states = []

        async def one(number):
            states.append((number, await engine.advance(None, FRAMES[: 10 + number], SESSION)))

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(one, number)
        assert len(workers()) == 2
    assert {number: fold.progress(state).frames for number, state in states} == {n: 10 + n for n in range(6)}


@own
async def test_a_worker_that_was_killed_from_outside_is_replaced(opened):
    """By the kernel when memory runs out, say; and closing the engine later is no error."""
    async with opened() as engine:
        for worker in workers():
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait(5)
        state = await engine.advance(None, FRAMES, SESSION)
        assert healthy(await reported(engine, state))
        for worker in workers():
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait(5)


@own
async def test_a_stop_signal_to_all_processes_leaves_the_workers_to_the_server(opened):
    """It still has final reports to make, and ends them itself."""
    async with opened() as engine:
        [worker] = workers()
        os.kill(worker.pid, signal.SIGTERM)
        state = await engine.advance(None, FRAMES, SESSION)
        assert healthy(await reported(engine, state))
        assert [each.pid for each in workers()] == [worker.pid]
    assert workers() == []


@own
async def test_an_error_inside_survives_a_worker_that_does_not_exit(opened):
    """Whatever the closing of the workers says, the caller's own error comes out."""
    with pytest.RaisesGroup(LookupError, allow_unwrapped=True):
        async with opened():
            for worker in workers():
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait(5)
            raise LookupError


async def test_workers_that_die_for_no_analyzers_fault_are_reported(opened, monkeypatch):
    """Nothing is lost: the caller keeps its state and tries again later."""
    monkeypatch.setattr("proctor.analysis.worker.advance_within", _die_in_company)
    async with opened() as engine:
        with pytest.raises(Unavailable, match="every analyzer alone does well"):
            await engine.advance(None, FRAMES[:10], SESSION)
        assert healthy(await reported(engine, None, FRAMES))


async def test_memory_that_runs_out_outside_an_analyzer_is_blamed_on_none(opened, monkeypatch):
    """It is a lost worker like any other."""
    monkeypatch.setattr("proctor.analysis.worker.advance_within", _starve_in_company)
    async with opened() as engine:
        with pytest.raises(Unavailable):
            await engine.advance(None, FRAMES[:10], SESSION)


@pytest.mark.slow
async def test_a_call_that_never_ends_is_given_up(installed, monkeypatch):
    """Even where no analyzer's deadline applies."""
    monkeypatch.setattr("proctor.analysis.engine.START_SECONDS", 3.0)
    monkeypatch.setattr("proctor.analysis.worker.advance_within", _wait_for_ever)
    async with _open(installed()[:1], Settings(analysis_timeout_seconds=0.01)) as engine:
        assert await engine.advance(None, FRAMES[:10], SESSION) == b"without any analyzer"


@own
async def test_a_worker_that_cannot_start_is_misconfiguration(installed, monkeypatch):
    gone = LoadedPlugin(installed()[0].plugin._replace(value="no_such_module:Rule"), installed()[0].analyzer)
    with pytest.raises(Misconfigured, match="analysis worker cannot start"):
        async with _open([gone], QUICK):
            pass


@own
async def test_a_worker_that_grew_makes_way_for_a_fresh_one(opened, monkeypatch):
    """Memory that a plugin leaks is given back with the process."""
    async with opened(settings=Settings(analysis_memory_mb=256)) as engine:
        [leaky] = workers()
        await engine._dispatch.call(partial(_leak, 200), size=0, limit_seconds=60)
        await engine.advance(None, FRAMES[:10], SESSION)
        [fresh] = workers()
        assert fresh.pid != leaky.pid


async def test_bad_requests_are_told_apart_from_broken_workers(opened):
    async with opened() as engine:
        with pytest.raises(InvalidRequest, match="no policy 'lenient'; there are default"):
            await engine.advance(None, FRAMES, msgspec.structs.replace(SESSION, policy="lenient"))
        with pytest.raises(InvalidRequest, match="frames must be in time order"):
            await engine.advance(None, FRAMES[::-1], SESSION)


_hoard = []


def _leak(mebibytes):
    _hoard.append(b"\1" * (mebibytes * 2**20))
    return b""


def _die_in_company(seconds, job):
    if len(job.plugins) > 1:
        os._exit(1)
    return b""


def _starve_in_company(seconds, job):
    if len(job.plugins) > 1:
        raise MemoryError
    return b""


def _wait_for_ever(seconds, job):
    if len(job.faults) == len(job.plugins):
        return b"without any analyzer"
    while True:
        signal.pause()


async def test_a_whole_session_is_judged_some_frames_at_a_time(opened, monkeypatch):
    """To the same bytes, and by a worker that never has them all."""
    async with opened() as engine:
        at_once = await engine.report(None, FRAMES, SESSION, final=True, analysed_ms=ORIGIN_MS)
        monkeypatch.setattr("proctor.analysis.engine.JOB_FRAMES", 70)
        assert await engine.judge(FRAMES, SESSION, analysed_ms=ORIGIN_MS) == at_once
        assert b'"total_frames":0' in await engine.judge([], SESSION, analysed_ms=ORIGIN_MS)
