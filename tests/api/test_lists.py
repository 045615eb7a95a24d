"""Lists: filters, sorts, cursors, sparse fields and counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

import pytest

if TYPE_CHECKING:
    import httpx

PATH = "/collections/things/records"
SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": ["integer", "null"]},
        "s": {"type": "string"},
        "tags": {"type": "array"},
        "mixed": {},
    },
}
MIXED: list[Any] = [None, "", "a", "Z", "é", -1, 0, 0.5, 10**20, True, False, [], [1], {}, {"a": 1}]


@pytest.fixture(scope="module", autouse=True)
def things(admin: httpx.Client) -> None:
    body = {"schema": SCHEMA, "rules": {"list": "", "create": ""}, "indexes": ["n", ["s", "-n"]]}
    assert admin.put("/collections/things", json=body).is_success
    records: list[dict[str, Any]] = []
    for number in range(60):
        record: dict[str, Any] = {"s": "abc"[number % 3], "tags": ["x", number % 4]}
        if number % 5:
            record["n"] = None if number % 7 == 0 else number % 10
        if number % 4:
            record["mixed"] = MIXED[number % len(MIXED)]
        records.append(record)
    operations = [{"op": "create", "data": record} for record in records]
    assert admin.post(f"{PATH}:batch", json={"operations": operations}).is_success


def page(client: httpx.Client, **parameters: Any) -> dict[str, Any]:
    response = client.get(PATH, params=parameters)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def walk(client: httpx.Client, limit: int, direction: str, **parameters: Any) -> list[str]:
    """The ids of all records, page by page; backwards from the end if `direction` is prev."""
    found = page(client, limit=limit, **parameters)
    pages = [found]
    while found["next"]:
        found = page(client, limit=limit, cursor=found["next"], **parameters)
        pages.append(found)
    if direction == "prev":
        pages = [found]
        while found["prev"]:
            found = page(client, limit=limit, cursor=found["prev"], **parameters)
            pages.append(found)
        pages.reverse()
    return [item["id"] for each in pages for item in each["items"]]


@pytest.mark.parametrize("limit", [1, 7, 500])
@pytest.mark.parametrize("direction", ["next", "prev"])
@pytest.mark.parametrize(
    "sort",
    ["", "-id", "n", "-n", "s,-n", "-s,-n", "mixed", "-mixed", "s,mixed,-created_at", "owner"],
)
def test_a_walk_meets_every_record_once_in_order(
    anonymous: httpx.Client, sort: str, limit: int, direction: str
) -> None:
    parameters = {"sort": sort} if sort else {}
    whole = [item["id"] for item in page(anonymous, limit=500, **parameters)["items"]]
    assert len(set(whole)) == 60
    assert walk(anonymous, limit, direction, **parameters) == whole


def test_null_and_absent_sort_first_and_count_as_one(anonymous: httpx.Client) -> None:
    items = page(anonymous, sort="n", limit=500)["items"]
    values = [item.get("n") for item in items]
    nulls = values.count(None)
    assert values[:nulls] == [None] * nulls
    assert values[nulls:] == sorted(value for value in values if value is not None)
    ids = [item["id"] for item in items[:nulls]]
    assert ids == sorted(ids)


def test_inserts_do_not_disturb_a_walk(anonymous: httpx.Client, admin: httpx.Client) -> None:
    before = {item["id"] for item in page(anonymous, limit=500)["items"]}
    seen: list[str] = []
    found = page(anonymous, limit=9, sort="s,-n")
    added = []
    while True:
        seen += [item["id"] for item in found["items"]]
        added.append(admin.post(PATH, json={"s": "a", "n": 10**6}).json()["id"])
        added.append(admin.post(PATH, json={"s": "b"}).json()["id"])
        if not found["next"]:
            break
        found = page(anonymous, limit=9, sort="s,-n", cursor=found["next"])
    for id_ in added:
        admin.delete(f"{PATH}/{id_}")
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_links_lead_to_the_pages_around(anonymous: httpx.Client) -> None:
    first = anonymous.get(PATH, params={"limit": 10, "filter": 'tags has "x"', "sort": "-n"})
    assert first.json()["prev"] is None
    target = first.links["next"]["url"]
    assert parse_qs(urlparse(target).query)["filter"] == ['tags has "x"']
    second = anonymous.get(target)
    assert second.status_code == 200
    back = anonymous.get(second.links["prev"]["url"])
    assert back.json()["items"] == first.json()["items"]


def test_links_too_long_for_proxies_are_in_the_body_alone(anonymous: httpx.Client) -> None:
    asked: dict[str, Any] = {"limit": 10, "filter": 'tags has "x"' + " " * 4000, "sort": "-n"}
    first = anonymous.get(PATH, params=asked)
    second = anonymous.get(PATH, params={**asked, "cursor": first.json()["next"]})
    assert (first.links, second.links) == ({}, {})
    back = anonymous.get(PATH, params={**asked, "cursor": second.json()["prev"]})
    assert back.json()["items"] == first.json()["items"]


def test_a_cursor_is_good_for_its_own_list_only(
    anonymous: httpx.Client, ada: httpx.Client, admin: httpx.Client
) -> None:
    cursor = page(anonymous, limit=5, sort="n", filter="n > 1")["next"]
    good = {"limit": 3, "sort": "n", "filter": "n > 1", "cursor": cursor}
    assert anonymous.get(PATH, params=good).status_code == 200
    admin.put("/collections/others", json={"schema": SCHEMA, "rules": {"list": ""}})
    for path, changes, client in [
        (PATH, {"sort": "-n"}, anonymous),
        (PATH, {"filter": "n > 2"}, anonymous),
        (PATH, {}, ada),
        (PATH, {"cursor": cursor[:-2] + "AA"}, anonymous),
        (PATH, {"cursor": cursor + "A"}, anonymous),
        (PATH, {"cursor": ""}, anonymous),
        ("/collections/others/records", {}, anonymous),
    ]:
        response = client.get(path, params={**good, **changes})
        assert response.status_code == 400, changes
        assert response.json()["code"] == "invalid_cursor"


def test_a_list_has_the_fields_that_were_asked_for(anonymous: httpx.Client) -> None:
    items = page(anonymous, fields="s,version,n", limit=60)["items"]
    assert all(
        {"id", "s", "version"} <= item.keys() <= {"id", "s", "version", "n"} for item in items
    )
    assert any("n" not in item for item in items)
    whole = page(anonymous, limit=60)["items"]
    assert [item.get("n") for item in items] == [item.get("n") for item in whole]


def test_counts_are_exact_or_estimated(anonymous: httpx.Client) -> None:
    assert "total" not in page(anonymous)
    exact = page(anonymous, filter='s = "a"', count="exact", limit=5)
    assert exact["total"] == 20
    assert page(anonymous, filter='s = "nope"', count="exact")["total"] == 0
    assert page(anonymous, filter='s = "nope"', count="exact")["items"] == []
    estimated = page(anonymous, count="estimated")["total"]
    assert isinstance(estimated, int)
    assert estimated > 0


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"limit": "0"}, "invalid_parameter"),
        ({"limit": "501"}, "invalid_parameter"),
        ({"limit": "x"}, "invalid_parameter"),
        ({"limit": "-1"}, "invalid_parameter"),
        ({"limit": "1" * 30}, "invalid_parameter"),
        ({"limit": "٣"}, "invalid_parameter"),
        ({"count": "all"}, "invalid_parameter"),
        ({"unknown": "1"}, "invalid_parameter"),
        ({"limit": ["1", "2"]}, "invalid_parameter"),
        ({"filter": "n >"}, "invalid_filter"),
        ({"filter": "n > true"}, "invalid_filter"),
        ({"filter": 'created_at > "yesterday"'}, "invalid_filter"),
        ({"filter": 'owner = "me"'}, "invalid_filter"),
        ({"filter": "n = 1 " + "or n = 1 " * 101}, "invalid_filter"),
        ({"filter": "(" * 200 + "n = 1" + ")" * 200}, "invalid_filter"),
        ({"filter": "x" * 5000}, "invalid_filter"),
        ({"sort": "n,n"}, "invalid_sort"),
        ({"sort": "id.x"}, "invalid_sort"),
        ({"fields": "a.b"}, "invalid_parameter"),
        ({"fields": "a, b`"}, "invalid_parameter"),
        ({"fields": "a" * 1025}, "invalid_parameter"),
    ],
)
def test_wrong_parameters_are_refused(
    anonymous: httpx.Client, parameters: dict[str, Any], code: str
) -> None:
    response = anonymous.get(PATH, params=parameters)
    assert response.status_code == 400, response.text
    assert response.json()["code"] == code


def test_fields_have_at_most_1024_characters(anonymous: httpx.Client) -> None:
    assert anonymous.get(PATH, params={"fields": "a" * 1024}).status_code == 200
    response = anonymous.get(PATH, params={"fields": "a" * 1025})
    assert response.status_code == 400
    assert response.json()["position"] == 1024
    described = anonymous.get("/openapi.json").json()["paths"][PATH]["get"]["parameters"]
    longest = {each["name"]: each["schema"].get("maxLength") for each in described}
    assert longest["fields"] == 1024


def test_a_filters_fault_has_its_position(anonymous: httpx.Client) -> None:
    response = anonymous.get(PATH, params={"filter": 'n = 1 and s == "a"'})
    assert response.json()["position"] == 13


def test_declared_indexes_are_used(server: Any, admin: httpx.Client) -> None:
    import asyncio

    import asyncpg

    from app.core.actor import SYSTEM
    from app.records.lists.listing import Query, plan_of

    schema = {"type": "object", "properties": {"k": {"type": "integer"}, "t": {"type": "array"}}}
    body = {
        "schema": schema,
        "rules": {"list": ""},
        "indexes": ["k", "t", ["k", "-created_at"], "owner"],
    }
    assert admin.put("/collections/planned", json=body).is_success
    url = server.settings.database_url.get_secret_value()

    async def plans() -> list[str]:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO records.planned (id, data) SELECT gen_random_uuid(),"
            " jsonb_build_object('k', i % 1000, 't', jsonb_build_array(i)) FROM"
            " generate_series(1, 20000) i"
        )
        await connection.execute("ANALYZE records.planned")
        from app.collections import repository

        collection = await repository.get(connection, "planned")
        assert collection is not None
        texts = []
        for query in (
            Query(filter="k = 7"),
            Query(filter="k > 990"),
            Query(filter="k < 5"),
            Query(filter="k in [1, 2]"),
            Query(filter="t has 77"),
            Query(sort="k", limit=10),
            Query(sort="-k", limit=10),
            Query(filter="k = 7", sort="-created_at", limit=5),
            Query(filter='owner = "01a20d0e-0164-7bc7-83e3-78cb407831e7"'),
        ):
            sql, params = plan_of(collection, SYSTEM, query).page(query, None)
            rows = await connection.fetch(f"EXPLAIN {sql}", *params.bind(None, ()))
            texts.append("\n".join(row[0] for row in rows))
        await connection.close()
        return texts

    for text in asyncio.run(plans()):
        assert "planned$" in text, text
        assert "Seq Scan" not in text, text


def test_numbers_in_a_page_are_exact(admin: httpx.Client) -> None:
    number = "1" * 40 + ".25"
    response = admin.post(
        PATH, content=f'{{"mixed": {number}}}', headers={"Content-Type": "application/json"}
    )
    id_ = response.json()["id"]
    text = admin.get(PATH, params={"filter": f"mixed = {number}"}).text
    assert number in text
    assert admin.delete(f"{PATH}/{id_}").status_code == 204
    assert json.loads(text)["items"][0]["id"] == id_


def test_values_too_long_for_a_url_can_be_sorted_by(admin: httpx.Client) -> None:
    admin.put("/collections/long", json={"schema": {}, "rules": {"list": ""}})
    path = "/collections/long/records"
    texts = sorted(f"{letter}" * 9000 for letter in "abcdef")
    ids = [admin.post(path, json={"t": text}).json()["id"] for text in texts]
    found = admin.get(path, params={"sort": "t", "limit": 2, "fields": "id"}).json()
    seen = [item["id"] for item in found["items"]]
    while found["next"]:
        parameters = {"sort": "t", "limit": 2, "fields": "id", "cursor": found["next"]}
        found = admin.get(path, params=parameters).json()
        seen += [item["id"] for item in found["items"]]
    assert seen == ids
    first = admin.get(path, params={"sort": "t", "limit": 2}).json()
    admin.patch(f"{path}/{ids[1]}", json={"t": "z"})
    lost = admin.get(path, params={"sort": "t", "limit": 2, "cursor": first["next"]})
    assert lost.status_code == 400
    assert lost.json()["code"] == "invalid_cursor"
