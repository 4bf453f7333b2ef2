"""The usage document's JavaScript, word for word, in a real browser on a page of the real server."""

from pathlib import Path

import pytest

from tests.fixtures.browser import Page, open_page
from tests.fixtures.server import Server, open_server, settings_for

# From the usage document; only the port is the test's own.
CONNECT_AND_SEND = """
const ws = new WebSocket("ws://localhost:8000/api/v1/session/ws/demo_session");
ws.onopen = () => {
  const payload = {
    frame_data: {
      session_id: "demo_session",
      face_present: 1,
      no_of_face: 1,
      face_x: 260,
      face_y: 312,
      phone_present: 0
    }
  };
  ws.send(JSON.stringify(payload));
};

ws.onmessage = (evt) => {
  const msg = JSON.parse(evt.data);
  console.log("WS message:", msg);
  if (msg.type === "session_ended") {
    console.log("Session ended by server");
    ws.close();
  }
};
"""
ANALYZE = """
fetch(`/api/v1/session/demo_session/analyze`, { method: 'POST' })
  .then(res => res.json())
  .then(report => console.log('Analysis report', report))
  .catch(console.error);
"""
END = """
fetch(`/api/v1/session/demo_session/end`, { method: 'POST' })
  .then(res => { if (res.status === 204) console.log('Ended'); })
  .catch(console.error);
"""


async def test_the_documents_javascript_streams_analyzes_and_ends(server: Server, foreign_page: Page):
    """Page and server agree: the frame is stored, the report arrives, and the page hears the end."""

    async def run(script: str) -> None:
        here = script.replace("localhost:8000", f"127.0.0.1:{server.port}")
        await foreign_page.call("add_script_tag", content=here)

    await foreign_page.call("goto", f"{server.url}/docs")
    await run(CONNECT_AND_SEND + "setTimeout(() => console.log('sent', ws.readyState), 500);")
    await foreign_page.logs("sent 1")
    await run(ANALYZE)
    await foreign_page.logs("Analysis report")
    await run(END)
    await foreign_page.logs("Ended")
    await foreign_page.logs("Session ended by server")
    dump = (server.settings.dump_directory / "demo_session_frames.json").read_text()
    assert dump.count('"face_x":260') == 1


async def test_the_documentation_page_reads_well_and_loads_nothing_from_elsewhere(server: Server):
    """No request leaves the server, no error is logged, and the page fits a phone's width."""
    async with open_page(375, 800) as page:
        await page.call("goto", f"{server.url}/docs")
        assert all(url.startswith(server.url) for url in await page.call("requests"))
        assert await page.call("errors") == []
        assert await page.call("evaluate", "document.querySelectorAll('article').length") > 15
        root = "document.documentElement"
        assert await page.call("evaluate", f"{root}.scrollWidth - {root}.clientWidth") == 0


@pytest.mark.parametrize(("allowed", "opens"), [([], False), (["http://localhost:*"], True)])
async def test_a_foreign_page_streams_only_where_it_is_allowed(
    tmp_path: Path, foreign_page: Page, allowed: list[str], opens: bool
):
    """127.0.0.1 and localhost are different origins to a browser."""
    async with open_server(settings_for(tmp_path, allowed_origins=allowed)) as server:
        await foreign_page.call("goto", f"http://localhost:{server.port}/docs")
        opened = await foreign_page.call(
            "evaluate",
            """url => new Promise(resolve => {
                const ws = new WebSocket(url);
                ws.onopen = () => resolve(true);
                ws.onerror = () => resolve(false);
            })""",
            server.stream_url("demo_session"),
        )
        assert opened is opens
