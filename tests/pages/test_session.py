"""The page of one session in a real browser."""

import pytest
import trio

from proctor.access.roles import Role
from tests.fixtures.browser import Page, open_page
from tests.fixtures.server import Server, open_server, settings_for
from tests.pages.test_monitor import HOSTILE, observed
from tests.web.test_access import key_for
from tests.web.test_monitor import CALM, PHONE, story, tell

TICKS = (
    "[...document.querySelectorAll('#timeline text')].map((each) => each.textContent)"
    ".filter((text) => /^\\d+:\\d\\d$/.test(text))"
)
WIDTHS = (
    "[...document.querySelectorAll('.scale rect[class^=share]')].map((each) => +each.getAttribute('width'))"
)
HASTY = "const later = setTimeout; window.setTimeout = (work, ms) => later(work, Math.min(ms, 300))"
MARKS = (
    "[...document.querySelectorAll('#timeline circle.milestone')]"
    ".map((each) => each.textContent.replace(/^\\S+ /, ''))"
)
LABELS = "[...document.querySelectorAll('#timeline text.milestone')].map((each) => each.textContent)"
PRESSED = "[...document.querySelectorAll('#findings button')].map((each) => each.ariaPressed === 'true')"
LEVELS = """async (observed) => {
    const { Timeline } = await import('/assets/timeline.js');
    const holder = document.createElement('div');
    document.querySelector('main').append(holder);
    const finding = { key: 'f', rule: 'r', title: 'R', message: '', level: 'concern', observed };
    const line = { seconds: [0, 9], values: [0, 1] };
    new Timeline(holder, () => {}).show({
        begin: 0, end: 10, windows: [], flagged: 0.25, gaps: [], breaks: [], events: [], milestones: [],
        findings: [{ ...finding, start_seconds: 1, end_seconds: 3 }],
        diagrams: ['head_yaw', 'gazePoint_x'].map((name) => ({ title: name, lines: [{ ...line, name }] })),
    });
    return [...holder.querySelectorAll('path.threshold, path.baseline')].map((each) => each.textContent);
}"""
SOME_FINDINGS = """window.skipped = 1; window.reports = 0; const ask = fetch;
    window.fetch = async (path, options) => {
        const answer = await ask(path, options);
        if (!path.endsWith('/analyze') || !answer.ok) return answer;
        const report = await answer.json();
        reports += 1;
        return Response.json({ ...report, findings: report.findings.slice(skipped) });
    }"""
ASKED_A_MOMENT_AGO = """const ask = fetch; let asked = false;
    window.fetch = async (path, options) => {
        if (path.endsWith('/analyze') && !asked) await ask(path, options);
        asked ||= path.endsWith('/analyze');
        return ask(path, options);
    }"""
NOTE_WAITS = """window.waits = []; const later = setTimeout;
    window.setTimeout = (work, ms) => { waits.push(ms); return later(work, ms); }"""
ABSENT = {"face_present": 0, "no_of_face": 0, "phone_present": 0}


async def noted(server: Server, session_id: str, kind: str) -> None:
    """Wait until a session has such a milestone."""
    with trio.fail_after(10):
        while kind not in (await server.http.get(f"/api/v1/session/{session_id}/milestones")).text:  # noqa: ASYNC110
            await trio.sleep(0.1)


@pytest.mark.slow
async def test_what_comes_and_grows_on_a_session_s_page_moves_nothing(server: Server):
    for width in (1280, 390):
        name = f"s-{width}"
        await server.start(name, exam_id="e")
        async with open_page(width, 1100) as page:
            await page.call("add_init_script", HASTY)
            await page.call("goto", f"{server.url}/session/{name}")
            await page.becomes("document.querySelector('#verdict .badge')?.textContent === 'insufficient'")
            async with server.stream(name) as client:
                await tell(client, story((330, CALM), (30, PHONE)))
            await page.becomes("document.querySelector('#verdict .badge').textContent === 'high'")
            await page.becomes("!!document.querySelector('#findings button')")
            await page.check_still()


