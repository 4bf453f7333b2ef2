"""Webhooks as an administrator works with them over HTTP, and as a running server delivers them."""

import pytest
import trio

from proctor.access.roles import Role
from proctor.audit import Action
from tests.fixtures.receiver import Answer, Receiver
from tests.fixtures.server import open_server, settings_for
from tests.web.test_access import Guarded, open_guarded
from tests.web.test_audited import entries

PATH = "/api/v1/webhooks"
LOCAL = {"webhook_private_networks": ["127.0.0.0/8"]}


@pytest.fixture
async def guarded(tmp_path):
    async with open_guarded(settings_for(tmp_path, **LOCAL)) as opened:
        yield opened


async def test_a_webhook_from_its_start_to_its_end(guarded: Guarded, receiver: Receiver):
    """Its secret is shown once, and what was done with it is in the trail without it."""
    body = {"url": f"{receiver.url}?password=1", "events": ["session.started", "report.ready"]}
    added = await guarded.ask(Role.ADMIN, "POST", PATH, json=body)
    assert added.status_code == 201, added.text
    webhook = added.json()
    secret, webhook_id = webhook.pop("secret"), webhook["webhook_id"]
    assert (await guarded.ask(Role.ADMIN, "GET", PATH)).json() == {"webhooks": [webhook]}
    assert (webhook["url"], webhook["events"]) == (body["url"], body["events"])
    tested = await guarded.ask(Role.ADMIN, "POST", f"{PATH}/{webhook_id}/test")
    assert tested.json() == {"delivered": True, "status": 204, "reason": None}
    await guarded.start("exam", exam_id="algebra")
    await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/exam/end")
    for each in await receiver.gets(3):
        each.verify(secret)
    assert receiver.types == ["webhook.test", "session.started", "report.ready"]
    assert receiver.received[2].said["data"]["verdict"]["review_priority"] == "insufficient"
    pending = f"{PATH}/deliveries?state=pending"
    with trio.fail_after(20):
        while (await guarded.ask(Role.ADMIN, "GET", pending)).json()["deliveries"]:  # noqa: ASYNC110
            await trio.sleep(0.02)
    first = (await guarded.ask(Role.ADMIN, "GET", f"{PATH}/deliveries?limit=1")).json()
    assert (first["deliveries"][0]["event"], first["deliveries"][0]["status"]) == ("report.ready", 204)
    second = (await guarded.ask(Role.ADMIN, "GET", f"{PATH}/deliveries?before={first['next']}")).json()
    assert [each["event"] for each in second["deliveries"]] == ["session.started"]
    assert second["next"] is None
    number = second["deliveries"][0]["number"]
    again = await guarded.ask(Role.ADMIN, "POST", f"{PATH}/deliveries/{number}/retry")
    assert (again.json()["state"], again.json()["attempts"]) == ("pending", 0)
    assert (await receiver.gets(4))[3].name == receiver.received[1].name
    assert (await guarded.ask(Role.ADMIN, "DELETE", f"{PATH}/{webhook_id}")).status_code == 204
    assert (await guarded.ask(Role.ADMIN, "GET", f"{PATH}/deliveries")).json()["deliveries"] == []
    trail = await entries(guarded, webhook_id)
    what = {"url": receiver.url, "events": body["events"]}
    assert [(each["action"], each["before"], each["after"]) for each in trail] == [
        (Action.WEBHOOK_ADDED, None, what),
        (Action.WEBHOOK_REMOVED, what, None),
    ]
    assert secret not in str(trail)


