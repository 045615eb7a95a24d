"""The rules of a collection of PocketBase's, as rules here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.errors import Problem
from app.filters.compiler import compile_filter
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.params import Params
from app.moving.pocketbase.rules.comparisons import Comparisons
from app.moving.pocketbase.rules.parser import Untranslatable, translated

if TYPE_CHECKING:
    from typing import Any

    from app.moving.pocketbase.names import Naming
    from app.moving.pocketbase.source import SourceCollection

_OF_ACCOUNTS = {
    "create": "users register by /auth/register here",
    "delete": "users are deleted by admins here",
}


@dataclass(frozen=True)
class Rule:
    """A rule and what it is here: None is for admins only. `why` says why it could not be said."""

    operation: str
    former: str | None
    here: str | None
    why: str | None = None


def rules_of(collection: SourceCollection, naming: Naming, schema: dict[str, Any]) -> list[Rule]:
    """All rules; those that mean nothing here let only admins through."""
    fields = Fields(schema)
    return [
        _rule(collection, naming, operation, text, fields)
        for operation, text in collection.rules.items()
    ]


def _rule(
    collection: SourceCollection, naming: Naming, operation: str, text: str | None, fields: Fields
) -> Rule:
    if text is None:
        return Rule(operation, None, None)
    if collection.is_auth and operation in _OF_ACCOUNTS:
        return Rule(operation, text, None, _OF_ACCOUNTS[operation])
    if not text.strip():
        return Rule(operation, text, "")
    try:
        said = translated(text, Comparisons(collection, naming, operation).say)
        compile_filter(parse_filter(said), fields, Params())
    except Untranslatable as error:
        return Rule(operation, text, None, str(error))
    except Problem as problem:
        return Rule(operation, text, None, problem.detail)
    return Rule(operation, text, said)
