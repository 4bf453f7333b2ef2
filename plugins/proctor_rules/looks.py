"""Looks to one and the same place, again and again: short ones, of which each by itself means nothing.

People think with their eyes here and there, and not at regular distances; notes beside the screen are in one
place, and whoever copies from them comes back to it every few lines.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.api import Calm, Finding, Group, Level, Observed
from proctor.analysis.cadence import Cadence
from proctor.analysis.columns import differences, run_starts, within
from proctor.analysis.durations import in_words
from proctor.analysis.episodes import Episode, EpisodeLog
from proctor.analysis.frames import FrameBatch
from proctor_rules.evidence import REST_SECONDS, Column

LOOKS_MAX = 64
"""Most looks that are remembered at a time, the latest."""

FLEETING = 0.5
"""A look by a measure that may have changed before the client, which waits for a change of words, says so."""

_FLEETING_MS = 1000
_LONGEST_BREAK_MS = 1000  # back for longer, …
_LONGEST_UNKNOWN_MS = 3000  # … or so long unknown, and the next look is another one
_GAP_MS = 5000
_FARTHEST = 1e6
_WHOLE = 1000  # places are whole thousandths, so that sums do not depend on how frames were cut


class Look(msgspec.Struct, array_like=True):
    """One look away, in milliseconds since the session's first frame."""

    start_ms: int
    end_ms: int
    on_ms: int
    x: int
    """Place times time: thousandths of the rule's unit, times milliseconds."""
    y: int
    first_id: str
    last_id: str
    counted: bool = False
    """It is part of a repetition that was found."""

    @property
    def place(self) -> complex:
        """Where it went, in the rule's unit from the usual place."""
        return complex(self.x, self.y) / max(self.on_ms, 1) / _WHOLE


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """What makes looks a repetition."""

    looks: int
    """So many to one place; 0 finds none."""
    within_seconds: float
    shortest_seconds: float
    same_place: float = 0.4
    """Two looks went to one place if they are no farther apart than this share of the way there."""

    def calm(self, looks: "Looks") -> Calm:
        """Return how long another repetition takes at the least."""
        if not self.looks or looks.newest is None:
            return Calm(seconds=REST_SECONDS)
        since = looks.newest[0] - self.within_seconds * 1000
        missing = max(self.looks - sum(one.start_ms >= since for one in looks.recent), 1)
        pending = 0.0 if looks.current is None else looks.current.on_ms / 1000
        between = (missing - 1) * _LONGEST_BREAK_MS / 1000
        seconds = missing * self.shortest_seconds + between - min(pending, self.shortest_seconds)
        return Calm(seconds=seconds, under_way=pending > 0 and missing == 1)


class Looks(msgspec.Struct):
    """Finds repetitions, a batch of frames at a time. Part of an analyzer's state."""

    recent: list[Look] = msgspec.field(default_factory=list)
    current: Look | None = None
    break_ms: int = 0
    unknown_ms: int = 0
    found: EpisodeLog = msgspec.field(default_factory=EpisodeLog)
    """Repetitions that are over, each as an episode: `frames` is how many looks there were."""
    latest: Episode | None = None
    newest: tuple[int, str, float, int, int] | None = None
    """Time, id, evidence and place of the newest frame, which lasts until the next."""
    cadence: Cadence = msgspec.field(default_factory=Cadence)

    def fold(self, frames: FrameBatch, away: Column, place: tuple[Column, Column], rule: Repetition) -> None:
        """Take in the next frames.

        `away` is 1, or `FLEETING` where a measure alone says so, 0 or NaN; `place` is 0 where it is unknown.
        """
        times, ids = frames.milliseconds, list(frames.ids)
        xs, ys = (_whole(axis) for axis in place)
        if self.newest is not None:
            time_ms, frame_id, before, x, y = self.newest
            times, ids = np.concatenate(([time_ms], times)), [frame_id, *ids]
            away, xs, ys = (np.concatenate(([a], b)) for a, b in ((before, away), (x, xs), (y, ys)))
        self.newest = (int(times[-1]), ids[-1], float(away[-1]), int(xs[-1]), int(ys[-1]))
        if len(times) < 2:
            return
        lasted, waits = self.cadence.lasted(times, _GAP_MS, 2 * _GAP_MS)
        fled = waits & (away[:-1] == FLEETING) & (lasted > _FLEETING_MS)
        lasted = np.where(fled, _FLEETING_MS, lasted)
        codes = np.where(np.isnan(away), 2, np.ceil(away))[:-1]
        gone = fled | (differences(times) > np.maximum(lasted, _GAP_MS))
        starts = run_starts(codes, gone)
        sums = [
            np.add.reduceat(part, starts).tolist() for part in (lasted, lasted * xs[:-1], lasted * ys[:-1])
        ]
        ends = [*starts[1:].tolist(), len(codes)]
        for start, end, span, x, y in zip(starts.tolist(), ends, *sums, strict=True):
            if codes[start] == 1:
                look = Look(int(times[start]), int(times[start]) + span, span, x, y, ids[start], ids[end - 1])
                self.current = look if self.current is None else _longer(self.current, look)
                self.break_ms = self.unknown_ms = 0
            elif codes[start] == 0:
                self.break_ms += span
            else:
                self.unknown_ms += span
            if gone[end - 1] or self.break_ms > _LONGEST_BREAK_MS or self.unknown_ms > _LONGEST_UNKNOWN_MS:
                self._close(rule)

    def so_far(self) -> list[Episode]:
        """All repetitions in order of time."""
        return self.found.kept if self.latest is None else [*self.found.kept, self.latest]

    def _close(self, rule: Repetition) -> None:
        look, self.current, self.break_ms, self.unknown_ms = self.current, None, 0, 0
        if look is None or not rule.looks or look.on_ms < rule.shortest_seconds * 1000:
            return
        since = look.end_ms - rule.within_seconds * 1000
        self.recent = [*(one for one in self.recent if one.start_ms >= since), look][-LOOKS_MAX:]
        reach = rule.same_place * abs(look.place)
        alike = [one for one in self.recent if abs(one.place - look.place) <= reach]
        if len(alike) >= rule.looks:
            self._repeat(alike)

    def _repeat(self, alike: Sequence[Look]) -> None:
        new = [one for one in alike if not one.counted]
        for one in new:
            one.counted = True
        first, last, on_ms = new[0], alike[-1], sum(one.on_ms for one in new)
        latest = self.latest
        if latest is not None and alike[0].start_ms <= latest.end_ms:
            latest.start_ms = min(latest.start_ms, first.start_ms)
            latest.end_ms, latest.last_id = max(latest.end_ms, last.end_ms), last.last_id
            latest.on_ms += on_ms
            latest.frames += len(new)
            return
        if latest is not None:
            self.found.add(latest)
        longest = max(new, key=lambda one: one.on_ms)
        ids = (first.first_id, longest.first_id, last.last_id)
        self.latest = Episode(first.start_ms, last.end_ms, on_ms, 1.0, *ids, frames=len(new))


