"""Which concerns of a session that runs are told, and when."""

from typing import Any, cast

import msgspec
import pytest

from proctor.analysis.glance import Glance, Sighting
from proctor.analysis.verdict import Priority
from proctor.errors import Unavailable
from proctor.model import ExamSession
from proctor.webhooks.concerns import Concerns
from proctor.webhooks.events import Event

EXAM = ExamSession(session_id="exam", started_ms=1)
PHONE = Sighting(rule="phone", title="Phone", message="", start_ms=1, end_ms=2)
CALM = Glance(score=0, priority=Priority.NONE, last_ms=1, concerns=0, newest=[], rules={}, bars="0")
TENSE = msgspec.structs.replace(CALM, concerns=1, newest=[PHONE])


class Reports:
    """Makes the report that there is, and counts how often."""

    def __init__(self, *first_frames: str) -> None:
        self.first_frames = first_frames
        self.asked = 0

    async def report(self, _session: ExamSession, *, final: bool) -> bytes:
        assert not final
        self.asked += 1
        common = {"rule": "phone", "category": "phone", "level": "concern", "start_seconds": 1.0}
        findings = [common | {"frame_ids": [each]} for each in self.first_frames]
        return msgspec.json.encode(
            {"findings": findings, "verdict": {"score": 1.0, "review_priority": "low"}}
        )


class Outbox:
    """Keeps what is told; is down as often as is said."""

    def __init__(self, down: int = 0) -> None:
        self.down = down
        self.keys: list[str] = []

    async def add(self, event: Event) -> None:
        if self.down:
            self.down -= 1
            raise Unavailable("the database does not answer")
        self.keys.append(event.key)


def concerns(reports: Reports, outbox: Outbox) -> Concerns:
    return Concerns(cast("Any", reports), cast("Any", None), cast("Any", outbox))


async def test_a_report_is_made_only_when_there_is_something_new():
    reports, outbox = Reports("1-1"), Outbox()
    looker = concerns(reports, outbox)
    for _ in range(3):
        await looker.see(EXAM, CALM)
    assert reports.asked == 0
    for _ in range(3):
        await looker.see(EXAM, TENSE)
    assert (reports.asked, outbox.keys) == (1, ["phone:1-1"])


async def test_what_could_not_be_told_is_told_the_next_time_and_once():
    reports, outbox = Reports("1-1", "2-2"), Outbox(down=1)
    looker = concerns(reports, outbox)
    with pytest.raises(Unavailable):
        await looker.see(EXAM, TENSE)
    await looker.see(EXAM, TENSE)
    assert outbox.keys == ["phone:1-1", "phone:2-2"]


async def test_what_was_told_is_not_told_again_when_something_new_comes():
    reports, outbox = Reports("1-1"), Outbox()
    looker = concerns(reports, outbox)
    await looker.see(EXAM, TENSE)
    reports.first_frames = ("1-1", "2-2")
    await looker.see(EXAM, msgspec.structs.replace(TENSE, concerns=2))
    assert outbox.keys == ["phone:1-1", "phone:2-2"]
