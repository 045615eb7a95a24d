"""Filters: which of 60 records they choose, and the hints for wrong filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.answers.asked.lists import SHELVED
from bench.answers.asker import query
from bench.answers.chance import Chance

if TYPE_CHECKING:
    from bench.answers.asker import Asker

GOOD = (
    'title = "a"', 'title != "a"', "size >= 3 and size < 7", "size in [1, 2, 3]", "size in (1, 2)",
    'tags has "a"', 'not tags has "a"', "tags not has 1", 'title like "a%"', 'title ilike "A_"',
    "note is null", "note is not null", "note = null", "note != null", "size = 1.0", "size = 1e0",
    "SIZE = 1", "size = 1 OR NOT size = 2", "owner = @user.id", "@user.id is null",
    "@user.id is not null", '@user.roles has "member"', "title in @user.roles", "version = 1",
    'created_at > "2001-01-01T00:00:00Z"', "created_at = updated_at", "`a.b` = 1", "`not` = true",
    'meta.kind = "a"', "meta = meta", "either = 1", 'either = "1"', "either = true", "flag",
    'at = "2023-08-06T00:00:00Z"', 'span = "PT24H"', 'day >= "2000-01-01"', "size = size",
    "size > ratio", 'key = "9F3C8B52-6F0E-4D7A-9A39-2F6A1D3E5C70"', "tags.0 = 1", "other.deep = 1",
    'seen has "2023-08-06T00:00:00Z"', "((((size = 1))))", "size\n=\n1", "tags in tags",
)  # fmt: skip
BAD = (
    "a", "=", "size", "size =", "size == 1", "size = 1 && flag = true", "size <> 1", "!flag",
    "title = 'a'", 'title = "a', "`title = 1", "size = 1)", "(size = 1", "size = 1 size = 2",
    "size in 1", "size in [1,]", "size in []", "size in [[1]]", "title like 1", 'title like "\\\\"',
    "title > true", "tags > 1", "size > [1]", "titel = 1", "sise > 1", "created_at > 5",
    'created_at > "2023-01-01"', 'created_at > "2023-01-01T00:00:00 02:00"', 'id = "x"', "id > 5",
    'version = "1"', "version = 99999999999999999999", 'owner < "x"', 'owner like "x"',
    "created_at = at", "id = key", "@user.name = 1", "@user.roles = 1", "size = @user.roles",
    'at > "2023-08-06"', 'at > "2023-08-06T00:00:00 02:00"', 'day = "2023-02-30"', 'span = "P"',
    "at = day", "size = 1e999", "size = " + "9" * 401, "size = 01", 'title = "\\u0000"',
    'title = "\\ud800"', 'title = "\\x"', "not " * 21 + "size = 1", "(" * 21 + "size = 1",
    " or ".join(["size = 1"] * 101), "size in [" + "1," * 500 + "1]", "x" * 4097,
    ".".join(["a"] * 65) + " = 1", "id.x = 1", "size is 1", "size isnull", "size not = 1",
    "1 = size", "null = null", "size = 1 -- none", "size = 1; drop table x", "and", "size has",
    "\0", "size ¬ 1",
)  # fmt: skip
BY_CHANCE = 150


def ask(ask: Asker) -> None:
    chance = Chance(ask.random)
    callers = ("", "ada", "bob", "admin")
    for number, text in enumerate(GOOD):
        ask("GET", query(SHELVED, filter=text, fields="size"), by=callers[number % 4])
    for text in BAD:
        ask("GET", query(SHELVED, filter=text, limit=2))
    for number in range(BY_CHANCE):
        given: dict[str, object] = {"filter": chance.filter(), "limit": 20, "sort": chance.sort()}
        if number % 3 == 0:
            given["fields"] = chance.fields()
        if number % 5 == 0:
            given["count"] = ask.random.choice(("estimated", "exact"))
        ask("GET", query(SHELVED, **given), by=callers[number % 4])
    for _ in range(BY_CHANCE // 2):
        ask("GET", query(SHELVED, filter=chance.slip(), limit=2, fields="size"))
    # The schema of books takes no other fields.
    for text in ("yaer = 1", "nothing = 1", 'secret = "x"', "year > 1800", "author.name = 1",
                 "author.nme = 1", "editors.0 = 1", 'tags has "sea"'):  # fmt: skip
        ask("GET", query("/collections/books/records", filter=text))
        ask("GET", query("/collections/books/records", sort=text.partition(" ")[0]))
        ask("GET", query("/collections/books/records", fields=text.partition(" ")[0]))
