"""What a candidate is told: everything that is kept, in plain words, and nothing that accuses."""

import msgspec
import pytest

from proctor.analysis.identity import digest_of
from proctor.model import ExamSession
from proctor.review import ReviewState, fold
from proctor.review_acts import Subject, state
from proctor.reviewing import findings_by_key
from proctor.settings import Settings
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


def told(kind: str = "high", review=None, session: ExamSession = SESSION, language: str = "en", **settings):
    report = report_on("a", kind)
    review = review or fold([], digest_of(findings_by_key(report)))
    words = texts_of(language)["transparency"]
    return disclose(session, report, review, Settings(_env_file=None, **settings), words)


def test_all_that_is_kept_is_told_with_how_long():
    stored = {each.what: each.detail for each in told(dump_retention_days=1, report_retention_days=30).stored}
    assert stored["Pictures and sound"].startswith("None.")
    assert stored["Measurements"].startswith("1421 times your browser told: whether")
    assert "whether and where a face is in the picture" in stored["Measurements"]
    assert "hands" not in stored["Measurements"], "they were not measured"
    assert stored["How long measurements are kept"] == "Until 2026-01-06, then it is deleted."
    [kept] = [detail for what, detail in stored.items() if what.startswith("How long the report is kept")]
    assert kept == "Until 2026-02-04, then it is deleted."
    assert stored["From your institution: seat"] == "12"
    assert stored["From your institution: extra"] == '{"room":3}'
    gone = msgspec.structs.replace(SESSION, dumped=False)
    assert "They have been deleted. Only the report is left." in [
        each.detail for each in told(session=gone).stored
    ]


def test_what_was_noticed_is_told_to_the_candidate_and_accuses_nobody():
    disclosure = told()
    assert disclosure.verdict[0] == "Things were noticed that a person should look at soon."
    assert "Phone in view: " in disclosure.verdict[1]
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
