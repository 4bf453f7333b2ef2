"""What the contract suite finds out about assessments: faults, differences, and the cut that makes one."""

import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from proctor.analysis import slot
from proctor.analysis.api import WINDOW_SECONDS, Assessment, Finding, Level
from proctor.analysis.calm import SessionCalm, calm_after
from proctor.testing.judging import Subject, frame_id, time_ms

SINGLE_CUTS_MAX = 1000
"""Most single cuts that are tried in search of one that makes a difference."""

_SHOWN_CHARACTERS = 400
_LOOK_FRAMES = 6


def faults(assessment: Assessment, frames: Sequence[bytes]) -> Iterator[str]:
    """Yield what is wrong with an assessment of these frames, apart from what `judge` refuses anyway."""
    ids = {frame_id(frame) for frame in frames}
    for finding in assessment.findings:
        yield from _faults_of(finding, ids)
    starts = [finding.start_seconds for finding in assessment.findings]
    if starts != sorted(starts):
        yield "findings are not in order of time; sort them by start_seconds"
    last = int((time_ms(frames[-1]) - time_ms(frames[0])) / 1000 // WINDOW_SECONDS) if frames else -1
    observed = assessment.observed_windows or []
    if beyond := [window for window in [*assessment.window_strengths, *observed] if not 0 <= window <= last]:
        yield f"it speaks of window {beyond[0]}, the session has 0 to {last}; a window is seconds // 10"
    if 0 in assessment.window_strengths.values():
        yield "a window has strength 0; leave windows without evidence out of window_strengths"


def _faults_of(finding: Finding, ids: set[str]) -> Iterator[str]:
    what = f"the finding at {finding.start_seconds} s"
    if strange := set(finding.frame_ids) - ids:
        yield f"{what} names frames that the session has not: {', '.join(sorted(strange))}; use frames.ids"
    if not finding.message.strip():
        yield f"{what} has no message; say in a sentence what was seen"
    if not finding.category:
        yield f"{what} has no category"


def random_cuts(count: int) -> list[list[int]]:
    """Return some ways to cut so many frames, the same each time."""
    return [sorted(random.Random(seed).sample(range(count), min(9, count))) for seed in range(4)]  # noqa: S311


def smallest_cuts(cuts: Sequence[int], differs: Callable[[Sequence[int]], bool]) -> list[int]:
    """Return few of the cuts, one if one will do, that still make a difference."""
    for cut in cuts[:SINGLE_CUTS_MAX]:
        if differs([cut]):
            return [cut]
    few = list(cuts)
    for cut in cuts[:SINGLE_CUTS_MAX]:
        fewer = [each for each in few if each != cut]
        if differs(fewer):
            few = fewer
    return few


def difference(whole: Assessment, cut: Assessment) -> str:
    """Say in which of their parts two assessments differ, each in a line."""
    return "\n".join(
        f"  {name}: in one batch {_shown(one)}\n  {' ' * len(name)}  when cut     {_shown(other)}"
        for name in Assessment.__struct_fields__
        if (one := getattr(whole, name)) != (other := getattr(cut, name))
    )


def unforeseen(subject: Subject, frames: Sequence[bytes]) -> Iterator[str]:
    """Name the frames that bring a concern although the analyzer said before that none would."""
    calm: SessionCalm | None = None
    known = 0
    cuts = range(_LOOK_FRAMES, len(frames), _LOOK_FRAMES)
    slots = subject.folding(frames, cuts)
    next(slots)
    for kept, (start, end) in zip(slots, pairwise([0, *cuts, len(frames)]), strict=True):
        said, newest = subject.assess(kept, frames[:end]), frames[end - 1]
        concerns = sum(finding.level is Level.CONCERN for finding in said.findings)
        over = calm is None or any(calm.after(time_ms(frame), frame) for frame in frames[start:end])
        if concerns > known and not over:
            yield f"frames {start} to {end} bring a concern"
        if over:
            calm = None if said.calm is None else calm_after([said.calm], time_ms(newest), newest)
        known = concerns


def own_lines(error: BaseException) -> str:
    """Return the part of a traceback that is the analyzer's, without the way that leads there."""
    ours = (Path(__file__).parent, Path(slot.__file__))
    lines = [
        line
        for line in traceback.extract_tb(error.__traceback__)
        if not any(Path(line.filename).is_relative_to(place) for place in ours)
    ]
    return "".join(traceback.format_list(lines))


def canonical(value: object) -> str:
    """Write a state or an assessment as JSON that is the same whenever it means the same."""
    # Not in one go: keys may be numbers, such as those of windows, which JSON can sort only as text.
    builtin = msgspec.to_builtins(value, str_keys=True, order="deterministic")
    return msgspec.json.encode(builtin, order="deterministic").decode()


def _shown(value: object) -> str:
    text = canonical(value)
    return (
        text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"
    )
