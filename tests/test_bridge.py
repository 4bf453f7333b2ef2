"""The border to asyncio."""

import asyncio  # noqa: TID251
import gc
import logging

import pytest
import trio
import trio.testing

from proctor.errors import Unavailable
from proctor.storage.bridge import Bridge, open_bridge


async def running_loop() -> object:
    return asyncio.get_running_loop()


async def test_what_a_call_returns_or_raises_comes_back() -> None:
    async def divide() -> float:
        await asyncio.sleep(0)
        return 1 / divisor

    async with open_bridge() as bridge:
        divisor = 2
        assert await bridge.run(divide) == 0.5
        divisor = 0
        with pytest.raises(ZeroDivisionError):
            await bridge.run(divide)


async def test_a_bridge_inside_of_another_shares_its_loop() -> None:
    """And leaves it running."""
    async with open_bridge() as outer:
        async with open_bridge() as inner:
            assert await inner.run(running_loop) is await outer.run(running_loop)
        await outer.run(running_loop)


async def test_tasks_from_outside_may_use_a_bridge() -> None:
    """Also those that were started before it was opened."""
    send, receive = trio.open_memory_channel[Bridge](1)
    loops: list[object] = []

    async def use() -> None:
        bridge = await receive.receive()
        loops.append(await bridge.run(running_loop))
        used.set()

    async with trio.open_nursery() as nursery:
        used = trio.Event()
        nursery.start_soon(use)
        async with open_bridge() as bridge:
            await send.send(bridge)
            await used.wait()
            assert loops == [await bridge.run(running_loop)]


async def test_an_error_of_the_body_leaves_without_a_group() -> None:
    with pytest.raises(LookupError, match="of the body"):
        async with open_bridge():
            raise LookupError("of the body")


async def test_cancellation_waits_for_the_clean_up() -> None:
    """It is thrown once, and what the coroutine awaits in answer to it is not cancelled again."""
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            steps.append("cancelled")
            await asyncio.sleep(0.02)
            steps.append("cleaned up")
            raise

    async with open_bridge() as bridge:
        with trio.move_on_after(0.01) as scope:
            await bridge.run(work)
        assert scope.cancelled_caught
        assert steps == ["cancelled", "cleaned up"]


async def test_a_cancellation_from_the_other_side_is_an_ordinary_error() -> None:
    """Raised as it is, asyncio's CancelledError would go through every `except Exception`."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    async with open_bridge() as bridge:
        with pytest.raises(Unavailable) as broken_off:
            await bridge.run(give_up)
        assert isinstance(broken_off.value.__cause__, asyncio.CancelledError)


async def test_an_error_that_nobody_awaits_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise OSError("of a task left alone")

    async def leave_alone() -> None:
        # Nothing refers to the task once it is done, so that it is collected below.
        asyncio.ensure_future(fail())  # noqa: RUF006
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)

    async with open_bridge() as bridge:
        with caplog.at_level(logging.WARNING):
            await bridge.run(leave_alone)
            gc.collect()
            await trio.testing.wait_all_tasks_blocked()
        await bridge.run(running_loop)
    assert "of a task left alone" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_leaving_cancels_what_still_runs() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("background")

    async def start() -> object:
        task = asyncio.ensure_future(background())
        await asyncio.sleep(0)
        return task

    async with open_bridge() as bridge:
        task = await bridge.run(start)
    assert ended == ["background"]
    assert task is not None
