"""The page of webhooks in a real browser."""

import pytest

from tests.fixtures.browser import open_page
from tests.fixtures.receiver import Answer, Receiver
from tests.fixtures.server import open_server, settings_for


@pytest.mark.slow
async def test_what_was_given_up_is_sent_again_from_a_phone(tmp_path, receiver: Receiver):
    settings = settings_for(tmp_path, webhook_private_networks=["127.0.0.0/8"])
    async with open_server(settings) as server, open_page(width=360, height=740) as page:
        await page.call("emulate_media", color_scheme="dark")
        await page.call("goto", f"{server.url}/webhooks")
        assert "No address is told anything" in await page.text("main")
        await page.check_accessible()
        await server.http.post("/api/v1/webhooks", json={"url": receiver.url, "events": ["session.started"]})
        receiver.answers.append(Answer(500))
        await server.start("exam")
        await receiver.gets(1)
        await page.call("goto", f"{server.url}/webhooks?state=pending")
        assert "session.started" in await page.text("main")
        await page.check_accessible()
        await page.check_fits()
        await page.call("click", "text=Send again")
        await receiver.gets(2)
        assert (await page.call("evaluate", "location.search")) == "?state=pending"
