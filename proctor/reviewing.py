"""Reviews of ended sessions: reads what there is, and adds what reviewers and candidates do."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from proctor.analysis.api import Finding
from proctor.analysis.identity import digest_of, finding_keys
from proctor.analysis.pairing import pair_findings
from proctor.analysis.policy import Policy, policy_of
from proctor.analysis.review_policy import ReviewPolicy
from proctor.errors import Conflict, UnknownSession
from proctor.model import ExamSession, SessionStatus
from proctor.review import Review, ReviewEvent, fold
from proctor.review_acts import Subject, Wish, add, state
from proctor.storage.database import Database
from proctor.storage.reviews import Reviews, Standing

_log = structlog.get_logger(__name__)


class ReviewedReport(msgspec.Struct):
    """What of a report a review needs, which may be one of an earlier Proctor."""

    findings: list[Finding] = []


class Case(NamedTuple):
    """A session under review."""

    session: ExamSession
    report: bytes
    """The one that stands."""
    findings: Mapping[str, Finding]
    """By key, in the report's order."""
    subject: Subject
    review: Review
    policy: ReviewPolicy


class Reviewing:
    """Calls may be repeated and cancelled; a cancelled one may have added what it was to add."""

    def __init__(
        self,
        reviews: Reviews,
        database: Database,
        policies: Mapping[str, Policy],
        now_ms: Callable[[], int],
    ) -> None:
        self.reviews = reviews
        """Where they are kept."""
        self._database = database
        self._policies = policies
        self._now_ms = now_ms

    async def open(self, session_id: str) -> Case:
        """Return what there is on an ended session.

        Raises:
            UnknownSession: there is no such session.
            Conflict: it has not ended.
        """
        standing = await self.reviews.standing(session_id)
        if standing is None or standing.session.status is not SessionStatus.ENDED:
            session = await self._database.get_session(session_id)
            if session is None:
                raise UnknownSession.of(session_id)
            raise Conflict(f"session {session_id!r} is {session.status}; it is reviewed once it has ended")
        return self._case(standing, await self.reviews.events(session_id))

    async def act(
        self, session_id: str, wish: Wish, *, reviewer: str, seen: int, version: int
    ) -> tuple[Case, ReviewEvent | None]:
        """Add what a reviewer does, who has seen so many acts and this version of the report.

        Returns:
            The case as it was before and what was added; or, where there is more than was seen, the case as
            it is, and None.

        Raises:
            InvalidRequest: it makes no sense; names the field.
            Forbidden: it is for somebody else.
            UnknownSession, Conflict: as :meth:`open`, or it cannot be done as things are.
        """
        case = await self.open(session_id)
        if (seen, version) != (case.review.number, case.subject.version):
            return case, None
        event = add(case.review, wish, case.subject, case.policy, reviewer=reviewer, at_ms=self._now_ms())
        if not await self.reviews.append(session_id, event):
            return await self.open(session_id), None
        _log.info("reviewed", session=session_id, number=event.number, act=event.act.value)
        return case, event

    async def state(self, session_id: str, text: str) -> ReviewEvent:
        """Keep a candidate's statement, in the place of the one before.

        Raises:
            InvalidRequest: a text that the database cannot hold.
            UnknownSession, Conflict: as :meth:`open`, or the review is over.
        """
        while True:
            case = await self.open(session_id)
            event = state(case.review, text, case.subject, at_ms=self._now_ms())
            if await self.reviews.append(session_id, event):
                return event

    async def earlier(self, case: Case) -> dict[str, list[ReviewEvent]]:
        """Return by key what was judged of a finding when an earlier version of the report told it otherwise.

        That does not count any more, and a reviewer need not begin from nothing.
        """
        looks = (case.review.first, case.review.second)
        gone = [event for look in looks for key, event in look.judgements.items() if key not in case.findings]
        found: defaultdict[str, list[ReviewEvent]] = defaultdict(list)
        keys = {finding: key for key, finding in reversed(list(case.findings.items()))}
        for version in sorted({event.version for event in gone}):
            report = await self._database.get_report(case.session.session_id, version)
            old = findings_by_key(report) if report is not None else {}
            pairs = pair_findings(list(old.values()), list(case.findings.values()))
            follows = {before: after for before, after in pairs if before is not None and after is not None}
            for event in gone:
                after = follows.get(old.get(event.finding or ""))  # type: ignore[arg-type]
                if event.version == version and after is not None:
                    found[keys[after]].append(event)
        return found

    def _case(self, standing: Standing, events: Sequence[ReviewEvent]) -> Case:
        findings = findings_by_key(standing.report)
        digest = digest_of(findings)
        policy = policy_of(self._policies, standing.session.policy)
        return Case(
            session=standing.session,
            report=standing.report,
            findings=findings,
            subject=Subject(version=standing.version, findings=digest, keys=findings.keys()),
            review=fold(events, digest),
            policy=policy.review,
        )


def findings_by_key(report: bytes) -> dict[str, Finding]:
    """Return the findings of a stored report by their keys, in its order."""
    findings = msgspec.json.decode(report, type=ReviewedReport).findings
    return dict(zip(finding_keys(findings), findings, strict=True))
