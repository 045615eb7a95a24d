"""A collection as the code knows it: its definition, and what is compiled from it."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from app.caching.coherent import CachePolicy
from app.collections.declared_index import Index, IndexSpec
from app.collections.declared_search import SearchIndex, SearchSpec
from app.collections.json_schema.keywords import Annotations
from app.collections.json_schema.validator import RecordValidator
from app.core.actor import COLLECTION_NAME
from app.filters.compiler import compile_filter
from app.filters.errors import FilterError
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.params import Params

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from app.collections.declared_index import Buildable
    from app.core.actor import Actor
    from app.filters.language.syntax import Expression

logger = logging.getLogger("listo.collections")

NAME = re.compile(COLLECTION_NAME)

# Notifications of this topic carry the name of the changed collection.
TOPIC = "collection"
# Records of at most this many bytes are not announced, see Collection.largest.
LARGEST = 8192

# The number of parts that cached records of a collection are divided into: a prime, so that all
# bytes of an id count.
_PARTS = 257

# The parts of a collection that can be cached.
CacheKind = Literal["list", "record"]
CACHE_KINDS: tuple[CacheKind, ...] = ("list", "record")

Operation = Literal["list", "read", "create", "update", "delete"]
OPERATIONS: tuple[Operation, ...] = ("list", "read", "create", "update", "delete")


def seconds(duration: str) -> float:
    """The seconds of a duration like 30s or 5m."""
    return float(duration[:-1]) * (60 if duration[-1] == "m" else 1)


@dataclass(frozen=True)
class Definition:
    """A collection as a client defines it. A rule of None is for admins only, "" for anyone."""

    schema: dict[str, Any]
    rules: dict[Operation, str | None] = field(default_factory=dict)
    indexes: tuple[IndexSpec, ...] = ()
    # {"list": "30s", "stale_while_revalidate": "60s", "record": "30s"}, or a part of it.
    cache: dict[str, str] | None = None
    search: SearchSpec | None = None

    def caches(self, kind: CacheKind) -> bool:
        return self.cache is not None and kind in self.cache

    @property
    def schema_text(self) -> str:
        """Schemas are compared by this text: as Python values 1, 1.0 and true are equal."""
        return json.dumps(self.schema, sort_keys=True)

    def dump(self) -> str:
        dumped = {
            "schema": self.schema,
            "rules": {operation: self.rules.get(operation) for operation in OPERATIONS},
            "indexes": [index.dump() for index in self.indexes],
        }
        if self.cache is not None:
            dumped["cache"] = self.cache
        if self.search is not None:
            dumped["search"] = self.search.dump()
        return json.dumps(dumped, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Definition:
        raw = json.loads(text)
        indexes = tuple(IndexSpec.from_json(index) for index in raw["indexes"])
        search = SearchSpec.from_json(raw["search"]) if "search" in raw else None
        return cls(raw["schema"], raw["rules"], indexes, raw.get("cache"), search)


@dataclass(frozen=True, eq=False)
class Collection:
    """A defined collection. Compared by identity: its compiled parts are cached on the object."""

    id: UUID
    name: str
    version: int
    definition: Definition
    created_at: datetime
    updated_at: datetime
    # Upper bound on the bytes of an unpacked record in PostgreSQL; it only grows.
    largest: int = LARGEST
    # Whether the table has the heads of records as a column.
    stores_head: bool = True
    # The names of the indexes, unique ones and that of the search, that were seen complete, which
    # they stay.
    ready_indexes: set[str] = field(default_factory=set)

    @cached_property
    def validator(self) -> RecordValidator:
        return RecordValidator(self.definition.schema)

    @cached_property
    def annotations(self) -> Annotations:
        return Annotations(self.definition.schema)

    @cached_property
    def fields(self) -> Fields:
        """All fields, for rules, which may use unreadable fields."""
        return Fields(self.definition.schema)

    @cached_property
    def readable(self) -> Fields:
        """The fields that clients can ask for."""
        return Fields(self.definition.schema, hidden=self.annotations.write_only)

    @cached_property
    def indexes(self) -> tuple[Index, ...]:
        return tuple(Index(self.name, spec, self.fields) for spec in self.definition.indexes)

    @cached_property
    def search_index(self) -> SearchIndex | None:
        search = self.definition.search
        return None if search is None else SearchIndex(self.name, search)

    @cached_property
    def to_build(self) -> tuple[Buildable, ...]:
        """All indexes that the definition asks for."""
        return (*self.indexes, *([self.search_index] if self.search_index else []))

    @cached_property
    def unique_indexes(self) -> tuple[Index, ...]:
        unique = (spec for spec in self.definition.indexes if spec.unique)
        return tuple(Index(self.name, spec, self.fields) for spec in unique)

    @cached_property
    def rules(self) -> dict[Operation, Expression | bool]:
        """Per operation: an expression, True for anyone, or False for admins only."""
        return {operation: self._rule(operation) for operation in OPERATIONS}

    def _rule(self, operation: Operation) -> Expression | bool:
        text = self.definition.rules.get(operation)
        if not text:
            return text is not None
        try:
            rule = parse_filter(text)
            compile_filter(rule, self.fields, Params())
        except FilterError as error:
            # An older version accepted the rule.
            logger.warning(
                "the %s rule of collection %s means nothing, so it lets only admins through: %s",
                operation, self.name, error.detail,
            )  # fmt: skip
            return False
        return rule

    @cached_property
    def list_cache(self) -> CachePolicy | None:
        """How long lists are cached; None if they are not cached."""
        cache = self.definition.cache
        if cache is None or "list" not in cache:
            return None
        stale = cache.get("stale_while_revalidate")
        return CachePolicy(seconds(cache["list"]), 0.0 if stale is None else seconds(stale))

    @cached_property
    def record_cache(self) -> float | None:
        """How many seconds single records are cached; None if they are not cached."""
        cache = self.definition.cache
        return None if cache is None or "record" not in cache else seconds(cache["record"])

    def cache_group(self, kind: CacheKind) -> str:
        """The group of everything of that kind that is cached of this collection."""
        return str(self.id) if kind == "list" else self._records_group

    def record_groups(self, id_: UUID) -> tuple[str, str]:
        """The groups of a cached record: of all records, and of a part of them. A write to a
        record changes only the second."""
        return self._records_group, f"{self._records_group}/{id_.int % _PARTS}"

    @cached_property
    def _records_group(self) -> str:
        return f"{self.id}/records"

    def is_visible_to(self, actor: Actor) -> bool:
        """Whether the caller may know that this collection exists."""
        if not actor.reaches(self.name):
            return False
        return actor.is_admin or self.rules["list"] is not False or self.rules["read"] is not False
