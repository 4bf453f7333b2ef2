"""What a detector sees all the time: a poster with a face, a mirror, a calculator that it takes for a phone.

Such a thing is there from beginning to end, steadily or flickering; a person or a phone comes, stays, goes.
So what was seen in every quarter of a session is its background, and only what lasts clearly longer than that
usually does stands out from it.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

import msgspec

from proctor.analysis.api import Assessment, Finding, Level
from proctor.analysis.durations import Durations, in_words, spread
from proctor.analysis.episodes import Episode, Episodes

_PARTS = 4
_WINDOWS_MIN = 30  # in five minutes nobody can tell what comes and goes, only what never left
_SEEN = 0.1  # share of a window's known time from which it was seen there
_OFTEN = 0.15  # share of such windows in each part of the session
_ALWAYS = 0.9
_MOSTLY = 0.5  # of the time in each part: among so much nothing can stand out
_SELDOM = 0.25  # of the time: what flickers so little …
_LASTING_SECONDS = 6.0  # … is not there for so long
_EPISODES_MIN = 5
_CHANCE = 0.05  # that anything of the background stands out in a session

STRENGTH = 0.1
"""Of the one finding that the background is."""


class Background(NamedTuple):
    """What was there all the time."""

    stands_out_seconds: float
    """An episode so long is none of it."""


def background(
    state: Episodes, episodes: Sequence[Episode], durations: Durations, *, rated: bool, objects: bool
) -> Background | None:
    """Return what was there all the time, or None if nothing was.

    `rated` says that the detector gave confidences, and so that what it was not sure of is not among the
    episodes: without them some short ones all over the session are enough. So they are of `objects`, which
    are taken for others for a moment at a time.
    """
    if not episodes:
        return None
    known = {window: known_ms / 1000 for window, (_, known_ms) in sorted(state.windows.items()) if known_ms}
    if rated:
        evidence = spread(episodes)
    else:
        evidence = {window: weighed / 1_000_000 for window, (weighed, _) in state.windows.items()}
    shares = [min(evidence.get(window, 0.0) / seconds, 1.0) for window, seconds in known.items()]
    parts = _split(shares)
    steadily = shares[0] >= _SEEN and fmean(shares) >= _ALWAYS
    if len(shares) >= _WINDOWS_MIN:
        steadily |= min(fmean(part) for part in parts) >= _MOSTLY
        often = min(fmean(share >= _SEEN for share in part) for part in parts) >= _OFTEN
        often |= (objects or not rated) and _all_over(episodes, max(known))
    else:
        often = False
    if steadily:
        return Background(math.inf)
    if not often:
        return None
    most = _LASTING_SECONDS if objects or fmean(shares) < _SELDOM else math.inf
    return Background(min(_stands_out(state, episodes, durations), max(most, durations.concern_seconds)))


def _stands_out(state: Episodes, episodes: Sequence[Episode], durations: Durations) -> float:
    """Return how long an episode of flicker is not, in a session with so many.

    Lengths of flicker fall off exponentially. A tenth of them, at least one, may not be flicker and is left
    out of their mean, which makes it smaller by a quarter.
    """
    ordered = sorted(episode.seconds for episode in episodes)
    usual = ordered[: min(len(ordered) - 1, round(0.9 * len(ordered)))]
    if not usual:
        return durations.concern_seconds
    excess = (fmean(usual) - usual[0]) / 0.744
    return max(
        durations.concern_seconds, usual[0] + excess * math.log((len(episodes) + state.log.dropped) / _CHANCE)
    )


def apart_from_background(
    assessment: Assessment,
    durations: Durations,
    state: Episodes,
    *,
    rated: bool,
    objects: bool,
    what: str,
    describe: Callable[[str], str],
) -> Assessment:
    """Make one info finding of the background, if there is any, and leave what stands out from it.

    `what` begins the sentence on the background, e.g. `A second face`.
    """
    episodes = state.so_far(durations.hysteresis)
    usual = background(state, episodes, durations, rated=rated, objects=objects)
    if usual is None:
        return assessment
    out = [episode for episode in episodes if episode.seconds >= usual.stands_out_seconds]
    rest = [episode for episode in episodes if episode.seconds < usual.stands_out_seconds]
    findings = durations.findings(out, describe)
    if rest:
        findings = sorted([*findings, _summed_up(rest, durations, what)], key=lambda one: one.start_seconds)
    return msgspec.structs.replace(
        assessment,
        findings=findings,
        window_strengths=durations.strengths_of(out),
        details={
            **assessment.details,
            "background": {"stands_out_seconds": round(usual.stands_out_seconds, 1)},
        },
    )


def _details(usual: Background) -> dict[str, float | None]:
    seconds = usual.stands_out_seconds
    return {"stands_out_seconds": None if math.isinf(seconds) else round(seconds, 1)}


def joined(one: Assessment, other: Assessment) -> Assessment:
    """Put the findings and windows of two together; what was observed is the first's."""
    strengths = dict(one.window_strengths)
    for window, strength in other.window_strengths.items():
        strengths[window] = max(strength, strengths.get(window, 0.0))
    findings = sorted([*one.findings, *other.findings], key=lambda finding: finding.start_seconds)
    return msgspec.structs.replace(one, findings=findings, window_strengths=strengths)


def _split(shares: Sequence[float]) -> list[Sequence[float]]:
    bounds = [len(shares) * part // _PARTS for part in range(_PARTS + 1)]
    return [shares[start:end] for start, end in pairwise(bounds)]


def _all_over(episodes: Sequence[Episode], last_window: int) -> bool:
    part_ms = (last_window + 1) * 10_000 / _PARTS
    parts = {int(episode.start_ms / part_ms) for episode in episodes}
    return len(episodes) >= _EPISODES_MIN and len(parts) >= _PARTS - 1


def _summed_up(episodes: Sequence[Episode], durations: Durations, what: str) -> Finding:
    longest = max(episodes, key=lambda episode: episode.on_ms)
    whole = Episode(
        episodes[0].start_ms,
        episodes[-1].end_ms,
        sum(episode.on_ms for episode in episodes),
        1.0,
        episodes[0].first_id,
        longest.worst_id,
        episodes[-1].last_id,
    )
    times = "all along" if len(episodes) == 1 else f"again and again, {len(episodes)} times"
    message = (
        f"{what} was seen {times}, for {in_words(whole.seconds)} in all, like something that stays there"
    )
    [finding] = durations.findings([whole], lambda _: message)
    return msgspec.structs.replace(finding, level=Level.INFO, strength=STRENGTH, message=message)
