"""The review in a real browser: by keyboard alone, by two people, on a phone, whatever texts there are."""

import re
from collections.abc import AsyncIterator

import pytest
import trio

from tests.fixtures.browser import Page, open_page
from tests.reviewed import sat
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


PAGES = {
    "/review/x": "#statement",
    "/exam/%3Cscript%3Ealert(1)%3C%2Fscript%3E": ".figures h1",
}


@pytest.mark.parametrize("width", [1280, 360])
async def test_whatever_texts_there_are_they_are_texts_and_fit_the_screen(staff, width):
    """On every page, in every field, also on a phone; and a candidate's form works as browsers send it."""
    names = {"candidate_id": XSS, "metadata": {XSS: XSS}}
    await sat(staff.database, "x", "high", XSS, shadow="multiple_faces", **names)
    answer = await staff.ask("ann", "POST", "/session/x/transparency")
    key = (await staff.get("ann", "/review/x"))["findings"][0]["key"]
    await staff.act("ann", "x", "confirm", finding=key, note=XSS)
    async with open_page(width, 800) as page:
        link = answer.json()["url"]
        await page.call("goto", link)
        await page.call("fill", "#text", f"It was my calculator. {XSS}")
        await page.call("press", "#text", "Tab")
        await page.call("press", ":focus", "Enter")
        await shown(page, "blockquote", "It was my calculator.")
        await fits(page, "blockquote")
        await page.call("goto", f"{link}x")
        await shown(page, "h1", "This link does not open anything")
        await page.check_accessible()
        await sign_in(page, staff, "bob")
        await page.check_still()
        for path, selector in PAGES.items():
            await page.call("goto", f"{staff.server.url}{path}")
            await page.call("wait_for_selector", selector, timeout=10_000)
            await fits(page, selector)
        await page.call("goto", f"{staff.server.url}/review/x")
        await shown(page, "#queue [aria-current]", XSS)
        await page.call("press", ":focus", "d")
        await shown(page, ".reasons legend", "Why is it dismissed?")
        await page.check_accessible()
        await page.call("press", ":focus", "Escape")
        await page.call("click", "summary >> text=What was done")
        await shown(page, ".acts", f"“{XSS}”")
        assert await page.call("errors") == []
        assert not any("Refused" in line or "violates" in line for line in await page.call("console"))


async def test_times_are_those_of_the_reader_s_zone(tmp_path):
    """Of a candidate in Kolkata, for whom it is the next day already, and of who reviews from there."""
    days = {"dump_retention_days": 1.5, "report_retention_days": 1.5}
    async with open_staff(tmp_path, **days) as staff, open_page(timezone="Asia/Kolkata") as page:
        answer = await staff.ask("ann", "POST", "/session/a/transparency")
        await page.call("goto", answer.json()["url"])
        told = (await page.text(".letter")).replace("\u202f", " ")
        assert "Jan 5, 2026, 2:30:00 PM" in told
        assert "(Jan 5, 2026, 2:33:20 PM)" in told
        assert "Until Jan 7, 2026, 2:43:20 AM, then it is deleted." in told
        assert "2026-01" not in told
        await sign_in(page, staff, "ann")
        await page.call("goto", f"{staff.server.url}/session/a")
        await page.becomes("!!document.querySelector('#quality dd')")
        assert "Jan 5, 2026, 2:30:00 PM" in (await page.text("#quality")).replace("\u202f", " ")
        await page.becomes("!!document.querySelector('#findings button')")
        assert "2:33:20 PM" in (await page.text("#findings")).replace("\u202f", " ")


MARKED = "[...document.querySelectorAll('main [lang=en]')].map((each) => each.textContent.trim())"


async def test_german_pages_have_german_numbers_and_mark_what_is_english(staff, page: Page):
    answer = await staff.ask("ann", "POST", "/session/a/transparency")
    await page.call("goto", f"{staff.server.url}/sign-in")
    await page.call("click", "button[lang=de]")
    await page.call("fill", "#key", "wrong")
    await page.call("press", "#key", "Enter")
    await page.call("wait_for_selector", ".notice.bad[lang=en]")
    await page.call("goto", answer.json()["url"])
    assert await page.call("evaluate", "document.documentElement.lang") == "de"
    assert "Phone in view" in await page.call("evaluate", MARKED)
    await page.call("fill", "#text", " ")
    await page.call("click", "form.stack button")
    await page.call("wait_for_selector", ".notice.bad[lang=en]")
    await page.call("goto", f"{answer.json()['url']}x")
    await page.call("wait_for_selector", ".notice.bad[lang=en]")
    await sign_in(page, staff, "ann")
    await page.call("goto", f"{staff.server.url}/exam/algebra")
    assert re.search(r"0,\d Stunden beobachtet", await page.text(".figures p"))
    assert re.search(r"Mittel \d+,\d, Median \d+(,\d)?,", await page.text("#scores + p"))
    assert "Phone in view" in await page.call("evaluate", MARKED)
    await page.call("goto", f"{staff.server.url}/monitor")
    await page.call("wait_for_selector", ".notice.bad[lang=en]")


