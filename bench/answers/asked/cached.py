"""Cached lists: hits, misses and tags, before and after each write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.answers.asked.definitions import COLLECTIONS, MEMBERS
from bench.answers.asker import query

if TYPE_CHECKING:
    from bench.answers.asker import Asker

LISTED = "/collections/listed/records"


def ask(ask: Asker) -> None:
    for number in range(5):
        ask("POST", LISTED, {"n": number}, by="ada")
    for caller in ("", "", "ada", "ada", "bob", "admin"):
        _lists(ask, caller)
    made = ask("POST", LISTED, {"n": 5}, by="bob")
    _lists(ask, "ada")
    for change in ({"n": 6}, {"n": 6}):
        ask("PATCH", f"{LISTED}/{made.id}", change, by="bob")
        _lists(ask, "ada")
    ask("DELETE", f"{LISTED}/{made.id}", by="bob")
    _lists(ask, "ada")
    # This rule tells callers apart.
    own = {**COLLECTIONS["listed"], "rules": {**MEMBERS, "list": "owner = @user.id"}}
    ask("PUT", "/collections/listed", own, by="admin")
    for caller in ("", "ada", "bob", "bob", "admin"):
        _lists(ask, caller)
    ask("PUT", "/collections/listed", {**own, "cache": None}, by="admin")
    _lists(ask, "ada")
    ask("PUT", "/collections/listed", COLLECTIONS["listed"], by="admin")
    _lists(ask, "ada")


def _lists(ask: Asker, caller: str) -> None:
    found = ask("GET", query(LISTED, limit=3, sort="-n", count="exact"), by=caller)
    known = [("If-None-Match", found.field("ETag"))]
    ask("GET", query(LISTED, limit=3, sort="-n", count="exact"), by=caller, fields=known)
    ask("GET", query(LISTED, limit=3, sort="-n", cursor=found.get("next")), by=caller)
    ask("HEAD", query(LISTED, filter="n > 2"), by=caller)
