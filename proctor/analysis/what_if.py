"""What one report flags and another does not, in a few numbers. Pure."""

from collections import Counter

import msgspec

from proctor.analysis.api import Level
from proctor.analysis.told import Told
from proctor.analysis.verdict import Priority


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session stands by one report."""

    policy: str
    score: int
    review_priority: Priority


class RuleConcerns(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule flags by each report."""

    rule: str
    title: str
    before: int
    """Concerns in the report that stands."""
    after: int
    """Concerns by the other policy; those of a rule on trial do not count."""


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """What another policy would say of an ended session."""

    session_id: str
    before: Ranked
    """By the report that stands."""
    after: Ranked
    """By the other policy."""
    rules: list[RuleConcerns]
    """Those with a concern in either."""


def said_otherwise(before: Told, after: Told) -> WhatIf:
    """Return where a session stands by two reports on it."""
    was, now = _concerns(before), _concerns(after)
    titles = {rule: each.title for rule, each in (before.analyzers | after.analyzers).items()}
    return WhatIf(
        session_id=after.session_info.session_id,
        before=_ranked(before),
        after=_ranked(after),
        rules=[
            RuleConcerns(rule=rule, title=titles.get(rule) or rule, before=was[rule], after=now[rule])
            for rule in sorted(was | now)
        ],
    )


def _ranked(told: Told) -> Ranked:
    return Ranked(
        policy=told.session_info.policy,
        score=round(told.verdict.score),
        review_priority=Priority(told.verdict.review_priority),
    )


def _concerns(told: Told) -> Counter[str]:
    """How many, by rule."""
    return Counter(each.rule for each in told.findings if each.level is Level.CONCERN)
