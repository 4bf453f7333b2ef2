"""Episodes: stretches of event time in which something went on, told from flicker and from missing data.

All arithmetic that is carried from batch to batch is in whole milliseconds, so that it makes no difference
where a session's frames are cut.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.api import WINDOW_SECONDS
from proctor.analysis.cadence import HOLD_MS, Cadence, pieces
from proctor.analysis.columns import differences, run_starts, within
from proctor.analysis.frames import FrameBatch
from proctor.analysis.sealed import Sealed

EPISODES_MAX = 100
"""Most episodes that a session keeps per signal; beyond that the shortest go, and are counted."""

WINDOWS_MAX = 8_640
"""Most windows that a session keeps per signal: a day's worth."""

_WINDOW_MS = round(WINDOW_SECONDS * 1000)
_FULL = 1000  # what one millisecond of whole evidence adds to a level or a window
_SLOWLY = 4  # a detector that is no longer sure may be so for four times as long as one that sees nothing
_OFF, _ON, _BETWEEN, _UNKNOWN, _KEPT_ON = 0, 1, 2, 3, 4


class Hysteresis(msgspec.Struct, frozen=True, kw_only=True):
    """When evidence becomes an episode and when that is over. Evidence goes from 0 to 1, as good as it gets.

    Time with evidence fills a bucket, time without drains it, unknown time does neither. An episode is there
    once the bucket holds `persist_seconds`, and it began where the bucket was last empty: flicker that is on
    for less than `decay / (1 + decay)` of the time never becomes one, and frames missed do no harm. From
    then on the bucket holds up to `merge_seconds`; empty, it ends the episode, where evidence was last.
    """

    persist_seconds: float
    """Shorter than this is no episode; neither is a single frame, however long until the next."""
    merge_seconds: float = 1.0
    """So long without evidence (with a `decay` of 1) and an episode is over."""
    bridge_seconds: float = 5.0
    """A longer gap between frames, or longer unknown, ends an episode with the last frame that knew."""
    hold_seconds: float = HOLD_MS / 1000
    """So long what a client said last holds that sends on changes only. Less for measures: some changes of
    them are too small for it to tell."""
    enter: float = 0.5
    """Evidence counts from here on …"""
    leave: float = 0.5
    """… until it falls below this."""
    decay: float = 1.0
    """How fast time without evidence drains the bucket, as a multiple of how fast time with it fills it."""
    sure: bool = False
    """Evidence between `leave` and `enter` is not counted and makes no episode; one ends more slowly."""
    hint: float | None = None
    """Evidence from here on still tells one window from another, however weak; None means `leave`."""


class Episode(msgspec.Struct, array_like=True):
    """One stretch, in milliseconds since the session's first frame; a frame lasts until the next."""

    start_ms: int
    end_ms: int
    on_ms: int
    """Time with evidence; the rest was flicker, short breaks or unknown."""
    peak: float
    """Strongest evidence."""
    first_id: str
    worst_id: str
    """The frame with the strongest evidence, the first of them."""
    last_id: str
    frames: int = 1

    @property
    def seconds(self) -> float:
        """Time with evidence."""
        return self.on_ms / 1000


class EpisodeLog(msgspec.Struct):
    """Finished episodes in order of time, at most `EPISODES_MAX` of them: the shortest give way."""

    kept: list[Episode] = msgspec.field(default_factory=list)
    dropped: int = 0

    def add(self, episode: Episode) -> None:
        """Take in an episode that began after all that were added before."""
        self.kept.append(episode)
        if len(self.kept) > EPISODES_MAX:
            self.kept.remove(min(self.kept, key=lambda kept: kept.on_ms))
            self.dropped += 1


def not_listed(*logs: EpisodeLog) -> dict[str, Any]:
    """Say in an assessment's details how many episodes gave way, if any did."""
    dropped = sum(log.dropped for log in logs)
    return {"episodes_not_listed": dropped} if dropped else {}


class Sample(msgspec.Struct, array_like=True):
    """The newest frame: how long it lasted is known only when the next one comes."""

    time_ms: int
    evidence: float
    frame_id: str