def _whole(axis: Column) -> NDArray[np.int64]:
    known = np.where(np.isnan(axis), 0.0, within(axis, -_FARTHEST, _FARTHEST))
    whole: NDArray[np.int64] = np.rint(known * _WHOLE).astype(np.int64)
    return whole


def repeated(
    looks: Looks, rule: Repetition, *, category: str, signal: str, what: str, baseline: float | None = None
) -> list[Finding]:
    """Make a concern of every repetition; `what` went to the same place."""
    return [
        Finding(
            category=category,
            group=Group.ATTENTION,
            level=Level.CONCERN,
            start_seconds=one.start_ms / 1000,
            end_seconds=one.end_ms / 1000,
            strength=max(0.5, round(one.frames / (one.frames + rule.looks), 4)),
            message=(
                f"{what} to the same place {one.frames} times in "
                f"{in_words((one.end_ms - one.start_ms) / 1000)}, for {in_words(one.seconds)} in all"
            ),
            frame_ids=(one.first_id, one.worst_id, one.last_id),
            observed=Observed(
                signal=signal,
                value=float(one.frames),
                threshold=float(rule.looks),
                baseline=baseline,
                unit="looks",
            ),
        )
        for one in looks.so_far()
    ]


def with_repeated(findings: Sequence[Finding], repetitions: Sequence[Finding]) -> list[Finding]:
    """Put the two in order of time, and tell nothing twice.

    A repetition that is a concern for the most part already is not told again, nor are the looks of another.
    """
    concerns = [one for one in findings if one.level is Level.CONCERN]
    new = [one for one in repetitions if sum(_overlap(one, other) for other in concerns) < _length(one) / 2]
    rest = [
        one
        for one in findings
        if one in concerns or all(2 * _overlap(one, all_) < _length(one) for all_ in new)
    ]
    return sorted([*rest, *new], key=lambda one: one.start_seconds)


def _length(finding: Finding) -> float:
    return finding.end_seconds - finding.start_seconds


def _overlap(one: Finding, other: Finding) -> float:
    return max(0.0, min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds))


def _longer(look: Look, more: Look) -> Look:
    return Look(
        look.start_ms,
        more.end_ms,
        look.on_ms + more.on_ms,
        look.x + more.x,
        look.y + more.y,
        look.first_id,
        more.last_id,
    )


def away(
    evidence: NDArray[np.bool_], known: NDArray[np.bool_], fleeting: NDArray[np.bool_] | None = None
) -> Column:
    """1 or `FLEETING` where there is evidence of a look away, 0 where there is known to be none, or NaN."""
    worth = 1.0 if fleeting is None else np.where(fleeting, FLEETING, 1.0)
    return np.where(known, np.where(evidence, worth, 0.0), np.nan)
