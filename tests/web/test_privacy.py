"""Erasure and export as a running server does them."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from proctor.web.app import ProctorApp
from tests.fixtures.server import Server, open_server, settings_for


@pytest.fixture
async def server(tmp_path, monkeypatch):
    patient = {**ProctorApp.default_config, "RESPONSE_TIMEOUT": 0.3}
    monkeypatch.setattr(ProctorApp, "default_config", patient)
    async with open_server(settings_for(tmp_path)) as opened:
        yield opened


async def test_an_export_may_take_its_time(server: Server, monkeypatch):
    """Quart gives an answer a minute by default; here it has a third of a second."""

    async def slow(*_: Any) -> AsyncGenerator[bytes, None]:
        for part in (b'{"candidate_id":"someone",', b'"sessions":[', b"]}"):
            await trio.sleep(0.3)
            yield part

    monkeypatch.setattr("proctor.web.privacy.exported", slow)
    await server.start("exam")
    answer = await server.http.get("/api/v1/candidate/someone")
    assert answer.json() == {"candidate_id": "someone", "sessions": []}


async def test_a_server_removes_what_has_expired_by_itself(tmp_path):
    async with open_server(settings_for(tmp_path)) as server:
        await server.start("old")
        await server.start("running")
        assert (await server.post("old", "end")).status_code == 204
    async with open_server(settings_for(tmp_path, report_retention_days=1e-7)) as server:
        with trio.fail_after(20):
            while (await server.http.get("/api/v1/session/old")).status_code != 404:  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert (await server.http.get("/api/v1/session/running")).json()["status"] == "active"
        kept = (await server.http.get("/health")).json()["retention"]
        assert (kept["reports_days"], kept["dumps_days"]) == (1e-7, None)
