"""The pages of running exams in a real browser."""

from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest

from proctor.access.roles import Role
from tests.fixtures.browser import Page, open_page
from tests.fixtures.server import Server, open_server, settings_for
from tests.web.test_access import LIVEKIT, key_for
from tests.web.test_monitor import CALM, PHONE, story, tell

POINTING = (
    "setInterval(() => document.activeElement.dispatchEvent(new Event('pointermove', {bubbles: true})), 100)"
)
START = """import('/assets/common.js').then(({call}) =>
    call('POST', '/api/v1/session/start', {exam_session_id: 's', candidate_id: 'c'})).then(() => true)"""
COMPANY = {"no_of_face": 2}
HOSTILE = '<img src=x onerror="document.title=1">&amp;"\'</script><script>document.title=1</script>'
NEWS = "document.querySelectorAll('#incident-list li').length"
TOP = "document.querySelector('.session a[title=%s]').getBoundingClientRect().top"
BADGES = "document.querySelectorAll('.session .badge:not([hidden])').length"
COUNT_MOVES = """window.moves = 0;
    new MutationObserver((changes) => { for (const {addedNodes} of changes) moves += addedNodes.length; })
        .observe(document.querySelector('#sessions'), {childList: true})"""
GONE = (
    "(({visibility, display}) => visibility === 'hidden' || display === 'none')"
    "(getComputedStyle(document.querySelector('%s')))"
)
DEAF = """window.sockets = [];
    const later = setTimeout;
    window.setTimeout = (work, ms, ...more) => later(work, ms === 30000 ? 1000 : ms, ...more);
    window.WebSocket = class extends WebSocket {
        constructor(...address) { super(...address); sockets.push(this); }
        set onmessage(take) { super.onmessage = take && ((event) => this.deaf || take(event)); }
    }"""
ROWS = "[...document.querySelectorAll('#sessions > li a')].map((each) => each.textContent)"


async def observed(server: Server, session_id: str, phone_seconds: float = 0, **more: str) -> None:
    await server.start(session_id, **{"candidate_id": session_id} | more)
    async with server.stream(session_id) as client:
        await tell(client, story((330, CALM), (phone_seconds, PHONE)))


@pytest.mark.slow
async def test_the_monitor_shows_the_most_urgent_first_and_hides_nothing_new(server: Server, page: Page):
    await observed(server, "calm", candidate_id=HOSTILE, exam_id=HOSTILE)
    await observed(server, "old", 30)
    await page.call("goto", f"{server.url}/monitor")
    await page.becomes(f"{ROWS}.length === 2 && document.querySelectorAll('.session.high').length === 1")
    assert await page.call("evaluate", ROWS) == ["old", HOSTILE]
    assert await page.call("evaluate", NEWS) == 0
    for number in range(3):
        await server.start(f"storm-{number}", candidate_id=f"storm-{number}")
    await page.becomes(f"{ROWS}.length === 5")
    for number in range(3):
        async with server.stream(f"storm-{number}") as client:
            await tell(client, story((330, CALM), (20 + number, PHONE)))
        await page.becomes(f"{ROWS}[0] === 'storm-{number}'")
    assert (await page.call("title")).startswith("(3) Monitor")
    assert "storm-2" in await page.text("#incident-list li:first-child")
    assert await page.call("evaluate", NEWS) == 3
    await page.check_still()
    await page.check_accessible()
    await page.call("click", "#seen")
    assert await page.call("evaluate", NEWS) == 0
    assert (await page.call("title")).startswith("Monitor")
    await page.call("fill", "#search", "CALM")
    assert await page.call("evaluate", ROWS) == [HOSTILE]
    await page.call("fill", "#search", "")
    await page.call("select_option", "#rule", "phone")
    assert len(await page.call("evaluate", ROWS)) == 4
    await page.call("select_option", "#rule", "")
    await page.call("select_option", "#exam", HOSTILE)
    assert await page.call("evaluate", ROWS) == [HOSTILE]
    await page.call("click", "#sessions .act button:last-child")
    await page.call("click", "dialog .strong")
    await page.becomes("document.querySelector('#sessions .line').classList.contains('ended')")
    await page.check_accessible()
    assert await page.call("errors") == []


async def test_the_monitor_is_filtered_by_state_and_heard_when_wanted(server: Server, page: Page):
    for name in ("waits", "streams", "is-over"):
        await server.start(name, candidate_id=name)
    async with server.stream("streams") as client:
        await tell(client, story((5, CALM)))
        await page.call("goto", f"{server.url}/monitor")
        await page.becomes(f"{ROWS}.length === 3")
        await server.post("is-over", "end")
        await page.becomes("!!document.querySelector('.session.ended')")
        await page.becomes("!!document.querySelector('.session.live')")
        for state, names in (
            ("live", ["streams"]),
            ("waiting", ["waits"]),
            ("ended", ["is-over"]),
            ("lost", []),
        ):
            await page.call("select_option", "#line", state)
            assert await page.call("evaluate", ROWS) == names
        assert await page.call("is_visible", "#empty")
        await page.call("select_option", "#line", "")
        assert len(await page.call("evaluate", ROWS)) == 3
    for pressed in ("true", "false", "true"):
        await page.call("press", "#sound", "Enter")
        assert await page.call("get_attribute", "#sound", "aria-pressed") == pressed
    assert await page.call("errors") == []


