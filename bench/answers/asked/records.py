"""Single records: each method for each caller, under each rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.answers.asker import MISSING

if TYPE_CHECKING:
    from bench.answers.asker import Asker

OWN_ID = "9f3c8b52-6f0e-4d7a-9a39-2f6a1d3e5c70"
CREATED: tuple[tuple[str, Any], ...] = (
    ("books", {"title": "Moby Dick", "year": 1851, "price": 12.50, "tags": ["sea", "whale"]}),
    ("books", {"title": "Ulysses", "at": "2023-08-06T02:00:00+02:00", "day": "1904-06-16",
               "author": {"name": "Joyce", "mail": "james@example.com"}, "secret": "hidden"}),
    ("books", {"title": "", "yaer": 1, "price": 1.005, "tags": ["a", "a"], "state": "lost"}),
    ("books", {"year": "1851", "at": "yesterday", "day": "1904-13-01", "span": "P", "key": "x"}),
    ("books", {"title": "x", "author": {"mail": "no"}, "editors": [{}, 5], "home": "not a uri"}),
    ("books", {"title": "x", "stock": 5}),
    ("books", {"title": "x", "id": OWN_ID, "version": 3, "owner": None}),
    ("books", {}),
    ("books", {"title": "x" * 81, "year": 10**30}),
    ("loose", {"title": "one", "count": 1, "deep": {"a": [{"b": None}]}}),
    ("loose", {"títle": "é", "emoji 😀": "😀", "": 1, "a.b": 2, "it's": 3}),
    ("loose", {"count": 1.0, "zero": -0.0, "large": 2**70}),
    ("own", {"n": 1, "state": "kept"}),
    ("own", {"n": 2}),
    ("closed", {"n": 1}),
    ("members-only", {"n": 1}),
    ("choices", {"a": 1}),
    ("choices", {"b": 7, "c": 1, "x_a": "y"}),
    ("choices", {"b": 1}),
    ("choices", {"a": 2, "z": "text"}),
    ("nothing", {"n": 1}),
)  # fmt: skip
PATCHES: tuple[Any, ...] = (
    {"year": 1852}, {"year": 1852}, {"year": None}, {"author": {"name": "A", "mail": None}},
    {"author": {"mail": "no"}}, {"title": None}, {"tags": []}, {"tags": None, "price": 3},
    {"secret": "other"}, {"stock": 3}, {"id": None}, {"nothing": 1}, {}, [], "x",
)  # fmt: skip

REPLACED: tuple[Any, ...] = (
    {"title": "New", "year": 1}, {"title": "New", "year": 1}, {}, {"title": 5}, [],
)  # fmt: skip


def ask(ask: Asker) -> None:
    for collection, body in CREATED:
        for caller in ("", "ada", "admin"):
            made = ask("POST", f"/collections/{collection}/records", body, by=caller)
            if made.id != MISSING:
                ask.handed_on[f"{collection} of {caller or 'nobody'}"] = made.id
    _reads(ask)
    _patches(ask)
    _replacements(ask)
    _deletions(ask)


def record(ask: Asker, collection: str, of: str) -> str:
    """The path of a record that this caller created last."""
    id_ = ask.handed_on.get(f"{collection} of {of}", MISSING)
    return f"/collections/{collection}/records/{id_}"


def _reads(ask: Asker) -> None:
    for collection in ("books", "own", "closed", "members-only"):
        for owner in ("ada", "admin"):
            for caller in ("", "ada", "bob", "admin"):
                ask("GET", record(ask, collection, owner), by=caller)
    for id_ in ("1", MISSING, MISSING.upper(), f"%7B{MISSING}%7D", "%00", "..%2f..", "", "x/y"):
        for collection in ("books", "nothing"):
            ask("GET", f"/collections/{collection}/records/{id_}")


def _patches(ask: Asker) -> None:
    for body in PATCHES:
        ask("PATCH", record(ask, "books", "ada"), body, by="ada")
    merge = [("Content-Type", "application/merge-patch+json; charset=utf-8")]
    ask("PATCH", record(ask, "books", "ada"), {"year": 1}, by="admin", fields=merge)
    ask("PATCH", record(ask, "books", "admin"), {"stock": 4}, by="admin")
    for caller in ("", "ada", "bob", "admin"):
        for collection in ("own", "closed", "members-only"):
            ask("PATCH", record(ask, collection, "ada"), {"n": 5}, by=caller)
    ask("PATCH", f"/collections/books/records/{MISSING}", {"year": 1})
    ask("PATCH", "/collections/books/records/1", {"year": 1})


def _replacements(ask: Asker) -> None:
    for body in REPLACED:
        ask("PUT", record(ask, "books", "ada"), body, by="ada")
    for caller in ("", "ada", "bob", "admin"):
        ask("PUT", record(ask, "own", "ada"), {"n": 6}, by=caller)
    mine = f"/collections/books/records/{OWN_ID}"
    only_new = [("If-None-Match", "*")]
    ask("PUT", mine, {"title": "Mine"}, by="ada")
    ask("PUT", mine, {"title": "Mine"}, by="ada", fields=only_new)
    ask("PUT", mine, {"title": "Mine"}, by="ada", fields=only_new)
    ask("PUT", mine.upper().replace("/COLLECTIONS/BOOKS/RECORDS", "/collections/books/records"),
        {"title": "Mine too"}, by="bob")  # fmt: skip
    ask("GET", mine)
    for id_ in ("1", "%7B%7D", MISSING.replace("-", "")):
        ask("PUT", f"/collections/books/records/{id_}", {"title": "x"})
    ask("PUT", f"/collections/closed/records/{OWN_ID}", {"n": 1}, fields=only_new)


def _deletions(ask: Asker) -> None:
    for caller in ("", "bob", "ada", "admin", "admin"):
        for collection in ("own", "members-only"):
            ask("DELETE", record(ask, collection, "ada"), by=caller)
    mine = f"/collections/books/records/{OWN_ID}"
    ask("DELETE", mine)
    ask("DELETE", mine)
    ask("GET", mine)
    ask("DELETE", "/collections/books/records/1")
    ask("DELETE", f"/collections/nothing/records/{OWN_ID}")
