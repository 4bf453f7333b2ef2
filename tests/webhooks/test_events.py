"""What is told is as the README has it, and so is how to verify it."""

import base64
import hmac
import re
import time
from pathlib import Path

import msgspec
import pytest

from proctor.model import ExamSession
from proctor.webhooks.events import Event, EventType, Verdict, payload
from proctor.webhooks.signing import make_secret, signed_headers
from tests.test_readme import README, blocks

T0 = 1_767_603_600_000
SESSION = ExamSession(session_id="exam-7", candidate_id="user7", exam_id="exam123", started_ms=T0)
VERDICT = Verdict(score=72, review_priority="high")
FINDING = {"rule": "phone", "category": "phone", "start_seconds": 12.5}
MORE = {
    EventType.CONCERN_FOUND: {"detail": {"verdict": msgspec.to_builtins(VERDICT), "finding": FINDING}},
    EventType.REPORT_READY: {"key": "1"},
    EventType.REVIEW_DECIDED: {"detail": {"state": "decided", "decision": "referred"}},
}


@pytest.mark.parametrize("kind", EventType)
def test_each_event_is_described_with_an_example(kind: EventType):
    event = Event(type=kind, session_id="exam-7", at_ms=T0, **MORE.get(kind, {}))
    verdict = VERDICT if kind is EventType.REPORT_READY else None
    body = payload(event, SESSION, verdict, "https://proctor.example.org/").decode()
    source = Path(payload.__code__.co_filename).read_text()
    [meaning] = re.findall(rf'{kind.name} = .*\n    """(.*)"""', source)
    assert f"| `{kind.value}` | {meaning} | `{body}` |" in README


def test_a_receiver_verifies_as_the_readme_says():
    [example] = blocks("verifies webhooks")
    secret, body = make_secret(), '{"é": 1}'.encode()
    headers = signed_headers(secret, "msg_1", int(time.time()), body)
    for said, holds in ((body, True), (body + b" ", False)):
        names = {"base64": base64, "hmac": hmac, "secret": secret, "headers": headers, "body": said}
        exec(example, names)
        assert names["genuine"] is holds