@pytest.mark.slow
async def test_every_new_concern_is_news_once_until_its_session_is_erased(server: Server, page: Page):
    """Also of a session that has one already, which still goes on."""
    await server.start("s", candidate_id="c")
    await page.call("goto", f"{server.url}/monitor")
    await page.becomes(f"{BADGES} === 1")
    frames = story((330, CALM), (5, PHONE), (5, PHONE | COMPANY), (3, PHONE | COMPANY))
    async with server.stream("s") as client:
        await tell(client, frames[:670])
        await page.becomes(f"{NEWS} === 1")
        await tell(client, frames[670:680], 10)
        await page.becomes(f"{NEWS} === 2")
        assert "phone" in await page.text("#incident-list li:last-child")
        assert "phone" not in await page.text("#incident-list li:first-child")
        await page.call("click", "#seen")
        said = await page.text(".finding")
        await tell(client, frames[680:], 20)
        await page.becomes(f"document.querySelector('.finding').innerText !== '{said}'")
        assert await page.call("evaluate", NEWS) == 0
        await server.start("gone")
        async with server.stream("gone") as other:
            await tell(other, story((330, CALM), (10, PHONE)))
            await page.becomes(f"{NEWS} === 1 && document.title.startsWith('(1)')")
        assert (await server.http.delete("/api/v1/session/gone")).status_code == 204
        await page.becomes(f"{NEWS} === 0 && !document.title.startsWith('(')")


@pytest.mark.slow
async def test_a_connection_that_is_dead_without_knowing_is_made_anew(
    server: Server, page: Page, monkeypatch
):
    """As after sleep, or behind a router that has forgotten it; one that only has no news is not."""
    await page.call("add_init_script", DEAF)
    monkeypatch.setattr("proctor.monitor.feed._ALIVE_SECONDS", 0.5)
    await server.start("a")
    await page.call("goto", f"{server.url}/monitor")
    await page.becomes(f"{ROWS}.length === 1")
    await page.call("wait_for_timeout", 1500)
    assert await page.call("evaluate", "sockets.length") == 1
    await page.call("evaluate", "sockets[0].deaf = true")
    await page.becomes("!document.querySelector('#lost').hidden")
    await page.becomes("document.querySelector('#lost').hidden && sockets.length === 2")
    # Who may not see it any more is not left with an old picture.
    await page.call("evaluate", "window.before = true; sockets[1].onclose({code: 3000})")
    await page.call("wait_for_function", "window.before === undefined")


@pytest.mark.slow
async def test_a_row_does_not_jump_away_from_under_a_pointer(server: Server, page: Page):
    for name in ("a", "b"):
        await server.start(name, candidate_id=name)
    await page.call("goto", f"{server.url}/monitor")
    await page.becomes(f"{ROWS}.join() === 'a,b'")
    # Seen once before it happens, or it would be news for its first half minute only.
    await page.becomes(f"{BADGES} === 2")
    await page.call("focus", "#sessions > li:first-child a")
    async with server.stream("b") as client:
        await tell(client, story((330, CALM), (30, PHONE)))
    await page.call("evaluate", POINTING)
    await page.becomes("!document.querySelector('#moved').hidden")
    assert await page.call("evaluate", ROWS) == ["a", "b"]
    assert await page.call("evaluate", NEWS) == 1
    await page.call("click", "#show-moved")
    assert await page.call("evaluate", ROWS) == ["b", "a"]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "button"), [("/monitor", ".act button"), ("/session/s", "#write")])
async def test_a_proctor_writes_to_a_candidate_and_sees_whether_it_is_read(
    server: Server, page: Page, path: str, button: str
):
    """What nobody was there to read stays in the field; by keyboard alone, and as text, whatever it holds."""
    await server.start("s", candidate_id=HOSTILE)
    await page.call("goto", f"{server.url}{path}")
    await page.becomes(f"!!document.querySelector('{button}')")
    await page.call("press", button, "Enter")
    assert HOSTILE in await page.text("dialog label")
    await page.call("type", "textarea:focus", HOSTILE)
    await page.check_accessible()
    await page.call("press", ":focus", "Tab")
    await page.call("press", ":focus", "Tab")
    await page.call("press", ":focus", "Enter")
    await page.becomes("document.querySelector('dialog .outcome').textContent.includes('not connected')")
    assert await page.call("input_value", "textarea:focus") == HOSTILE
    async with server.stream("s") as client:
        await page.call("click", "dialog .strong")
        told = await client.receive()
    assert (told["type"], told["text"]) == ("message", HOSTILE)
    await page.becomes("document.querySelector('dialog .outcome').textContent.startsWith('Sent')")
    assert await page.call("input_value", "textarea:focus") == ""
    await server.post("s", "end")
    await page.call("type", "textarea:focus", "Too late")
    await page.call("click", "dialog .strong")
    await page.becomes("document.querySelector('dialog .outcome').textContent.includes('has ended')")
    await page.call("press", ":focus", "Escape")
    await page.becomes("document.querySelector('dialog') === null")
    await page.becomes(GONE % button)
    assert await page.call("title") != "1"


