"""The page that shows an exam in figures, and asks what another policy would have flagged."""

from collections.abc import Collection, Mapping

from quart import Blueprint, Response
from quart_schema import hide

from proctor.exam_statistics import BIN_POINTS, Statistics
from proctor.reanalysis import AT_ONCE
from proctor.web.access import PAGES, principal
from proctor.web.pages.shell import Shell, data
from proctor.web.statistics import Counting


def exam_page(shell: Shell, counting: Counting, policies: Collection[str]) -> Blueprint:
    """Return the route of an exam's page. `policies` are the names of those there are."""
    routes = Blueprint("exam_page", __name__)

    @routes.get("/exam/<name:exam_id>")
    @hide
    async def exam(exam_id: str) -> Response:
        told, session_ids = await counting.count(exam_id)
        asked = {
            "sessions": session_ids,
            "at_once": AT_ONCE,
            # An admin may see an exam's figures, and no session's page.
            "linked": bool(PAGES["session_page.session"] & principal().roles),
        }
        choices = _choices(policies, told.policies)
        return shell.page("exam", told=told, bars=_bars(told), choices=choices, what_if=data(asked))

    return routes


def _choices(policies: Collection[str], standing: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return each policy and how many sessions stand under it; first those that would say the most."""
    return sorted(((name, standing.get(name, 0)) for name in policies), key=lambda each: (each[1], each[0]))


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
