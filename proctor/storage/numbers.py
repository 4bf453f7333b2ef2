"""Sets of arrival numbers, which come mostly in runs."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Numbers:
    """A set of integers that costs memory per run of them, not per number."""

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for run in runs:
            self.add(*run)

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

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the runs: where each starts, and before what it ends."""
        yield from zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return sum(self._ends) - sum(self._starts)

    def lacking(self, below: int) -> Iterator[tuple[int, int]]:
        """Yield the runs of numbers from 0 to before `below` that are not in the set."""
        reached = 0
        for start, end in self:
            if start >= below:
                break
            if start > reached:
                yield reached, start
            reached = end
        if reached < below:
            yield reached, below
