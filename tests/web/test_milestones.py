"""What happened around a session, of its own, its connections, and the video room beside it."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import trio
import trio.testing

from proctor.access.roles import Role
from proctor.milestones import Presence
from proctor.storage.milestones import Milestone, Milestones
from tests.fixtures.livekit import room_event, signed
from tests.fixtures.server import settings_for
from tests.web.test_access import LIVEKIT, Guarded, open_guarded

PATH = "/api/v1/webrtc/livekit/webhook"
CAMERA = {"track": {"sid": "TR_1", "type": "VIDEO", "source": "CAMERA"}}
GRANT = {
    "accommodations": [{"type": "break", "reason": "granted", "effective_until": "2026-01-05T10:00:00Z"}]
}


@pytest.fixture
async def guarded(tmp_path, monkeypatch):
    monkeypatch.setattr("proctor.milestones.SETTLE_SECONDS", 0.2)
    async with open_guarded(settings_for(tmp_path, **LIVEKIT)) as opened:
        yield opened


async def told(guarded: Guarded, session_id: str = "mine") -> list[dict[str, Any]]:
    answer = await guarded.ask(Role.REVIEWER, "GET", f"/api/v1/session/{session_id}/milestones")
    assert answer.status_code == 200, answer.text
    return answer.json()["milestones"]


async def kinds(guarded: Guarded, session_id: str = "mine") -> list[str]:
    return [each["kind"] for each in await told(guarded, session_id)]


async def send(guarded: Guarded, body: bytes, **options: Any) -> httpx.Response:
    return await guarded.server.http.post(PATH, **{**signed(body), **options})


async def becomes(guarded: Guarded, expected: list[str], session_id: str = "mine") -> None:
    with trio.fail_after(20):
        while await kinds(guarded, session_id) != expected:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.05)


async def test_the_whole_of_it_in_order(guarded):
    """A client that is back at once was not lost; what comes after the end is about nothing that runs."""
    headers = [(b"Authorization", f"Bearer {guarded.tokens['mine']}".encode())]
    async with guarded.server.stream("mine", extra_headers=headers):
        await becomes(guarded, ["started", "connected"])
    async with guarded.server.stream("mine", extra_headers=headers):
        await trio.sleep(0.5)
    await becomes(guarded, ["started", "connected", "connection_lost"])
    granted = await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/mine/accommodations", json=GRANT)
    assert granted.is_success
    for name, kind, more in (
        ("EV_1", "participant_joined", {}),
        ("EV_2", "track_published", CAMERA),
        ("EV_1", "participant_joined", {}),
        ("EV_3", "track_unpublished", CAMERA),
        ("EV_4", "participant_left", {}),
    ):
        assert (await send(guarded, room_event(kind, name, **more))).status_code == 204
    async with guarded.server.stream("mine", extra_headers=headers):
        await trio.sleep(0.5)
        await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/mine/end")
    await send(guarded, room_event("participant_joined", "EV_5"))
    headers = [(b"Authorization", f"Bearer {guarded.tokens['other']}".encode())]
    async with guarded.server.stream("other", extra_headers=headers):
        await becomes(
            guarded, ["started", "connected"], "other"
        )  # by when it would be noted that mine has left
    assert await kinds(guarded) == [
        "started",
        "connected",
        "connection_lost",
        "accommodation_granted",
        "participant_joined",
        "track_published",
        "track_unpublished",
        "participant_left",
        "connected",
        "ended",
    ]
    found = await told(guarded)
    assert found == sorted(found, key=lambda each: each["at"])
    assert found[5]["detail"] == {"track": "camera"}
    assert found[3]["detail"] == {"id": "a1", "type": "break"}


async def test_they_change_no_report(guarded):
    reports = []
    for _ in range(2):
        answer = await guarded.ask(Role.REVIEWER, "POST", "/api/v1/session/mine/analyze")
        reports.append(answer.json()["provenance"] | answer.json()["verdict"])
        await send(guarded, room_event("participant_left", "EV_1"))
    assert reports[0] == reports[1]


async def test_of_several_sessions_of_a_candidate_it_is_the_running_one(guarded):
    await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/mine/end")
    await guarded.start("again", candidate_id="candidate of mine", exam_id="algebra")
    at = {"createdAt": "1767600000"}
    await send(guarded, room_event("participant_joined", "EV_1", **at))
    assert await kinds(guarded) == ["started", "ended"]
    joined, _ = await told(guarded, "again")
    assert (joined["kind"], joined["at"]) == ("participant_joined", "2026-01-05T08:00:00.000Z")


NOBODY = [
    room_event("participant_joined", "EV_1", room="geometry"),
    room_event("participant_joined", "EV_1", who="a proctor"),
    room_event("participant_joined", "EV_1", who="\0"),
    room_event("room_started", "EV_1"),
    room_event("unheard_of", "EV_1", unheard={"of": 1}),
    b"{}",
]


async def test_what_is_about_no_candidate_is_ignored(guarded):
    for body in NOBODY:
        assert (await send(guarded, body)).status_code == 204, body
    assert await kinds(guarded) == ["started"]


EVENT = room_event("participant_joined", "EV_1")


UNSIGNED = [
    (EVENT, signed(EVENT, secret="another secret of the same length"), 401),
    (EVENT, signed(EVENT, key="another"), 401),
    (EVENT, signed(EVENT, hashed=EVENT + b" "), 401),
    (EVENT, {"headers": {}}, 401),
    (EVENT, {"headers": {"Authorization": "Bearer x.y.z"}}, 401),
    (b"\xff", {}, 400),
    (b"[1", {}, 400),
    (b'{"event": 1}', {}, 400),
]


async def test_what_livekit_did_not_sign_is_refused(guarded):
    """Nor does a token for a room sign an event, though it has the same key and every candidate has one."""
    for body, options, status in UNSIGNED:
        answer = await send(guarded, body, **options)
        assert answer.status_code == status, (body[:100], options)
    query = {"exam_id": "algebra", "member_id": "candidate of mine"}
    room = await guarded.ask(guarded.tokens["mine"], "GET", "/api/v1/webrtc/livekit/token", params=query)
    token = json.loads(room.content)["token"]
    assert (await send(guarded, EVENT, headers={"Authorization": token})).status_code == 401
    assert await kinds(guarded) == ["started"]


async def test_what_is_noted_while_the_server_stops_is_noted_once():
    """The last connections are written down while the task that does so otherwise is still at it."""
    noted: list[str] = []

    async def add(milestones: Sequence[Milestone]) -> None:
        await trio.testing.wait_all_tasks_blocked()
        noted.extend(each.source for each in milestones)

    presence = Presence(cast("Milestones", SimpleNamespace(add=add)), lambda: 7)
    with presence.noted("s"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(presence.flush)
            nursery.start_soon(presence.flush)
    await presence.flush()
    assert noted == ["connected:7", "connection_lost:7"]
