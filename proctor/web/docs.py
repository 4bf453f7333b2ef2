"""Documentation from the code: OpenAPI and AsyncAPI documents, and one page that shows both."""

import re
from typing import Any, cast

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape
from quart import Blueprint, Response, current_app, jsonify
from quart_schema import hide

from proctor import __version__, errors
from proctor.analysis.schema import report_schema
from proctor.errors import ProctorError
from proctor.features import VOCABULARY
from proctor.model import SESSION_ID_RULE
from proctor.services import Services
from proctor.web.asyncapi import CLIENT_SHAPES, asyncapi_document, server_messages
from proctor.wire import CloseCode, ErrorCode

_templates = Environment(
    loader=PackageLoader("proctor.web", "templates"),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
)


def _prose(text: str) -> Markup:
    """Set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just here


_templates.filters["prose"] = _prose


def docs_routes(services: Services) -> Blueprint:
    """Return the routes of the documentation."""
    routes = Blueprint("docs", __name__)

    @routes.get("/docs")
    @hide
    async def docs() -> Response:
        page = _templates.get_template("docs.html").render(
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

    @routes.get("/docs.css")
    @hide
    async def style() -> Response:
        sheet = _templates.get_template("docs.css").render()
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
