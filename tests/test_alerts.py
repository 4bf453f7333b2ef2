"""Candidates are alerted of what is going on, once, and only where their exam's policy says so."""

from types import SimpleNamespace
from typing import Any, cast

from proctor.analysis.glance import Glance, Sighting
from proctor.analysis.verdict import Priority
from proctor.model import ExamSession
from proctor.monitor.alerts import Alerts
from proctor.replies import Alert

EXAM = ExamSession(session_id="exam", policy="kind", started_ms=0)
TEXTS = {"phone": "Put it away.", "no_face": "We cannot see you."}
POLICIES = {"kind": SimpleNamespace(alerts=TEXTS), "default": SimpleNamespace(alerts={})}


def concern(rule: str, start_ms: int, end_ms: int) -> Sighting:
    return Sighting(rule=rule, title=rule, message="", start_ms=start_ms, end_ms=end_ms)


class Clients:
    """Everybody who is told something, and what."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    async def tell_everywhere(self, session_id: str, message: Alert) -> int:
        assert session_id == message.session_id == "exam"
        self.told.append((message.rule, message.message))
        return 1


def alerts(clients: Clients) -> Alerts:
    return Alerts(cast("Any", clients), cast("Any", POLICIES), lambda: 0)


async def see(alerts: Alerts, last_ms: int, *newest: Sighting) -> None:
    glance = Glance(
        score=0,
        priority=Priority.LOW,
        last_ms=last_ms,
        concerns=len(newest),
        newest=[*newest],
        rules={},
        bars="",
    )
    await alerts.see(EXAM, glance)


async def test_a_concern_is_told_of_once_however_long_it_lasts():
    clients = Clients()
    candidates = alerts(clients)
    for end_ms in (5_000, 5_000, 9_000, 60_000):
        await see(candidates, end_ms, concern("phone", 1_000, end_ms))
    assert clients.told == [("phone", "Put it away.")]
    await see(candidates, 99_000, concern("phone", 95_000, 99_000), concern("phone", 1_000, 60_000))
    assert clients.told == [("phone", "Put it away.")] * 2


async def test_rules_are_told_of_one_by_one_and_others_not_at_all():
    clients = Clients()
    newest = [concern(rule, 1_000, 5_000) for rule in ("no_face", "speech", "phone")]
    await see(alerts(clients), 5_000, *newest)
    assert sorted(clients.told) == sorted(TEXTS.items())


async def test_what_is_long_over_is_not_told_any_more():
    clients = Clients()
    await see(alerts(clients), 60_000, concern("phone", 1_000, 5_000))
    assert clients.told == []


async def test_only_sessions_under_such_a_policy_are_looked_at():
    candidates = alerts(Clients())
    assert await candidates.is_looking()
    assert candidates.wants(EXAM)
    assert not candidates.wants(ExamSession(session_id="other", started_ms=0))
    nobody = Alerts(cast("Any", Clients()), cast("Any", {"default": POLICIES["default"]}), lambda: 0)
    assert not await nobody.is_looking()
