"""Whoever is killed at whatever moment, what was acknowledged is there, once and in order."""

import random
from pathlib import Path

import pytest

from tests.faults.kill_loop import Run, run_rounds
from tests.fixtures.redis import RedisServer, running_redis

pytestmark = [pytest.mark.slow, pytest.mark.no_cover, pytest.mark.timeout(120)]


async def test_kills_of_the_server_lose_nothing_of_the_embedded_store(tmp_path: Path):
    run = Run(tmp_path, random.Random())
    found = await run_rounds(run, 2, "server")
    assert all(judgement.acked for judgement in found.values())


async def test_kills_of_the_server_lose_nothing_of_redis(tmp_path: Path, redis_server: RedisServer):
    run = Run(tmp_path, random.Random(), redis_server)
    found = await run_rounds(run, 1, "server")
    assert all(judgement.acked for judgement in found.values())


async def test_kills_of_redis_lose_nothing_and_break_no_connection(tmp_path: Path):
    """With `appendfsync always`. With `everysec` Redis may answer before it writes, for up to two seconds, if
    the disk is slow to sync just then."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with running_redis(directory, "--appendonly", "yes", "--appendfsync", "always") as server:
        run = Run(tmp_path, random.Random(), server)
        found = await run_rounds(run, 3, "redis")
    assert all(judgement.acked for judgement in found.values())
    assert [taker.connections for taker in run.takers.values()] == [1, 1, 1]
