"""Lists: pages in both directions, sorts, counts, fields, and parameters that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.answers.asked.definitions import MEMBERS, OPEN
from bench.answers.asker import MISSING, query
from bench.answers.chance import SHELF, Chance

if TYPE_CHECKING:
    from bench.answers.asker import Asker

SHELVED = "/collections/shelf/records"
INDEXES = ["size", ["title", "-size"], "-at", "tags", "day", "-ratio", ["flag", "created_at"]]
SORTS = (
    "", "size", "-size", "title,-size", "-at", "day", "span", "opens", "-either", "meta", "tags",
    "-created_at", "updated_at,id", "owner", "-version,title", "meta.kind,-meta.n", "`a.b`",
    "`not`,-size", "other.deep",
)  # fmt: skip
WRONG: tuple[str, ...] = (
    "limit=0", "limit=501", "limit=1e2", "limit=", "limit=%00", "limit=-1", "limit=٣", "offset=5",
    "limti=5", "limit=1&limit=2", "count=all", "count=", "Limit=1", "fields=", "fields=a,,",
    "fields=meta.kind", "fields=titel", "fields=%60a", "sort=,", "sort=a;drop%20table",
    "sort=titel", "sort=size,size", "sort=size,-size", "sort=id,size", "sort=--size", "sort=-",
    "sort=a,b,c,d,e,f", "sort=meta.", "sort=" + "a" * 1100,
    "fields=" + ",".join(f"f{n}" for n in range(51)),
    "fields=" + "a" * 1100, "cursor=x", "cursor=%00", "cursor=", "cursor=" + "A" * 200,
    "cursor=" + "A" * 9000, "&&", "=", "%ff=1", "filter=", "filter=%20", "filter=%ff",
)  # fmt: skip


def ask(ask: Asker) -> None:
    chance = Chance(ask.random)
    definition = {"schema": SHELF, "rules": OPEN, "indexes": INDEXES}
    ask("PUT", "/collections/shelf", definition, by="admin")
    shelved = [{"op": "create", "data": chance.record()} for _ in range(60)]
    for number, caller in enumerate(("ada", "bob", "")):
        operations = shelved[number * 20 : number * 20 + 20]
        ask("POST", f"{SHELVED}:batch", {"operations": operations}, by=caller)
    for sort in SORTS:
        _walk(ask, sort)
        for limit in (1, 500):
            ask("GET", query(SHELVED, sort=sort, limit=limit, fields="title,size"))
    for wrong in WRONG:
        ask("GET", f"{SHELVED}?{wrong}")
    for count in ("none", "estimated", "exact"):
        for more in ({}, {"filter": "size > 3"}, {"filter": "other = 5", "limit": 3}):
            ask("GET", query(SHELVED, count=count, fields="size", **more))
    # Even compressed this title is too long for an index.
    ask("POST", SHELVED, {"title": chance.noise(9000), "size": 1})
    _cursors(ask)
    _rules(ask)


def _walk(ask: Asker, sort: str) -> None:
    """Two pages forward, and a page back."""
    given = {"sort": sort, "limit": 7, "fields": "size"}
    page = ask("GET", query(SHELVED, **given), by="ada")
    for way in ("next", "next", "prev"):
        page = ask("GET", query(SHELVED, **given, cursor=page.get(way)), by="ada")


def _cursors(ask: Asker) -> None:
    """Cursors that come with other callers, parameters or collections."""
    given = {"sort": "-size", "limit": 5, "filter": "size > 0", "fields": "size"}
    cursor = ask("GET", query(SHELVED, **given), by="ada").get("next")
    ask("GET", query(SHELVED, **given, cursor=cursor), by="ada")
    ask("GET", query(SHELVED, **{**given, "limit": 3}, cursor=cursor), by="ada")
    for caller in ("bob", "", "admin"):
        ask("GET", query(SHELVED, **given, cursor=cursor), by=caller)
    for other in ({"sort": "size"}, {"filter": "size > 1"}, {"fields": "title"}):
        ask("GET", query(SHELVED, **{**given, **other}, cursor=cursor), by="ada")
    ask("GET", query("/collections/loose/records", cursor=cursor), by="ada")
    # This spoils the digest at the beginning of the cursor.
    spoiled = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    ask("GET", query(SHELVED, **given, cursor=spoiled), by="ada")
    # The cursor of a long title refers to its record.
    long = "/collections/loose/records"
    for letter in "ab":
        ask("POST", long, {"title": letter * 3000})
    given = {"sort": "-title", "limit": 1, "fields": "count"}
    page = ask("GET", query(long, **given))
    ask("GET", query(long, **given, cursor=page.get("next")))
    found = ask("GET", query(long, sort="-title", limit=1, fields="title"))
    ask("PATCH", f"{long}/{found.get('items', 0, 'id')}", {"title": "short"})
    ask("GET", query(long, **given, cursor=page.get("next")))


def _rules(ask: Asker) -> None:
    """Lists of each caller under each rule."""
    for caller in ("ada", "bob"):
        for number in range(3):
            body = {"n": number, "readers": ["bob"], "team": "member"}
            ask("POST", "/collections/own/records", body, by=caller)
    for caller in ("", "ada", "bob", "admin"):
        for collection in ("own", "closed", "members-only", "books", "choices", "nothing"):
            for count in ("none", "estimated", "exact"):
                target = f"/collections/{collection}/records"
                ask("GET", query(target, count=count, limit=2), by=caller)
    rules = (
        'readers has "bob"', "team in @user.roles", '@user.roles has "admin"', "@user.id is null",
        "not owner = @user.id", "n in [1, 2] or owner = @user.id", f'owner = "{MISSING}"', None,
    )  # fmt: skip
    for rule in rules:
        definition = {"schema": {}, "rules": {**MEMBERS, "list": rule, "read": rule}}
        ask("PUT", "/collections/own", definition, by="admin")
        for caller in ("", "ada", "bob", "admin"):
            ask("GET", query("/collections/own/records", fields="n", count="exact"), by=caller)
