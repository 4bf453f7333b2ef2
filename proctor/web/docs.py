"""Documentation from the code: OpenAPI and AsyncAPI documents, and one page that shows both."""

from typing import Any, cast

from quart import Blueprint, Response, current_app, jsonify
from quart_schema import hide

from proctor import __version__, errors
from proctor.analysis.schema import report_schema
from proctor.errors import ProctorError
from proctor.features import VOCABULARY
from proctor.model import SESSION_ID_RULE
from proctor.services import Services
from proctor.web.asyncapi import CLIENT_SHAPES, asyncapi_document, server_messages
from proctor.web.kept import privacy_page
from proctor.web.rendering import templates
from proctor.wire import CloseCode, ErrorCode


def docs_routes(services: Services) -> Blueprint:
    """Return the routes of the documentation, of the API and of what is kept."""
    routes = Blueprint("docs", __name__)

    @routes.get("/docs")
    @hide
    async def docs() -> Response:
        page = templates.get_template("docs.html").render(
            version=__version__,
            operations=_operations(),
            shapes=CLIENT_SHAPES,
            server_messages=server_messages(),
            error_codes=ErrorCode,
            close_codes=CloseCode,
            problems=_problems(),
            vocabulary=VOCABULARY,
            session_id_rule=SESSION_ID_RULE,
            settings=services.settings,
        )
        return Response(page, content_type="text/html; charset=utf-8")

    @routes.get("/privacy")
    @hide
    async def privacy() -> Response:
        return privacy_page(services)

    @routes.get("/docs.css")
    @hide
    async def style() -> Response:
        sheet = templates.get_template("docs.css").render()
        return Response(sheet, content_type="text/css; charset=utf-8")

    @routes.get("/asyncapi.json")
    @hide
    async def asyncapi() -> Response:
        return jsonify(asyncapi_document())

    @routes.get("/api/v1/schema/report.json")
    @hide
    async def report() -> Response:
        response = jsonify(report_schema())
        response.content_type = "application/schema+json"
        return response

    return routes


def _operations() -> list[dict[str, Any]]:
    """Return what the OpenAPI document says of each route, flattened for the page."""
    provider = current_app.extensions["QUART_SCHEMA"].openapi_provider
    paths = cast("dict[str, dict[str, Any]]", provider.schema()["paths"])
    return [
        {"method": method.upper(), "path": path, "body": _body(operation), **operation}
        for path, methods in sorted(paths.items())
        for method, operation in methods.items()
    ]


def _body(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    return cast("dict[str, Any]", content.get("application/json", {}).get("schema", {}))


def _problems() -> list[type[ProctorError]]:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProctorError)
    ]
    return sorted(kinds, key=lambda kind: kind.status)
