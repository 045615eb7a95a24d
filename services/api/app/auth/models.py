"""Rows of this domain, as the code knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


# Columns of users whose value is that of the request member of the same name.
PROFILE = ("name",)


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    email: str
    name: str | None
    roles: frozenset[str]
    disabled_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Removal:
    """How far a deleted user's records are deleted: in all collections before `collection`, and in
    `collection` up to the id `record`."""

    user_id: UUID
    requested_by: UUID | None
    requested_at: datetime
    collection: str | None
    record: UUID | None
    deleted: int
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: UUID
    user_id: UUID
    name: str
    prefix: str
    scopes: frozenset[str]
    collections: frozenset[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    rate_limit: str | None
