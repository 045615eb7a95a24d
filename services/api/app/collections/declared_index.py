"""A declared index: its name, and the SQL of its definition."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from app.filters.compiler import compile_filter
from app.filters.language.parser import parse_filter
from app.filters.params import Literals
from app.filters.paths import NO_OWNER, SYSTEM_TYPES, elements_sql
from app.filters.sort import order_by, parse_sort

if TYPE_CHECKING:
    from app.filters.fields import Fields
    from app.filters.language.syntax import Path
    from app.filters.sort import SortKey

# A collation of PostgreSQL's own, so that an upgrade of the system changes no letter's case.
_COLLATION = "pg_c_utf8"


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """An index as a client declares it. The last two members are for unique indexes."""

    fields: tuple[str, ...]
    unique: bool = False
    case_insensitive: bool = False
    # Only the records that it is true for are compared with each other.
    filter: str | None = None

    def dump(self) -> list[str] | dict[str, Any]:
        if not self.unique:
            return list(self.fields)
        dumped: dict[str, Any] = {"fields": list(self.fields), "unique": True}
        if self.case_insensitive:
            dumped["case_insensitive"] = True
        if self.filter is not None:
            dumped["filter"] = self.filter
        return dumped

    @classmethod
    def from_json(cls, raw: list[str] | dict[str, Any]) -> IndexSpec:
        if isinstance(raw, list):
            return cls(tuple(raw))
        return cls(**{**raw, "fields": tuple(raw["fields"])})


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """The values that no two records share, as SQL, and the SQL of whether a record has them: an
    absent value or null equals no other."""

    paths: tuple[Path, ...]
    values: tuple[str, ...]
    condition: str


class Buildable(Protocol):
    """An index that the collection's definition asks for."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> UniqueKey | None: ...

    @property
    def fields(self) -> tuple[str, ...]: ...

    def create(self, table: str, *, concurrently: bool) -> str:
        """The SQL that builds the index."""
        ...


class Index:
    """One declared index of a collection; `key` is None unless it is unique.

    Raises FilterError (400) for fields or a filter that the schema does not allow.
    """

    def __init__(self, collection: str, spec: IndexSpec, fields: Fields) -> None:
        self.spec = spec
        self.fields = spec.fields
        keys = parse_sort(",".join(spec.fields), fields)
        self.has_array = any(_is_array(key.path, fields) for key in keys)
        self.key = _unique_key(keys[: len(spec.fields)], spec, fields) if spec.unique else None
        if self.key is not None:
            values = ", ".join(f"({value})" for value in self.key.values)
            self.definition = f"({values}) WHERE {self.key.condition}"
        # Two keys are a single field and the `id` that ends every sort.
        elif self.has_array and len(keys) == 2 and len(spec.fields) == 1:  # noqa: PLR2004
            # `has` asks for elements of an array.
            path = keys[0].path
            elements = elements_sql(path, fields.items_format(path))
            self.definition = f"USING gin (({elements}) jsonb_path_ops)"
        else:
            self.definition = f"({order_by(keys, parenthesised=True)})"
        # The digest is of the whole definition, whose form depends on the fields' schemas.
        digested = f"UNIQUE {self.definition}" if spec.unique else self.definition
        self.name = f"{collection}${hashlib.sha256(digested.encode()).hexdigest()[:12]}"

    def create(self, table: str, *, concurrently: bool) -> str:
        unique = "UNIQUE " if self.spec.unique else ""
        how = "CONCURRENTLY " if concurrently else ""
        return f'CREATE {unique}INDEX {how}"{self.name}" ON {table} {self.definition}'


def _unique_key(keys: tuple[SortKey, ...], spec: IndexSpec, fields: Fields) -> UniqueKey:
    conditions = [_is_present(key) for key in keys]
    if spec.filter:
        conditions.append(compile_filter(parse_filter(spec.filter), fields, Literals()))
    values = tuple(_value(key, spec, fields) for key in keys)
    return UniqueKey(tuple(key.path for key in keys), values, " AND ".join(conditions))


def _is_present(key: SortKey) -> str:
    if key.path == ("owner",):
        return f"{key.sql} <> '{NO_OWNER}'::uuid"
    return f"{key.sql} <> 'null'::jsonb"


def _value(key: SortKey, spec: IndexSpec, fields: Fields) -> str:
    if spec.case_insensitive and has_case(key, fields):
        return f'lower(({key.sql})::text COLLATE "{_COLLATION}")'
    return key.sql


def has_case(key: SortKey, fields: Fields) -> bool:
    """Whether the field's values are texts, which can differ in case alone."""
    if key.path[0] in SYSTEM_TYPES or key.format is not None:
        return False
    return {"string"} <= fields.types(key.path) <= {"string", "null"}


def _is_array(path: Path, fields: Fields) -> bool:
    return path[0] not in SYSTEM_TYPES and ({"array"} <= fields.types(path) <= {"array", "null"})
