"""What evidence is worth: from how strong it is to how often it turned out right."""

from itertools import pairwise
from typing import Annotated

import msgspec

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Line = tuple[tuple[_Share, _Share], ...]
"""Points (x, y), straight in between. It rises everywhere, so that it keeps every order."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often evidence of a strength was right; a point is what was measured and what it is worth.

    Fitted by eye, with four points between the ends so as not to follow any one recording, to the table that
    `tests/bench/bench_calibration.py` prints: of labelled recordings (4,400 windows of held postures, 45 % of
    them of misbehaviour, and 260 of gaze, 27 %) and of 40 simulated exams (5 % of the windows, 60 % of the
    sessions), each of the three weighing the same. Where less goes on, more of what is flagged is wrong than
    a confidence says; nothing here knows how honest the candidates of an institution are.
    """

    windows: Line = ((0, 0), (0.25, 0.05), (0.4, 0.5), (0.55, 0.8), (0.7, 0.96), (1, 0.99))
    """Strongest evidence in a window to the confidence that something goes on in it."""
    verdict: Line = ((0, 0), (0.2, 0.08), (0.28, 0.5), (0.4, 0.92), (0.7, 0.95), (1, 0.99))
    """Score, as a share of 100, to the confidence that a reviewer finds something worth seeing.

    From the simulated exams, and 548 of a harsher simulation that shares nothing with this one, weighed as if
    every second session had something to see; the labelled recordings all have. 7 % of those with a score of
    0 did; that a session without evidence is worth nothing is a choice."""

    def __post_init__(self) -> None:
        for name, line in {"windows": self.windows, "verdict": self.verdict}.items():
            if len(line) < 2 or line[0][0] != 0 or line[-1][0] != 1:
                raise ValueError(f"{name} must go from a first coordinate of 0 to one of 1")
            for (x, y), (next_x, next_y) in pairwise(line):
                if not (x < next_x and y < next_y):
                    raise ValueError(f"{name} must rise: [{next_x:g}, {next_y:g}] follows [{x:g}, {y:g}]")

    def of_window(self, strength: float) -> float:
        """Return what evidence of this strength in a window is worth, 0 to 1."""
        return _on_line(strength, self.windows)

    def of_verdict(self, score: float) -> float:
        """Return what a score from 0 to 100 is worth, 0 to 1."""
        return _on_line(score / 100, self.verdict)


def _on_line(value: float, line: Line) -> float:
    (x, y), (next_x, next_y) = next(
        (pair for pair in pairwise(line) if value <= pair[1][0]), (line[-2], line[-1])
    )
    return round(y + (next_y - y) * (value - x) / (next_x - x), 4)
