"""Errors as RFC 9457 problem documents, whoever raised them."""

import math
from http import HTTPStatus

import structlog
from pydantic import BaseModel, Field, ValidationError
from quart import Quart, Response, request
from quart_schema import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException

from proctor.errors import ProctorError, Throttled, Unavailable
from proctor.model import SESSION_ID_RULE

_log = structlog.get_logger(__name__)

_TYPE_PREFIX = "/docs#problem-"
_RETRY_SECONDS = 5
"""What a client is told to wait when something that Proctor needs is down."""


class InvalidField(BaseModel):
    """One thing that is wrong in a request."""

    field: str = Field(description="Name of the field, with dots between levels.")
    detail: str = Field(description="What is wrong with it, and what it may be.")


class Problem(BaseModel):
    """Problem document (RFC 9457)."""

    type: str = Field(description="What kind of problem, as a link to its documentation.")
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
) -> Response:
    """Return a problem document about the current request."""
    problem = Problem(
        type=_TYPE_PREFIX + title.lower().replace(" ", "-"),
        title=title,
        status=status,
        detail=detail,
        instance=request.path,
        errors=errors,
        code=code,
    )
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status, content_type="application/problem+json")


def error_response(error: ProctorError) -> Response:
    """Return the problem document of one of Proctor's own errors."""
    errors = [InvalidField(field=error.field, detail=error.detail)] if error.field else None
    response = problem_response(error.status, error.title, error.detail, errors=errors)
    if isinstance(error, Throttled):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(_RETRY_SECONDS)
    return response


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
        detail = error.description or ""
        if status == HTTPStatus.NOT_FOUND:
            detail = f"nothing is here; /docs lists what is. A session id is made of {SESSION_ID_RULE}"
        response = problem_response(status, HTTPStatus(status).phrase, detail)
        for name, value in error.get_headers():
            if name.lower() == "allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def unexpected(error: Exception) -> Response:
        _log.error("request failed", path=request.path, exc_info=error)
        return problem_response(500, "Internal error", "the server is at fault; its log has the reason")
