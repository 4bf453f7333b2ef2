"""The documentation and what it says of privacy, in a real browser."""

import pytest

from tests.fixtures.browser import open_page
from tests.fixtures.server import Server


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/docs", "/privacy"])
async def test_pages_to_read_fit_a_phone_and_are_readable_for_all(server: Server, path: str):
    async with open_page(360, 740) as page:
        for scheme in ("light", "dark"):
            await page.call("emulate_media", color_scheme=scheme)
            await page.call("goto", f"{server.url}{path}")
            await page.check_fits()
            await page.check_accessible()
