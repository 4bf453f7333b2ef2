"""`proctor webhooks`, as an administrator types it, and a server that is killed before it has delivered."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.fixtures.process import proctor, serve
from tests.fixtures.receiver import HANGS, Receiver

pytestmark = pytest.mark.slow

LOCAL = {"WEBHOOK_PRIVATE_NETWORKS": '["127.0.0.0/8"]'}


async def command(folder: Path, *arguments: str, status: int = 0) -> str:
    done = await proctor(folder, *arguments, **LOCAL)
    assert done.returncode == status, done
    return done.stdout if status == 0 else done.stderr


async def test_what_was_acknowledged_is_told_though_the_server_is_killed(tmp_path: Path, receiver: Receiver):
    wanted = ["--event", "session.started", "--event", "session.ended"]
    secret = (await command(tmp_path, "webhooks", "add", receiver.url, *wanted)).strip()
    receiver.answers.append(HANGS)
    async with serve(tmp_path, **LOCAL) as server:
        assert (await server.start("exam")).status_code == 200
        await receiver.gets(1)
        assert (await server.post("exam", "end")).status_code == 204
        await server.kill()
    with sqlite3.connect(tmp_path / "proctor.sqlite3") as database:
        claims = database.execute("SELECT event, attempts, state FROM webhook_deliveries ORDER BY number")
        assert claims.fetchall() == [("session.started", 1, "pending"), ("session.ended", 0, "pending")]
        database.execute("UPDATE webhook_deliveries SET due_ms = 0")  # as when its claim has lapsed
    async with serve(tmp_path, **LOCAL):
        for each in await receiver.gets(3):
            each.verify(secret)
        [kept] = json.loads(await command(tmp_path, "webhooks", "list", "--format", "json"))
        assert (kept["url"], kept["state"]) == (receiver.url, "told")
        receiver.refused.add("webhook.test")
        assert "answered 400" in await command(tmp_path, "webhooks", "test", kept["id"], status=1)
        assert kept["id"] in await command(tmp_path, "webhooks", "remove", kept["id"])
    assert receiver.types == ["session.started", "session.started", "session.ended", "webhook.test"]
    assert receiver.received[0].name == receiver.received[1].name
