"""What comes from outside is data on every page, whatever it holds."""

import json

import pytest

from tests.fixtures.browser import Page
from tests.fixtures.server import Server
from tests.pages.test_monitor import HOSTILE
from tests.web.test_monitor import CALM, story, tell

SIGHTING = {"rule": HOSTILE, "title": HOSTILE, "message": HOSTILE, "start_ms": 2e12, "end_ms": 2e12}
GLANCE = {
    "score": 90,
    "priority": "high",
    "last_ms": None,
    "concerns": 1,
    "newest": [SIGHTING],
    "rules": {HOSTILE: HOSTILE},
    "bars": "0",
}
ROW = {
    "session_id": HOSTILE,
    "candidate_id": HOSTILE,
    "exam_id": HOSTILE,
    "started_ms": 1,
    "ended_ms": None,
    "line": "live",
    "glance": GLANCE,
}
TOLD = {"type": "sessions", "complete": True, "now_ms": 2e12, "sessions": [ROW], "gone": []}
SAYING = """window.WebSocket = class {
    constructor() { setTimeout(() => this.onmessage({data: %s}), 100); }
    close() {}
}"""
MADE = "document.querySelectorAll('img[src=x], main script').length"


async def check_text(page: Page, place: str) -> None:
    """Fail if what is shown at a place has become more than text, or has been left out."""
    await page.becomes(f"document.querySelector('{place}')?.textContent.includes('<img src=x')")
    assert await page.call("evaluate", MADE) == 0
    assert await page.call("title") != "1"
    assert await page.call("errors") == []


@pytest.mark.slow
async def test_a_rule_s_words_on_the_monitor_are_text(server: Server, page: Page):
    """As of a plugin that repeats what a client has sent."""
    await page.call("add_init_script", SAYING % json.dumps(json.dumps(TOLD)))
    await page.call("goto", f"{server.url}/monitor")
    for place in (".session .name", ".session .finding", "#incident-list", "#rule", "#exam"):
        await check_text(page, place)


@pytest.mark.slow
async def test_events_and_accommodations_on_a_session_s_page_are_text(server: Server, page: Page):
    granted = [{"type": "exempt", "rule": "phone", "reason": HOSTILE}]
    assert (await server.start("s", candidate_id=HOSTILE, exam_id=HOSTILE, accommodations=granted)).is_success
    async with server.stream("s") as client:
        await tell(client, [*story((30, CALM)), {"event": HOSTILE, "lv": 3, "extractedFeatures": CALM}])
    await page.call("goto", f"{server.url}/session/s")
    for place in ("h1", "#accommodations", "#timeline"):
        await check_text(page, place)
