"""Who may do what with a collection's records, as far as no record is needed to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.collections.errors import CollectionNotFound
from app.core.actor import Scope
from app.core.errors import Forbidden, Unauthorized
from app.observability.metrics import RULE_REJECTIONS

if TYPE_CHECKING:
    from app.collections.models import Collection, Operation
    from app.core.actor import Actor
    from app.core.errors import Problem

_SCOPES = {
    "list": Scope.RECORDS_READ,
    "read": Scope.RECORDS_READ,
    "create": Scope.RECORDS_WRITE,
    "update": Scope.RECORDS_WRITE,
    "delete": Scope.RECORDS_WRITE,
}


def check(actor: Actor, collection: Collection, operation: Operation) -> None:
    """Raises CollectionNotFound, Unauthorized or Forbidden where no record could change that."""
    allowed = actor.is_admin or collection.rules[operation] is not False
    if actor.scopes is None and allowed:
        return
    # Who may create where nothing can be read knows of the collection too, also by a key.
    if not collection.is_visible_to(actor) and not (allowed and actor.reaches(collection.name)):
        RULE_REJECTIONS.labels(operation).inc()
        raise CollectionNotFound
    if not actor.has_scope(_SCOPES[operation]):
        raise InsufficientScope(f"The API key lacks the scope {_SCOPES[operation]}.")
    if not allowed:
        raise refused(actor, operation)


def refused(actor: Actor, operation: Operation) -> Problem:
    """The problem for a caller whom a rule refuses what they may know of."""
    RULE_REJECTIONS.labels(operation).inc()
    if actor.is_anonymous:
        return Unauthorized()
    return Forbidden(f"The collection's {operation} rule does not allow this.")


class InsufficientScope(Forbidden):
    """The API key lacks the scope for this."""

    code = "insufficient_scope"
