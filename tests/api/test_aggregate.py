"""Aggregates: counts, sums and averages of the records that the caller may list, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    import httpx

SCHEMA = {
    "properties": {
        "section": {"type": "string"},
        "size": {"type": ["number", "null"]},
        "at": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "mixed": {"type": ["string", "number"], "format": "date-time"},
        "dated": {"format": "date"},
        "inner": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "pin": {"type": "integer", "writeOnly": True},
    }
}
OPEN = {"list": "", "read": "", "create": "", "update": "", "delete": ""}


def define(admin: httpx.Client, rules: Any = OPEN) -> str:
    path = f"/collections/a{uuid4().hex[:12]}"
    assert admin.put(path, json={"schema": SCHEMA, "rules": rules}).status_code == 201
    return path


def fill(client: httpx.Client, path: str, *records: Any) -> None:
    operations = [{"op": "create", "data": each} for each in records]
    response = client.post(f"{path}/records:batch", json={"operations": operations})
    assert response.is_success, response.text


def groups(client: httpx.Client, path: str, **params: Any) -> list[dict[str, Any]]:
    response = client.get(f"{path}/aggregate", params=params)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["items"]
    return found


def test_records_are_counted_and_summed_by_group(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(
        ada,
        path,
        {"section": "a", "size": 1},
        {"section": "a", "size": 2.5},
        {"section": "b", "size": None},
        {"section": "b"},
        {"size": 10},
    )
    found = groups(ada, path, group="section", sum="size", avg="size", min="size", max="size")
    assert found == [
        {"group": {"section": None}, "count": 1, "sum": {"size": 10}, "avg": {"size": 10},
         "min": {"size": 10}, "max": {"size": 10}},
        {"group": {"section": "a"}, "count": 2, "sum": {"size": 3.5}, "avg": {"size": 1.75},
         "min": {"size": 1}, "max": {"size": 2.5}},
        {"group": {"section": "b"}, "count": 2, "sum": {"size": None}, "avg": {"size": None},
         "min": {"size": None}, "max": {"size": None}},
    ]  # fmt: skip
    assert groups(ada, path) == [{"group": {}, "count": 5}]
    assert groups(ada, path, filter='section = "a"', max="size,version") == [
        {"group": {}, "count": 2, "max": {"size": 2.5, "version": 1}}
    ]


def test_an_empty_collection_has_one_group_without_keys_and_none_with(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    assert groups(ada, path, sum="size") == [{"group": {}, "count": 0, "sum": {"size": None}}]
    assert groups(ada, path, group="section") == []


@pytest.mark.parametrize(
    ("part", "labels"),
    [
        ("year", ["2026", "2027"]),
        ("quarter", ["2026-Q1", "2026-Q4", "2027-Q1"]),
        ("month", ["2026-01", "2026-12", "2027-01"]),
        ("week", ["2026-W02", "2026-W53"]),
        ("day", ["2026-01-05", "2026-12-31", "2027-01-01"]),
    ],
)
def test_times_are_grouped_by_their_parts(
    admin: httpx.Client, ada: httpx.Client, part: str, labels: list[str]
) -> None:
    path = define(admin)
    days = ("2026-01-05", "2026-12-31", "2027-01-01")
    fill(ada, path, *({"day": day, "at": f"{day}T23:30:00Z"} for day in days))
    for field in ("day", "at"):
        name = f"{part}({field})"
        assert [each["group"][name] for each in groups(ada, path, group=name)] == labels
    assert len(groups(ada, path, group=f"{part}(created_at)")) == 1


def test_a_time_zone_moves_days_and_hours(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, {"at": "2026-07-31T22:30:00Z"}, {"at": "2026-08-01T03:30:00+05:00"})
    for zone, hours in (
        ("UTC", ["2026-07-31T22"]),
        ("Europe/Berlin", ["2026-08-01T00"]),
        ("America/New_York", ["2026-07-31T18"]),
    ):
        found = groups(ada, path, group="hour(at)", zone=zone)
        assert [(each["group"]["hour(at)"], each["count"]) for each in found] == [(hours[0], 2)]


@pytest.mark.parametrize(
    "at", ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2026-06-30T23:59:60Z"]
)
def test_odd_times_are_no_error(admin: httpx.Client, ada: httpx.Client, at: str) -> None:
    path = define(admin)
    fill(ada, path, {"at": at, "day": at[:10]})
    for key in ("year(at)", "hour(at)", "week(day)", "year(day)"):
        assert groups(ada, path, group=key)[0]["count"] == 1


def test_values_that_are_no_times_are_no_error(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    at = "2026-01-05T00:00:00Z"
    fill(ada, path, {"mixed": 11, "dated": 5}, {"mixed": at, "dated": at[:10]}, {"dated": [1]})
    for key in ("day(mixed)", "day(dated)"):
        found = groups(ada, path, group=key)
        assert {each["group"][key]: each["count"] for each in found} == {"2026-01-05": 1, None: 2}


def test_many_large_groups_are_cut_by_their_bytes(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    for start in "abcdefgh":
        assert ada.post(f"{path}/records", json={"section": start * 900_000}).status_code == 201
    response = ada.get(f"{path}/aggregate?group=section&limit=1000")
    assert response.json()["truncated"] is True
    assert len(response.content) < 6 << 20
    assert [each["group"]["section"][0] for each in response.json()["items"]] == list("abcde")


def test_groups_are_sorted_and_cut(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    for number, section in enumerate("abcd"):
        fill(ada, path, *({"section": section, "size": -number} for _ in range(number + 1)))

    def sections(**params: Any) -> str:
        return "".join(
            each["group"]["section"] for each in groups(ada, path, group="section", **params)
        )

    assert sections() == "abcd"
    assert sections(sort="-section") == "dcba"
    assert sections(sort="-count", limit=2) == "dc"
    assert sections(sum="size", sort="sum(size)") == "dcba"
    response = ada.get(f"{path}/aggregate?group=section&limit=4")
    assert response.json()["truncated"] is False
    assert ada.get(f"{path}/aggregate?group=section&limit=3").json()["truncated"] is True


def test_several_keys_and_nested_fields(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, *({"section": "a", "inner": {"n": n % 2}} for n in range(3)))
    found = groups(ada, path, group="section,inner.n", sum="inner.n")
    assert [(each["group"]["inner.n"], each["count"]) for each in found] == [(0, 2), (1, 1)]
    assert [each["sum"]["inner.n"] for each in found] == [0, 1]


def test_rules_hold(admin: httpx.Client, ada: httpx.Client, bob: httpx.Client) -> None:
    path = define(admin, {**OPEN, "list": "owner = @user.id"})
    fill(ada, path, {"size": 1})
    fill(bob, path, {"size": 2})
    for client, total in ((ada, 1), (bob, 2), (admin, 3)):
        assert groups(client, path, sum="size")[0]["sum"]["size"] == total
    path = define(admin, {**OPEN, "list": None})
    assert ada.get(f"{path}/aggregate").status_code == 403


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("group=nowhere(at)", "invalid_parameter"),
        ("group=month(section)", "invalid_parameter"),
        ("group=hour(day)", "invalid_parameter"),
        ("group=month(version)", "invalid_parameter"),
        ("group=section,section", "invalid_parameter"),
        ("group=a,b,c,d", "invalid_parameter"),
        ("group=section,", "invalid_filter"),
        ("group=pin", "unknown_field"),
        ("sum=pin", "unknown_field"),
        ("sum=section", "invalid_parameter"),
        ("sum=created_at", "invalid_parameter"),
        ("sum=", None),
        ("sum=a,b,c,d,e,f,g,h,i,j,k", "invalid_parameter"),
        ("sort=count", "invalid_parameter"),
        ("group=section&sort=size", "invalid_parameter"),
        ("limit=0", "invalid_parameter"),
        ("limit=1001", "invalid_parameter"),
        ("gruop=section", "invalid_parameter"),
        ("zone=Nowhere/At_all&group=day(created_at)", "invalid_parameter"),
        ("zone=AAB1&group=day(created_at)", "invalid_parameter"),
        ("zone='", "invalid_parameter"),
        ("filter=size >", "invalid_filter"),
    ],
)
def test_wrong_parameters_are_refused(
    admin: httpx.Client, ada: httpx.Client, query: str, code: str | None
) -> None:
    path = define(admin)
    fill(ada, path, {})
    response = ada.get(f"{path}/aggregate?{query}")
    if code is None:
        assert response.status_code == 200
    else:
        assert (response.status_code, response.json()["code"]) == (400, code), response.text
