"""The review in a real browser: by keyboard alone, by two people, on a phone, whatever texts there are."""

from collections.abc import AsyncIterator

import pytest
import trio

from tests.fixtures.browser import Page
from tests.web.test_review import XSS, Staff, open_staff

pytestmark = pytest.mark.usefixtures("hard_limit")


@pytest.fixture
async def staff(tmp_path) -> AsyncIterator[Staff]:
    async with open_staff(tmp_path) as opened:
        yield opened


async def sign_in(page: Page, staff: Staff, who: str, path: str = "/review") -> None:
    await page.call("goto", f"{staff.server.url}{path}")
    await page.call("fill", "#key", staff.keys[who])
    await page.call("press", "#key", "Enter")
    await shown(page, "#queue li", "candidate of a")


async def shown(page: Page, selector: str, text: str) -> None:
    """Wait until there is such an element with this text in it."""
    await page.call("wait_for_selector", f"{selector}:has-text({text!r})", timeout=10_000)


async def focused(page: Page) -> str:
    return await page.call("evaluate", "document.activeElement.id || document.activeElement.tagName")


async def until(staff: Staff, number: int, session_id: str = "a") -> None:
    """Wait until so many acts are kept."""
    while (await staff.get("ann", f"/review/{session_id}"))["number"] < number:  # noqa: ASYNC110
        await trio.sleep(0.02)


async def test_a_session_is_reviewed_by_keyboard_alone(staff, page: Page):
    """Two sessions, in fewer keys than there are findings and decisions, and everything can be taken back."""
    await sign_in(page, staff, "ann")
    findings = len((await staff.get("ann", "/review/a"))["findings"])
    await page.call("press", "body", "J")
    await shown(page, "#session", "candidate of a")
    assert (await focused(page)).startswith("f-")
    await page.call("press", ":focus", "c")
    await shown(page, "#status", "Confirmed")
    await page.call("press", ":focus", "k")
    await page.call("press", ":focus", "j")
    await page.call("press", ":focus", "d")
    await page.call("press", ":focus", "2")
    await shown(page, "#status", f"Findings not judged yet: {findings - 2}.")
    review = await staff.get("ann", "/review/a")
    assert [(act["act"], act["reason"]) for act in review["acts"]] == [
        ("confirm", None),
        ("dismiss", "technical"),
    ]
    assert len({act["finding"] for act in review["acts"]}) == 2
    await page.call("press", ":focus", "u")
    await shown(page, "#status", "Taken back")
    await page.call("press", ":focus", "m")
    assert await focused(page) == "note"
    await page.call("type", "#note", f"n s r {XSS}")
    await page.call("press", "#note", "Escape")
    await page.call("press", ":focus", "s")
    await shown(page, "#session", "candidate of b")
    await page.call("press", ":focus", "n")
    await shown(page, "#session", "candidate of -d")
    states = {each["session_id"]: each["state"] for each in (await staff.get("ann", "/review"))["sessions"]}
    assert states == {"a": "awaiting_second", "b": "decided"}
    await page.call("press", "body", "K")
    await shown(page, "#session", "candidate of b")
    await page.call("press", ":focus", "u")
    await shown(page, "#status", "Taken back")
    assert (await staff.get("ann", "/review/b"))["state"] == "open"
    assert await page.call("errors") == []


async def test_what_others_do_meanwhile_is_shown_and_nothing_is_done(staff, page: Page):
    await sign_in(page, staff, "ann", "/review/a")
    await shown(page, "#session", "candidate of a")
    await staff.act("bob", "a", "decide", decision="needs_second", note=XSS)
    await page.call("press", ":focus", "c")
    await shown(page, "#failure", "look at what has changed")
    await shown(page, "#body", "This is the second look")
    assert "alert(1)" not in await page.call("inner_text", "#body")
    assert (await staff.get("ann", "/review/a"))["number"] == 1
