"""Collections on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Rule = Annotated[
    str | None,
    Field(
        description='An expression of the filter language; null is admins only, "" is anyone.',
        examples=["owner = @user.id"],
        max_length=4096,
    ),
]


class Rules(BaseModel):
    """Who may do what. A rule becomes part of the SQL, so it cannot be forgotten afterwards."""

    model_config = ConfigDict(extra="forbid")

    list: Rule = None
    read: Rule = None
    create: Rule = None
    update: Rule = None
    delete: Rule = None


class CollectionIn(BaseModel):
    """A collection's whole definition; what is left out takes its default."""

    model_config = ConfigDict(extra="forbid")

    json_schema: dict[str, Any] = Field(
        alias="schema",
        description="JSON Schema 2020-12 of a record's own fields.",
        examples=[{"type": "object", "properties": {"title": {"type": "string"}}}],
    )
    rules: Rules = Rules()
    indexes: list[str | list[str]] = Field(
        default=[],
        max_length=16,
        description="Fields, or lists of fields, that filters and sorts are made fast for; "
        "`-` in front sorts descending.",
        examples=[["title", ["section", "-created_at"]]],
    )


class IndexOut(BaseModel):
    """A declared index, and how far it is."""

    fields: list[str]
    state: Literal["ready", "building", "failed"]


class CollectionOut(BaseModel):
    """A collection. `rules` and `indexes` are shown to admins only."""

    name: str
    json_schema: dict[str, Any] = Field(alias="schema")
    rules: Rules | None = None
    indexes: list[IndexOut] | None = None
    version: int
    created_at: datetime
    updated_at: datetime


class CollectionsOut(BaseModel):
    """All collections that the caller may see, by name."""

    items: list[CollectionOut]
