"""An exam in figures, over HTTP."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import trio
from quart import Blueprint, Response
from quart_schema import document_response

from proctor.exam_statistics import Statistics, Tally
from proctor.review import ReviewEvent
from proctor.storage.reviews import Reviews, Standing
from proctor.web.problems import Problem

_SESSIONS_AT_ONCE = 20
"""Whose reports are in memory at the same time."""


class Counted(NamedTuple):
    """An exam in figures, and of which sessions they are."""

    statistics: Statistics
    session_ids: list[str]


class Counting:
    """Counts exams, one at a time."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews
        self._turn = trio.CapacityLimiter(1)

    async def count(self, exam_id: str) -> Counted:
        """Return an exam in figures.

        Raises:
            InvalidRequest: this can be no exam's id.
            Unavailable: the database is down.
        """
        tally, after = Tally(), ""
        counted: list[str] = []
        async with self._turn:
            while page := await self._reviews.of_exam(exam_id, after=after, limit=_SESSIONS_AT_ONCE):
                session_ids = [each.session.session_id for each in page]
                after = session_ids[-1]
                events = await self._reviews.events_of(session_ids)
                await trio.to_thread.run_sync(_take_in, tally, page, events)
                counted += session_ids
        return Counted(tally.statistics(exam_id), counted)


def _take_in(tally: Tally, page: Sequence[Standing], events: Mapping[str, Sequence[ReviewEvent]]) -> None:
    for each in page:
        tally.add(each.report, events[each.session.session_id])


def statistics_routes(counting: Counting) -> Blueprint:
    """Return the routes of programs that look at whole exams."""
    routes = Blueprint("statistics", __name__, url_prefix="/api/v1/exam")

    @routes.get("/<name:exam_id>/statistics")
    @document_response(Statistics)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def exam(exam_id: str) -> Response:
        """Tell how an exam went: scores, alerts per rule, how often reviewers agreed, rules on trial.

        Of sessions that have ended, by the reports that stand. What another policy would have flagged is told
        session by session, by `/api/v1/session/{session_id}/what-if`.
        """
        counted = await counting.count(exam_id)
        return Response(msgspec.json.encode(counted.statistics), content_type="application/json")

    return routes
