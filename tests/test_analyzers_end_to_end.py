"""Other people's analyzers in a running server: the good one is heard, the bad cost their own section."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fixtures.process import ServerProcess, install_rogues, proctor, serve
from tests.fixtures.server import Client
from tests.plugins.distribution import install

pytestmark = [pytest.mark.slow, pytest.mark.no_cover, pytest.mark.timeout(60)]

EXAMPLE = Path(__file__).parents[1] / "plugins" / "example-rule"
BEGINS_MS = 1_767_603_600_000
ROGUES = {
    "rogue_raises": "failed",
    "rogue_raises_in_assess": "failed",
    "rogue_quits": "failed",
    "rogue_hangs": "timed_out",
    "rogue_dies": "failed",
    "rogue_segfaults": "failed",
    "rogue_hoards": "failed",
    "rogue_unserialisable": "failed",
    "rogue_returns_nothing": "failed",
    "rogue_returns_nan": "failed",
    "rogue_returns_another_time": "failed",
    "rogue_returns_strange_details": "failed",
    "rogue_chatters": "ok",
}


def frame(seconds: float, **features: Any) -> dict[str, Any]:
    return {"timestamp": BEGINS_MS + round(seconds * 1000), "face_present": 1, "no_of_face": 1, **features}


async def send(client: Client, frames: list[dict[str, Any]], seq: int) -> None:
    """Stream frames as one batch and wait until they are stored."""
    batch = [{"extracted_features": one} for one in frames]
    assert await client.ask({"type": "batch", "frames": batch, "seq": seq}) == {"type": "ack", "seq": seq}


@asynccontextmanager
async def clock_told(server: ServerProcess, session_id: str) -> AsyncIterator[Client]:
    """A client whose frames keep the times that they say."""
    async with server.stream(session_id) as client:
        assert (await client.ask({"type": "clock", "timestamp": BEGINS_MS + 60_000}))["type"] == "clock"
        yield client


async def report_of(server: ServerProcess, session_id: str) -> dict[str, Any]:
    answer = await server.post(session_id, "analyze")
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def test_an_installed_rule_is_in_the_report(tmp_path: Path):
    """Installed as its README says, and nothing registered anywhere.

    A policy sets it: without, two thirds of the usual width would be no distance. Its own section is there.
    """
    target = await trio.to_thread.run_sync(install, EXAMPLE, tmp_path)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "default.toml").write_text("[rules.too_far]\nwidth_share = 0.8\n")
    listed = await proctor(tmp_path, "plugins", PYTHONPATH=str(target), COLUMNS="200")
    assert "proctor-example-rule" in listed.stdout
    chosen = {"ANALYZE_INTERVAL_SECONDS": "0", "POLICY_DIRECTORY": str(policies)}
    async with serve(tmp_path, pythonpath=[target], **chosen) as server:
        async with clock_told(server, "exam") as client:
            near = [frame(seconds, face_w=200) for seconds in range(40)]
            far = [frame(seconds, face_w=130) for seconds in range(40, 60)]
            await send(client, near + far, seq=1)
            live = await report_of(server, "exam")
        assert (await server.post("exam", "end")).status_code == 204
        final = await report_of(server, "exam")
    for report in (live, final):
        section = report["analyzers"]["too_far"]
        assert section["status"] == "ok"
        assert section["plugin"] == "proctor-example-rule"
        assert section["version"] == "1.0.0"
        assert section["details"] == {"usual_width": 200.0, "unit": "px"}
        (finding,) = [finding for finding in report["findings"] if finding["rule"] == "too_far"]
        assert finding["plugin"] == "proctor-example-rule"
        assert 35 < finding["start_seconds"] < 45


async def test_rogues_cost_their_own_sections_offline_too(tmp_path: Path):
    """A dump is judged as by a server, even by a rule that hangs and one that takes its process with it."""
    rogues = install_rogues(tmp_path, "rogue_hangs", "rogue_dies")
    frames = [frame(seconds, phone_present=int(20 <= seconds < 30)) for seconds in range(60)]
    (tmp_path / "dump.json").write_text(json.dumps(frames))
    done = await proctor(
        tmp_path,
        *("analyze", "dump.json", "--format", "json"),
        PYTHONPATH=str(rogues),
        ANALYSIS_TIMEOUT_SECONDS="1",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "phone" in {finding["category"] for finding in report["findings"]}
    assert {name: report["analyzers"][name]["status"] for name in ("rogue_hangs", "rogue_dies")} == {
        "rogue_hangs": "timed_out",
        "rogue_dies": "failed",
    }


async def test_rogues_cost_their_own_sections(tmp_path: Path):
    """Whatever they do, the phone is found, live and finally, and frames are acknowledged meanwhile."""
    rogues = install_rogues(tmp_path, *ROGUES)
    chosen = {
        "ANALYSIS_TIMEOUT_SECONDS": "1",
        "ANALYSIS_REFRESH_SECONDS": "0.5",
        "ANALYSIS_MEMORY_MB": "256",
        "ANALYZE_INTERVAL_SECONDS": "0",
    }
    waits = []
    reports: list[dict[str, Any]] = []
    async with serve(tmp_path, pythonpath=[rogues], **chosen) as server:
        async with clock_told(server, "exam") as client, trio.open_nursery() as nursery:

            async def judge() -> None:
                with trio.fail_after(30):
                    reports.append(await report_of(server, "exam"))
                nursery.cancel_scope.cancel()

            await send(client, [frame(second, phone_present=1, phone_conf=90) for second in range(20)], seq=0)
            nursery.start_soon(judge)
            for seq in range(1, 10_000):
                began = trio.current_time()
                await send(client, [frame(20 + seq / 20)], seq=seq)
                waits.append(trio.current_time() - began)
                await trio.sleep(0.05)
        assert (await server.http.get("/health")).json()["status"] == "ok"
        assert (await server.post("exam", "end")).status_code == 204
        reports.append(await report_of(server, "exam"))
    live, final = reports
    assert live["session_info"]["final"] is False
    assert final["session_info"]["final"] is True
    assert len(waits) > 10
    assert max(waits) < 1
    for report in reports:
        sections = report["analyzers"]
        assert {name: sections[name]["status"] for name in ROGUES} == ROGUES
        assert all(sections[name]["reason"] for name, status in ROGUES.items() if status != "ok")
        assert {section["status"] for name, section in sections.items() if name not in ROGUES} == {"ok"}
        assert {finding["rule"] for finding in report["findings"]} == {"phone"}
        assert report["suspicious_events"]["phone_detections"]
