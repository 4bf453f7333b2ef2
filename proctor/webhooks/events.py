"""What webhooks tell: which events there are, and how each is written.

A payload has ids, the verdict and links, and nothing that a candidate did or is called beyond their id.
Whoever needs more follows a link, with a key of their own.
"""

import hashlib
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import msgspec

from proctor.model import ExamSession
from proctor.times import iso_from_ms


class EventType(StrEnum):
    """What happened."""

    SESSION_STARTED = "session.started"
    """An exam session began."""
    SESSION_ENDED = "session.ended"
    """A session ended for its clients; its report follows."""
    CONCERN_FOUND = "concern.found"
    """A rule found a concern in a session that runs; told once per finding."""
    REPORT_READY = "report.ready"
    """A session's final report is there, or a later version of it."""
    REVIEW_DECIDED = "review.decided"
    """A reviewer decided about a session, or undid that."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in one session."""

    type: EventType
    session_id: str
    key: str = ""
    """Tells events of one type in one session apart; empty where there is but one."""
    at_ms: int
    """When it happened, in milliseconds since the epoch."""
    detail: dict[str, Any] | None = None
    """What its payload has beyond ids, the verdict of a report, and links."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a report concludes."""

    score: int
    review_priority: str


def event_id(event: Event, session: ExamSession) -> str:
    """Return what names the event for good, at every attempt and every endpoint.

    Another session may come to have the id of one that was erased, so its start counts. No part of it is
    chosen by anybody, nor has it a full stop, as the signature scheme asks.
    """
    parts = [event.type.value, session.session_id, str(session.started_ms), event.key]
    return f"msg_{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]}"


def payload(event: Event, session: ExamSession, verdict: Verdict | None, public_url: str = "") -> bytes:
    """Return the body of the event's webhook.

    `verdict` is that of the report that the event is about, if any; `public_url` is what links begin with.
    """
    data: dict[str, Any] = {
        "session_id": session.session_id,
        "candidate_id": session.candidate_id,
        "exam_id": session.exam_id,
    }
    here = f"{public_url.rstrip('/')}/api/v1/session/{quote(session.session_id)}"
    links = {"session": here}
    if event.type is EventType.REPORT_READY:
        data["version"] = int(event.key)
        links["report"] = f"{here}/analyses/{event.key}"
    if verdict is not None:
        data["verdict"] = msgspec.structs.asdict(verdict)
    data |= event.detail or {}
    data["links"] = links
    return msgspec.json.encode(
        {"type": event.type.value, "timestamp": iso_from_ms(event.at_ms), "data": data}
    )
