"""The problems for invalid members of a body that a model describes."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from app.core import json
from app.core.errors import FieldError, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel, ValidationError

# The maximum number of errors in a problem: each is described in many times its member's bytes.
_MOST_FAULTS = 20


def validation_problem(error: ValidationError) -> ValidationFailed:
    """The problem that lists the errors in the members of a body, at most 20 of them."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return _problem(
        FieldError(
            json.pointer(*fault["loc"]), fault["msg"].removeprefix("Value error, "), fault["type"]
        )
        for fault in faults
    )


def _problem(faults: Iterable[FieldError]) -> ValidationFailed:
    return ValidationFailed(
        "The body is not what this operation takes.", errors=list(islice(faults, _MOST_FAULTS))
    )


def check_members(model: type[BaseModel], value: Any) -> None:
    """Refuse a body with more members than the model has, without checking thousands."""
    if not isinstance(value, dict) or len(value) <= len(model.model_fields):
        return
    known = {field.alias or name for name, field in model.model_fields.items()}
    raise _problem(
        FieldError(json.pointer(name), "Extra inputs are not permitted", "extra_forbidden")
        for name in value
        if name not in known
    )
