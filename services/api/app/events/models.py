"""The model of an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Event:
    """An occurrence: `type` like `order.paid`, the subject's id and version, and JSON data."""

    type: str
    subject: UUID | None = None
    collection: str | None = None
    version: int | None = None
    data: dict[str, Any] | None = None