async def test_in_the_dark_everybody_can_read(staff, page: Page):
    await page.call("emulate_media", color_scheme="dark")
    answer = await staff.ask("ann", "POST", "/session/a/transparency")
    await page.call("goto", answer.json()["url"])
    await page.check_accessible()
    await page.call("fill", "#text", "It was my calculator.")
    await page.call("press", "#text", "Tab")
    await page.call("press", ":focus", "Enter")
    await shown(page, "blockquote", "It was my calculator.")
    await page.check_accessible()
    await sign_in(page, staff, "ann", "/review/a")
    await shown(page, "#session", "candidate of a")
    await page.check_accessible()
    await page.call("press", ":focus", "d")
    await shown(page, ".reasons legend", "Why is it dismissed?")
    await page.check_accessible()


async def test_what_is_printed_of_a_session_is_all_that_its_page_says(staff, page: Page, tmp_path):
    """On a sheet of paper, whose edge cuts nothing off; times are told to be UTC, for no script sets them."""
    key = (await staff.get("ann", "/review/a"))["findings"][0]["key"]
    await staff.act("ann", "a", "confirm", finding=key, note="seen twice")
    path = tmp_path / "a.html"
    path.write_text((await staff.ask("ann", "GET", "/session/a/report.html")).text)
    await page.call("set_viewport_size", {"width": 700, "height": 1000})
    await page.call("goto", path.as_uri())
    screen = await page.call("inner_text", "body")
    await page.call("emulate_media", media="print", color_scheme="dark")
    printed = await page.call("inner_text", "body")
    assert printed == screen
    assert "seen twice" in printed
    assert "2026-01-05 09:00:00 UTC to 2026-01-05 09:" in printed
    assert not re.search(r"\dT\d\d:", printed)
    assert await page.call("evaluate", CUT_OFF) == []
    assert await page.call("evaluate", "getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )


CUT_OFF = """[...document.querySelectorAll('body, .wide')]
    .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.innerText.slice(0, 80))"""


async def fits(page: Page, selector: str) -> None:
    """Hold a page to be usable by everybody, as wide as the screen, and to show the text as text."""
    assert XSS in await page.call("inner_text", selector)
    assert await page.call("evaluate", "document.querySelectorAll('main script').length") == 0
    await page.check_fits()
    await page.check_still(0.01)  # a time in the reader's zone may be longer
    await page.check_accessible()


SMALL_PAGES = """const given = window.fetch;
window.fetch = (path, options) => {
    const url = new URL(path, location.origin);
    if (url.pathname === "/api/v1/review") url.searchParams.set("limit", "2");
    return given(url, options);
};"""
"""Has the server give the queue in pages of two."""

SLOWLY = """() => {
    const given = window.fetch;
    window.fetch = async (...asked) => {
        await new Promise((resolve) => setTimeout(resolve, 500));
        return given(...asked);
    };
}"""
"""Has the server take so long that other things happen meanwhile."""


@pytest.fixture
async def paged(staff, page: Page) -> Page:
    """A page with five sessions to rank and three others, of which the server gives two at a time."""
    for name in ("c", "g", "i"):
        await sat(staff.database, name, "none", shadow="multiple_faces")
    for name in ("e", "f"):
        await sat(staff.database, name, "short")
    await page.call("add_init_script", script=SMALL_PAGES)
    return page


RANKED, APART = ["a", "b", "c", "g", "i"], ["-d", "e", "f"]


async def test_keys_go_through_all_sessions_however_many_pages_they_take(staff, paged: Page):
    await sign_in(paged, staff, "ann")
    assert await paged.call("evaluate", "document.querySelectorAll('.sessions li').length") == 4
    await paged.check_still()
    for name in RANKED + APART:
        await paged.call("press", "body", "J")
        await shown(paged, "#session", f"candidate of {name}")
        await shown(paged, ".sessions [aria-current]", f"candidate of {name}")
    await paged.call("press", "body", "J")
    await shown(paged, "#status", "That was the last one in the queue.")
    assert not await paged.call("is_visible", "#more")
    assert not await paged.call("is_visible", "#apart-more")
    for name in reversed((RANKED + APART)[:-1]):
        await paged.call("press", "body", "K")
        await shown(paged, "#session", f"candidate of {name}")
    assert await paged.call("errors") == []


async def test_decisions_lead_through_all_sessions_and_are_counted(staff, paged: Page):
    """Also where what is decided is no longer what the filters ask for."""
    await sign_in(paged, staff, "ann")
    await paged.call("select_option", "[name=state]", "open")
    await paged.call("press", "body", "J")
    for name in RANKED + APART:
        await shown(paged, "#session", f"candidate of {name}")
        await paged.call("press", ":focus", "n")
    await shown(paged, "#status", "That was the last one in the queue.")
    await shown(paged, "#counts", "0 open, 0 awaiting a second look, 8 decided")
    await paged.call("press", "body", "u")
    await shown(paged, "#counts", "1 open, 0 awaiting a second look, 7 decided")
    assert await paged.call("errors") == []


async def test_from_a_session_on_no_page_yet_keys_go_on_to_the_one_after_it(staff, paged: Page):
    await sign_in(paged, staff, "ann", "/review/g")
    await shown(paged, "#session", "candidate of g")
    await paged.call("press", ":focus", "J")
    await shown(paged, "#session", "candidate of i")
    await paged.call("goto", f"{staff.server.url}/review/e")
    await shown(paged, "#session", "candidate of e")
    await shown(paged, "#queue li", "candidate of a")
    await paged.call("press", ":focus", "n")
    await shown(paged, "#session", "candidate of f")
    await paged.call("click", "#more")
    await shown(paged, "#queue :focus", "candidate of c")


async def test_a_finding_is_confirmed_with_a_reason_and_a_note_by_pointer(staff, page: Page):
    """And a note that was begun is there again when it is wanted again."""
    await sign_in(page, staff, "ann", "/review/a")
    await page.call("click", ".finding >> nth=0 >> text=Confirm with a reason")
    await shown(page, ".reasons legend", "Why is it confirmed?")
    await page.check_accessible()
    await page.call("type", "#why", "seen twice")
    await page.call("press", "#why", "Escape")
    assert not await page.call("is_visible", ".reasons")
    await page.call("type", "#note", "of the session")
    await page.call("press", "#note", "Escape")
    await page.call("press", ":focus", "J")
    await shown(page, "#session", "candidate of b")
    assert await page.call("input_value", "#note") == ""
    await page.call("press", "body", "K")
    await shown(page, "#session", "candidate of a")
    assert await page.call("input_value", "#note") == "of the session"
    await page.call("press", ":focus", "C")
    assert await page.call("input_value", "#why") == "seen twice"
    await page.call("press", ":focus", "m")
    assert await focused(page) == "why"
    await page.call("press", "#why", "Enter")
    await page.call("press", ":focus", "0")
    await shown(page, "#status", "Confirmed")
    await page.call("click", ".finding >> nth=1 >> text=Confirm with a reason")
    assert await page.call("input_value", "#why") == ""
    await page.call("fill", "#why", "and here")
    await page.call("click", ".reasons button >> nth=0")
    await until(staff, 2)
    acts = (await staff.get("ann", "/review/a"))["acts"]
    assert [(act["act"], act["reason"], act["note"]) for act in acts] == [
        ("confirm", None, "seen twice"),
        ("confirm", "as_reported", "and here"),
    ]
    await page.call("click", ".finding >> nth=0 >> text=Confirm with a reason")
    assert await page.call("input_value", "#why") == ""  # what was sent is not begun


async def test_what_is_exported_is_what_is_chosen(staff, page: Page):
    await sign_in(page, staff, "ann")
    await page.call("fill", "[name=exam_id]", "algebra")
    await page.call("select_option", "[name=state]", "open")
    await page.call("select_option", "[name=priority]", "none")
    await page.becomes("!document.querySelector('#queue').textContent.includes('candidate of a')")
    link = await page.call("get_attribute", "[data-export=json]", "href")
    exported = await staff.ask("ann", "GET", link.removeprefix("/api/v1"))
    assert [each["session_id"] for each in exported.json()["sessions"]] == ["b"]
    assert link.partition("?")[2] == "exam_id=algebra&state=open&priority=none"
    csv = await page.call("get_attribute", "[data-export=csv]", "href")
    assert csv == link.replace(".json", ".csv")


async def test_a_case_links_to_its_pages_and_the_way_back_closes_it(staff, page: Page):
    await sign_in(page, staff, "ann")
    await page.call("click", "#queue a >> nth=0")
    await shown(page, "#session", "candidate of a")
    for path in ("/session/a", "/exam/algebra"):
        assert await page.call("is_visible", f"#body a[href='{path}']")
        answer = await page.call("evaluate", f"fetch('{path}').then((answer) => answer.status)")
        assert answer == 200
    await page.call("go_back")
    await shown(page, "#body", "Choose a session from the queue.")
    assert await page.call("evaluate", "document.querySelector('.sessions [aria-current]')") is None
    assert await page.call("evaluate", "document.activeElement.getAttribute('href')") == "/review/a"
    await page.call("press", "body", "n")
    assert (await staff.get("ann", "/review/a"))["state"] == "open"
    await page.call("go_forward")
    await shown(page, "#session", "candidate of a")
    await page.call("evaluate", SLOWLY)
    await page.call("press", ":focus", "c")
    await page.call("go_back")
    await shown(page, "#body", "Choose a session from the queue.")
    assert (await staff.get("ann", "/review/a"))["number"] == 1
    assert await page.call("errors") == []
