"""The page that shows an exam in figures."""

from quart import Blueprint, Response
from quart_schema import hide

from proctor.exam_statistics import BIN_POINTS, Statistics
from proctor.web.pages.shell import Shell
from proctor.web.statistics import Counting


def exam_page(shell: Shell, counting: Counting) -> Blueprint:
    """Return the route of an exam's page."""
    routes = Blueprint("exam_page", __name__)

    @routes.get("/exam/<name:exam_id>")
    @hide
    async def exam(exam_id: str) -> Response:
        counted = await counting.count(exam_id)
        return shell.page("exam", told=counted, bars=_bars(counted))

    return routes


def _bars(told: Statistics) -> list[tuple[str, int, float]]:
    """Return for each bar which scores it is of, how many there are, and its length, from 0 to 100."""
    highest = max(1, *told.scores.bins)
    last = len(told.scores.bins) - 1
    return [
        (
            f"{BIN_POINTS * place} \u2013 {BIN_POINTS * (place + 1) - (place < last)}",
            number,
            round(100 * number / highest, 1),
        )
        for place, number in enumerate(told.scores.bins)
    ]
