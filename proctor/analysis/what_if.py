"""What one report flags and another does not, in a few numbers. Pure."""

from collections import Counter

import msgspec

from proctor.analysis.api import Level
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


class _Info(msgspec.Struct):
    session_id: str
    policy: str


class _Verdict(msgspec.Struct):
    score: float
    review_priority: Priority


class _Finding(msgspec.Struct):
    rule: str
    level: Level


class _Named(msgspec.Struct):
    title: str = ""


class _Report(msgspec.Struct):
    session_info: _Info
    verdict: _Verdict
    findings: list[_Finding]
    analyzers: dict[str, _Named]

    @property
    def ranked(self) -> Ranked:
        verdict, policy = self.verdict, self.session_info.policy
        return Ranked(policy=policy, score=round(verdict.score), review_priority=verdict.review_priority)

    @property
    def concerns(self) -> Counter[str]:
        """How many, by rule."""
        return Counter(each.rule for each in self.findings if each.level is Level.CONCERN)


def said_otherwise(before: bytes, after: bytes) -> WhatIf:
    """Return where a session stands by two reports on it, which :class:`Told` could read."""
    old, new = (msgspec.json.decode(report, type=_Report) for report in (before, after))
    was, now = old.concerns, new.concerns
    titles = {rule: each.title for rule, each in (old.analyzers | new.analyzers).items()}
    return WhatIf(
        session_id=new.session_info.session_id,
        before=old.ranked,
        after=new.ranked,
        rules=[
            RuleConcerns(rule=rule, title=titles.get(rule) or rule, before=was[rule], after=now[rule])
            for rule in sorted(was | now)
        ],
    )
