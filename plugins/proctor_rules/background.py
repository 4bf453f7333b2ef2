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
from proctor.analysis.calm import sooner
from proctor.analysis.durations import Durations, in_words, spread
from proctor.analysis.episodes import Episode, Episodes

_PARTS = 4
_WINDOWS_MIN = 30  # in five minutes nobody can tell what comes and goes …
_FROM_THE_FIRST_MIN = 6  # … and in one, what has never left
_SEEN = 0.1  # share of a window's known time from which it was seen there
_ALWAYS = 0.9
_MOSTLY = 0.5  # of the time in each part: among so much nothing can stand out
_SELDOM = 0.25  # of the time: what flickers so little is not there for long
_EPISODES_MIN = 5
_CHANCE = 0.05  # that anything of the background stands out in a session
_BY_CHANCE = 0.01  # that flicker looks like this somewhere in a session
_LOOKS_PER_SECOND = 2.0
_ALMOST_ALL = 0.98  # of the time; no detector sees anything all of the time

_LONG_SECONDS = 60.0

STRENGTH = 0.1
"""Of the one finding that the background is."""


class Habit(NamedTuple):
    """What makes something a session's background."""

    share: float
    """Of the windows in each quarter of the session, in so many it was seen."""
    lasting_seconds: float
    """An episode so long stands out from what flickers."""
    rated: bool
    """The detector gives confidences, and so what it was not sure of is not among the episodes. Without them
    some short ones all over the session are enough, …"""
    objects: bool
    """… as they are of objects, which are taken for others for a moment at a time."""


def background_seconds(
    state: Episodes, episodes: Sequence[Episode], durations: Durations, habit: Habit
) -> float | None:
    """Return how long an episode is no part of what was there all the time; None if nothing was."""
    if not episodes:
        return None
    known = {window: known_ms / 1000 for window, (_, known_ms) in sorted(state.windows.items()) if known_ms}
    if habit.rated:
        evidence = spread(episodes)
    else:
        evidence = {window: weighed / 1_000_000 for window, (weighed, _) in state.windows.items()}
    shares = [min(evidence.get(window, 0.0) / seconds, 1.0) for window, seconds in known.items()]
    parts = _split(shares)
    enough = len(shares) >= _WINDOWS_MIN
    from_the_first = shares[0] >= _SEEN and len(shares) >= _FROM_THE_FIRST_MIN and not habit.objects
    if (enough or from_the_first) and fmean(shares) >= _ALWAYS:
        return math.inf
    if not enough:
        return None
    if min(fmean(part) for part in parts) >= _MOSTLY:
        return math.inf
    often = min(fmean(share >= _SEEN for share in part) for part in parts) >= habit.share
    short = (habit.objects or not habit.rated) and _all_over(episodes, max(known))
    if not (often or short):
        return None
    flickers = habit.objects or fmean(shares) < _SELDOM
    least = durations.concern_seconds
    most = max(habit.lasting_seconds, least) if flickers else math.inf
    return min(max(_stands_out(episodes, len(episodes) + state.log.dropped), least), most)


def everywhere(state: Episodes, share: float) -> bool:
    """Return whether there was evidence in so many windows of each quarter of the session."""
    known = [
        evidence >= _SEEN * 1000 * known for _, (evidence, known) in sorted(state.windows.items()) if known
    ]
    return len(known) >= _WINDOWS_MIN and min(fmean(part) for part in _split(known)) >= share


def _stands_out(episodes: Sequence[Episode], count: int) -> float:
    """Return how long no episode of flicker is, in a session with so many.

    Lengths of flicker fall off exponentially. A tenth of them, at least one, may not be flicker and is left
    out of their mean, which makes it smaller by a quarter.
    """
    ordered = sorted(episode.seconds for episode in episodes)
    usual = ordered[: min(len(ordered) - 1, round(0.9 * len(ordered)))]
    if not usual:
        return 0.0
    return usual[0] + (fmean(usual) - usual[0]) / 0.744 * math.log(count / _CHANCE)


class _Time(NamedTuple):
    """Of a session."""

    evidence_seconds: float
    known_seconds: float


