"""Adding to a review: what may be done when, and by whom. Pure."""

from collections.abc import Collection

import msgspec

from proctor.analysis.review_policy import ReviewPolicy, SecondReviewer
from proctor.errors import Conflict, Forbidden, InvalidRequest
from proctor.review import (
    FIRST,
    SECOND,
    Act,
    Decision,
    Review,
    ReviewEvent,
    ReviewState,
    fold,
    own_look,
    undoable,
)

CANDIDATE = "candidate"
"""Who makes a statement; the session says which."""
STATEMENTS_MAX = 50
"""Most statements of one session, each of which takes the place of the one before."""

_FIELDS = {
    Act.CONFIRM: {"finding", "reason", "note"},
    Act.DISMISS: {"finding", "reason", "note"},
    Act.DECIDE: {"decision", "note"},
    Act.UNDO: {"undoes"},
}
_NEEDED = {Act.CONFIRM: "finding", Act.DISMISS: "finding", Act.DECIDE: "decision", Act.UNDO: "undoes"}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a reviewer wants to do."""

    act: Act
    finding: str | None = None
    decision: Decision | None = None
    reason: str | None = None
    note: str | None = None
    undoes: int | None = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The report that is reviewed."""

    version: int
    findings: str
    """See :func:`proctor.analysis.identity.digest_of`."""
    keys: Collection[str]


def add(
    review: Review, wish: Wish, subject: Subject, policy: ReviewPolicy, *, reviewer: str, at_ms: int
) -> ReviewEvent:
    """Return the act that follows on those there are.

    Raises:
        InvalidRequest: it makes no sense; names the field.
        Forbidden: it is for somebody else.
        Conflict: not as things are.
    """
    _check_fields(wish)
    undoing = wish.act is Act.UNDO
    look = _undone(review, wish, reviewer).look if undoing else _turn(review, reviewer)
    if wish.act is Act.DECIDE:
        _check_decision(review, wish, subject, look)
    elif not undoing:
        _check_judgement(wish, subject, policy)
    event = ReviewEvent(
        number=review.number + 1,
        at_ms=at_ms,
        reviewer=reviewer,
        look=look,
        version=subject.version,
        findings=subject.findings,
        **msgspec.structs.asdict(wish),
    )
    if look == FIRST and wish.decision is not None and _wants_second(wish.decision, policy):
        event = msgspec.structs.replace(event, state=ReviewState.AWAITING_SECOND)
    return _with_result(review, event)


def state(review: Review, text: str, subject: Subject, *, at_ms: int) -> ReviewEvent:
    """Return a candidate's statement. Raises Conflict once all is decided, or after too many of them."""
    if review.state is ReviewState.DECIDED:
        raise Conflict("the review is over; turn to your institution with what you have to say")
    if sum(event.act is Act.STATEMENT for event in review.events) >= STATEMENTS_MAX:
        raise Conflict(f"the statement was changed {STATEMENTS_MAX} times, which is as often as it can be")
    event = ReviewEvent(
        number=review.number + 1,
        at_ms=at_ms,
        reviewer=CANDIDATE,
        act=Act.STATEMENT,
        look=0,
        version=subject.version,
        findings=subject.findings,
        note=text,
    )
    return _with_result(review, event)


def _with_result(review: Review, event: ReviewEvent) -> ReviewEvent:
    after = fold([*review.events, event], event.findings)
    return msgspec.structs.replace(event, state=after.state, outcome=after.outcome)


def _check_fields(wish: Wish) -> None:
    if wish.act not in _FIELDS:
        raise InvalidRequest("only the candidate makes a statement", field="act")
    given = {name for name, value in msgspec.structs.asdict(wish).items() if value is not None} - {"act"}
    for name in sorted(given - _FIELDS[wish.act]):
        raise InvalidRequest(f"{wish.act} takes no {name}; leave it out", field=name)
    if _NEEDED[wish.act] not in given:
        raise InvalidRequest(f"{wish.act} needs it", field=_NEEDED[wish.act])


def _turn(review: Review, reviewer: str) -> int:
    look = own_look(review, reviewer)
    if look is not None:
        return look
    if review.state is ReviewState.DECIDED:
        raise Conflict("this is decided; take the decision back first")
    raise Forbidden(
        f"{reviewer!r} took the first look, and the second is another reviewer's, with a key of their own"
    )


def _undone(review: Review, wish: Wish, reviewer: str) -> ReviewEvent:
    may = undoable(review, reviewer)
    for event in may:
        if event.number == wish.undoes:
            return event
    numbers = ", ".join(str(event.number) for event in may) or "nothing"
    raise Conflict(f"act {wish.undoes} cannot be taken back now; what can be: {numbers}", field="undoes")


def _check_judgement(wish: Wish, subject: Subject, policy: ReviewPolicy) -> None:
    if wish.finding not in subject.keys:
        detail = f"version {subject.version} of the report has no finding of this key"
        raise InvalidRequest(detail, field="finding")
    reasons = policy.confirm if wish.act is Act.CONFIRM else policy.dismiss
    if wish.reason is None and wish.act is Act.CONFIRM:
        return
    if wish.reason not in reasons:
        known = ", ".join(reasons) or "none"
        raise InvalidRequest(f"to {wish.act} takes a reason of the policy: {known}", field="reason")


def _check_decision(review: Review, wish: Wish, subject: Subject, look: int) -> None:
    if look == SECOND and wish.decision is Decision.NEEDS_SECOND:
        raise InvalidRequest("this is the second look, which has the last word", field="decision")
    own = review.first if look == FIRST else review.second
    confirmed = any(own.judgements[key].act is Act.CONFIRM for key in subject.keys if key in own.judgements)
    if wish.decision is Decision.REFERRED and not confirmed and not (wish.note or "").strip():
        detail = "no finding is confirmed; confirm those that the referral rests on, or say here why"
        raise InvalidRequest(detail, field="note")


def _wants_second(decision: Decision, policy: ReviewPolicy) -> bool:
    match policy.second_reviewer:
        case SecondReviewer.ALWAYS:
            return True
        case SecondReviewer.REFERRED:
            return decision is not Decision.NO_ISSUE
        case SecondReviewer.NEVER:
            return decision is Decision.NEEDS_SECOND
