"""Errors as RFC 9457 problem documents, whoever raised them."""

import json
import math
from http import HTTPStatus
from typing import Any

import structlog
from pydantic import BaseModel, Field, ValidationError
from quart import Quart, Response, current_app, has_request_context, request, websocket
from quart_schema import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.routing.exceptions import WebsocketMismatch

from proctor.errors import ProctorError, Throttled, Unavailable
from proctor.model import SESSION_ID_RULE

_log = structlog.get_logger(__name__)

_TYPE_PREFIX = "/docs#problem-"
_LINKS = "/transparency/"
_OWN_TITLES = {ProctorError.title} | {kind.title for kind in ProctorError.__subclasses__()}
_RETRY_SECONDS = 5
"""What a client is told to wait when something that Proctor needs is down."""


class InvalidField(BaseModel):
    """One thing that is wrong in a request."""

    field: str = Field(description="Name of the field, with dots between levels.")
    detail: str = Field(description="What is wrong with it, and what it may be.")


class Problem(BaseModel):
    """Problem document (RFC 9457)."""

    type: str = Field(
        description="Link to what kind of problem it is; `about:blank` if the status says it all."
    )
    title: str
    status: int
    detail: str = Field(description="What happened and what to do about it.")
    instance: str = Field(description="Path of the request.")
    errors: list[InvalidField] | None = Field(default=None, description="The fields at fault.")
    code: str | None = Field(default=None, description="Error code of a message, as on the WebSocket.")


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    errors: list[InvalidField] | None = None,
    code: str | None = None,
    **more: Any,
) -> Response:
    """Return a problem document about the current request, or about the WebSocket that is asked for.

    `more` are JSON values that it has besides.
    """
    slug = title.lower().replace(" ", "-")
    problem = Problem(
        type=_TYPE_PREFIX + slug if title in _OWN_TITLES else "about:blank",
        title=title,
        status=status,
        detail=detail,
        instance=_path(),
        errors=errors,
        code=code,
    )
    body = json.dumps(problem.model_dump(exclude_none=True) | more)
    return Response(body, status, content_type="application/problem+json")


def error_response(error: ProctorError) -> Response:
    """Return the problem document of one of Proctor's own errors."""
    errors = [InvalidField(field=error.field, detail=error.detail)] if error.field else None
    response = problem_response(error.status, error.title, error.detail, errors=errors)
    tell_when(response, error)
    return response


def tell_when(response: Response, error: ProctorError) -> None:
    """Say in an answer about an error when to ask again, if that may help."""
    if isinstance(error, Throttled):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(_RETRY_SECONDS)


def add_error_handlers(app: Quart) -> None:
    """Make every error of `app` a problem document."""

    @app.errorhandler(ProctorError)
    async def own(error: ProctorError) -> Response:
        return error_response(error)

    @app.errorhandler(RequestSchemaValidationError)
    async def invalid(error: RequestSchemaValidationError) -> Response:
        cause = error.validation_error
        if not isinstance(cause, ValidationError):
            return problem_response(400, "Invalid request", "the body must be a JSON object")
        errors = [
            InvalidField(field=".".join(map(str, fault["loc"])) or "body", detail=fault["msg"])
            for fault in cause.errors()
        ]
        detail = "; ".join(f"{e.field}: {e.detail}" for e in errors)
        return problem_response(400, "Invalid request", detail, errors=errors)

    @app.errorhandler(HTTPException)
    async def http(error: HTTPException) -> Response:
        status = error.code or 500
        response = problem_response(status, HTTPStatus(status).phrase, _explained(error))
        for name, value in error.get_headers():
            if name.lower() == "allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def unexpected(error: Exception) -> Response:
        _log.error("request failed", path=_path(), exc_info=error)
        return problem_response(500, "Internal error", "the server is at fault; its log has the reason")


def _path() -> str:
    if not has_request_context():
        return websocket.path
    # Such an address is a credential.
    return _LINKS if request.path.startswith(_LINKS) else request.path


def _explained(error: HTTPException) -> str:
    match error:
        case WebsocketMismatch() if has_request_context():
            return "this address is for WebSockets; open it with ws:// or wss://"
        case NotFound() | WebsocketMismatch():
            return f"nothing is here; /docs lists what is. A session id is made of {SESSION_ID_RULE}"
        case MethodNotAllowed():
            return f"this address takes {', '.join(sorted(error.valid_methods or ()))}"
        case RequestEntityTooLarge():
            return f"a body may have {current_app.config['MAX_CONTENT_LENGTH']} bytes (REQUEST_MAX_BYTES)"
    return error.description or ""
