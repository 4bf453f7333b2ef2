"""Which sessions are looked at for new concerns."""

from typing import Any, cast

import msgspec
import pytest

from proctor.analysis.glance import Glance
from proctor.analysis.verdict import Priority
from proctor.errors import Unavailable
from proctor.model import ExamSession
from proctor.webhooks.concerns import Concerns

CALM = Glance(score=0, priority=Priority.NONE, last_ms=1, concerns=0, newest=[], bars="0")


async def test_a_session_that_cannot_be_looked_at_holds_up_no_other(monkeypatch):
    """It is looked at again later."""
    looked: list[str] = []

    async def look(session: ExamSession, *_: object) -> bytes:
        looked.append(session.session_id)
        if session.session_id == "bad":
            raise Unavailable("analysis workers die")
        return msgspec.json.encode(CALM)

    monkeypatch.setattr("proctor.webhooks.concerns.glance_at", look)
    nothing = cast("Any", None)
    concerns = Concerns(nothing, nothing, nothing, nothing, nothing)
    concerns._due = {name: ExamSession(session_id=name, started_ms=1) for name in ("bad", "good")}
    with pytest.raises(Unavailable):
        await concerns._look_at_all()
    assert looked == ["bad", "good"]
    assert list(concerns._due) == ["bad"]
