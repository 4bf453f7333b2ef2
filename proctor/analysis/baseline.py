"""A candidate's own normal: running median and spread of a signal, in bounded memory."""

import itertools
from collections.abc import Iterable
from math import fsum

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.cadence import Cadence, pieces
from proctor.analysis.columns import run_starts
from proctor.analysis.frames import FrameBatch
from proctor.analysis.sealed import Sealed

SAMPLES_MAX = 256
_PERIOD_MS = 20_000  # how long one centre and spread hold until they are taken anew
_ROW = tuple[int, int | float]
_EXACT = 2**53  # smaller integers are the same as floats
_MAD_TO_DEVIATION = 1.4826  # the standard deviation of a normal distribution with a MAD of 1


class Baseline(msgspec.Struct):
    """Robust centre and spread of a signal over the session so far. Part of an analyzer's state.

    It keeps one sample a second, and as the session grows one every 2, 4, 8 … seconds. Centre and spread are
    taken anew every 20 s from what came before, so a frame is judged by the past alone and however the frames
    were cut into batches.
    """

    rank: float | None = 0.5
    """Share of the values below the centre, which is the median unless a rule asks for another quantile.
    None makes it the mean: of a flag, how much of the time it is set."""
    stride: int = 1
    """Seconds from one sample to the next."""
    samples: Sealed = msgspec.field(default_factory=Sealed)
    """For each stride that has one, its number and the first known value in its first second. Whole values,
    such as flags or pixels, are integers, which take less space."""
    sampled: int = -1
    """Number of the last of these strides."""
    period: int | None = None
    centre: float | None = None
    """Median, or other quantile, at the start of the period; None before the first samples."""
    spread: float | None = None
    """Median distance from it, scaled to equal the standard deviation where the values are normal."""
    last: tuple[int, float | None] | None = None
    """Time and value, None for NaN, of the newest frame."""
    cadence: Cadence = msgspec.field(default_factory=Cadence)
    trusted: bool = False
    """Centre and spread rest on as many samples as the rule asked for."""

    def follow(
        self, frames: FrameBatch, values: NDArray[np.float64], *, samples_min: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take in the next frames and return what each is to be compared with: centre and spread.

        `values` is NaN where the signal is unknown or the frame no example of what is normal. The results are
        NaN until there were such values in `samples_min` seconds, and for the rest of that period.
        """
        times, values, places = self._held(frames.milliseconds, values)
        periods = times // _PERIOD_MS
        starts = run_starts(periods)
        seconds, samples = _sampled(times, values)
        begins = seconds.searchsorted(periods[starts] * (_PERIOD_MS // 1000)).tolist()
        centre, spread = np.empty(len(times)), np.empty(len(times))
        spans = itertools.pairwise([*starts.tolist(), len(times)])
        parts = itertools.pairwise([*begins, len(samples)])
        for (start, end), (begin, stop) in zip(spans, parts, strict=True):
            self._renew(int(periods[start]), samples_min)
            usual = (self.centre, self.spread) if self.trusted else (np.nan, np.nan)
            centre[start:end], spread[start:end] = usual
            self._sample(samples[begin:stop])
        return (centre, spread) if places is None else (centre[places], spread[places])

    def _held(
        self, times: NDArray[np.int64], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.intp] | None]:
        """Repeat what clients that send on changes only said last, and say where each frame is if any was."""
        before_ms, before = self.last or (int(times[0]), None)
        stretch = np.concatenate(([before_ms], times))
        self.last = (int(times[-1]), None if np.isnan(values[-1]) else float(values[-1]))
        held = pieces(stretch, self.cadence.lasted(stretch, 0)[1])
        if held is None:
            return times, values, None
        more, places = held
        values = np.concatenate(([np.nan if before is None else before], values))[
            np.append(places, len(times))
        ]
        return more, values, np.append(run_starts(places)[1:], len(places))

    def _renew(self, period: int, samples_min: int) -> None:
        if period == self.period:
            return
        self.period = period
        self.trusted = self.samples.count * self.stride >= samples_min
        if self.samples.count:
            values = np.array([value for _, value in self.samples.rows(_ROW)], dtype=np.float64)
            # Stable, or what a processor makes of 0.0 and -0.0 would show in the report.
            values.sort(kind="stable")
            self.centre = self._quantile(values)
            self.spread = _median(np.sort(np.abs(values - self.centre))) * _MAD_TO_DEVIATION

    def _quantile(self, ordered: NDArray[np.float64]) -> float:
        if self.rank is None:
            return fsum(ordered.tolist()) / len(ordered)
        if self.rank == 0.5:
            return _median(ordered)
        return float(ordered[int(self.rank * (len(ordered) - 1))])

    def _sample(self, samples: Iterable[tuple[int, float]]) -> None:
        new: list[tuple[int, int | float]] = []
        for second, value in samples:
            number, between = divmod(second, self.stride)
            if between or number == self.sampled:
                continue
            new.append((number, _compact(value)))
            self.sampled = number
            if self.samples.count + len(new) > SAMPLES_MAX:
                rows = [*self.samples.rows(_ROW), *new]
                new = [(n // 2, value) for n, value in rows if n % 2 == 0]
                self.samples, self.sampled = Sealed(), new[-1][0] if new else -1
                self.stride *= 2
        self.samples.add(new)


def _sampled(
    times: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], list[tuple[int, float]]]:
    """Return the seconds in which something is known, and each with the first known value in it."""
    known = ~np.isnan(values)
    seconds, values = times[known] // 1000, values[known]
    firsts = run_starts(seconds)
    seconds = seconds[firsts]
    return seconds, list(zip(seconds.tolist(), values[firsts].tolist(), strict=True))


def _median(ordered: NDArray[np.float64]) -> float:
    # For so few values numpy.median takes several times as long.
    middle = len(ordered) // 2
    return float(ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2)


def _compact(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
