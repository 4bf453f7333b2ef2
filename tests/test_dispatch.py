"""Calls that wait go to a worker together, and what becomes of one is nothing to the others."""

import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio_parallel

from proctor.analysis import dispatch
from proctor.analysis.dispatch import Dispatch, WorkerLost


@pytest.fixture
async def workers() -> AsyncIterator[trio_parallel.WorkerContext]:
    async with trio_parallel.open_worker_context() as workers:
        yield workers


class Calls:
    """Some calls made at the same time, and what became of each."""

    def __init__(self, workers: trio_parallel.WorkerContext, folder: Path, places: int = 1) -> None:
        self.dispatch = Dispatch(workers, places, 1.0)
        self.log = folder / "log"
        self.gate = folder / "gate"
        self.outcomes: dict[str, object] = {}

    async def make(self, name: str, function: Callable[..., bytes], *, size: int = 0) -> None:
        try:
            call = partial(function, self.log, name, self.gate)
            self.outcomes[name] = await self.dispatch.call(call, size=size, limit_seconds=60)
        except (WorkerLost, LookupError) as error:
            self.outcomes[name] = str(error)

    async def waits(self, name: str) -> None:
        """Wait until a call is at the gate."""
        with trio.fail_after(10):
            while name not in self.made():  # noqa: ASYNC110
                await trio.sleep(0.01)

    def open_gate(self) -> None:
        self.gate.touch()

    def made(self) -> list[str]:
        """The calls that were begun, in order, each time they were."""
        return [line.split()[0] for line in self.log.read_text().splitlines()] if self.log.exists() else []


def note(log: Path, name: str, _gate: Path) -> bytes:
    with log.open("a") as lines:
        lines.write(f"{name} {os.getpid()}\n")
    return name.encode()


def wait(log: Path, name: str, gate: Path) -> bytes:
    """Until the gate is open."""
    note(log, name, gate)
    while not gate.exists():
        pass
    return name.encode()


def meet(log: Path, name: str, gate: Path) -> bytes:
    """Wait until another worker has come here too."""
    note(log, name, gate)
    while len({line.split()[1] for line in log.read_text().splitlines()[2:]}) < 2:
        pass
    return name.encode()


def die(log: Path, name: str, gate: Path) -> bytes:
    note(log, name, gate)
    os._exit(3)


def fail(log: Path, name: str, gate: Path) -> bytes:
    note(log, name, gate)
    raise LookupError("nothing there")


@pytest.mark.parametrize(("big", "trips"), [(0, 2), (dispatch.TOGETHER_BYTES, 4)])
async def test_calls_that_wait_go_together_unless_they_are_too_big(
    workers, tmp_path, monkeypatch, big, trips
):
    """In the order in which they were made."""
    calls, made = Calls(workers, tmp_path), []
    run_sync = workers.run_sync
    monkeypatch.setattr(
        type(workers), "run_sync", lambda _self, *args, **others: made.append(1) or run_sync(*args, **others)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.make, "first", wait)
        await calls.waits("first")
        for name in "abc":
            nursery.start_soon(partial(calls.make, size=big), name, note)
            await trio.testing.wait_all_tasks_blocked()
        calls.open_gate()
    assert calls.made() == ["first", "a", "b", "c"]
    assert calls.outcomes == {name: name.encode() for name in calls.made()}
    assert len(made) == trips


async def test_a_call_that_fails_or_ends_its_worker_costs_the_others_nothing(workers, tmp_path):
    calls = Calls(workers, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.make, "first", wait)
        await calls.waits("first")
        for name, function in (("a", note), ("bad", fail), ("deadly", die), ("b", note)):
            nursery.start_soon(calls.make, name, function)
            await trio.testing.wait_all_tasks_blocked()
        calls.open_gate()
    assert calls.outcomes == {
        "first": b"first",
        "a": b"a",
        "bad": "nothing there",
        "deadly": "ended its process (exit status 3)",
        "b": b"b",
    }
    assert calls.made().count("deadly") == 2  # among others, and to be sure alone


@pytest.mark.parametrize("cancelled", ["slow", "a"])
async def test_a_call_that_is_given_up_costs_the_others_nothing(workers, tmp_path, cancelled):
    """Whether it was the first of those that went together or was taken along, or still waited."""
    calls, scopes = Calls(workers, tmp_path), {}

    async def make(name, function):
        with trio.CancelScope() as scopes[name]:
            await calls.make(name, function)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make, "first", die)
        for name, function in (("slow", wait), ("a", note), ("b", note)):
            nursery.start_soon(make, name, function)
            await trio.testing.wait_all_tasks_blocked()
        await calls.waits("slow")
        nursery.start_soon(make, "late", note)
        await trio.testing.wait_all_tasks_blocked()
        scopes[cancelled].cancel()
        await trio.testing.wait_all_tasks_blocked()
        calls.open_gate()
    assert {"b", "late"} <= calls.outcomes.keys()
    assert cancelled not in calls.outcomes
    assert len(calls.outcomes) == 4
    await calls.make("next", note)
    assert calls.outcomes["next"] == b"next"


async def test_every_worker_gets_its_share(workers, tmp_path):
    """One that is free is not left idle while another does it all."""
    calls = Calls(workers, tmp_path, places=2)
    async with trio.open_nursery() as nursery:
        for name in ("one", "two"):
            nursery.start_soon(calls.make, name, wait)
        for name in ("one", "two"):
            await calls.waits(name)
        for name in "abcdef":
            nursery.start_soon(calls.make, name, meet)
        await trio.testing.wait_all_tasks_blocked()
        calls.open_gate()
    assert calls.outcomes == {name: name.encode() for name in calls.made()}
