"""Sets of arrival numbers, which come mostly in runs."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Numbers:
    """A set of integers that costs memory per run of them, not per number."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Add `start`, `start + 1`, … up to but not including `end`."""
        if start >= end:
            return
        if self._ends and self._ends[-1] == start:  # as nearly always
            self._ends[-1] = end
            return
        # Every run that overlaps or touches the new one becomes part of it.
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def __contains__(self, number: int) -> bool:
        run = bisect_right(self._starts, number) - 1
        return run >= 0 and number < self._ends[run]

    def lacking(self, below: int) -> Iterator[tuple[int, int]]:
        """Yield the runs of numbers from 0 that are missing: where each starts, and before what it ends."""
        reached = 0
        for start, end in zip(self._starts, self._ends, strict=True):
            if start >= below:
                break
            if start > reached:
                yield reached, start
            reached = end
        if reached < below:
            yield reached, below

    def covers(self, below: int) -> bool:
        """Return whether all of 0, 1 … up to but not including `below` are in the set."""
        return next(self.lacking(below), None) is None
