"""Strings of a format are compared, sorted and paged by the values that they represent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.collections.declared_index import Index, IndexSpec
from app.filters.fields import Fields
from fixtures.cluster import execute
from fixtures.indexes import existing, run_worker, states

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

STAMP = {"type": "string", "format": "date-time"}
# In the order of their values; strings of one inner list are equal.
IN_ORDER = {
    "date-time": [
        ["0000-01-01T00:00:00+00:01"],
        ["0000-01-01T00:00:00Z"],
        ["2016-12-31T23:59:59.999Z"],
        ["2016-12-31T23:59:60Z", "2016-12-31T18:59:60-05:00"],
        ["2017-01-01T00:00:00Z"],
        ["2023-08-06T02:00:00+02:00", "2023-08-06t00:00:00.000z"],
        ["2023-08-06T00:30:00Z"],
        ["2023-08-06T00:30:00.0000001Z"],
        ["2023-08-06T00:30:00.00000012Z"],
        ["2023-08-06T00:30:00.500Z", "2023-08-06T00:30:00.5-00:00"],
        ["9999-12-31T23:59:59-23:59"],
    ],
    "date": [["0000-02-29"], ["1999-12-31"], ["2000-01-01"]],
    "time": [["01:30:00+01:00", "00:30:00Z"], ["12:00:00Z"], ["01:00:00+02:00", "23:00:00Z"]],
    "uuid": [["0198A5D2-7c3e-7b4a-9f10-3c5d8e2b6a71", "0198a5d2-7c3e-7b4a-9f10-3c5d8e2b6a71"],
             ["A198a5d2-7c3e-7b4a-9f10-3c5d8e2b6a71"],
             ["b198a5d2-7c3e-7b4a-9f10-3c5d8e2b6a71"]],
    "duration": [["PT9S"], ["PT60S", "PT1M"], ["P1D", "PT24H"], ["P7D", "P1W"], ["P30D"], ["P1M"],
                 ["P31D"], ["P1Y", "P12M"]],
}  # fmt: skip


def define(admin: httpx.Client, name: str, schema: dict[str, Any], **other: Any) -> str:
    definition = {"schema": {"type": "object", "properties": schema}, **other}
    response = admin.put(f"/collections/{name}", json=definition)
    assert response.is_success, response.text
    return f"/collections/{name}/records"


def create(client: httpx.Client, path: str, *records: dict[str, Any]) -> None:
    for record in records:
        response = client.post(path, json=record)
        assert response.status_code == 201, response.text


def walked(client: httpx.Client, path: str, key: str, **parameters: Any) -> list[Any]:
    """The values of all pages, also checked on the way back."""
    parameters = {"limit": 2, **parameters}
    page = client.get(path, params=parameters).json()
    pages = [page]
    while page["next"]:
        page = client.get(path, params={**parameters, "cursor": page["next"]}).json()
        pages.append(page)
    for before, after in zip(pages[-2::-1], pages[:0:-1], strict=True):
        back = client.get(path, params={**parameters, "cursor": after["prev"]}).json()
        assert back["items"] == before["items"]
    return [item.get(key) for page in pages for item in page["items"]]


@pytest.mark.parametrize("name", IN_ORDER)
@pytest.mark.parametrize("declared", [["v"], []])
def test_values_have_an_order_and_a_value_has_many_spellings(
    admin: httpx.Client, name: str, declared: list[str]
) -> None:
    schema = {"v": {"type": "string", "format": name}}
    path = define(admin, f"ordered-{name}-{len(declared)}", schema, indexes=declared)
    groups = IN_ORDER[name]
    create(admin, path, *({"v": text} for group in reversed(groups) for text in group), {})

    def kept(text: str) -> list[str]:
        return sorted(walked(admin, path, "v", filter=text, limit=100))

    def flat(some: list[list[str]]) -> list[str]:
        return sorted(text for group in some for text in group)

    listed = walked(admin, path, "v", sort="v")
    assert [listed[0], flat(groups)] == [None, sorted(listed[1:])]
    places = [next(n for n, group in enumerate(groups) if text in group) for text in listed[1:]]
    assert places == sorted(places)
    assert walked(admin, path, "v", sort="-v")[::-1] == listed
    for number, group in enumerate(groups):
        for text in group:
            assert kept(f'v = "{text}"') == sorted(group)
            assert kept(f'v in ["{text}", null]  and v is not null') == sorted(group)
            assert kept(f'v < "{text}"') == flat(groups[:number])
            assert kept(f'v >= "{text}"') == flat(groups[number:])
    # A record shows its values as they were written.
    assert flat(groups) == kept("v is not null")


def test_times_are_compared_as_moments(admin: httpx.Client) -> None:
    path = define(admin, "moments", {"at": STAMP})
    earlier, later = "2023-08-06T02:00:00+02:00", "2023-08-06T00:30:00.500Z"
    create(admin, path, {"at": earlier}, {"at": later})
    found = admin.get(path, params={"filter": 'at > "2023-08-06T00:30:00Z"'}).json()["items"]
    assert [item["at"] for item in found] == [later]


def test_rules_go_by_the_value(admin: httpx.Client, anonymous: httpx.Client) -> None:
    path = define(
        admin, "embargoed", {"at": STAMP}, rules={"list": 'at <= "2026-01-01T00:00:00Z"'}
    )  # fmt: skip
    create(admin, path, {"at": "2025-12-31T23:59:59-05:00"}, {"at": "2026-01-01T01:00:00+01:00"})
    assert walked(anonymous, path, "at") == ["2026-01-01T01:00:00+01:00"]


def test_elements_of_lists_and_other_fields_are_read_alike(admin: httpx.Client) -> None:
    schema = {"at": STAMP, "seen": {"type": "array", "items": STAMP}, "note": {"type": "string"}}
    path = define(admin, "sightings", schema, indexes=["seen"])
    seen = ["2023-08-06T00:00:00.0Z", "2020-01-01T00:00:00Z"]
    create(
        admin, path,
        {"n": 1, "at": "2023-08-06T02:00:00+02:00", "seen": seen},
        {"n": 2, "at": "2023-08-06T02:00:00Z", "seen": [], "note": "2023-08-06T03:00:00+01:00"},
        {"n": 3, "at": "2023-08-06T02:00:00Z", "note": "yesterday"},
    )  # fmt: skip
    for text, numbers in (
        ('seen has "2023-08-06T01:00:00+01:00"', [1]),
        ("seen has at", [1]),
        ("at in seen", [1]),
        ("at = note", [2]),
        ("at >= note", [2]),
        ('at like "%+02:00"', [1]),
        ("at > 5", []),
        ("not at = 5", [1, 2, 3]),
    ):
        assert walked(admin, path, "n", filter=text) == numbers, text


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ('at > "2023-08-06"', 5, 'Expected a date-time like "2026-01-31T12:00:00Z" at position 5'),
        ('at = ""', 5, "Expected a date-time"),
        ('at in [null, "2023-02-30T00:00:00Z"]', 13, "Expected a date-time"),
        ('seen has "x"', 9, "Expected a date-time"),
        ('at > "2023-08-06T00:30:00 02:00"', 5, "a + is %2B in a URL"),
        ('created_at > "2023-08-06T00:30:00 02:00"', 13, "a + is %2B in a URL"),
        ('day = "2023-8-6"', 6, "Expected a date"),
        ("day < at", 6, "A date cannot be compared with a date-time"),
        ('span > "P1.5D"', 7, "Expected a duration"),
        (f'span > "P{"9" * 16}D"', 7, "Expected a duration"),
    ],
)
def test_a_constant_that_is_no_value_of_the_format_is_refused(
    admin: httpx.Client, text: str, position: int, message: str
) -> None:
    schema = {
        "at": STAMP, "seen": {"type": "array", "items": STAMP},
        "day": {"type": "string", "format": "date"},
        "span": {"type": "string", "format": "duration"},
    }  # fmt: skip
    path = define(admin, "strict", schema)
    problem = admin.get(path, params={"filter": text})
    assert problem.status_code == 400
    assert problem.json()["code"] == "invalid_filter"
    assert problem.json()["position"] == position
    assert message in problem.json()["detail"]
    definition = {"schema": {"properties": schema}, "rules": {"list": text}}
    refused = admin.put("/collections/strict-too", json=definition)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/rules/list"


@pytest.mark.parametrize(
    "text", ["0000-01-0-T00:00:00Z", "2023-08-06T00:0-:00Z", "0-00-01-01T23:59:60Z", "2023-02-30T0"]
)
def test_a_text_that_only_looks_like_a_time_is_refused(admin: httpx.Client, text: str) -> None:
    path = define(admin, "lookalikes", {"at": STAMP})
    response = admin.post(path, json={"at": text})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "format")


def test_a_malformed_text_by_sql_is_as_null(database_url: str, admin: httpx.Client) -> None:
    path = define(admin, "tampered", {"at": STAMP}, indexes=["at"])
    create(admin, path, {"at": "2023-08-06T00:30:00Z"})
    execute(
        database_url,
        'INSERT INTO records."tampered" (id, data) SELECT gen_random_uuid(), jsonb_build_object('
        "'at', at) FROM unnest(ARRAY['soon', '2023-99-99T00:00:00+01:00', '']) AS at",
    )
    assert walked(admin, path, "at", sort="-at")[0] == "2023-08-06T00:30:00Z"
    for text, count in (("at is null", 3), ('at < "9999-01-01T00:00:00Z"', 1),
                        ('at > "0001-01-01T00:00:00Z"', 1)):  # fmt: skip
        assert len(walked(admin, path, "at", filter=text)) == count


def test_a_cursor_from_before_the_field_had_a_format_is_refused(admin: httpx.Client) -> None:
    path = define(admin, "promoted", {"at": {"type": "string"}})
    create(admin, path, *({"at": f"2023-08-06T00:30:0{number}Z"} for number in range(3)))
    cursor = admin.get(path, params={"sort": "at", "limit": 1}).json()["next"]
    define(admin, "promoted", {"at": STAMP})
    response = admin.get(path, params={"sort": "at", "limit": 1, "cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")


def test_indexes_by_text_are_replaced_after_an_upgrade(
    server: Server, database_url: str, admin: httpx.Client
) -> None:
    path = define(admin, "upgraded", {"at": STAMP}, indexes=["at"])
    create(admin, path, {"at": "2023-08-06T00:30:00Z"})
    (name,) = existing(database_url, "upgraded")
    # A version that knew no formats made such an index.
    before = Index(
        "upgraded", IndexSpec(("at",)), Fields({"properties": {"at": {"type": "string"}}})
    )
    assert before.name != name
    execute(
        database_url,
        f'DROP INDEX records."{name}"',
        f'CREATE INDEX "{before.name}" ON records.upgraded {before.definition}',
    )
    assert states(admin, "upgraded") == {"at": "building"}
    assert run_worker(server)
    assert existing(database_url, "upgraded") == [name]
    assert states(admin, "upgraded") == {"at": "ready"}