async def test_people_see_what_became_of_it_and_send_it_again(guarded: Guarded, receiver: Receiver):
    """In their language, and with nothing from outside as markup."""
    evil = f"{receiver.url}?<script>alert(1)</script>"
    await guarded.ask(Role.ADMIN, "POST", PATH, json={"url": evil, "events": ["session.started"]})
    receiver.answers.append(Answer(410))
    await guarded.start("exam")

    async def page(query: str = "", language: str = "en") -> str:
        headers = guarded.headers(Role.ADMIN) | {"Accept-Language": language}
        answer = await guarded.server.http.get(f"/webhooks{query}", headers=headers)
        assert answer.status_code == 200
        return answer.text

    with trio.fail_after(20):
        while "answered 410</span>" not in await page("?state=failed"):  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.02)
    shown = await page(language="de")
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert all(word in shown for word in ("Aufgegeben", "session.started", "antwortete 410"))
    assert "There are none." in await page("?state=pending")
    again = "/webhooks/deliveries/1/retry"
    refused = await guarded.ask(Role.ADMIN, "POST", again, data={"next": "/webhooks"})
    assert (refused.status_code, "410" in refused.text) == (409, True)
    await guarded.ask(Role.ADMIN, "POST", PATH, json={"url": receiver.url, "events": ["session.started"]})
    await guarded.start("another")
    await receiver.gets(2)
    with trio.fail_after(20):
        while "Delivered</span>" not in await page():  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.02)
    done = await guarded.ask(
        Role.ADMIN, "POST", again.replace("1", "2"), data={"next": "/webhooks?state=failed"}
    )
    assert (done.status_code, done.headers["location"]) == (303, "/webhooks?state=failed")
    await receiver.gets(3)


MISTAKES = [
    ("POST", "", {"url": "https://169.254.169.254/latest"}, "no public address"),
    ("POST", "", {"url": "https://localhost.invalid/"}, "not known"),
    ("POST", "", {"url": "http://8.8.8.8/"}, "with TLS only"),
    ("POST", "", {"url": "https://8.8.8.8/", "events": ["session.paused"]}, "events.0"),
    ("DELETE", "/0123456789abcdef", None, "no webhook"),
    ("POST", "/0123456789abcdef/test", None, "no webhook"),
    ("DELETE", "/0123456789ABCDEF", None, "16 hexadecimal"),
    ("GET", "/deliveries?webhook_id=x", None, "16 hexadecimal"),
    ("POST", "/deliveries/7/retry", None, "no delivery 7"),
    ("POST", "/deliveries/0/retry", None, "whole number"),
]


async def test_mistakes_are_told(guarded: Guarded):
    for method, path, body, words in MISTAKES:
        answer = await guarded.ask(Role.ADMIN, method, PATH + path, json=body)
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert (await guarded.ask(Role.ADMIN, "GET", PATH)).json() == {"webhooks": []}


PHONE = {"face_present": 1, "no_of_face": 1, "phone_present": 1}


async def test_a_concern_is_told_once_while_the_session_runs(tmp_path, receiver: Receiver, monkeypatch):
    monkeypatch.setattr("proctor.monitor.looking.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("proctor.webhooks.concerns._WANTED_SECONDS", 0.0)
    settings = settings_for(tmp_path, **LOCAL, analysis_refresh_seconds=0.5)
    async with open_server(settings) as server:
        body = {"url": receiver.url, "events": ["concern.found"]}
        assert (await server.http.post(PATH, json=body)).status_code == 201
        await server.start("exam")
        await trio.sleep(0.3)
        async with server.stream("exam") as client:
            await send_phone(client, 0, 60)
            [first] = await receiver.gets(1)
            said = first.said["data"]
            assert (said["session_id"], said["finding"]["rule"]) == ("exam", "phone")
            assert said["verdict"]["review_priority"] in ("low", "medium", "high")
            await send_phone(client, 60, 120)
            await server.post("exam", "analyze")
            await trio.sleep(1)
        assert receiver.types == ["concern.found"]


async def send_phone(client, start: int, end: int) -> None:
    frames = [{**PHONE, "timestamp": 1_767_603_600_000 + 500 * number} for number in range(start, end)]
    reply = await client.ask({"seq": end, "type": "batch", "frames": frames})
    assert reply["type"] == "ack"
