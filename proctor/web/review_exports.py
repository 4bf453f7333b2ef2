"""What reviewers take away: the queue as CSV and JSON, and a session as a page to keep or print."""

from collections.abc import AsyncGenerator, Callable
from typing import ClassVar

import msgspec
import trio
from pydantic import BaseModel
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring

from proctor.analysis.policy import policy_of
from proctor.audit import Action
from proctor.model import check_session_id
from proctor.review_view import view
from proctor.services import Services
from proctor.session_page import session_page
from proctor.spreadsheet import BOM, csv_rows
from proctor.storage.encryption import DumpKeys
from proctor.storage.reviews import RANKS, Filter, Reviews
from proctor.web.access import principal, who
from proctor.web.problems import Problem
from proctor.web.review import QueuedView, QueueFilter, queued_view

_PAGE_SESSIONS = 500
_DRAWN_AT_ONCE = 1
"""Most sessions whose frames are in memory at the same time to be drawn."""
_COLUMNS = [name for name in QueuedView.__struct_fields__ if name != "first_look"]

_Pages = AsyncGenerator[list[dict[str, str | int | None]]]


class CsvFile(BaseModel):
    """A spreadsheet."""

    media_type: ClassVar[str] = "text/csv"


class HtmlPage(BaseModel):
    """A page that needs nothing from anywhere."""

    media_type: ClassVar[str] = "text/html"


class ExportedQueue(msgspec.Struct, frozen=True, kw_only=True):
    """The whole queue."""

    sessions: list[QueuedView]


def export_routes(services: Services) -> Blueprint:
    """Return the routes of what is taken away."""
    routes = Blueprint("exports", __name__, url_prefix="/api/v1")
    drawing = trio.CapacityLimiter(_DRAWN_AT_ONCE)
    keys = DumpKeys.of(services.settings)

    @routes.get("/review.csv")
    @validate_querystring(QueueFilter)
    @document_response(CsvFile)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def queue_csv(query_args: QueueFilter) -> Response:
        """Export the queue as CSV (UTF-8 with a byte order mark), `insufficient` ones last."""
        return await exported(query_args, _csv, "text/csv; charset=utf-8", "review.csv")

    @routes.get("/review.json")
    @validate_querystring(QueueFilter)
    @document_response(ExportedQueue)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def queue_json(query_args: QueueFilter) -> Response:
        """Export the queue as JSON, `insufficient` ones last."""
        return await exported(query_args, _json, "application/json", "review.json")

    @routes.get("/session/<session_id>/report.html")
    @document_response(HtmlPage)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def page(session_id: str) -> Response:
        """Export an ended session as one HTML page: report, signals and review, to be kept or printed."""
        case = await services.reviewing.open(check_session_id(session_id))
        seen = view(case, await services.reviewing.earlier(case), principal().name)
        await services.audit.record(Action.EXPORTED, session_id, **who())
        folder = services.settings.dump_directory
        policy = policy_of(services.policies, case.session.policy)
        async with drawing:
            drawn = await trio.to_thread.run_sync(session_page, case, seen, policy, folder, keys)
        return _taken(Response(drawn, content_type="text/html; charset=utf-8"), f"{session_id}.html")

    async def exported(
        query: QueueFilter, write: Callable[[_Pages], AsyncGenerator[bytes]], content_type: str, name: str
    ) -> Response:
        wanted = query.wanted()
        if query.priority is None:
            wanted = msgspec.structs.replace(wanted, priorities=tuple(RANKS))
        after = {name: value for name, value in query.model_dump(mode="json").items() if value is not None}
        await services.audit.record(Action.EXPORTED, "review", **who(), after=after)
        body = write(_pages(services.reviewing.reviews, wanted, principal().name))
        response = _taken(Response(body, content_type=content_type), name)
        response.timeout = None  # who takes nothing is cut off anyway, and who takes it slowly may go on
        return response

    return routes


async def _pages(reviews: Reviews, wanted: Filter, reviewer: str) -> _Pages:
    place: str | None = None
    while True:
        found, place = await reviews.queue(wanted, reviewer, limit=_PAGE_SESSIONS, after=place)
        rows = [msgspec.to_builtins(queued_view(each)) for each in found]
        yield [{name: row[name] for name in _COLUMNS} for row in rows]
        if place is None:
            return


async def _csv(pages: _Pages) -> AsyncGenerator[bytes]:
    yield (BOM + csv_rows([_COLUMNS])).encode()
    async for page in pages:
        yield csv_rows(row.values() for row in page).encode()


async def _json(pages: _Pages) -> AsyncGenerator[bytes]:
    separator = b'{"sessions":['
    async for page in pages:
        for row in page:
            yield separator + msgspec.json.encode(row)
            separator = b","
    yield b"]}\n" if separator == b"," else separator + b"]}\n"


def _taken(response: Response, name: str) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
