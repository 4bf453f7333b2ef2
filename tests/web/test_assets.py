"""The browser client's files, and the page that tries it."""

from pathlib import Path

from proctor.access.roles import Role
from tests.fixtures.browser import Page, open_page
from tests.fixtures.server import Server, open_server, settings_for
from tests.web.test_access import key_for

CLIENT = Path(__file__).parents[2] / "proctor/web/client/static"


async def test_files_are_cached_and_asked_for_again_and_shared_with_allowed_origins(server: Server):
    """A module of another type than JavaScript is not run, nor one that its page's origin may not read."""
    types = {"js": "text/javascript", "ts": "text/plain", "css": "text/css"}
    for file in CLIENT.iterdir():
        answer = await server.http.get(f"/{file.name}", headers={"Origin": "http://localhost:3000"})
        assert answer.content == file.read_bytes()
        assert answer.headers["Content-Type"] == f"{types[file.name.rpartition('.')[2]]}; charset=utf-8"
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("no-cache", "Origin")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        again = await server.http.get(f"/{file.name}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert (await server.http.get("/proctor-client.mjs")).status_code == 404
    assert (await server.http.get("/try")).headers["Cache-Control"] == "no-store"


async def test_the_try_page_streams_is_judged_and_ends(server: Server):
    """By keyboard, on a phone, through an unplugged network and a reload."""
    async with open_page(375, 800) as page:
        await page.call("goto", f"{server.url}/try")
        await page.call("press", "#session", "Enter")
        await page.call("press", "[data-act=phone]", "Space")
        await page.call("wait_for_selector", "#basis:not(:empty)")
        await page.call("press", "#unplug", "Enter")
        await page.call("wait_for_selector", "#line[data-state=waiting]")
        await page.call("press", "[data-act=other]", "Space")
        await page.call("wait_for_selector", '#unsent:text-matches("[3-9]")')
        await page.call("reload")
        await page.call("wait_for_selector", "#line[data-state=open]")
        await page.call("wait_for_selector", '#unsent:text-is("0")')
        session_id = await page.call("input_value", "#session")
        await page.call("press", "#end", "Enter")
        await page.call("wait_for_selector", "#line[data-state=ended]")
        await page.call("wait_for_selector", '#end:text-is("New session")')
        await page.check_accessible()
        await page.check_fits()
        await page.call("emulate_media", color_scheme="dark")
        await page.check_accessible()
        assert await page.call("errors") == []
        assert all(url.startswith(server.url) for url in await page.call("requests"))
    frames = await server.frames(session_id)
    assert {frame["phone_present"] for frame in frames if "phone_present" in frame} == {0, 1}
    assert {frame["no_of_face"] for frame in frames if "no_of_face" in frame} == {1, 2}


async def test_the_try_page_asks_for_a_token_where_one_is_needed(tmp_path: Path, page: Page):
    settings = settings_for(tmp_path, authentication="required")
    key = await key_for(settings, Role.INTEGRATION)
    async with open_server(settings) as server:
        server.http.headers["Authorization"] = f"Bearer {key}"
        token = (await server.start("exam")).json()["token"]
        await page.call("goto", f"{server.url}/try")
        await page.call("fill", "#session", "exam")
        await page.call("fill", "#token", "of.no.use")
        await page.call("press", "#token", "Enter")
        await page.call("wait_for_selector", "#line[data-state=refused]")
        await page.call("fill", "#token", token)
        await page.call("press", "#token", "Enter")
        await page.call("wait_for_selector", "#line[data-state=open]")
        await page.call("wait_for_selector", '#note:text("staff")')
        assert (await page.text("#watch")).startswith("For staff: open")
        assert await page.call("get_attribute", "#watch", "href") == "/session/exam"
        assert await page.call("errors") == []


async def test_staff_who_are_signed_in_see_the_whole_of_the_try_page(tmp_path: Path, page: Page):
    """The report as it grows, and the end, which change something and are asked for with a cookie."""
    settings = settings_for(tmp_path, authentication="required")
    key = await key_for(settings, Role.INTEGRATION, Role.PROCTOR)
    async with open_server(settings) as server:
        server.http.headers["Authorization"] = f"Bearer {key}"
        token = (await server.start("exam")).json()["token"]
        await page.call("goto", f"{server.url}/monitor")
        await page.call("fill", "#key", key)
        await page.call("click", "form.stack button")
        await page.becomes("location.pathname === '/monitor'")
        await page.call("goto", f"{server.url}/try")
        await page.call("fill", "#session", "exam")
        await page.call("press", "#session", "Enter")
        await page.call("fill", "#token", token)
        await page.call("press", "#token", "Enter")
        await page.call("wait_for_selector", "#basis:not(:empty)")
        await page.call("click", "#end")
        await page.call("wait_for_selector", "#line[data-state=ended]")
        assert await page.call("errors") == []


WATCH = """import('/proctor-telemetry.js').then(({watchBrowser}) => {
    window.told = [];
    window.stop = watchBrowser({sendEvent: (event) => told.push(event)});
})"""
HIDDEN = """(hidden) => {
    Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
}"""


async def test_what_a_browser_tells_without_a_camera(server: Server, page: Page):
    """By real keys and pointers where a test can press them; an absence begins once and ends once."""
    await page.call("goto", f"{server.url}/try")
    await page.call("evaluate", WATCH)
    for hidden in (True, True, False, False):
        await page.call("evaluate", HIDDEN, hidden)
    for name in ("blur", "blur", "focus", "focus"):
        await page.call("evaluate", "(name) => window.dispatchEvent(new Event(name))", name)
    await page.call("fill", "#session", "a-session")
    for keys in ("Control+A", "Control+C", "Control+X", "Control+V"):
        await page.call("press", "#session", keys)
    await page.call("click", "h1", button="right")
    await page.call("evaluate", "document.documentElement.dispatchEvent(new Event('mouseleave'))")
    told = await page.call("evaluate", "told")
    assert [each["event"] for each in told] == [
        "TAB_SWITCHED",
        "TAB_RETURNED",
        "WINDOW_FOCUS_LOST",
        "WINDOW_FOCUS_RESTORED",
        "COPY_ATTEMPT",
        "COPY_ATTEMPT",
        "PASTE_ATTEMPT",
        "RIGHT_CLICK",
        "MOUSE_LEFT_WINDOW",
    ]
    assert [each["event"] for each in told if "duration" in each] == ["TAB_RETURNED", "WINDOW_FOCUS_RESTORED"]
    assert all(each["source"] == "browser" and each["ts"] > 0 for each in told)
    await page.call("evaluate", "stop()")
    await page.call("press", "#session", "Control+C")
    assert len(await page.call("evaluate", "told")) == len(told)
