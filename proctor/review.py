"""The review of an ended session: what follows from the acts of those who look at it. Pure.

Acts are only ever added, and numbered. What stands is a fold over them: the latest judgement of each finding,
and the decision. Where a policy wants one, or the first reviewer does, somebody else takes a second look
without seeing what came of the first, and has the last word. An undo takes an earlier act back.

A judgement is of a finding, wherever it is found again; a decision is of all of a report's findings. When a
session is judged again and other things are found, it has lapsed, and the review is open again.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

FIRST, SECOND = 1, 2
"""The two looks."""


class Act(StrEnum):
    """What can be done."""

    CONFIRM = "confirm"
    """A finding is what it says."""
    DISMISS = "dismiss"
    """A finding is nothing."""
    DECIDE = "decide"
    UNDO = "undo"
    STATEMENT = "statement"
    """The candidate has something to say; the latest statement counts."""


class Decision(StrEnum):
    """What a look comes to."""

    NO_ISSUE = "no_issue"
    NEEDS_SECOND = "needs_second"
    """Somebody else should take a look, too. Only of a first look."""
    REFERRED = "referred"
    """To whoever decides about people: a review decides nothing about anybody."""


class ReviewState(StrEnum):
    """Where a review stands."""

    OPEN = "open"
    AWAITING_SECOND = "awaiting_second"
    DECIDED = "decided"


class ReviewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One act, and what it has led to."""

    number: int
    """1, 2, 3 … within the session."""
    at_ms: int
    reviewer: str
    """Name of the reviewer, or `candidate`."""
    act: Act
    look: int
    """To which it belongs; 0 for a statement."""
    version: int
    """Of the report that it is about."""
    findings: str
    """Tells what that report found; see :func:`proctor.analysis.identity.digest_of`."""
    finding: str | None = None
    """Key of the finding that is judged."""
    decision: Decision | None = None
    reason: str | None = None
    """Name of a reason in the policy."""
    note: str | None = None
    """Free text; of a statement, the statement."""
    undoes: int | None = None
    state: ReviewState = ReviewState.OPEN
    """Where the review stood right after it."""
    outcome: Decision | None = None
    """What was decided, right after it."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of one look."""

    judgements: Mapping[str, ReviewEvent]
    """By the finding's key, also of findings that other versions of the report have."""
    decision: ReviewEvent | None
    reviewers: frozenset[str]
    """Who ever had part in it."""


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of a session's review."""

    events: Sequence[ReviewEvent]
    first: Look
    second: Look
    state: ReviewState
    closing: ReviewEvent | None
    """The decision that closes the review."""
    statement: ReviewEvent | None

    @property
    def number(self) -> int:
        """Of the latest act; 0 if there is none."""
        return self.events[-1].number if self.events else 0

    @property
    def outcome(self) -> Decision | None:
        """What was decided; None unless the review is closed."""
        return self.closing.decision if self.closing is not None else None

    def judgement(self, key: str) -> ReviewEvent | None:
        """Return what was last said of a finding, by whoever had the last word."""
        return self.second.judgements.get(key) or self.first.judgements.get(key)


def fold(events: Sequence[ReviewEvent], findings: str) -> Review:
    """Return what stands of a review, of a report with such findings."""
    undone = {event.undoes for event in events if event.act is Act.UNDO}
    standing = [event for event in events if event.number not in undone and event.act is not Act.UNDO]
    since = _number_since(events, findings)
    first = _look(FIRST, events, standing, since)
    second = _look(SECOND, events, standing, since)
    state, closing = ReviewState.OPEN, None
    if first.decision is not None:
        asked = first.decision.state is ReviewState.AWAITING_SECOND
        closing = second.decision if asked else first.decision
        state = ReviewState.AWAITING_SECOND if closing is None else ReviewState.DECIDED
    said = [event for event in standing if event.act is Act.STATEMENT]
    return Review(
        events=events,
        first=first,
        second=second,
        state=state,
        closing=closing,
        statement=said[-1] if said else None,
    )


def _number_since(events: Sequence[ReviewEvent], findings: str) -> int:
    """Return from which act on all were about reports with these findings."""
    for event in reversed(events):
        if event.findings != findings:
            return event.number + 1
    return 1


def _look(number: int, events: Iterable[ReviewEvent], standing: Iterable[ReviewEvent], since: int) -> Look:
    judgements: dict[str, ReviewEvent] = {}
    decision = None
    for event in standing:
        if event.look != number:
            continue
        if event.act is Act.DECIDE:
            decision = event if event.number >= since else None
        elif event.finding is not None:
            judgements[event.finding] = event
    reviewers = frozenset(event.reviewer for event in events if event.look == number)
    return Look(judgements=judgements, decision=decision, reviewers=reviewers)


def own_look(review: Review, reviewer: str) -> int | None:
    """Return in which look somebody would act now; None where it is another's turn, or all is decided."""
    if review.state is ReviewState.OPEN:
        return FIRST
    if review.state is ReviewState.AWAITING_SECOND and reviewer not in review.first.reviewers:
        return SECOND
    return None


def undoable(review: Review, reviewer: str) -> list[ReviewEvent]:
    """Return what somebody may take back now, in the order in which it was done.

    A decision before what it rests on; that of a first look not once a second has begun.
    """
    took_first = reviewer in review.first.reviewers
    found: Iterable[ReviewEvent] = ()
    if review.state is ReviewState.OPEN:
        found = review.first.judgements.values()
    elif review.closing is not None:
        if review.closing.look == FIRST or not took_first:
            found = [review.closing]
    elif not took_first:
        found = review.second.judgements.values()
    elif not second_has_begun(review) and review.first.decision is not None:
        found = [review.first.decision]
    return sorted(found, key=lambda event: event.number)


def second_has_begun(review: Review) -> bool:
    """Tell whether somebody has judged anything in the second look since it was asked for."""
    asked = review.first.decision.number if review.first.decision is not None else 0
    return any(event.number > asked for event in review.second.judgements.values())


def visible(review: Review, reviewer: str) -> list[ReviewEvent]:
    """Return the acts that somebody may see: until all is decided, of two looks only their own."""
    if review.state is not ReviewState.AWAITING_SECOND:
        return list(review.events)
    theirs = FIRST if reviewer in review.first.reviewers else SECOND
    return [event for event in review.events if event.look in (theirs, 0)]
