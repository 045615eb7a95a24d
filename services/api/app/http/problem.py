"""Problems on the wire: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

from app.core import context
from app.core.context import context_of
from app.core.errors import FieldError, InvalidParameter, Problem, ValidationFailed
from app.core.json import pointer
from app.http.routes import methods_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"

_CODES = {
    400: "bad_request",
    401: "authentication_required",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "content_too_large",
    415: "unsupported_media_type",
    422: "validation_failed",
}


def response(problem: Problem) -> Response:
    """The response for a problem; the request id is that of the request in work."""
    return _render(
        problem.status,
        problem.code,
        problem.title,
        problem.detail,
        problem.errors,
        problem.headers,
        {"type": problem.type, **problem.members} if problem.type else problem.members,
    )


async def handle_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    context_of(request.scope).retryable = problem.retryable
    return response(problem)


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Problems that the framework raises: no such route, no such method, body too large."""
    http: HTTPException = error  # type: ignore[assignment]
    headers = dict(http.headers or {})
    if http.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework knows the methods of one route, but a path can have several routes.
        headers["Allow"] = ", ".join(methods_of(request.scope))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    title = HTTPStatus(http.status_code).phrase.capitalize()
    code = _CODES.get(http.status_code, title.lower().replace(" ", "_"))
    detail = "There is nothing at this address." if http.status_code == 404 else title + "."  # noqa: PLR2004
    if http.detail not in (title, HTTPStatus(http.status_code).phrase):
        detail = str(http.detail)
    return _render(http.status_code, code, title, detail, (), headers, {})


async def handle_validation_error(_: Request, error: Exception) -> Response:
    """Invalid parameters get 400, and invalid members of the body get 422."""
    validation: RequestValidationError = error  # type: ignore[assignment]
    body, parameters = [], []
    for fault in validation.errors():
        source, *path = fault["loc"]
        message = fault["msg"].removeprefix("Value error, ")
        if source == "body":
            body.append(FieldError(pointer(*path), message, fault["type"]))
        else:
            name = str(path[0]) if path else str(source)
            parameters.append(FieldError("", message, fault["type"], parameter=name))
    if parameters:
        return response(InvalidParameter(errors=parameters))
    return response(ValidationFailed(errors=body))


def _render(  # noqa: PLR0913 - one argument per member of the format
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[FieldError],
    headers: dict[str, str],
    members: dict[str, Any],
) -> Response:
    current = context.current()
    body: dict[str, Any] = {
        "type": f"urn:listo:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": current.request_id if current else None,
        **members,
    }
    if errors:
        body["errors"] = [error.as_dict() for error in errors]
    return Response(
        orjson.dumps(body), status, {**headers, "Cache-Control": "no-store"}, media_type=MEDIA_TYPE
    )
