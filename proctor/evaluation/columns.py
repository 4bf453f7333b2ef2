"""What tables show of figures: the same columns on a terminal and on a page."""

from collections.abc import Callable, Mapping

from proctor.analysis.verdict import Priority
from proctor.evaluation.summary import Figures, PolicyResult

REVIEWED = (Priority.MEDIUM, Priority.HIGH)
"""Priorities for which somebody looks soon."""


def number(value: float | None, digits: int = 2) -> str:
    """Write a figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """Write a share of 1 as per cent."""
    return "-" if value is None else f"{value:.0%}"


def reviewed(figures: Figures) -> str:
    """Write how many sessions rank medium or high."""
    return f"{sum(figures.priorities[rank] for rank in REVIEWED)} of {figures.sessions}"


def unseen(figures: Figures) -> str:
    """Write how many sessions could not be judged."""
    return f"{figures.priorities[Priority.INSUFFICIENT]} of {figures.sessions}"


def place(figures: Figures) -> str:
    """Write the middle place in the review queue."""
    return f"{_rank(figures.places.median)} of {figures.places.of}" if figures.places else "-"


def _rank(place: float) -> str:
    """Write a place, which sessions of equal scores share: 2.5 for the second and the third."""
    return f"{round(place, 1):g}"


def queue(result: PolicyResult) -> str:
    """Say where honest sessions stand in the review queue, and the others."""
    sorts = (("honest sessions", result.honest_places), ("others", result.other_places))
    parts = [
        f"{name} are {_rank(places.first)} to {_rank(places.last)}, the middle one {_rank(places.median)}"
        for name, places in sorts
        if places
    ]
    return f"In a queue of all {result.overall.sessions} by score, {'; '.join(parts)}."


def judging(result: PolicyResult) -> str:
    """Name the rules that judged."""
    return ", ".join([*result.rules, *(f"{rule} (on trial)" for rule in result.on_trial)])


COLUMNS: Mapping[str, Callable[[Figures], str]] = {
    "F1": lambda figures: number(figures.second_f1),
    "found": lambda figures: share(figures.interval_recall),
    "false/h": lambda figures: number(figures.false_per_hour),
    "alert s": lambda figures: number(figures.alerts.median_seconds, 0),
    "reviewed": reviewed,
    "told apart": lambda figures: number(figures.told_apart),
    "place": place,
    "window AUC": lambda figures: number(figures.window_auc),
    "alert 90 %": lambda figures: number(figures.alerts.slow_seconds, 0),
    "precision": lambda figures: number(figures.second_precision),
    "recall": lambda figures: number(figures.second_recall),
    "unseen": unseen,
}
"""What is shown of figures, by column; where there is little room, the first of them."""

EXPLAINED: Mapping[str, str] = {
    "F1, precision, recall": "concern time against labelled time, by the second",
    "found": "labelled intervals of which concerns cover half",
    "false/h": "separate concerns outside labelled time, per hour of it",
    "alert s, alert 90 %": (
        "seconds from the start of a labelled interval until a report on the running session first had a "
        "concern in it: median, and for nine of ten of those that came"
    ),
    "reviewed": "sessions of priority medium or high",
    "told apart": "how likely a session scores on the right side of one of the other sort, honest or not",
    "place": "the middle one in a queue of all sessions by score",
    "window AUC": "how likely the confidence of ten labelled seconds is above that of ten others",
    "unseen": "sessions of which too little was observed",
}
"""What the columns mean."""