def _by_chance(episode: Episode, total: _Time) -> bool:
    """Return whether flicker as frequent as in the rest of the session comes to an episode like this anyway.

    By Chernoff's bound on so many looks of which each sees something with the probability that it has in the
    rest of the session; a detector takes no more than `_LOOKS_PER_SECOND` independent ones.
    """
    length = max((episode.end_ms - episode.start_ms) / 1000, episode.seconds, 0.001)
    rest_seconds = total.known_seconds - length
    if rest_seconds <= length:
        return False
    share = min(episode.seconds / length, _ALMOST_ALL)
    usual = (total.evidence_seconds - episode.seconds) / rest_seconds
    if not 0 < usual < share:
        return usual >= share
    divergence = share * math.log(share / usual) + (1 - share) * math.log((1 - share) / (1 - usual))
    looks = min(episode.frames / share, _LOOKS_PER_SECOND * length)
    return total.known_seconds / length * math.exp(-looks * divergence) > _BY_CHANCE


def apart_from_background(
    assessment: Assessment,
    durations: Durations,
    state: Episodes,
    habit: Habit,
    what: str,
    describe: Callable[[str], str],
) -> Assessment:
    """Make one info finding of the background, if there is any, and leave what stands out from it.

    `what` begins the sentence on the background, e.g. `A second face`.
    """
    episodes = state.so_far(durations.hysteresis)
    seconds = background_seconds(state, episodes, durations, habit)
    least = 0.0 if seconds is None else seconds
    known = [both for both in state.windows.values() if both[1]]
    total = _Time(sum(weighed for weighed, _ in known) / 1_000_000, sum(ms for _, ms in known) / 1000)
    out = [each for each in episodes if each.seconds >= least and not _by_chance(each, total)]
    rest = [each for each in episodes if each not in out]
    if seconds is None and not rest:
        return assessment
    findings = durations.findings(out, describe)
    if rest:
        findings.append(_summed_up(rest, state.log.dropped, durations, what))
    stands_out = None if math.isinf(least) else round(least, 1)
    return msgspec.structs.replace(
        assessment,
        findings=sorted(findings, key=lambda one: one.start_seconds),
        window_strengths=durations.strengths_of(out),
        details={**assessment.details, "background": {"stands_out_seconds": stands_out}},
    )


def joined(one: Assessment, other: Assessment) -> Assessment:
    """Put the findings and windows of two together, and their calm; what was observed is the first's."""
    strengths = dict(one.window_strengths)
    for window, strength in other.window_strengths.items():
        strengths[window] = max(strength, strengths.get(window, 0.0))
    findings = sorted([*one.findings, *other.findings], key=lambda finding: finding.start_seconds)
    calm = sooner(one.calm, other.calm)
    return msgspec.structs.replace(one, findings=findings, window_strengths=strengths, calm=calm)


def _split(shares: Sequence[float]) -> list[Sequence[float]]:
    bounds = [len(shares) * part // _PARTS for part in range(_PARTS + 1)]
    return [shares[start:end] for start, end in pairwise(bounds)]


def _all_over(episodes: Sequence[Episode], last_window: int) -> bool:
    part_ms = (last_window + 1) * 10_000 / _PARTS
    parts = {int(episode.start_ms / part_ms) for episode in episodes}
    return len(episodes) >= _EPISODES_MIN and len(parts) >= _PARTS - 1


def _summed_up(episodes: Sequence[Episode], dropped: int, durations: Durations, what: str) -> Finding:
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
    message = f"{what} was seen {_how_often(episodes, dropped, whole)}"
    [finding] = durations.findings([whole], lambda _: message)
    return msgspec.structs.replace(finding, level=Level.INFO, strength=STRENGTH, message=message)


def _how_often(episodes: Sequence[Episode], dropped: int, whole: Episode) -> str:
    count, extent = len(episodes) + dropped, in_words(whole.seconds)
    if count > 1:
        return f"again and again, {count} times, for {extent} in all, like something that stays there"
    if whole.seconds >= _LONG_SECONDS:
        return f"all along, for {extent}, like something that stays there"
    return f"for {extent}, which the flicker of its detector explains"
