"""A review as one reviewer may see it. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from proctor.analysis.api import Finding
from proctor.analysis.review_policy import SecondReviewer
from proctor.analysis.verdict import Priority
from proctor.review import (
    Act,
    Decision,
    ReviewEvent,
    ReviewState,
    own_look,
    undoable,
    visible,
)
from proctor.reviewing import Case
from proctor.times import iso_from_ms


class ActView(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did."""

    number: int
    at: str
    """ISO 8601, UTC."""
    reviewer: str
    """`candidate` for a statement."""
    act: Act
    look: int
    """1 or 2; 0 for a statement."""
    version: int
    """Of the report that it is about."""
    finding: str | None
    decision: Decision | None
    reason: str | None
    note: str | None
    """Of a statement, the statement."""
    undoes: int | None


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """A finding of the report, and what was said of it."""

    key: str
    """Names it in acts; the same finding has the same key in every version of the report."""
    finding: Finding
    judgements: list[ActView]
    """What stands of each look, the first first."""
    earlier: list[ActView]
    """What was said when an earlier version of the report told it otherwise; it does not count any more."""


class VerdictView(msgspec.Struct, frozen=True, kw_only=True):
    """What the report comes to."""

    score: int
    review_priority: Priority
    verdict_basis: str = ""


class Reasons(msgspec.Struct, frozen=True, kw_only=True):
    """By name, in the order in which to offer them."""

    confirm: dict[str, str]
    dismiss: dict[str, str]


class ReviewView(msgspec.Struct, frozen=True, kw_only=True):
    """A review, as far as who asks may see it: until all is decided, of two looks only their own."""

    session_id: str
    candidate_id: str | None
    exam_id: str | None
    policy: str
    started_at: str
    ended_at: str | None
    version: int
    """Of the report; an act says which it is about."""
    verdict: VerdictView
    recommendations: list[str]
    findings: list[FindingView]
    number: int
    """Of the latest act, seen or not; an act says what its reviewer has seen. 0 if there is none."""
    state: ReviewState
    decision: Decision | None
    """What the review has come to; null unless it is decided."""
    look: int | None
    """In which look you would act now; null if you cannot."""
    first_look: bool
    """Whether you took the first look, and so cannot take the second."""
    undoable: list[int]
    """Numbers of the acts that you can take back now."""
    second_reviewer: SecondReviewer
    reasons: Reasons
    statement: ActView | None
    """The candidate's."""
    acts: list[ActView]
    """All that you may see, the first first."""


class _Told(msgspec.Struct):
    verdict: VerdictView
    recommendations: list[str] = []


def view(case: Case, earlier: Mapping[str, Sequence[ReviewEvent]], reviewer: str) -> ReviewView:
    """Return what a reviewer may see; `earlier` is of :meth:`proctor.reviewing.Reviewing.earlier`."""
    review, session = case.review, case.session
    told = msgspec.json.decode(case.report, type=_Told)
    seen = visible(review, reviewer)
    numbers = {event.number for event in seen}

    def shown(events: Sequence[ReviewEvent | None]) -> list[ActView]:
        return [act_view(event) for event in events if event is not None and event.number in numbers]

    looks = (review.first.judgements, review.second.judgements)
    return ReviewView(
        session_id=session.session_id,
        candidate_id=session.candidate_id,
        exam_id=session.exam_id,
        policy=session.policy,
        started_at=iso_from_ms(session.started_ms),
        ended_at=None if session.ended_ms is None else iso_from_ms(session.ended_ms),
        version=case.subject.version,
        verdict=told.verdict,
        recommendations=told.recommendations,
        findings=[
            FindingView(
                key=key,
                finding=finding,
                judgements=shown([look.get(key) for look in looks]),
                earlier=shown(earlier.get(key, ())),
            )
            for key, finding in case.findings.items()
        ],
        number=review.number,
        state=review.state,
        decision=review.outcome,
        look=own_look(review, reviewer),
        first_look=reviewer in review.first.reviewers,
        undoable=[event.number for event in undoable(review, reviewer)],
        second_reviewer=case.policy.second_reviewer,
        reasons=Reasons(confirm=case.policy.confirm, dismiss=case.policy.dismiss),
        statement=None if review.statement is None else act_view(review.statement),
        acts=[act_view(event) for event in seen],
    )


def act_view(event: ReviewEvent) -> ActView:
    """Return an act as it is shown."""
    fields = {name: getattr(event, name) for name in ActView.__struct_fields__ if name != "at"}
    return ActView(at=iso_from_ms(event.at_ms), **fields)


def in_short(event: ReviewEvent | None) -> dict[str, object] | None:
    """Return an act for the audit trail, which holds no free text: nothing can be erased from it."""
    if event is None:
        return None
    names = ("number", "act", "look", "version", "finding", "decision", "reason", "undoes", "state")
    return {name: getattr(event, name) for name in names if getattr(event, name) is not None}


def superseded(case: Case, event: ReviewEvent) -> ReviewEvent | None:
    """Return the act whose place an act has taken, or that it takes back."""
    if event.undoes is not None:
        return next(each for each in case.review.events if each.number == event.undoes)
    look = case.review.first if event.look == 1 else case.review.second
    return look.decision if event.finding is None else look.judgements.get(event.finding)
