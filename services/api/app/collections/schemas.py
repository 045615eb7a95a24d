"""Collections on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from app.collections.declared_search import LANGUAGES, MAX_FIELDS, Recency, Weight
from app.collections.models import seconds
from app.filters.language import parser

MAX_CACHED = 3600

Rule = Annotated[
    str | None,
    Field(
        description='An expression of the filter language; null is admins only, "" is anyone.',
        examples=["owner = @user.id"],
        max_length=parser.MAX_LENGTH,
    ),
]


class Rules(BaseModel):
    """Which callers may do what. A rule is part of the SQL, so it cannot be forgotten."""

    model_config = ConfigDict(extra="forbid")

    list: Rule = None
    read: Rule = None
    create: Rule = None
    update: Rule = None
    delete: Rule = None


def _bounded(duration: str) -> str:
    if seconds(duration) > MAX_CACHED:
        raise ValueError("is longer than an hour")
    return duration


Duration = Annotated[
    str,
    Field(pattern="^[1-9][0-9]{0,3}[sm]$", description="Seconds or minutes, an hour at most."),
    AfterValidator(_bounded),
]


class Cache(BaseModel):
    """Lists and single records are kept until they are this old or a record changes."""

    model_config = ConfigDict(extra="forbid")

    list: Duration | None = Field(None, description="How long lists are kept.", examples=["30s"])
    stale_while_revalidate: Duration | None = Field(
        None,
        description="How long after that lists are still given while a new one is made; never from "
        "before a change.",
        examples=["5m"],
    )
    record: Duration | None = Field(
        None, description="How long single records are kept.", examples=["30s"]
    )

    @model_validator(mode="after")
    def _names_something(self) -> Cache:
        if self.list is None and self.record is None:
            raise ValueError("needs list, record, or both")
        if self.list is None and self.stale_while_revalidate is not None:
            raise ValueError("has stale_while_revalidate, which needs list")
        return self


_EXAMPLE: dict[str, JsonValue] = {
    "schema": {
        "type": "object",
        "required": ["title"],
        "properties": {"title": {"type": "string"}, "year": {"type": "integer"}},
        "additionalProperties": False,
    },
    "rules": {"list": "", "read": ""},
}


class IndexIn(BaseModel):
    """Fields that filters and sorts are made fast for, or whose values no two records share."""

    model_config = ConfigDict(extra="forbid")

    fields: list[str] = Field(
        description="`-` in front sorts descending; a unique index has no direction.",
        examples=[["section", "-created_at"]],
    )
    unique: bool = Field(
        default=False,
        description="Refuse records that have the same values as another one; absent fields and "
        "null equal nothing.",
    )
    case_insensitive: bool = Field(
        default=False, description="Whether `Ada` and `ADA` are the same to a unique index."
    )
    filter: str | None = Field(
        None,
        description="A unique index is about the records that this expression is true for.",
        max_length=parser.MAX_LENGTH,
        examples=["deleted = false"],
    )


class Search(BaseModel):
    """The fields that `GET …/search` looks for words in."""

    model_config = ConfigDict(extra="forbid")

    fields: dict[str, Weight] = Field(
        description="Fields of texts or lists of texts with their weights, A the heaviest.",
        min_length=1,
        max_length=MAX_FIELDS,
        examples=[{"title": "A", "body": "B"}],
    )
    language: str = Field(
        default="simple",
        description="The language whose word endings and stop words count; `simple` has neither, "
        "`cjk` is for Chinese, Japanese and Korean.",
        json_schema_extra={"enum": list(LANGUAGES)},
        examples=["english"],
    )
    boost: str | None = Field(
        None,
        description="A field of numbers that raises ranks: `downloads`, `log(downloads)` or "
        "`sqrt(downloads)`.",
        max_length=200,
        min_length=1,
        examples=["log(downloads)"],
    )
    recency: Recency | None = Field(
        None, description="The time by which newer records rank higher.", examples=["created_at"]
    )


def _index(given: Any) -> Any:
    if isinstance(given, str):
        return {"fields": [given]}
    if isinstance(given, list):
        return {"fields": given}
    if not isinstance(given, dict):
        raise ValueError("must be a field, a list of fields, or an object")  # noqa: TRY004 - pydantic takes it for a fault of the value
    return given


class CollectionIn(BaseModel):
    """A collection's whole definition; what is left out takes its default."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    json_schema: dict[str, Any] = Field(
        alias="schema",
        description="JSON Schema 2020-12 of a record's own fields.",
        examples=[{"type": "object", "properties": {"title": {"type": "string"}}}],
    )
    rules: Rules = Rules()
    indexes: list[
        Annotated[
            IndexIn, BeforeValidator(_index, json_schema_input_type=str | list[str] | IndexIn)
        ]
    ] = Field(
        default=[],
        max_length=16,
        description="Fields, or lists of fields, that filters and sorts are made fast for; "
        "`-` in front sorts descending. An object can make values unique.",
        examples=[["title", ["section", "-created_at"], {"fields": ["slug"], "unique": True}]],
    )
    cache: Cache | None = Field(None, description="Null: nothing is cached.")
    search: Search | None = Field(None, description="Null: the collection has no search.")


class IndexOut(BaseModel):
    """A declared index, and how far it is."""

    fields: list[str]
    unique: bool | None = None
    case_insensitive: bool | None = None
    filter: str | None = None
    state: Literal["ready", "building", "failed"]
    reason: str | None = Field(
        None, description="Why it cannot be built with the records that there are."
    )


class SearchOut(Search):
    """A declared search, and how far its index is."""

    state: Literal["ready", "building", "failed"]
    progress: float | None = Field(
        None, description="The share of the records that was read, while it is building."
    )
    reason: str | None = Field(
        None, description="Why it cannot be built with the records that there are."
    )


class CollectionOut(BaseModel):
    """A collection. `rules`, `indexes`, `cache` and `search` are shown to admins only."""

    name: str
    json_schema: dict[str, Any] = Field(alias="schema")
    rules: Rules | None = None
    indexes: list[IndexOut] | None = None
    cache: Cache | None = None
    search: SearchOut | None = None
    version: int
    created_at: datetime
    updated_at: datetime


class CollectionsOut(BaseModel):
    """All collections that the caller may see, by name."""

    items: list[CollectionOut]