@pytest.mark.slow
async def test_a_session_shows_its_report_over_its_timeline(server: Server, page: Page):
    await observed(server, "s", 30, candidate_id=HOSTILE, exam_id="e")
    async with server.stream("s"):
        await noted(server, "s", "connected")
    await noted(server, "s", "connection_lost")
    await page.call("goto", f"{server.url}/session/s")
    await page.becomes("document.querySelector('#verdict .badge')?.textContent === 'high'")
    report = (await server.post("s", "analyze")).json()
    assert await page.text("h1") == HOSTILE
    assert await page.text("#verdict strong") == str(report["verdict"]["score"])
    assert sum(await page.call("evaluate", WIDTHS)) == 6 * report["verdict"]["score"]
    marks = "document.querySelectorAll('#timeline rect.concern, #timeline rect.info').length"
    rows = "document.querySelectorAll('#findings li').length"
    assert await page.call("evaluate", marks) == len(report["findings"])
    assert await page.call("evaluate", rows) == len(report["findings"])
    await page.becomes("document.querySelectorAll('#timeline path.signal').length > 2")
    await page.check_accessible()
    await page.call("click", "#findings button")
    start = report["findings"][0]["start_seconds"]
    ticks = await page.call("evaluate", TICKS)
    minutes, seconds = ticks[len(ticks) // 2].split(":")
    assert abs(60 * int(minutes) + int(seconds) - start) < 60
    await page.call("click", "#earlier")
    assert await page.call("evaluate", TICKS) != ticks
    await page.call("click", "#later")
    assert await page.call("evaluate", TICKS) == ticks
    await page.call("focus", "#timeline")
    await page.call("press", "#timeline", "Home")
    assert "0:00" in await page.call("evaluate", TICKS)
    await page.call("click", "#end")
    await page.call("click", "dialog .strong")
    await page.becomes("document.querySelector('#status').textContent === 'ended'")
    await page.becomes("document.querySelector('#end').hidden")
    for name in ("started", "client connected", "connection lost", "ended"):
        await page.becomes(f"{MARKS}.includes({name!r})")
        assert name in await page.text("#milestones")
    assert "started" in await page.call("evaluate", LABELS)
    assert await page.call("errors") == []


@pytest.mark.slow
async def test_milestones_are_on_the_timeline_however_few_frames_there_are(server: Server, page: Page):
    await server.start("s")
    await page.call("add_init_script", HASTY)
    await page.call("goto", f"{server.url}/session/s")
    await page.becomes(f"{MARKS}.includes('started')")
    await trio.sleep(2)
    async with server.stream("s") as client:
        await tell(client, story((1, CALM)))
    # Before the first frame time is negative.
    await page.becomes("document.querySelector('circle.milestone title').textContent.startsWith('\u2212')")
    assert "started" in await page.call("evaluate", MARKS)
    await server.post("s", "end")
    await page.becomes(f"{MARKS}.includes('ended')")
    assert "started" in await page.call("evaluate", MARKS)


@pytest.mark.slow
async def test_only_what_is_in_a_signal_s_own_unit_is_drawn_among_its_values(server: Server, page: Page):
    await server.start("s")
    await page.call("goto", f"{server.url}/session/s")
    for given, drawn in (
        ({"signal": "head_yaw", "threshold": 12, "unit": "looks"}, []),
        ({"signal": "head_yaw", "threshold": 5, "unit": "s"}, []),
        ({"signal": "head_yaw", "threshold": 3, "unit": "px"}, []),
        ({"signal": "head_yaw", "threshold": 0.4, "unit": "1"}, ["threshold 0.4"]),
        ({"signal": "gazePoint_x", "threshold": 300, "unit": "px"}, ["threshold 300"]),
        ({"signal": "gazePoint_x", "baseline": 100, "threshold": 9, "unit": "s"}, ["baseline 100"]),
        (
            {"signal": "head_yaw", "baseline": 0.1, "deviation": 0.2, "threshold": 12, "unit": "looks"},
            ["baseline 0.1", "threshold -0.1", "threshold 0.3"],
        ),
    ):
        assert await page.call("evaluate", LEVELS, given) == ["threshold 0.25", *drawn], given


@pytest.mark.slow
async def test_the_focus_and_the_choice_stay_with_a_finding(server: Server, page: Page):
    """From one report to the next, and if one comes that was before it."""
    await server.start("s")
    async with server.stream("s") as client:
        await tell(client, story((200, CALM), (30, PHONE), (100, CALM), (30, ABSENT)))
    await page.call("add_init_script", f"{HASTY}; {SOME_FINDINGS}")
    await page.call("goto", f"{server.url}/session/s")
    await page.becomes("document.querySelectorAll('#findings button').length === 1")
    await page.call("click", "#findings button")
    await page.call("evaluate", "window.held = document.querySelector('#findings button'); held.focus()")
    await page.call("evaluate", "window.before = reports")
    await page.becomes("reports > before + 2")
    assert await page.call("evaluate", "document.activeElement === held")
    await page.call("evaluate", "window.skipped = 0")
    await page.becomes("document.querySelectorAll('#findings button').length === 2")
    assert await page.call("evaluate", "document.activeElement === held")
    assert await page.call("evaluate", PRESSED) == [False, True]
    words = await page.call("evaluate", "held.querySelector('.words').textContent")
    assert await page.call("text_content", "#timeline .chosen title") == words
    await page.call("evaluate", "window.skipped = 1; held.closest('li').previousSibling.firstChild.focus()")
    await page.becomes("document.querySelectorAll('#findings button').length === 1")
    assert await page.call("evaluate", "document.activeElement === held")


@pytest.mark.slow
async def test_milestones_are_there_where_the_frames_are_gone(server: Server, page: Page):
    await server.start("s")
    async with server.stream("s") as client:
        await tell(client, story((330, CALM)))
        await noted(server, "s", "connected")
    await noted(server, "s", "connection_lost")
    await server.frames("s")
    for path in server.settings.dump_directory.glob("s_*"):
        path.unlink()
    await page.call("goto", f"{server.url}/session/s")
    await page.becomes("document.querySelector('#trouble').textContent.includes('expired')")
    await page.becomes(f"{MARKS}.includes('ended')")
    assert "connection lost" in await page.text("#milestones")


@pytest.mark.slow
async def test_a_page_that_may_not_have_its_first_report_yet_asks_again_when_it_may(tmp_path, page: Page):
    async with open_server(settings_for(tmp_path, analyze_interval_seconds=2)) as server:
        await server.start("s")
        await page.call("add_init_script", f"{ASKED_A_MOMENT_AGO}; {NOTE_WAITS}")
        await page.call("goto", f"{server.url}/session/s")
        await page.becomes("!!document.querySelector('#verdict .badge')")
        first = await page.call("evaluate", "waits[0]")
        assert 1000 <= first <= 2000


async def test_an_exam_is_linked_for_those_who_may_see_its_figures(tmp_path):
    settings = settings_for(tmp_path)
    proctor, starts = await key_for(settings, Role.PROCTOR), await key_for(settings, Role.INTEGRATION)
    reviewer = await key_for(settings, Role.REVIEWER)
    async with open_server(settings) as server:
        server.http.headers["Authorization"] = f"Bearer {starts}"
        await server.start("s", exam_id="algebra 1")
        for key, linked in ((reviewer, True), (proctor, False)):
            headers = {"Authorization": f"Bearer {key}"}
            shown = (await server.http.get("/session/s", headers=headers)).text
            assert "algebra 1" in shown
            assert ('href="/exam/algebra%201"' in shown) is linked
