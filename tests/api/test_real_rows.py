"""Real rows over HTTP: filters against plain Python, and walks that meet every record once.

`make test-rows` uses 6,000 rows; the suite uses fewer.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.sort import parse_sort
from examples.demo.sources import COLLECTIONS, characters
from fixtures.filter_oracle import Asker, Record, matches, sort_order

if TYPE_CHECKING:
    import httpx

ROWS = int(os.environ.get("ROWS", "400"))
PATH = "/collections/characters/records"
FIELDS = Fields(COLLECTIONS["characters"]["schema"])

FILTERS = [
    "code = 65", "code != 65", "code > 1000", "code >= 1000", "code < 200", "code <= 200",
    "code in [65, 66, 9999999]", "not code in [65, 66]", 'category in ["Lu", "Nd"]',
    'name like "LATIN%"', 'name like "%LETTER _"', 'not name like "LATIN%"',
    'name ilike "latin%a"',
    'words has "letter"', 'not words has "letter"', "words has 5", "numeric is null",
    "numeric is not null",
    "numeric = 0.5", "numeric > 0.5", "numeric <= 1", "not numeric > 0.5",
    "mirrored = true", "mirrored != true", 'char = "é"', 'char > "z"', 'char < "A"',
    'category = "Lu" and (code > 200 or words has "capital")',
    'not (category = "Lu" or code > 300)',
    'name > "M" and name < "N"', "version = 1", 'id != "01a00000-0000-7000-8000-000000000000"',
    'created_at > "2020-01-01T00:00:00Z"', "owner is not null", "owner = @user.id",
    "code = numeric",
    "code > numeric", "char != name",
]  # fmt: skip
SORTS = ["", "numeric", "category,-code", "mirrored,numeric,char", "words", "-created_at,name"]


@pytest.fixture(scope="module")
def rows(admin: httpx.Client) -> list[Record]:
    assert admin.put("/collections/characters", json=COLLECTIONS["characters"]).is_success
    found = list(islice(characters(), ROWS))
    for start in range(0, ROWS, 1000):
        operations = [{"op": "create", "data": row} for row in found[start : start + 1000]]
        assert admin.post(f"{PATH}:batch", json={"operations": operations}).is_success
    return [record_of(item) for item in everything(admin, limit=500)]


def record_of(item: dict[str, Any]) -> Record:
    data = {key: value for key, value in item.items() if key not in (
        "id", "version", "created_at", "updated_at", "owner")}  # fmt: skip
    return Record(
        id=UUID(item["id"]),
        version=item["version"],
        created_at=datetime.fromisoformat(item["created_at"]),
        updated_at=datetime.fromisoformat(item["updated_at"]),
        owner=UUID(item["owner"]) if item["owner"] else None,
        text=json.dumps(data),
    )


def everything(client: httpx.Client, **parameters: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(PATH, params={**parameters, **cursor}).json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_keeps_what_python_keeps(
    admin: httpx.Client, rows: list[Record], text: str
) -> None:
    me = Asker(UUID(admin.get("/auth/me").json()["id"]), ("admin", "member"))
    expected = [str(row.id) for row in rows if matches(parse_filter(text), row, me)]
    items = everything(admin, filter=text, limit=500, fields="id", sort="id")
    assert [item["id"] for item in items] == expected
    total = admin.get(PATH, params={"filter": text, "count": "exact", "limit": 1}).json()["total"]
    assert total == len(expected)


@pytest.mark.parametrize("limit", [1, 7, 500])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", SORTS)
def test_a_walk_meets_every_row_once(
    admin: httpx.Client, rows: list[Record], sort: str, limit: int, *, descending: bool
) -> None:
    if descending:
        flipped = [key[1:] if key.startswith("-") else f"-{key}" for key in sort.split(",") if key]
        sort = ",".join(flipped) or "-id"
    keys = parse_sort(sort, FIELDS)
    expected = [str(row.id) for row in sorted(rows, key=sort_order(keys))]
    parameters: dict[str, Any] = {"limit": limit, "fields": "id"}
    if sort:
        parameters["sort"] = sort
    forwards: list[str] = []
    page = admin.get(PATH, params=parameters).json()
    forwards += [item["id"] for item in page["items"]]
    while page["next"]:
        page = admin.get(PATH, params={**parameters, "cursor": page["next"]}).json()
        forwards += [item["id"] for item in page["items"]]
    assert forwards == expected
    backwards = [item["id"] for item in reversed(page["items"])]
    while page["prev"]:
        page = admin.get(PATH, params={**parameters, "cursor": page["prev"]}).json()
        backwards += [item["id"] for item in reversed(page["items"])]
    assert backwards[::-1] == expected
