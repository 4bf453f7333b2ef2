"""What another policy would have flagged: told of each session, summed up by a page, and not kept."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio

from proctor.access.roles import Role
from proctor.errors import Forbidden, Throttled
from proctor.reanalysis import AT_ONCE, Reanalysis
from tests.fixtures.browser import Page
from tests.fixtures.server import Server, open_server, settings_for
from tests.web.test_access import open_guarded
from tests.web.test_monitor import CALM, PHONE, story, tell

pytestmark = pytest.mark.usefixtures("hard_limit")

POLICIES = {"mild": "[rules.phone]\nenabled = false\n", "sure": "[rules.phone]\nconfidence_min = 0.9\n"}
"""One that flags less, and one under which `SCALE` would leave the bounds."""
SCALE = {"type": "scale", "rule": "phone", "setting": "confidence_min", "factor": 1.4, "reason": "r"}
GLANCE = [(200, CALM), (2, PHONE), (130, CALM), (30, PHONE)]
"""A phone twice: no concern the first time."""
SESSIONS = {"calm": [(330, CALM)], "gone": [(330, CALM)], "phone": GLANCE, "tuned": [(330, CALM)]}
TABLE = "[...document.querySelectorAll('#%s + .scroll tbody tr')].map((row) => row.innerText.split('\\t'))"

ANSWERS = "performance.getEntriesByType('resource').filter(({name}) => name.includes('what-if')).length"


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[Server]:
    """One where an exam is over; the dump of one session is gone."""
    folder = tmp_path / "policies"
    folder.mkdir()
    for name, text in POLICIES.items():
        (folder / f"{name}.toml").write_text(text)
    async with open_server(settings_for(tmp_path, policy_directory=folder)) as running:
        for name, parts in SESSIONS.items():
            more = {"accommodations": [SCALE]} if name == "tuned" else {}
            await running.start(name, exam_id="algebra", **more)
            async with running.stream(name) as client:
                await tell(client, story(*parts))
            assert (await running.post(name, "end")).status_code == 204
        (running.settings.dump_directory / "gone_frames.json").unlink()
        yield running


async def what_if(server: Server, session_id: str, **query: str) -> Any:
    """The answer, or the status and the field at fault."""
    answer = await server.http.get(f"/api/v1/session/{session_id}/what-if", params=query)
    if answer.status_code == 200:
        return answer.json()
    errors = answer.json().get("errors", [{}])
    return answer.status_code, errors[0].get("field"), answer.json()["detail"]


async def test_what_another_policy_says_is_what_judging_by_it_says_and_is_not_kept(server):
    kept = [
        (await server.http.get(f"/api/v1/{path}")).content
        for path in ("session/phone/analyses", "session/phone/analyses/1", "review/phone")
    ]
    told = await what_if(server, "phone", policy="mild")
    again = [
        (await server.http.get(f"/api/v1/{path}")).content
        for path in ("session/phone/analyses", "session/phone/analyses/1", "review/phone")
    ]
    assert again == kept
    wish = {"requested_by": "r", "reason": "r", "policy": "mild"}
    reports = [json.loads(kept[1])]
    assert (await server.http.post("/api/v1/session/phone/reanalyze", json=wish)).status_code == 200
    reports.append((await server.http.get("/api/v1/session/phone/analyses/2")).json())
    for side, report in zip(("before", "after"), reports, strict=True):
        verdict = report["verdict"]
        assert told[side]["policy"] == report["session_info"]["policy"]
        assert (told[side]["score"], told[side]["review_priority"]) == (
            round(verdict["score"]),
            verdict["review_priority"],
        )
        concerns = [each["rule"] for each in report["findings"] if each["level"] == "concern"]
        assert {each["rule"]: each[side] for each in told["rules"] if each[side]} == {
            rule: concerns.count(rule) for rule in concerns
        }
    assert told["before"]["review_priority"] == "high"
    assert told["after"]["review_priority"] == "none"
    assert told["rules"] == [{"rule": "phone", "title": "Phone in view", "before": 1, "after": 0}]


async def test_what_cannot_be_judged_again_is_told_with_the_field_and_the_remedy(server):
    status, field, detail = await what_if(server, "calm", policy="lenient")
    assert (status, field) == (400, "policy")
    assert "there are: default, mild, sure" in detail
    status, field, detail = await what_if(server, "calm", policy="default")
    assert (status, field) == (409, "policy")
    assert "name another one: mild, sure" in detail
    assert (await what_if(server, "tuned", policy="sure"))[:2] == (400, "accommodations.0.factor")
    assert (await what_if(server, "calm"))[:2] == (400, "policy")
    assert (await what_if(server, "nobody", policy="mild"))[0] == 404
    assert "gone_frames.json is gone" in (await what_if(server, "gone", policy="mild"))[2]
    await server.start("running")
    assert (await what_if(server, "running", policy="mild"))[0] == 409


async def ask(page: Page, policy: str) -> str:
    """Have the exam judged by keyboard alone, and return what comes of it, in a sentence or two."""
    await page.call("focus", "#policy")
    await page.call("select_option", "#policy", policy)
    await page.call("press", "#policy", "Tab")
    await page.call("press", ":focus", "Enter")
    await page.becomes("document.querySelector('#run').textContent === 'Judge by this policy'")
    assert await page.call("evaluate", "document.activeElement.id") == "run"
    return await page.text("#outcome")


async def test_an_exam_is_judged_by_another_policy_on_its_page(server, page: Page):
    """Nothing that is there moves when the result comes, and a phone in the dark shows it too."""
    await page.call("goto", f"{server.url}/exam/algebra")
    choices = await page.call("evaluate", "[...document.querySelectorAll('option')].map((o) => o.text)")
    assert choices == ["mild", "sure", "default (so far for 4 sessions)"]
    # By no key, for what moves after one is put down to it.
    await page.call("evaluate", "document.querySelector('#ask').requestSubmit()")
    await page.becomes("!!document.querySelector('#failed')")
    await page.check_still()
    said = await ask(page, "mild")
    assert said == "Under mild, 1 of 3 sessions would change priority. 1 could not be judged again."
    assert await page.call("evaluate", TABLE % "moves") == [["high", "none", "1"]]
    [(session, before, after)] = await page.call("evaluate", TABLE % "changed")
    assert (session, before[:4], after[:4]) == ("phone", "high", "none")
    assert await page.call("get_attribute", "#changed + .scroll a", "href") == "/session/phone"
    assert await page.call("evaluate", TABLE % "by-rule") == [["Phone in view", "1", "0", "\u22121"]]
    assert await page.text("#by-rule + .scroll th [lang=en]") == "Phone in view"
    [(session, why)] = await page.call("evaluate", TABLE % "failed")
    assert (session, "not all there any more" in why, "is gone" in why) == ("gone", True, True)
    await page.check_accessible()
    await page.call("set_viewport_size", {"width": 390, "height": 800})
    await page.call("emulate_media", color_scheme="dark")
    await page.check_fits()
    await page.check_accessible()
    said = await ask(page, "sure")
    assert said == "Under sure, 0 of 2 sessions would change priority. 2 could not be judged again."
    assert await page.call("evaluate", "document.querySelector('#changed')") is None
    assert "cannot be granted" in (await page.call("evaluate", TABLE % "failed"))[1][1]
    assert await ask(page, "default") == "4 were judged by what this policy says already."
    assert await page.call("evaluate", "document.querySelector('#result').children.length") == 0
    assert await page.call("errors") == []
    assert len((await server.http.get("/api/v1/session/phone/analyses")).json()["versions"]) == 1


async def test_it_asks_for_few_at_once_waits_for_a_busy_server_and_can_be_stopped(
    server, page: Page, monkeypatch
):
    real, asked = Reanalysis.what_if, Counter[str]()
    under_way = most = 0
    late = trio.Event()

    async def held(self: Reanalysis, session_id: str, policy: str) -> Any:
        nonlocal under_way, most
        asked[session_id] += 1
        if session_id == "calm" and asked["calm"] == 1:
            raise Throttled("ask later", retry_after_seconds=0.1)
        if session_id == "calm":
            return await real(self, session_id, policy)
        under_way += 1
        most = max(most, under_way)
        await late.wait()
        under_way -= 1
        return await real(self, session_id, policy)

    monkeypatch.setattr(Reanalysis, "what_if", held)
    await page.call("goto", f"{server.url}/exam/algebra")
    await page.call("click", "#run")
    await page.becomes("document.querySelector('#so-far').textContent.startsWith('1 of 4')")
    await page.becomes("document.querySelector('#bar').value === 1")
    with trio.fail_after(10):
        while under_way < AT_ONCE:  # noqa: ASYNC110
            await trio.sleep(0.01)
    await page.call("press", "#run", "Enter")
    assert await page.text("#outcome") == (
        "Stopped after 1 of 4 sessions. Under mild, 0 of 1 sessions would change priority."
    )
    late.set()
    await page.becomes(f"{ANSWERS} === {2 + AT_ONCE}")

    async def refused(*_: Any) -> Any:
        raise Forbidden("this is for somebody else")

    monkeypatch.setattr(Reanalysis, "what_if", refused)
    assert (asked["calm"], asked.total(), most) == (2, 2 + AT_ONCE, AT_ONCE)
    await page.call("press", "#run", "Enter")
    await page.becomes("document.querySelector('#outcome').textContent.startsWith('Broken off')")
    assert await page.text("#outcome") == "Broken off after 0 of 4 sessions: this is for somebody else"


async def test_only_who_may_look_at_sessions_is_shown_the_way_there(tmp_path):
    async with open_guarded(settings_for(tmp_path)) as guarded:
        assert (await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/mine/end")).status_code == 204
        for role, linked in ((Role.REVIEWER, True), (Role.ADMIN, False)):
            text = (await guarded.ask(role, "GET", "/exam/algebra")).text
            asked = text.partition('id="asked">')[2].partition("</script>")[0]
            assert msgspec.json.decode(asked) == {"sessions": ["mine"], "at_once": AT_ONCE, "linked": linked}