@pytest.mark.slow
async def test_what_is_read_stays_where_it_is_when_others_come_before_it(server: Server):
    """On a phone that has scrolled to the middle; the most urgent one is at the beginning all the same, and
    only such rows are touched.
    """
    for number in range(9):
        await server.start(f"s-{number}", candidate_id=f"s-{number}")
    async with open_page(390, 700) as page:
        await page.call("goto", f"{server.url}/monitor")
        await page.becomes(f"{BADGES} === 9")
        await page.call("evaluate", f"scrollBy(0, {TOP % 's-4'} - 300)")
        read = await page.call("evaluate", TOP % "s-4")
        await page.call("evaluate", COUNT_MOVES)
        for number in (7, 8):
            async with server.stream(f"s-{number}") as client:
                await tell(client, story((330, CALM), (30, PHONE)))
            await page.becomes(f"{ROWS}[0] === 's-{number}'")
        assert await page.call("evaluate", TOP % "s-4") == pytest.approx(read, abs=1)
        assert await page.call("evaluate", "moves") == 2
        await server.post("s-8", "end")
        await page.becomes(f"{ROWS}[8] === 's-8'")
        assert await page.call("evaluate", "moves") == 3
        await page.check_still()


@pytest.mark.slow
async def test_pages_fit_a_phone_in_the_dark_and_in_another_language(server: Server):
    await observed(server, "s", 30, exam_id="an-exam-with-a-long-name-" * 4)
    async with open_page(width=360, height=740) as page:
        await page.call("emulate_media", color_scheme="dark")
        for path, ready in (
            ("/monitor", "document.querySelector('.session.high')"),
            ("/session/s", "document.querySelector('#findings li')"),
            ("/sign-in", "document.querySelector('form')"),
        ):
            await page.call("goto", f"{server.url}{path}")
            await page.becomes(f"!!{ready}")
            await page.check_fits()
            await page.check_accessible()
        await page.call("click", "button[lang=de]")
        assert await page.text("h1") == "Anmelden"
        await page.call("goto", f"{server.url}/monitor")
        await page.becomes("document.querySelector('#summary').textContent.includes('Sitzungen')")
        for path in ("/monitor", "/session/s", "/review", "/exam/e"):
            await page.call("goto", f"{server.url}{path}")
            await page.becomes("document.documentElement.lang === 'de'")
            await page.check_fits()


@pytest.mark.slow
async def test_somebody_signs_in_changes_something_and_signs_out(tmp_path, page: Page):
    """With the headers that a browser sends, and not those that a test thinks of."""
    settings = settings_for(tmp_path)
    key = await key_for(settings, Role.PROCTOR, Role.INTEGRATION)
    async with open_server(settings) as server:
        await page.call("goto", f"{server.url}/monitor")
        await page.call("fill", "#key", key)
        await page.check_accessible()
        await page.call("click", "form.stack button")
        await page.becomes("location.pathname === '/monitor'")
        await page.becomes("document.querySelector('#summary').textContent !== ''")
        assert await page.call("evaluate", START)
        await page.becomes(f"{ROWS}.length === 1")
        await page.call("click", "form.quiet:last-of-type button")
        await page.becomes("location.pathname === '/sign-in'")
        await page.call("goto", f"{server.url}/monitor")
        assert await page.call("evaluate", "location.search") == "?next=/monitor"


async def test_a_proctor_goes_to_the_room_of_an_exam_unseen(tmp_path):
    room = "https://video.example.org/?server={url}&token={token}"
    settings = settings_for(tmp_path, livekit_room_url=room, **LIVEKIT)
    async with open_server(settings) as server:
        await server.start("s", exam_id="algebra")
        await server.start("without-exam")
        assert "/session/s/room" in (await server.http.get("/session/s")).text
        sent = await server.http.get("/session/s/room")
        query = dict(parse_qsl(urlsplit(sent.headers["Location"]).query))
        assert query["server"] == LIVEKIT["livekit_url"]
        claims = jwt.decode(query["token"], LIVEKIT["livekit_api_secret"], algorithms=["HS256"])
        assert claims["video"]["room"] == "algebra"
        assert claims["video"]["hidden"]
        assert not claims["video"]["canPublish"]
        assert "/room" not in (await server.http.get("/session/without-exam")).text
        assert (await server.http.get("/session/without-exam/room")).status_code == 503