class Episodes(msgspec.Struct):
    """Finds the episodes of one signal, a batch of frames at a time. Part of an analyzer's state."""

    log: EpisodeLog = msgspec.field(default_factory=EpisodeLog)
    current: Episode | None = None
    confirmed: bool = False
    """`current` has lasted long enough to be one."""
    level: int = 0
    """What the bucket holds: milliseconds, times `_FULL`."""
    on: bool = False
    """What evidence between `leave` and `enter` counts as."""
    unknown_ms: int = 0
    newest: Sample | None = None
    cadence: Cadence = msgspec.field(default_factory=Cadence)
    past_windows: Sealed = msgspec.field(default_factory=Sealed)
    window: tuple[int, int, int] | None = None
    """The report window of which anything was known last: index, evidence and known time as in `windows`."""

    @property
    def windows(self) -> dict[int, tuple[int, int]]:
        """Report window to milliseconds of evidence (times `_FULL`) and of known time."""
        rows = self.past_windows.rows(tuple[int, int, int])
        rows += [] if self.window is None else [self.window]
        return {window: (evidence, known) for window, evidence, known in rows}

    def begun(self, rule: Hysteresis) -> bool:
        """Return whether something goes on that may become an episode, be it since the newest frame."""
        return self.current is not None or (self.newest is not None and self.newest.evidence >= rule.enter)

    def fold(self, frames: FrameBatch, evidence: NDArray[np.float64], rule: Hysteresis) -> None:
        """Take in the next frames with the evidence in each, NaN where unknown. `rule` must never change."""
        times, ids = frames.milliseconds, frames.ids
        if self.newest is not None:
            times = np.concatenate(([self.newest.time_ms], times))
            evidence = np.concatenate(([self.newest.evidence], evidence))
            ids = (self.newest.frame_id, *ids)
        self.newest = Sample(int(times[-1]), float(evidence[-1]), ids[-1])
        if len(times) > 1:
            evidence = evidence[:-1]
            bridge_ms, hold_ms = round(rule.bridge_seconds * 1000), round(rule.hold_seconds * 1000)
            _, waits = self.cadence.lasted(times, bridge_ms, hold_ms)
            held = pieces(times, waits)
            if held is not None:
                times, places = held
                ids, evidence = [ids[place] for place in [*places.tolist(), -1]], evidence[places]
            self._fold_known(times, ids, evidence, rule)

    def so_far(self, rule: Hysteresis) -> list[Episode]:
        """All episodes in order of time; one that is still going on ends at the newest frame."""
        if self.newest is None or self.current is None:  # one frame makes no episode
            return list(self.log.kept)
        log = EpisodeLog(list(self.log.kept), self.log.dropped)
        present = msgspec.structs.replace(self, log=log, past_windows=Sealed(), window=None)
        last = np.array([self.newest.time_ms] * 2)
        present._fold_known(last, [self.newest.frame_id] * 2, np.array([self.newest.evidence]), rule)
        going_on = [present.current] if present.current is not None and present.confirmed else []
        return [*present.log.kept, *going_on]

    def _fold_known(
        self, times: NDArray[np.int64], ids: Sequence[str], evidence: NDArray[np.float64], rule: Hysteresis
    ) -> None:
        """Take in frames of which it is known how long they lasted: `times` has one more than `evidence`."""
        bridge_ms = round(rule.bridge_seconds * 1000)
        lasted = differences(times)
        broken = lasted > bridge_ms
        if rule.leave > 0 and not evidence.any() and not broken.any():  # nothing at all, as of most people
            self.on = False
            self._fold_windows(times[:-1] // _WINDOW_MS, np.zeros_like(lasted), lasted)
            self._drain(int(times[-1] - times[0]), rule)
            return
        lasted = np.where(broken, 0, lasted)
        codes = self._codes(evidence, rule)
        hint = rule.leave if rule.hint is None else rule.hint
        weights = np.where(evidence >= hint, within(evidence, 0.0, 1.0), 0)
        known = np.where(codes == _UNKNOWN, 0, lasted)
        self._fold_windows(
            times[:-1] // _WINDOW_MS, np.rint(weights * _FULL).astype(np.int64) * lasted, known
        )
        starts = run_starts(codes, broken)
        spans = np.add.reduceat(lasted, starts).tolist()
        ends = [*starts[1:].tolist(), len(codes)]
        for start, end, span in zip(starts.tolist(), ends, spans, strict=True):
            if codes[start] == _ON:
                self._fill(_run(times, ids, evidence, slice(start, end), span), rule)
            elif codes[start] == _OFF:
                self._drain(span, rule)
            elif codes[start] == _KEPT_ON:
                self._drain(span, rule, _SLOWLY if self.confirmed else 1)
            else:
                self.unknown_ms += span
            if broken[end - 1] or self.unknown_ms > bridge_ms:
                self._close()

    def _codes(self, evidence: NDArray[np.float64], rule: Hysteresis) -> NDArray[np.int64]:
        unsure = np.where(evidence >= rule.leave, _BETWEEN, _UNKNOWN)
        codes = np.where(evidence >= rule.enter, _ON, np.where(evidence < rule.leave, _OFF, unsure))
        decided = np.where(codes <= _ON, np.arange(len(codes)), -1)
        latest = np.maximum.accumulate(decided)
        carried = np.where(latest >= 0, codes[latest], int(self.on))
        self.on = bool(carried[-1])
        if rule.sure:
            carried = np.where(carried == _ON, _KEPT_ON, _OFF)
        return np.where(codes == _BETWEEN, carried, codes)

    def _fold_windows(
        self, windows: NDArray[np.int64], weighed: NDArray[np.int64], known: NDArray[np.int64]
    ) -> None:
        starts = run_starts(windows)
        sums = zip(
            windows[starts].tolist(),
            np.add.reduceat(weighed, starts).tolist(),
            np.add.reduceat(known, starts).tolist(),
            strict=True,
        )
        past: list[tuple[int, int, int]] = []
        for window, evidence, known_ms in sums:
            if not known_ms:
                continue
            if self.window is not None and self.window[0] == window:
                self.window = (window, self.window[1] + evidence, self.window[2] + known_ms)
            elif self.past_windows.count + len(past) < WINDOWS_MAX - 1:
                past += [] if self.window is None else [self.window]
                self.window = (window, evidence, known_ms)
        self.past_windows.add(past)

    def _fill(self, run: Episode, rule: Hysteresis) -> None:
        self.unknown_ms = 0
        self.current = run if self.current is None else joined(self.current, run)
        self.level += run.on_ms * _FULL
        merge = round(rule.merge_seconds * 1000) * _FULL
        if self.confirmed:
            self.level = min(self.level, merge)
        elif self.level >= round(rule.persist_seconds * 1000) * _FULL and self.current.frames > 1:
            self.confirmed, self.level = True, merge

    def _drain(self, span_ms: int, rule: Hysteresis, slowly: int = 1) -> None:
        self.unknown_ms = 0
        self.level -= span_ms * round(rule.decay * _FULL / slowly)
        if self.level <= 0:
            self._close()

    def _close(self) -> None:
        if self.current is not None and self.confirmed:
            self.log.add(self.current)
        self.current, self.confirmed, self.level = None, False, 0


def _run(
    times: NDArray[np.int64], ids: Sequence[str], evidence: NDArray[np.float64], span: slice, lasted_ms: int
) -> Episode:
    worst = span.start + int(np.argmax(evidence[span]))
    start_ms = int(times[span.start])
    return Episode(
        start_ms=start_ms,
        end_ms=start_ms + lasted_ms,
        on_ms=lasted_ms,
        peak=float(evidence[worst]),
        first_id=ids[span.start],
        worst_id=ids[worst],
        last_id=ids[span.stop - 1],
        frames=span.stop - span.start,
    )


def joined(earlier: Episode, later: Episode) -> Episode:
    """Make one episode of two, with whatever lies between them."""
    stronger = later if later.peak > earlier.peak else earlier
    return Episode(
        start_ms=earlier.start_ms,
        end_ms=later.end_ms,
        on_ms=earlier.on_ms + later.on_ms,
        peak=stronger.peak,
        first_id=earlier.first_id,
        worst_id=stronger.worst_id,
        last_id=later.last_id,
        frames=earlier.frames + later.frames,
    )
