"""The report's sentences: why the verdict is what it is, and what a reviewer can do about it."""

import math
from collections.abc import Iterator, Mapping, Sequence

from proctor.accommodations import AllowPeople, AnyAccommodation, Break, Exempt, Scale
from proctor.analysis.api import Finding, Group, Level
from proctor.analysis.policy import Policy
from proctor.analysis.schema_data import DataQuality
from proctor.analysis.verdict import Judgement, Observed, Priority

LOOKS_MAX = 5
"""Most findings that recommendations send a reviewer to; the rest stand in the list of findings."""

GAP_SECONDS = 60.0
"""From here on a time without frames is worth a sentence of its own."""

GAPS_MAX = 3


def basis(verdict: Judgement, observed: Observed, policy: Policy, titles: Mapping[str, str]) -> str:
    """Say how the score came about and why the priority is what it is."""
    return " ".join(_basis(verdict, observed, policy, titles))


def recommendations(
    verdict: Judgement,
    findings: Sequence[Finding],
    quality: DataQuality,
    troubles: Sequence[str],
    suppressed: int = 0,
) -> list[str]:
    """Say where to look, with times from the first frame, and what this report cannot tell.

    `suppressed` is how many findings accommodations have set aside.
    """
    sentences = [*_looks(verdict, findings), *_silences(quality), *(_trouble(each) for each in troubles)]
    if suppressed:
        sentences.append(f"Set aside by accommodations: {counted(suppressed, 'finding')}, to be left alone.")
    return sentences


def accommodation(granted: AnyAccommodation, part: tuple[float, float | None] | None) -> str:
    """Say what was granted, and from when to when, in seconds since the first frame, if not always."""
    match granted:
        case Exempt(signal=None):
            words = f"Exempt from the rule {granted.rule}"
        case Exempt():
            words = f"Exempt from being judged by {granted.signal}"
        case AllowPeople():
            others = "1 person" if granted.people == 1 else f"{granted.people} people"
            words = f"{others} may be in the picture besides the candidate"
        case Scale():
            words = f"{granted.rule}.{granted.setting} times {granted.factor:g}"
        case Break():
            words = "A break"
    if part is None:
        return words
    start, end = part
    if end is None:
        return f"{words}, from {clock(start)} on"
    return f"{words}, {clock(start)} to {clock(end)}" if end > 0 else f"{words}, before the first frame"


def counted(number: int, noun: str) -> str:
    """Write `1 finding`, `2 findings`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def clock(seconds: float) -> str:
    """Write a point in time after the first frame, e.g. `0:12:05`."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"


def length(seconds: float) -> str:
    """Write a length of time, e.g. `8 s` or `12 min`."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def speed(drift_ppm: float) -> str:
    """Write how fast a clock went, e.g. `12.5 ppm slow`."""
    return f"{abs(drift_ppm):g} ppm {'slow' if drift_ppm > 0 else 'fast'}"


def _basis(
    verdict: Judgement, observed: Observed, policy: Policy, titles: Mapping[str, str]
) -> Iterator[str]:
    parts = [f"{titles[share.rule]} {share.points}" for share in verdict.shares if share.points]
    yield f"Score {verdict.score} of 100{': ' if parts else ', no finding scores'}{', '.join(parts)}."
    seen = f"{_at_least(observed.seconds)} observed, {math.floor(observed.coverage * 100)}% of the session"
    least = f"{policy.observation.observed_minutes_min:g} min and {policy.observation.coverage_min:.0%}"
    if verdict.priority is Priority.INSUFFICIENT:
        yield f"Too little to judge: {seen}, at least {least} are needed."
        return
    if not observed.suffices(policy.observation):
        yield f"Little was observed ({seen}; {least} are usual), but {verdict.grounds} stands by itself."
    if verdict.grounds:
        yield f"There is {verdict.grounds}."
    elif verdict.concerns and verdict.band is Priority.HIGH:
        yield "One kind of indirect evidence by itself ranks no higher than medium."
    elif verdict.shares and not verdict.concerns:
        yield "No finding is a concern by itself, so the session ranks no higher than low."


def _at_least(seconds: float) -> str:
    """Write a length of time, rounded down, so that what is too short does not look long enough."""
    minutes, rest = divmod(math.floor(seconds), 60)
    return length(seconds) if seconds < 120 or seconds >= 600 else f"{minutes} min {rest} s"


def _looks(verdict: Judgement, findings: Sequence[Finding]) -> Iterator[str]:
    if verdict.priority is Priority.INSUFFICIENT:
        yield "Too little was observed to rank this session, which is no sign of misconduct."
    elif verdict.priority is Priority.NONE:
        yield "No review is called for by what was observed."
    scoring = {(share.rule, share.group) for share in verdict.shares}
    concerns = [
        each for each in findings if each.level is Level.CONCERN and (each.rule, each.group) in scoring
    ]
    strongest = sorted(concerns, key=lambda each: (-each.strength, each.start_seconds))[:LOOKS_MAX]
    for finding in sorted(strongest, key=lambda each: each.start_seconds):
        yield f"Look at {clock(finding.start_seconds)} to {clock(finding.end_seconds)}: {finding.message}"
    if len(concerns) > LOOKS_MAX:
        yield f"There are {len(concerns) - LOOKS_MAX} more concerns among the findings."
    infos = sum(each.level is Level.INFO and each.group is not Group.TECHNICAL for each in findings)
    if infos and verdict.priority is Priority.LOW and not concerns:
        yield f"{infos} info findings came often enough to be counted; a glance at them is enough."


def _silences(quality: DataQuality) -> Iterator[str]:
    if quality.before_first_frame_seconds >= GAP_SECONDS:
        yield f"Nothing is known of the first {length(quality.before_first_frame_seconds)} of the session."
    long = [gap for gap in quality.gaps.longest if gap.end_seconds - gap.start_seconds >= GAP_SECONDS]
    longest = sorted(long, key=lambda gap: gap.start_seconds - gap.end_seconds)[:GAPS_MAX]
    for gap in sorted(longest, key=lambda gap: gap.start_seconds):
        times = f"{clock(gap.start_seconds)} to {clock(gap.end_seconds)}"
        yield f"No frames came in from {times}: nothing is known of that time, and it counts for nothing."
    if quality.after_last_frame_seconds >= GAP_SECONDS:
        yield f"Nothing is known of the last {length(quality.after_last_frame_seconds)} of the session."


def _trouble(trouble: str) -> str:
    return f"Not judged by {trouble}; what it would have seen is missing here."
