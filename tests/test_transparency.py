"""What a candidate is told: everything that is kept, in plain words, and nothing that accuses."""

import re
from pathlib import Path

import msgspec
import pytest

from proctor.analysis.identity import digest_of
from proctor.model import ExamSession
from proctor.review import ReviewState, fold
from proctor.review_acts import Subject, state
from proctor.reviewing import findings_by_key
from proctor.settings import Settings
from proctor.storage.milestones import Kind
from proctor.testing import ORIGIN_MS
from proctor.transparency import disclose
from proctor.web.pages.shell import texts_of
from tests.reviewed import report_on

SESSION = ExamSession(
    session_id="a",
    candidate_id="C-1",
    exam_id="algebra",
    metadata={"seat": "12", "extra": {"room": 3}},
    started_ms=ORIGIN_MS,
    ended_ms=ORIGIN_MS + 720_000,
    dumped=True,
)


README = (Path(__file__).parent.parent / "README.md").read_text()
KEPT = {
    "frames of running sessions": "What the server works with",
    "the analysis so far": None,  # gone once the session has ended, and there is no page before
    "what proctors see of running sessions": "What the server works with",
    "that a session is over, `seq` numbers": "What the server works with",
    "dumps": "How long measurements are kept",
    "sessions": "The session",
    "reports, each version": "The report",
    "reviews": "The report",
    "milestones": "What happened around the session",
    "webhooks": None,  # of candidates nothing
    "webhook deliveries": "What other systems are told",
    "audit trail": "Who did what",
    "keys": None,  # of candidates nothing
    "log": "The server's log",
}
"""What a candidate reads of each kind of data of the README's "What is kept"."""

HAPPENED = {
    Kind.STARTED: ("The session", "when it began"),
    Kind.ENDED: ("The session", "and ended"),
    Kind.ACCOMMODATION_GRANTED: ("The session", "what you were granted"),
    Kind.ACCOMMODATION_WITHDRAWN: ("The session", "what you were granted"),
    Kind.CONNECTED: ("What happened around the session", "your browser was connected"),
    Kind.CONNECTION_LOST: ("What happened around the session", "the connection was lost"),
    Kind.PARTICIPANT_JOINED: ("What happened around the session", "you joined"),
    Kind.PARTICIPANT_LEFT: ("What happened around the session", "and left the video room"),
    Kind.TRACK_PUBLISHED: ("What happened around the session", "camera, microphone or screen was shared"),
    Kind.TRACK_UNPUBLISHED: ("What happened around the session", "no longer was"),
}


def told(kind: str = "high", review=None, session: ExamSession = SESSION, language: str = "en", **settings):
    report = report_on("a", kind)
    review = review or fold([], digest_of(findings_by_key(report)))
    words = texts_of(language)["transparency"]
    return disclose(session, report, review, Settings(_env_file=None, **settings), words)


def test_all_that_is_kept_is_told_with_how_long():
    days = {"dump_retention_days": 1, "report_retention_days": 30, "audit_retention_days": 400}
    disclosure = told(**days, webhook_retention_days=7, frame_buffer_retention_seconds=1800)
    stored = {each.what: each.detail for each in disclosure.stored}
    until = {each.what: each.until for each in disclosure.stored if each.until}
    section = README.partition("## What is kept")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    assert set(rows[1:]) == set(KEPT)
    assert {what for what in KEPT.values() if what} <= set(stored)
    assert set(HAPPENED) == set(Kind)
    for what, words in HAPPENED.values():
        assert words in stored[what]
    assert stored["Pictures and sound"].startswith("None.")
    assert stored["Measurements"].startswith("1421 times your browser told: whether")
    assert "whether and where a face is in the picture" in stored["Measurements"]
    assert "hands" not in stored["Measurements"], "they were not measured"
    assert "whatever else the exam's page sent, kept as it came" in stored["Measurements"]
    assert until == {
        "How long measurements are kept": "2026-01-06T09:12:00.000Z",
        "The session": "2026-02-04T09:12:00.000Z",
        "The report": "2026-02-04T09:12:00.000Z",
        "What happened around the session": "2026-02-04T09:12:00.000Z",
    }
    assert "for 30 min after they came in, and for a day more" in stored["What the server works with"]
    assert "7 days after it is told, or with the session" in stored["What other systems are told"]
    assert "as a pseudonym. An entry is deleted after 400 days" in stored["Who did what"]
    assert stored["From your institution: seat"] == "12"
    assert stored["From your institution: extra"] == '{"room":3}'
    gone = msgspec.structs.replace(SESSION, dumped=False)
    assert "They have been deleted. Only what the report says of them is left." in [
        each.detail for each in told(session=gone).stored
    ]


def test_what_nothing_deletes_is_told_to_stay_and_a_dump_goes_with_its_session():
    stored = {each.what: each.detail for each in told().stored}
    for what in ("How long measurements are kept", "The session", "What happened around the session"):
        assert stored[what].endswith("It is kept until your institution deletes it.")
    assert stored["Who did what"].endswith("That is kept for good.")
    stored = {each.what: each.until for each in told(report_retention_days=30).stored}
    assert stored["How long measurements are kept"] == stored["The report"] is not None


def test_what_was_noticed_is_told_to_the_candidate_and_accuses_nobody():
    disclosure = told()
    assert disclosure.verdict[0] == "Things were noticed that a person should look at soon."
    assert '<span lang="en">Phone in view</span>: ' in disclosure.verdict[1]
    phone = disclosure.noticed[0]
    assert (phone.words, phone.at, phone.clock, phone.lasted) == (
        "Something like a phone was in the picture",
        "2026-01-05T09:03:20.000Z",
        "0:03:20",
        "30 s",
    )
    text = str(disclosure).lower()
    assert not any(word in text for word in ("cheat", "suspicious", "guilt", "violation"))
    assert told("short").verdict[0].startswith("Too little could be observed")
    assert told(language="de").noticed[0].words == "Etwas wie ein Telefon war im Bild"


def test_what_reports_say_in_english_is_marked_and_is_text():
    report = msgspec.json.decode(report_on("a", "high"))
    report["accommodations"] = [{"description": "<b>Extra time</b>"}, {}]
    for finding in report["findings"]:
        finding |= {"category": "<own>", "rule": "own", "message": "<i>seen</i>"}
    report["analyzers"] = {"own": {"title": "Own"}}
    report = msgspec.json.encode(report)
    review = fold([], digest_of(findings_by_key(report)))
    told = disclose(SESSION, report, review, Settings(_env_file=None), texts_of("de")["transparency"])
    assert told.granted == ['<span lang="en">&lt;b&gt;Extra time&lt;/b&gt;</span>', "Ein Nachteilsausgleich"]
    assert told.noticed[0].words == '<span lang="en">Own: &lt;i&gt;seen&lt;/i&gt;</span>'


@pytest.mark.parametrize("kind", ["none", "short"])
def test_nothing_found_is_said_so(kind):
    disclosure = told(kind)
    assert (disclosure.noticed, len(disclosure.verdict)) == ([], 2)


def test_a_statement_comes_back_and_can_be_changed_until_it_is_decided():
    report = report_on("a", "high")
    findings = findings_by_key(report)
    digest = digest_of(findings)
    subject = Subject(version=1, findings=digest, keys=findings)
    said = state(fold([], digest), "It was a calculator.", subject, at_ms=ORIGIN_MS)
    disclosure = told(review=fold([said], digest))
    assert (disclosure.statement, disclosure.open) == ("It was a calculator.", True)
    decided = msgspec.structs.replace(fold([said], digest), state=ReviewState.DECIDED)
    assert told(review=decided).open is False
