"""A declared search: its settings, and the SQL of the index that makes them work.

The index has the lexemes of the searchable fields, and marks for those that weigh more than a
single one in the lightest field: with them, the index alone gives the heaviest records. An index
depends on its settings, not on the schema, so a former one serves until the next is built.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from app.filters.language.parser import parse_path
from app.filters.paths import SYSTEM_TYPES, plain_sql

if TYPE_CHECKING:
    from app.filters.fields import Fields
    from app.filters.language.syntax import Path

Weight = Literal["A", "B", "C", "D"]
Recency = Literal["created_at", "updated_at"]
# Those of PostgreSQL's ts_rank_cd.
WEIGHTS: Final[dict[Weight, float]] = {"A": 1.0, "B": 0.4, "C": 0.2, "D": 0.1}
# Levels of marks, as the function `listo.search_marked` knows them, the heaviest first.
LEVELS: Final = "zyxwvutsrqponmlkjihgfedcba"
# Marks of several levels together: that of a step is also on all lexemes above it.
STEPS: Final = "EDCBA"
MARK: Final = "\x01"
CJK: Final = "cjk"
# Configurations of PostgreSQL 17, and two of our own, without and with pairs of letters.
LANGUAGES: Final = (
    "simple", CJK, "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english",
    "finnish", "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian",
    "lithuanian", "nepali", "norwegian", "portuguese", "romanian", "russian", "serbian", "spanish",
    "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
MAX_FIELDS = 8
# The characters of a record that are searched, in equal parts for its fields. Their lexemes fit
# into PostgreSQL's limit of 1 MiB, whatever they are: with pairs of letters, there are as many
# lexemes as letters, of up to twelve bytes each.
_MOST_CHARACTERS = 100_000
_MOST_IN_PAIRS = 80_000
_BOOST = re.compile(r"\s*(?:(log|sqrt)\s*\((.+)\)|(.+))\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """Search as a client declares it: the weights of fields by name, in their order."""

    fields: tuple[tuple[str, Weight], ...]
    language: str
    # A number that ranks grow with: `downloads`, `log(downloads)` or `sqrt(downloads)`.
    boost: str | None = None
    # The time of a record by which newer ones rank higher.
    recency: Recency | None = None

    def dump(self) -> dict[str, Any]:
        dumped: dict[str, Any] = {"fields": dict(self.fields), "language": self.language}
        for name in ("boost", "recency"):
            if getattr(self, name) is not None:
                dumped[name] = getattr(self, name)
        return dumped

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> SearchSpec:
        return cls(**{**raw, "fields": tuple(raw["fields"].items())})


@dataclass(frozen=True, slots=True)
class Boost:
    """The function, log, sqrt or empty, and the field that it is of."""

    function: str
    path: Path


class SearchIndex:
    """The index of a search. Raises FilterError (400) for a name that is no field's."""

    key = None

    def __init__(self, collection: str, spec: SearchSpec) -> None:
        self.collection = collection
        self.spec = spec
        self.fields = tuple(name for name, _ in spec.fields)
        self.paths = {name: parse_path(name) for name, _ in spec.fields}
        self.configuration = f"'listo.{spec.language}'::regconfig"
        most = _MOST_IN_PAIRS if spec.language == CJK else _MOST_CHARACTERS
        most //= len(spec.fields)
        # SQL by field: its JSON, and its text, which is empty for other values.
        self.values = {name: plain_sql(path) for name, path in self.paths.items()}
        self.texts = {
            name: f"listo.search_text({value}, {most})" for name, value in self.values.items()
        }
        lightest = min(WEIGHTS[weight] for _, weight in spec.fields)
        # SQL of all lexemes with their places and weights, and of what the index has.
        self.vector = " || ".join(
            f"setweight(to_tsvector({self.configuration}, {self._words(name)}), '{weight}')"
            for name, weight in spec.fields
        )
        self.marked = f"listo.search_marked({self.vector}, {lightest})"
        # Pending entries would have to be read by each search, and written by some unlucky writer.
        self.definition = f"USING gin (({self.marked})) WITH (fastupdate = off)"
        digest = hashlib.sha256(f"SEARCH {self.definition}".encode()).hexdigest()[:12]
        self.name = f"{collection}${digest}"

    def _words(self, name: str) -> str:
        text = self.texts[name]
        return f"listo.bigrams({text})" if self.spec.language == CJK else text

    @cached_property
    def boost(self) -> Boost | None:
        """Raises FilterError (400)."""
        if self.spec.boost is None:
            return None
        found = _BOOST.fullmatch(self.spec.boost)
        assert found is not None
        return Boost(found[1] or "", parse_path((found[2] or found[3]).strip()))

    def ranked_as(self, other: SearchIndex) -> SearchIndex:
        """The same index with the other's boost and recency, which are no part of it."""
        spec = replace(self.spec, boost=other.spec.boost, recency=other.spec.recency)
        return SearchIndex(self.collection, spec)

    def settings(self) -> str:
        return json.dumps(self.spec.dump(), ensure_ascii=False)

    def create(self, table: str, *, concurrently: bool) -> str:
        how = "CONCURRENTLY " if concurrently else ""
        return f'CREATE INDEX {how}"{self.name}" ON {table} {self.definition}'

    def is_readable(self, fields: Fields) -> bool:
        """Whether clients may read all that the index tells of."""
        paths = [*self.paths.values(), *([self.boost.path] if self.boost else [])]
        return not any(path[0] in fields.hidden for path in paths)


def fault_of_field(path: Path, fields: Fields) -> str | None:
    """The reason why a field cannot be searched. Raises UnknownField (400)."""
    if path[0] in SYSTEM_TYPES:
        return "is no text"
    types = fields.types(path)
    if types & {"string", "array"} and types <= {"string", "array", "null"}:
        return None
    return "is no text by the schema: its type must be string or array"


def fault_of_boost(boost: Boost, fields: Fields) -> str | None:
    """The reason why a field cannot raise ranks. Raises UnknownField (400)."""
    if boost.path == ("version",):
        return None
    if boost.path[0] in SYSTEM_TYPES or not fields.types(boost.path) <= {"number", "null"}:
        return "is no number by the schema"
    return None
