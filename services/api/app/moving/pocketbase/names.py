"""Names of PocketBase in the form that they have here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.collections.json_schema.keywords import RESERVED
from app.core.actor import ADMIN_ROLE, COLLECTION_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from app.moving.pocketbase.ids import Ids
    from app.moving.pocketbase.source import Field, SourceCollection

# A record's id in PocketBase, by which its files are found.
FORMER_ID = "pocketbase_id"
# The fields of an auth collection that are the user's own, or that have no place here.
_OF_USERS = ("password", "tokenKey", "email", "emailVisibility")
_LONGEST = 48
_LONGEST_ROLE = 32
_KNOWN_ROLES = (ADMIN_ROLE, "member")
_WORDS = frozenset(
    ("and", "or", "not", "in", "has", "like", "ilike", "is", "null", "true", "false")
)


class Naming:
    """The collections that are taken over, and the names and ids that they, their fields and their
    records get."""

    def __init__(self, found: Sequence[SourceCollection], ids: Ids) -> None:
        self.ids = ids
        self.taken = [
            each for each in found if each.type in ("base", "auth") and not each.is_system
        ]
        # By id of the collection.
        self.names = _collection_names(self.taken)
        # The role that the users of an auth collection get, by the collection's id.
        self.roles = _roles({each.id: self.names[each.id] for each in self.taken if each.is_auth})

    def system(self, collection: SourceCollection) -> dict[str, str]:
        """The fields that become `created_at`, `updated_at` and `owner`."""
        found: dict[str, str] = {}
        for field in collection.fields:
            if field.type == "autodate" and field.options.get("onCreate"):
                name = "updated_at" if field.options.get("onUpdate") else "created_at"
                if name not in found.values():
                    found[field.name] = name
        owner = collection.field("owner")
        if owner and self.leads_to_users(owner) and not owner.is_multiple:
            found["owner"] = "owner"
        return found

    def kept(self, collection: SourceCollection) -> list[Field]:
        """The fields that are a record's own ones here."""
        system = self.system(collection)
        return [
            field
            for field in collection.fields
            if field.name != "id"
            and field.name not in system
            and field.type != "password"
            and not (collection.is_auth and field.name in _OF_USERS)
        ]

    def fields(self, collection: SourceCollection) -> dict[str, str]:
        """By name in PocketBase: the name here, for each field that records have here."""
        names = {"id": "id", **self.system(collection)}
        taken = {*RESERVED, FORMER_ID}
        for field in self.kept(collection):
            name = field.name
            while name in taken:
                name = f"{name}_"
            taken.add(name)
            names[field.name] = name
        return names

    def leads_to_users(self, field: Field) -> bool:
        """Whether the field is a relation whose ids are those of users here."""
        return field.type == "relation" and field.target in self.roles


def quoted(name: str) -> str:
    """The name as filters take it."""
    plain = re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) and name.lower() not in _WORDS
    return name if plain else "`" + name.replace("`", "``") + "`"


def _collection_names(found: Sequence[SourceCollection]) -> dict[str, str]:
    names: dict[str, str] = {}
    for each in found:
        name = each.name.lower()
        if not re.fullmatch(COLLECTION_NAME, name):
            name = f"c_{re.sub('[^a-z0-9_-]', '_', name)}"
        names[each.id] = _unused(name, names.values(), _LONGEST)
    return names


def _roles(names: dict[str, str]) -> dict[str, str]:
    """A role for each name. Collections may be called like the roles that everybody knows."""
    roles: dict[str, str] = {}
    for id_, name in names.items():
        wanted = f"{name}_users" if name in _KNOWN_ROLES else name
        roles[id_] = _unused(wanted, roles.values(), _LONGEST_ROLE)
    return roles


def _unused(wanted: str, taken: Collection[str], longest: int) -> str:
    number, free = 1, wanted[:longest]
    while free in taken:
        number += 1
        end = f"_{number}"
        free = f"{wanted[: longest - len(end)]}{end}"
    return free
