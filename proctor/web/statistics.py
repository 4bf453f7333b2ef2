"""An exam in figures, over HTTP."""

import msgspec
import trio
from quart import Blueprint, Response
from quart_schema import document_response

from proctor.exam_statistics import Statistics, Tally
from proctor.services import Services
from proctor.web.problems import Problem

_SESSIONS_AT_ONCE = 20
"""Whose reports are in memory at the same time."""


def statistics_routes(services: Services) -> Blueprint:
    """Return the routes of those who look at whole exams."""
    routes = Blueprint("statistics", __name__, url_prefix="/api/v1/exam")
    counting = trio.CapacityLimiter(1)

    @routes.get("/<name:exam_id>/statistics")
    @document_response(Statistics)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def exam(exam_id: str) -> Response:
        """Tell how an exam went: scores, alerts per rule, how often reviewers agreed, rules on trial.

        Of sessions that have ended, by the reports that stand. What another policy would have found is for
        `proctor evaluate` and `proctor analyze --policy`, which judge the dumps again.
        """
        tally, after = Tally(), ""
        async with counting:
            while True:
                page = await services.reviewing.reviews.of_exam(exam_id, after=after, limit=_SESSIONS_AT_ONCE)
                if not page:
                    break
                after = page[-1].session.session_id
                events = await services.reviewing.reviews.events_of(
                    [each.session.session_id for each in page]
                )

                def count() -> None:
                    for each in page:  # noqa: B023 - it is over before the next page
                        tally.add(each.report, events[each.session.session_id])  # noqa: B023

                await trio.to_thread.run_sync(count)
        return Response(msgspec.json.encode(tally.statistics(exam_id)), content_type="application/json")

    return routes
