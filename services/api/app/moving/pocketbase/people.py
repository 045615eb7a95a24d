"""Users of PocketBase's auth collections, as lines of a dump."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from app.core.actor import ADMIN_ROLE
from app.moving.pocketbase.source import SUPERUSERS, quoted
from app.moving.pocketbase.values import time_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from app.db.session import Session
    from app.moving.pocketbase.names import Naming
    from app.moving.pocketbase.source import Source, SourceCollection

# A hash with a higher cost would take the processes that hash passwords seconds.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}")
_SHOWN = 10
_AT_A_TIME = 1000
_HERE = "SELECT id, email FROM listo.users WHERE email = ANY ($1)"
_LONGEST_EMAIL = 254
_LONGEST_NAME = 200
_MEMBER = "member"


@dataclass
class People:
    """The fate of the users: numbers, and the addresses that were left out."""

    users: int = 0
    superusers: int = 0
    disabled: int = 0
    without_email: int = 0
    unverified: int = 0
    superusers_left_out: int = 0
    clashing: int = 0
    # The first of these.
    clashes: list[str] = field(default_factory=list)


def lines(
    source: Source, naming: Naming, moment: datetime, *, with_superusers: bool
) -> tuple[People, Iterator[bytes]]:
    """The users in the order of their ids, and what became of them, once all lines were taken."""
    people = People()
    if not with_superusers:
        people.superusers_left_out = source.count(SUPERUSERS)
    return people, _lines(source, naming, moment, people, with_superusers=with_superusers)


async def keep_ids(
    session: Session, source: Source, naming: Naming, *, with_superusers: bool
) -> None:
    """Let users whose addresses are here already have the ids that they have here."""
    here: dict[UUID, UUID] = {}
    for some in _addresses(source, naming, with_superusers=with_superusers):
        rows = await session.fetch(_HERE, list(some))
        here |= {
            some[row["email"]]: UUID(int=row["id"].int)
            for row in rows
            if row["id"] != some[row["email"]]
        }
    source.ids.keep(here)


def _addresses(
    source: Source, naming: Naming, *, with_superusers: bool
) -> Iterator[dict[str, UUID]]:
    """The id that the user of each address would get, some at a time."""
    tables = _tables(source, naming, with_superusers=with_superusers)
    if not tables:
        return
    everybody, args = _everybody(tables)
    taken = _first_of_each(source, everybody, args)
    some: dict[str, UUID] = {}
    for row in source.query(f"SELECT email, uuid FROM ({everybody}) WHERE email <> ''", args):
        some[row["email"]] = UUID(taken.get(row["email"], row["uuid"]))
        if len(some) == _AT_A_TIME:
            yield some
            some = {}
    yield some


def may_log_in(collection: SourceCollection) -> tuple[bool, bool]:
    """Whether users of the collection may log in by a password: those that are verified, and the
    others."""
    rule = collection.options.get("authRule")
    by_password = collection.options.get("passwordAuth", {}).get("enabled", True)
    if rule is None or not by_password:
        return False, False
    if re.fullmatch(r"\s*verified\s*=\s*true\s*", rule):
        return True, False
    return (True, True) if not rule.strip() else (False, False)


def _lines(
    source: Source, naming: Naming, moment: datetime, people: People, *, with_superusers: bool
) -> Iterator[bytes]:
    tables = _tables(source, naming, with_superusers=with_superusers)
    if not tables:
        return
    everybody, args = _everybody(tables)
    taken = _first_of_each(source, everybody, args)
    for row in source.query(f"SELECT * FROM ({everybody}) ORDER BY uuid", args):
        collection = tables[row["place"]]
        email = row["email"]
        if not email or len(email) > _LONGEST_EMAIL:
            people.without_email += 1
        elif taken.get(email, row["uuid"]) != row["uuid"]:
            people.clashing += 1
            if len(people.clashes) < _SHOWN:
                people.clashes.append(f"{email} of {collection.name}")
        else:
            yield _line(row, collection, naming, moment, people)


def _tables(source: Source, naming: Naming, *, with_superusers: bool) -> list[SourceCollection]:
    found = [each for each in source.collections if each.name == SUPERUSERS and with_superusers]
    return found + [each for each in naming.taken if each.is_auth]


def _everybody(tables: list[SourceCollection]) -> tuple[str, list[str]]:
    """SQL of all users, and its values."""
    sql = " UNION ALL ".join(_select(number, each) for number, each in enumerate(tables))
    return sql, [each.id for each in tables]


def _select(place: int, collection: SourceCollection) -> str:
    columns = {each.name for each in collection.fields}
    chosen = ", ".join(
        quoted(name) if name in columns else f"NULL AS {quoted(name)}"
        for name in ("password", "verified", "name", "created", "updated")
    )
    return (
        f"SELECT {place} AS place, id AS former, listo_id(?, id) AS uuid,"
        f" listo_lower(trim(email)) AS email, {chosen} FROM {quoted(collection.name)}"
    )


def _first_of_each(source: Source, everybody: str, args: list[str]) -> dict[str, str]:
    """The user that gets an address which several have: of the first collection, the oldest."""
    doubled = "SELECT email FROM everybody WHERE email <> '' GROUP BY email HAVING count(*) > 1"
    rows = source.query(
        f"WITH everybody AS ({everybody}) SELECT email, uuid FROM everybody"
        f" WHERE email IN ({doubled}) ORDER BY place DESC, created DESC, former DESC",
        args,
    )
    return {row["email"]: row["uuid"] for row in rows}


def _line(
    row: dict[str, Any],
    collection: SourceCollection,
    naming: Naming,
    moment: datetime,
    people: People,
) -> bytes:
    is_superuser = collection.name == SUPERUSERS
    verified, others = (True, True) if is_superuser else may_log_in(collection)
    allowed = verified if row["verified"] else others
    hashed = row["password"] if _BCRYPT.fullmatch(row["password"] or "") else None
    now = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    created = time_of(row["created"]) or now
    enabled = allowed and hashed is not None
    people.users += not is_superuser
    people.superusers += is_superuser
    people.disabled += not enabled
    people.unverified += not is_superuser and not row["verified"]
    name = row["name"] if isinstance(row["name"], str) else ""
    roles = {_MEMBER, ADMIN_ROLE if is_superuser else naming.roles[collection.id]}
    return (
        orjson.dumps(
            {
                "id": row["uuid"],
                "email": row["email"],
                "name": name[:_LONGEST_NAME].replace("\0", "") or None,
                "roles": sorted(roles),
                "password_hash": hashed,
                "disabled_at": None if enabled else now,
                "created_at": created,
                "updated_at": time_of(row["updated"]) or created,
            }
        )
        + b"\n"
    )
