"""Whether the server says how it is: to load balancers at `/health`, to Prometheus at `/metrics`."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from proctor import __version__
from proctor.ingest import Ingest
from proctor.storage.schema import upgrade_schema
from tests.fixtures.postgres import PostgresHandle
from tests.fixtures.redis import RedisServer, running_redis
from tests.fixtures.server import Server, open_server, settings_for

pytestmark = pytest.mark.usefixtures("hard_limit")


async def health(server: Server) -> httpx.Response:
    return await server.http.get("/health")


async def becomes(server: Server, status: int) -> dict[str, Any]:
    """Wait until `/health` answers so, and return what it says then."""
    with trio.fail_after(10):
        while True:
            answer = await health(server)
            if answer.status_code == status:
                break
            await trio.sleep(0.1)
    state: dict[str, Any] = answer.json()
    assert state["status"] == ("ok" if status == 200 else "degraded")
    return state


async def test_a_server_that_is_well(server: Server):
    async with server.stream("exam"):
        answer = await health(server)
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "ok",
            "degraded": {},
            "version": __version__,
            "database": "sqlite",
            "frame_store": "embedded",
            "durability": "process",
            "retention": {
                "frames_seconds": 3600,
                "dumps_days": None,
                "reports_days": None,
                "audit_days": None,
            },
            "connections": 1,
        }


@pytest.mark.parametrize(("fault", "cure"), [("pause", "resume"), ("stop", "start")])
async def test_redis_down_is_said_until_it_is_back(tmp_path: Path, redis_server: RedisServer, fault, cure):
    """Down is also what hangs; and Proctor comes back by itself."""
    async with open_server(settings_for(tmp_path, redis_url=redis_server.url)) as server:
        await becomes(server, 200)
        await trio.to_thread.run_sync(getattr(redis_server, fault))
        state = await becomes(server, 503)
        assert set(state["degraded"]) == {"frame_store"}
        assert state["degraded"]["frame_store"]
        await trio.to_thread.run_sync(getattr(redis_server, cure))
        assert (await becomes(server, 200))["degraded"] == {}


@pytest.mark.parametrize(("options", "durability"), [((), "volatile"), (("--appendonly", "yes"), "process")])
async def test_what_an_acknowledgement_is_worth_on_redis(tmp_path: Path, options, durability):
    """Without its append-only file Redis forgets on a restart what was acknowledged."""
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis", *options) as redis:
        async with open_server(settings_for(tmp_path, redis_url=redis.url)) as server:
            state = (await health(server)).json()
    assert state["frame_store"] == "redis"
    assert state["durability"] == durability


async def test_postgresql_down_is_said_until_it_is_back(
    tmp_path: Path, postgres_url: str, postgres_server: PostgresHandle
):
    """Streaming goes on meanwhile, for it needs the frame store alone."""
    settings = settings_for(tmp_path, database_url=postgres_url, database_timeout_seconds=1)
    await upgrade_schema(settings)
    async with open_server(settings) as server, server.stream("exam") as client:
        assert (await becomes(server, 200))["database"] == "postgresql"
        await trio.to_thread.run_sync(postgres_server.stop)
        assert set((await becomes(server, 503))["degraded"]) == {"database"}
        assert await client.ask({"seq": 1, "extracted_features": {}}) == {"type": "ack", "seq": 1}
        refused = await server.http.get("/api/v1/session/exam")
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        await trio.to_thread.run_sync(postgres_server.start)
        await becomes(server, 200)
        assert (await server.http.get("/api/v1/session/exam")).status_code == 200


async def test_a_task_that_fails_is_said_within_a_second(server: Server, monkeypatch):
    """And it is started again: nothing that was received is lost."""

    async def fail_once(_: Ingest) -> None:
        monkeypatch.undo()
        raise RuntimeError("on purpose")

    monkeypatch.setattr(Ingest, "_commit", fail_once)
    async with server.stream("exam") as client:
        await client.send({"seq": 1, "extracted_features": {}})
        with trio.fail_after(1):
            state = await becomes(server, 503)
        assert state["degraded"] == {"ingest": "RuntimeError: on purpose"}
        assert await client.receive() == {"type": "ack", "seq": 1}
        await becomes(server, 200)
    assert len(await server.frames("exam")) == 1


async def test_metrics_count_what_happens(server: Server):
    before = await server.metrics()
    assert before["proctor_frames_stored_total", ""] == 0
    async with server.stream("exam") as client:
        await client.ask({"seq": 1, "extracted_features": {}})
        await client.ask({"type": "batch", "seq": 2, "frames": [{}, {}]})
        await client.ask({"seq": 1, "extracted_features": {}})
        await client.ask("nonsense")
        await client.ask({"seq": 2, "extracted_features": {"phone_present": 1}})
        during = await server.metrics()
    await server.http.post("/api/v1/session/ws/fallback", content=b"nonsense")
    await server.post("exam", "analyze")
    await server.post("exam", "end")
    after = await server.metrics()
    assert during["proctor_connections", ""] == 1
    assert after["proctor_connections", ""] == 0
    assert during["proctor_frames_stored_total", ""] == 3
    assert during["proctor_messages_total", "stored"] == 2
    assert during["proctor_messages_total", "duplicate"] == 1
    assert during["proctor_messages_total", "conflict"] == 1
    assert during["proctor_acks_total", ""] == 3
    assert during["proctor_message_errors_total", "invalid_json"] == 1
    assert during["proctor_message_errors_total", "seq_conflict"] == 1
    assert after["proctor_message_errors_total", "invalid_json"] == 2
    commits = [f"proctor_{name}_count" for name in ("commit_messages", "commit_seconds", "store_lag_seconds")]
    assert [during[name, ""] for name in commits] == [4, 4, 4]
    assert during["proctor_ingest_waiting_messages", ""] == 0
    assert after["proctor_analysis_seconds_count", "report"] == 2
    assert after["proctor_sessions_ended_total", ""] == 1
