"""The caller of a request: the value that every rule, limit and log line uses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from uuid import UUID

ADMIN_ROLE = "admin"

# The form of collection names; an API key can be limited to named collections.
COLLECTION_NAME = "[a-z][a-z0-9_-]{0,47}"


class Scope(StrEnum):
    """A right that an API key may be given."""

    RECORDS_READ = "records:read"
    RECORDS_WRITE = "records:write"
    COLLECTIONS_ADMIN = "collections:admin"
    WEBHOOKS_ADMIN = "webhooks:admin"
    USERS_ADMIN = "users:admin"


@dataclass(frozen=True, slots=True)
class Actor:
    """A caller whose credentials were checked, or an anonymous caller.

    `scopes` is None for a user's own session: everything that the user may do. `collections`
    is None if the caller is not limited to named collections, `rate_limit` if the caller has no
    limit of its own.
    """

    kind: Literal["anonymous", "user", "api_key"]
    id: UUID | None = None
    roles: frozenset[str] = frozenset()
    session_id: UUID | None = None
    api_key_id: UUID | None = None
    scopes: frozenset[str] | None = None
    collections: frozenset[str] | None = None
    rate_limit: str | None = None

    @property
    def is_admin(self) -> bool:
        return ADMIN_ROLE in self.roles

    @property
    def is_anonymous(self) -> bool:
        return self.kind == "anonymous"

    def has_scope(self, scope: Scope) -> bool:
        return self.scopes is None or scope in self.scopes

    def reaches(self, collection: str) -> bool:
        return self.collections is None or collection in self.collections


ANONYMOUS = Actor(kind="anonymous")

# The caller for the command line, whose operator owns the database anyway.
SYSTEM = Actor(kind="user", roles=frozenset({ADMIN_ROLE}))
