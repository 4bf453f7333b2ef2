"""What is measured, as functions of the truth and of a report: no I/O, no clock, no chance.

A window of 10 s is positive when over half of it lies in labelled intervals, and is left out when less of it
does. A second is concern time when concerns cover over half of it; seconds next to the ends of intervals,
within the tolerance of the labels, do not count. An interval is found when concerns cover half of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.api import WINDOW_SECONDS
from proctor.simulator.scene import Span

_INSTANT_SECONDS = 1e-3
"""What an event without duration is taken to last, so that it can overlap something."""

_SHORT_SECONDS = 1.0
"""A last window may be cut short by so much and still counts."""

BINS = 10
"""Parts of the range of confidence in a reliability diagram."""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """The truth about one session, in seconds since its first frame."""

    intervals: tuple[Span, ...]
    """What a reviewer would want to see: in order, apart from each other. Empty for an honest session."""
    duration_seconds: float
    tolerance_seconds: float
    """How precise the ends of the intervals are."""

    @property
    def honest_seconds(self) -> float:
        """How much of the session is outside all intervals."""
        return self.duration_seconds - sum(end - start for start, end in self.intervals)


class WindowTruth(NamedTuple):
    """A window that is clearly inside labelled time, or clearly outside."""

    confidence: float | None
    """None where nothing was observable; it then ranks as 0."""
    positive: bool


class SecondCounts(NamedTuple):
    """Seconds, without those within the tolerance of an interval's end."""

    true: int
    """Labelled and covered by a concern."""
    predicted: int
    """Covered by a concern."""
    actual: int
    """Labelled."""

    @property
    def precision(self) -> float:
        """Share of concern time that is labelled; 0 without concern time."""
        return self.true / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of labelled time that is concern time; 0 without labelled time."""
        return self.true / self.actual if self.actual else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Cases of about the same confidence. Calibrated confidence has `mean_confidence` equal to `share`."""

    start: float
    end: float
    count: int
    mean_confidence: float
    share: float
    """How many of them are positive, 0 to 1."""


def merged(spans: Iterable[tuple[float, float]]) -> list[Span]:
    """Return the union of spans: in order, apart from each other. Those that touch become one."""
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start <= union[-1].end:
            union[-1] = Span(union[-1].start, max(end, union[-1].end))
        else:
            union.append(Span(start, end))
    return union


def lasting(start_seconds: float, end_seconds: float) -> Span:
    """Return the time of a finding, which may have been an instant, as one that can overlap something."""
    return Span(start_seconds, max(end_seconds, start_seconds + _INSTANT_SECONDS))


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return how many seconds two spans share."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def auc(cases: Iterable[tuple[float, bool]]) -> float | None:
    """Return how likely a positive scores above a negative, ties counting half; None without both."""
    pairs = list(cases)
    scores = np.array([score for score, _ in pairs], dtype=np.float64)
    positive = np.array([label for _, label in pairs], dtype=np.bool_)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    ranks = _mean_ranks(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def places(scores: Sequence[float]) -> list[float]:
    """Return each one's place in a queue by score, 1 for the highest; equal ones share their mean place."""
    ranks: list[float] = _mean_ranks(-np.array(scores, dtype=np.float64)).tolist()
    return ranks


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank from 1 on for the lowest; equal values get the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = (last - (counts - 1) / 2)[which]
    return means


def window_truths(labels: Labels, confidences: Mapping[int, float | None]) -> list[WindowTruth]:
    """Hold a report's windows, by number from 0, to the truth; those that are partly in one are left out."""
    truths = []
    count = int((labels.duration_seconds + _SHORT_SECONDS) // WINDOW_SECONDS)
    for index in range(count):
        span = (index * WINDOW_SECONDS, (index + 1) * WINDOW_SECONDS)
        inside = sum(overlap(span, interval) for interval in labels.intervals) / WINDOW_SECONDS
        if inside == 0 or inside > 0.5:
            truths.append(WindowTruth(confidences.get(index), inside > 0.5))
    return truths


def second_counts(labels: Labels, concerns: Sequence[Span]) -> SecondCounts:
    """Hold concern time to the truth, a second at a time; `concerns` are :func:`merged`."""
    seconds = np.arange(int(labels.duration_seconds), dtype=np.float64)
    predicted = _covered(seconds, concerns) > 0.5
    actual = _covered(seconds, labels.intervals) > 0.5
    counted = np.ones(seconds.size, dtype=np.bool_)
    for bound in (bound for interval in labels.intervals for bound in interval):
        counted &= np.abs(seconds + 0.5 - bound) >= labels.tolerance_seconds
    return SecondCounts(
        int((predicted & actual & counted).sum()),
        int((predicted & counted).sum()),
        int((actual & counted).sum()),
    )


def _covered(seconds: NDArray[np.float64], spans: Iterable[Span]) -> NDArray[np.float64]:
    """Return how much of each second the spans cover."""
    covered = np.zeros(seconds.size)
    for start, end in spans:
        covered += np.clip(np.minimum(seconds + 1, end) - np.maximum(seconds, start), 0.0, None)
    return covered


def intervals_found(labels: Labels, concerns: Sequence[Span]) -> list[bool]:
    """Return for each interval whether concerns cover at least half of it; `concerns` are :func:`merged`."""
    return [
        sum(overlap(interval, concern) for concern in concerns) >= 0.5 * (interval.end - interval.start)
        for interval in labels.intervals
    ]


def false_concerns(labels: Labels, concerns: Sequence[Span]) -> int:
    """Count the concerns wholly outside every interval and its tolerance; `concerns` are :func:`merged`."""
    slack = labels.tolerance_seconds
    near = [(start - slack, end + slack) for start, end in labels.intervals]
    return sum(not any(overlap(concern, span) for span in near) for concern in concerns)


def reliability(cases: Iterable[tuple[float, bool]]) -> list[Bin]:
    """Sort cases into parts of equal width by confidence, 0 to 1; parts without any are absent."""
    sorted_in: dict[int, list[tuple[float, bool]]] = {}
    for confidence, positive in cases:
        sorted_in.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, positive))
    return [
        Bin(
            start=index / BINS,
            end=(index + 1) / BINS,
            count=len(some),
            mean_confidence=sum(confidence for confidence, _ in some) / len(some),
            share=sum(positive for _, positive in some) / len(some),
        )
        for index, some in sorted(sorted_in.items())
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Return by how much confidence is off, on average over all cases; None without any."""
    total = sum(each.count for each in bins)
    off = sum(each.count * abs(each.mean_confidence - each.share) for each in bins)
    return off / total if total else None


def at_prevalence(found: float, disturbed: float, prevalence: float) -> float | None:
    """Return which share of those sent to a reviewer is dishonest, if the share `prevalence` of all is.

    `found` is the share of dishonest sessions that is sent, `disturbed` that of honest ones; None if none is.
    """
    right, wrong = prevalence * found, (1 - prevalence) * disturbed
    return right / (right + wrong) if right + wrong else None
