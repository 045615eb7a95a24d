"""A caller's access to the records of a collection, as far as it follows from the definition."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.collections.errors import CollectionNotFound
from app.core.actor import Scope
from app.core.errors import Forbidden, Unauthorized
from app.observability.metrics import RULE_REJECTIONS
from app.records.sql.statements import statements_of

if TYPE_CHECKING:
    from app.collections.models import Collection, Operation
    from app.core.actor import Actor
    from app.core.errors import Problem
    from app.db.session import Session
    from app.records.sql.statements import Statements

_SCOPES = {
    "list": Scope.RECORDS_READ,
    "read": Scope.RECORDS_READ,
    "create": Scope.RECORDS_WRITE,
    "update": Scope.RECORDS_WRITE,
    "delete": Scope.RECORDS_WRITE,
}


@dataclass(frozen=True, slots=True)
class Access:
    """The session that statements run in, the caller and the collection: resolved once for a
    request, and handed to everything that the request does with records."""

    session: Session
    actor: Actor
    collection: Collection
    statements: Statements = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "statements", statements_of(self.collection, self.actor))

    def within(self, session: Session) -> Access:
        """The same access in another session."""
        return dataclasses.replace(self, session=session)

    async def settle(self) -> None:
        """Before an answer that may tell of another request's write: have that write seen in all
        that is cached, as it will be once that request is answered."""
        if self.collection.definition.cache:
            await self.session.settle()

    def require(self, operation: Operation) -> None:
        """Raises CollectionNotFound, Unauthorized or Forbidden if all records are refused."""
        actor, collection = self.actor, self.collection
        allowed = actor.is_admin or collection.rules[operation] is not False
        if actor.scopes is None and allowed:
            return
        # A caller who may create but not read knows of the collection too, also by an API key.
        if not collection.is_visible_to(actor) and not (allowed and actor.reaches(collection.name)):
            RULE_REJECTIONS.labels(operation).inc()
            raise CollectionNotFound
        if not actor.has_scope(_SCOPES[operation]):
            raise InsufficientScope(f"The API key lacks the scope {_SCOPES[operation]}.")
        if not allowed:
            raise self.refusal(operation)

    def refusal(self, operation: Operation) -> Problem:
        """The problem for a refusal by a rule, where the caller may know of the target."""
        RULE_REJECTIONS.labels(operation).inc()
        if self.actor.is_anonymous:
            return Unauthorized()
        return Forbidden(f"The collection's {operation} rule does not allow this.")


class InsufficientScope(Forbidden):
    """The API key lacks the scope for this."""

    code = "insufficient_scope"
