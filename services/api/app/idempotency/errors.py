"""The problems of an idempotency key."""

from __future__ import annotations

from app.core.errors import BadRequest, Conflict, ValidationFailed


class InvalidIdempotencyKey(BadRequest):
    """Idempotency-Key takes one string of 1 to 255 visible characters, with or without quotes."""

    code = "idempotency_key_invalid"


class RequestInProgress(Conflict):
    """A request with this idempotency key is in work; try again shortly."""

    code = "idempotency_key_in_progress"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class KeyReused(ValidationFailed):
    """This idempotency key was used for another request; each request takes a new one."""

    code = "idempotency_key_reused"


class AnswerNotKept(Conflict):
    """This was done before, once; the answer was too large to be kept, so look at the resource."""

    code = "idempotency_answer_not_kept"
