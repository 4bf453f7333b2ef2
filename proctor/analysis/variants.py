"""A rule that accommodations concern runs in variants: as it is, and as it is to judge this candidate.

A variant is the rule with one set of settings on the frames as :mod:`proctor.analysis.view` shows them. Most
rules have one; where settings are scaled for a part of the session there are several, each of which counts
for its own part.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from proctor.accommodations import ALWAYS_MS, AnyAccommodation, Exempt, Scale, digest, scaled
from proctor.analysis.api import WINDOW_SECONDS, Assessment, Finding, Level
from proctor.analysis.calm import sooner
from proctor.analysis.discovery import Plugin
from proctor.analysis.facts import Section
from proctor.analysis.policy import Rule
from proctor.analysis.schema import Status
from proctor.analysis.slot import Guard, Slot, assess_slot

SEPARATOR = "/"
"""Between a rule's name and a variant's digest in the key of its slot; no rule's name has one."""

_MOST = 0.9

Spans = list[tuple[int, int]]


class Variant(NamedTuple):
    """One way of running a rule."""

    key: str
    """Of its slot; the rule's name for the rule as it is."""
    rule: Rule
    spans: Spans
    """When it counts, in milliseconds since the epoch; from the start (inclusive) to the end (exclusive)."""


def variants(name: str, rule: Rule, accommodations: Sequence[AnyAccommodation]) -> list[Variant]:
    """Return how a rule judges this candidate; nothing if that is no other way than anybody."""
    mine = [each for each in accommodations if each.concerns(name)]
    if not mine:
        return []
    views = [each for each in mine if not isinstance(each, Scale)]
    scales = [each for each in mine if isinstance(each, Scale)]
    bounds = sorted({-ALWAYS_MS, ALWAYS_MS} | {bound for each in scales for bound in each.span_ms})
    found: dict[str, Variant] = {}
    for start, end in pairwise(bounds):
        settings = scaled(rule.settings, [each for each in scales if _covers(each, start, end)])
        own = msgspec.structs.replace(rule, settings=settings)
        plain = not views and own == rule
        key = name if plain else SEPARATOR.join([name, own.digest[:8], digest(views)[:8]])
        found.setdefault(key, Variant(key, own, [])).spans.append((start, end))
    return list(found.values())


def assess_variants(
    plugin: Plugin,
    parts: Sequence[Variant],
    slots: Mapping[str, Slot],
    first_ms: int,
    end_seconds: float,
    guard: Guard,
) -> Section:
    """Ask each variant what follows, and take from each what falls into its part of the session.

    What fails fails as a whole: the rule as it is would judge the candidate as if nothing had been granted.
    """
    assessed: list[tuple[Spans, Assessment]] = []
    section = Section(plugin, plugin.load().title, Status.OK, assessment=Assessment(findings=[]))
    for part in parts:
        section = assess_slot(plugin, part.rule, slots[part.key], end_seconds, guard)
        if section.status is not Status.OK:
            return section
        assessed.append((part.spans, section.assessment))
    return section._replace(assessment=_composed(assessed, first_ms), reason="")


def suppressed(
    section: Section, accommodations: Sequence[AnyAccommodation], first_ms: int
) -> dict[str, list[Finding]]:
    """Return which findings of a rule as it is there would be without which accommodation, by its id.

    One that is a concern without and an info with counts as suppressed, too, and one that lost of its time.
    """
    lists: dict[str, list[Finding]] = {}
    for finding in section.plain.findings if section.plain else ():
        if not _still_said(finding, section.assessment.findings):
            for each in _causes(finding, accommodations, section.plugin.name, first_ms):
                lists.setdefault(each.id, []).append(finding)
    return lists


def _covers(accommodation: AnyAccommodation, start_ms: int, end_ms: int) -> bool:
    start, end = accommodation.span_ms
    return start <= start_ms and end_ms <= end


def _composed(parts: Sequence[tuple[Spans, Assessment]], first_ms: int) -> Assessment:
    """Take from each variant the findings that lie in its part of the session for the most part.

    Variants see one behaviour begin and end at different times: where each leaves it to the other, the one
    that sees some of it in its own part has it.
    """
    findings: list[Finding] = []
    strengths: dict[int, float] = {}
    observed: set[int] | None = set()
    details: dict[str, Any] = {}
    for spans, said in parts:
        findings += [each for each in said.findings if _within(spans, first_ms, _middle(each))]
        windows = said.observed_windows
        strengths |= {
            window: strength
            for window, strength in said.window_strengths.items()
            if _within(spans, first_ms, window * WINDOW_SECONDS)
        }
        known = [each for each in windows or () if _within(spans, first_ms, each * WINDOW_SECONDS)]
        observed = None if windows is None or observed is None else observed.union(known)
        details |= said.details
    for spans, said in parts:
        for finding in said.findings:
            ends = (finding.start_seconds, finding.end_seconds)
            own = any(_within(spans, first_ms, seconds) for seconds in ends)
            if own and not any(_alike(other, finding) for other in findings):
                findings.append(finding)
    findings.sort(key=lambda each: (each.start_seconds, each.end_seconds))
    return Assessment(
        findings=findings,
        window_strengths=strengths,
        observed_windows=None if observed is None else sorted(observed),
        details=details,
        calm=sooner(*(said.calm for _, said in parts)),
    )


def _within(spans: Spans, first_ms: int, seconds: float) -> bool:
    moment = first_ms + round(seconds * 1000)
    return any(start <= moment < end for start, end in spans)


def _middle(finding: Finding) -> float:
    return (finding.start_seconds + finding.end_seconds) / 2


def _alike(one: Finding, other: Finding) -> bool:
    return (
        one.category == other.category
        and one.start_seconds <= other.end_seconds
        and other.start_seconds <= one.end_seconds
    )


def _still_said(finding: Finding, others: Sequence[Finding]) -> bool:
    """Return whether other findings say what a finding said: no weaker, and of most of its time."""
    alike = [other for other in others if _alike(other, finding)]
    length = sum(other.end_seconds - other.start_seconds for other in alike)
    level = Level.CONCERN if any(other.level is Level.CONCERN for other in alike) else Level.INFO
    return (
        bool(alike)
        and (level is Level.CONCERN or finding.level is Level.INFO)
        and length >= _MOST * (finding.end_seconds - finding.start_seconds)
    )


def _causes(
    finding: Finding, accommodations: Sequence[AnyAccommodation], rule: str, first_ms: int
) -> list[AnyAccommodation]:
    """Return the accommodations that a finding fell to: of those at work then, the ones about its signal."""
    start = first_ms + round(finding.start_seconds * 1000)
    end = first_ms + round(finding.end_seconds * 1000)
    at_work = [
        each
        for each in accommodations
        if each.concerns(rule) and each.span_ms[0] <= end and start < each.span_ms[1]
    ]
    about = [each for each in at_work if not isinstance(each, Exempt) or _is_about(each, finding)]
    return about or at_work


def _is_about(exemption: Exempt, finding: Finding) -> bool:
    signal = exemption.hidden
    return exemption.rule is not None or finding.observed.signal in signal.features | signal.events
