"""Problems: every failure a client may see, as RFC 9457 problem details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: an RFC 6901 pointer into the body, or a parameter's name."""

    pointer: str
    message: str
    code: str
    parameter: str | None = None

    def as_dict(self) -> dict[str, str]:
        members = {"pointer": self.pointer, "message": self.message, "code": self.code}
        if self.parameter is not None:
            members["parameter"] = self.parameter
        return members


class Problem(Exception):
    """The request could not be served."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal server error"
    # The URI of a registered problem type; other problems are named by their code.
    type: ClassVar[str] = ""
    # Whether the very same request may succeed when it is sent again.
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = members
        super().__init__(self.detail)

    @property
    def in_one_line(self) -> str:
        """The detail, the errors and the cause, for the operator."""
        cause = f"({self.__cause__})" if str(self.__cause__ or "") else ""
        return " ".join(f"{self.detail} {self.faults} {cause}".split())

    @property
    def faults(self) -> str:
        """The error of each field, in one line."""
        return "; ".join(f"{error.pointer}: {error.message}" for error in self.errors)


class BadRequest(Problem):
    """The request is malformed."""

    status, code, title = 400, "bad_request", "Bad request"


class InvalidParameter(BadRequest):
    """A parameter has a value that is not allowed."""

    code = "invalid_parameter"


class InvalidJson(BadRequest):
    """The body is not valid JSON."""

    code = "invalid_json"


class InvalidPrecondition(BadRequest):
    """If-Match and If-None-Match take entity tags as this server gave them, or *."""

    code = "invalid_precondition"


class Unauthorized(Problem):
    """Authentication is required."""

    status, code, title = 401, "authentication_required", "Unauthorized"

    def __init__(self, detail: str | None = None, *, challenge: str = "Bearer") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class Forbidden(Problem):
    """The caller may not do this."""

    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(Problem):
    """There is nothing here, or nothing that the caller may see."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(Problem):
    """The request conflicts with the present state."""

    status, code, title = 409, "conflict", "Conflict"


class PreconditionFailed(Problem):
    """The resource is not in the state that the request's precondition names."""

    status, code, title = 412, "precondition_failed", "Precondition failed"


class ContentTooLarge(Problem):
    """The body is larger than this server accepts."""

    status, code, title = 413, "content_too_large", "Content too large"


class UnsupportedMediaType(Problem):
    """Send the body as application/json."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class ValidationFailed(Problem):
    """The body does not satisfy the schema."""

    status, code, title = 422, "validation_failed", "Unprocessable content"


class TooManyRequests(Problem):
    """The rate limit is used up; wait for the time in Retry-After."""

    status, code = 429, "rate_limited"
    # draft-ietf-httpapi-ratelimit-headers, section 5.1
    type = "https://iana.org/assignments/http-problem-types#quota-exceeded"
    title = "Request cannot be satisfied as assigned quota has been exceeded"


class ServiceUnavailable(Problem):
    """The server cannot serve this at the moment; try again shortly."""

    status, code, title = 503, "service_unavailable", "Service unavailable"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Overloaded(ServiceUnavailable):
    """The server has as much work as it can take; try again shortly."""

    code = "overloaded"


class DatabaseUnavailable(ServiceUnavailable):
    """The database cannot be reached at the moment; try again shortly."""

    code = "database_unavailable"


class RequestTimeout(ServiceUnavailable):
    """The request took longer than this server allows and was abandoned."""

    code = "request_timeout"


class QueryTooSlow(ServiceUnavailable):
    """The query exceeded its time limit and was cancelled."""

    code = "query_too_slow"
