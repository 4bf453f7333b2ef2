"""Whoever changes something is in the audit trail, with what and from where, and no candidate is."""

from typing import Any

import msgspec
import pytest
import trio

from proctor.access.roles import Role
from proctor.audit import Action, Audit
from proctor.storage.audit_log import AuditLog
from proctor.storage.pool import open_pool
from tests.fixtures.server import settings_for
from tests.web.test_access import Guarded, open_guarded

CANDIDATE, REASON = "candidate of ", "a reason of a very personal kind"
GRANT = {"accommodations": [{"type": "exempt", "rule": "phone", "reason": REASON}]}


@pytest.fixture
async def guarded(tmp_path):
    async with open_guarded(settings_for(tmp_path)) as opened:
        yield opened


async def entries(guarded: Guarded, subject: str | None = None) -> list[dict[str, Any]]:
    """The trail, oldest first; it is intact."""
    async with open_pool(guarded.server.settings) as pool:
        audit = Audit(AuditLog(pool), lambda: 0)
        assert (await audit.verify()).intact
        found = await audit.entries(subject=subject)
    said = [msgspec.structs.asdict(each) for each in reversed(found)]
    for each in said:
        for name in ("before", "after"):
            each[name] = each[name] and msgspec.json.decode(each[name])
    return said


async def ok(guarded: Guarded, role: Role, method: str, path: str, **options: Any) -> None:
    answer = await guarded.ask(role, method, path, **options)
    assert answer.is_success, answer.text


async def test_what_is_done_to_a_session_is_told_in_order(guarded):
    """Once each, whoever repeats it."""
    path = "/api/v1/session/exam"
    for _ in range(2):
        await guarded.start("exam", exam_id="algebra")
    await ok(guarded, Role.PROCTOR, "POST", f"{path}/accommodations", json=GRANT)
    await ok(guarded, Role.PROCTOR, "DELETE", f"{path}/accommodations/a1")
    for _ in range(2):
        await ok(guarded, Role.PROCTOR, "POST", f"{path}/end")
    wish = {"requested_by": "somebody", "reason": REASON, "policy": "default"}
    await ok(guarded, Role.REVIEWER, "POST", f"{path}/reanalyze", json=wish)
    await ok(guarded, Role.ADMIN, "DELETE", path)
    told = await entries(guarded, "exam")
    granted = {"id": "a1", "type": "exempt", "withdrawn": False}
    assert [(each["actor"], each["action"], each["before"], each["after"]) for each in told] == [
        ("integration", Action.SESSION_STARTED, None, {"exam_id": "algebra", "policy": "default"}),
        ("proctor", Action.ACCOMMODATION_GRANTED, [], [granted]),
        ("proctor", Action.ACCOMMODATION_GRANTED, [granted], [granted | {"withdrawn": True}]),
        ("proctor", Action.SESSION_ENDED, None, None),
        ("reviewer", Action.REANALYSED, None, {"policy": "default", "version": 2}),
        ("admin", Action.ERASED, None, None),
    ]
    assert {each["address"] for each in told} == {"127.0.0.1"}


async def hand_out_and_erase(guarded: Guarded, session_id: str) -> None:
    await guarded.start(session_id)
    path = f"/api/v1/candidate/candidate of {session_id}"
    await ok(guarded, Role.ADMIN, "GET", path)
    await ok(guarded, Role.ADMIN, "DELETE", path)


async def test_what_is_handed_out_and_erased_of_a_candidate_names_nobody(guarded):
    await hand_out_and_erase(guarded, "exam")
    told = [each for each in await entries(guarded) if each["subject"].startswith("hmac:")]
    assert [(each["action"], each["after"]) for each in told] == [
        (Action.EXPORTED, None),
        (Action.ERASED, {"sessions": ["exam"]}),
    ]


async def test_the_trail_holds_no_name_of_a_candidate_and_no_reason(guarded):
    """Nothing can be erased from it."""
    await test_what_is_done_to_a_session_is_told_in_order(guarded)
    await hand_out_and_erase(guarded, "exam-2")
    text = str(await entries(guarded))
    assert "algebra" in text
    assert CANDIDATE not in text
    assert REASON not in text


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        (Role.REVIEWER, "POST", "/api/v1/session/mine/end", 403),
        (None, "DELETE", "/api/v1/session/mine", 401),
        (Role.PROCTOR, "POST", "/api/v1/session/nobody/end", 404),
        (Role.ADMIN, "DELETE", "/api/v1/session/nobody", 404),
        (Role.ADMIN, "DELETE", "/api/v1/candidate/nobody", 404),
        (Role.ADMIN, "GET", "/api/v1/candidate/nobody", 404),
    ],
)
async def test_what_is_refused_leaves_nothing(guarded, role, method, path, status):
    before = await entries(guarded)
    assert (await guarded.ask(role, method, path)).status_code == status
    assert await entries(guarded) == before


async def test_another_policy_is_told_from_the_next_start_on(tmp_path):
    """Once, however often the server starts."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "own.toml").write_text("[rules.phone]\nenabled = true\n")
    settings = settings_for(tmp_path, policy_directory=policies)
    for _ in range(2):
        async with open_guarded(settings) as guarded:
            [first] = await entries(guarded, "own")
            assert (first["actor"], first["action"], first["before"]) == (
                "server",
                Action.POLICY_CHANGED,
                None,
            )
    (policies / "own.toml").write_text("[rules.phone]\nenabled = false\n")
    async with open_guarded(settings) as guarded:
        _, second = await entries(guarded, "own")
        assert second["before"] == first["after"] != second["after"]


async def granted(guarded: Guarded) -> None:
    """A proctor grants something, and hangs up before the answer."""
    with trio.move_on_after(0.3):
        await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/exam/accommodations", json=GRANT)
        raise AssertionError("the answer came at once")


@pytest.mark.parametrize("seconds", [0.6, 3.0], ids=["slow", "too slow"])
async def test_what_is_done_is_recorded_though_its_client_hangs_up(guarded, monkeypatch, seconds):
    """As far as that takes no longer than a request may take to stop."""
    await guarded.start("exam")
    monkeypatch.setattr("proctor.web.access._NOTE_SECONDS", 2.0)
    real = Audit.record

    async def record(self: Audit, *arguments: Any, **named: Any) -> Any:
        await trio.sleep(seconds)
        return await real(self, *arguments, **named)

    monkeypatch.setattr(Audit, "record", record)
    await granted(guarded)
    await trio.sleep(seconds + 0.5)
    monkeypatch.undo()
    told = [each["action"] for each in await entries(guarded, "exam")]
    assert (Action.ACCOMMODATION_GRANTED in told) is (seconds < 2)


async def test_what_could_not_be_recorded_is_not_said_to_be_done(guarded, monkeypatch):
    await guarded.start("exam")
    monkeypatch.setattr("proctor.web.access._NOTE_SECONDS", 0.2)

    async def record(*_: Any, **__: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Audit, "record", record)
    answer = await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/exam/accommodations", json=GRANT)
    assert (answer.status_code, "recorded" in answer.json()["detail"]) == (503, True)
