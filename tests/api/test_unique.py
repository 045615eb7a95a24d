"""Unique indexes: no two records have the same values, however they are written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fixtures.unique import OPEN, SCHEMA, SLUG, define, is_refused, shown

if TYPE_CHECKING:
    import httpx


def test_every_way_of_writing_a_value_twice_is_refused(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)
    assert ada.post(path, json={"slug": "a"}).status_code == 201
    other = ada.post(path, json={"slug": "b", "n": 1}).headers["location"]

    is_refused(ada.post(path, json={"slug": "a"}), "/slug")
    absent = {"If-None-Match": "*"}
    is_refused(ada.put(f"{path}/{uuid4()}", json={"slug": "a"}, headers=absent), "/slug")
    is_refused(ada.put(other, json={"slug": "a"}), "/slug")
    is_refused(ada.patch(other, json={"slug": "a"}), "/slug")
    keyed = {"Idempotency-Key": str(uuid4())}
    is_refused(ada.post(path, json={"slug": "a"}, headers=keyed), "/slug")
    is_refused(ada.post(path, json={"slug": "a"}, headers=keyed), "/slug")
    keyed = {"Idempotency-Key": str(uuid4())}
    is_refused(ada.patch(other, json={"slug": "a"}, headers=keyed), "/slug")
    assert ada.get(other).json()["slug"] == "b"
    # A record is not in its own way.
    assert ada.patch(other, json={"slug": "b", "n": 2}).status_code == 200
    assert ada.get(path, params={"filter": 'slug = "a"'}).json()["items"][0]["slug"] == "a"


@pytest.mark.parametrize(
    ("operations", "index"),
    [
        ([("create", "c"), ("create", "a"), ("create", "d")], 1),
        ([("create", "c"), ("create", "d"), ("create", "c")], 2),
        ([("create", "c"), ("update", "c")], 1),
        ([("update", "a")], 0),
    ],
)
def test_a_batch_names_the_operation_and_is_undone(
    admin: httpx.Client, ada: httpx.Client, operations: list[tuple[str, str]], index: int
) -> None:
    path = define(admin, SLUG)
    ada.post(path, json={"slug": "a"})
    id_ = ada.post(path, json={"slug": "b"}).json()["id"]
    body = [
        {"op": op, "data": {"slug": slug}, **({"id": id_} if op == "update" else {})}
        for op, slug in operations
    ]
    response = ada.post(f"{path}:batch", json={"operations": body})
    is_refused(response, f"/operations/{index}/data/slug")
    assert response.json()["index"] == index
    slugs = [item["slug"] for item in ada.get(path, params={"sort": "slug"}).json()["items"]]
    assert slugs == ["a", "b"]


def test_a_batch_can_hand_a_value_on(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, SLUG)
    id_ = ada.post(path, json={"slug": "a"}).json()["id"]
    operations = [
        {"op": "update", "id": id_, "data": {"slug": "b"}},
        {"op": "create", "data": {"slug": "a"}},
        {"op": "delete", "id": id_},
        {"op": "create", "data": {"slug": "b"}},
    ]
    assert ada.post(f"{path}:batch", json={"operations": operations}).status_code == 200


def test_of_many_creates_at_once_one_of_each_value_succeeds(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: ada.post(path, json={"slug": f"s{n % 5}"}), range(60)))
    created = [answer.json()["slug"] for answer in answers if answer.status_code == 201]
    assert sorted(created) == [f"s{n}" for n in range(5)]
    for answer in answers:
        if answer.status_code != 201:
            is_refused(answer, "/slug")


def test_batches_with_the_same_values_in_another_order_do_not_lock_each_other_out(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)

    def send(number: int) -> int:
        slugs = [f"{number // 2}-{n}" for n in range(40)]
        slugs = slugs[::-1] if number % 2 else slugs
        # Every other operation is a create under a chosen id, so that several statements run.
        operations = [{"op": "create", "data": {"slug": slug}} for slug in slugs]
        operations.insert(20, {"op": "create", "id": str(uuid4()), "data": {}})
        operations.insert(20, {"op": "delete", "id": made.pop()})
        return ada.post(f"{path}:batch", json={"operations": operations}).status_code

    made = [ada.post(path, json={}).json()["id"] for _ in range(16)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(16)))
    assert sorted(statuses) == [200] * 8 + [409] * 8


@pytest.mark.parametrize("value", [None, "absent"])
def test_absent_values_and_null_are_no_duplicates(
    admin: httpx.Client, ada: httpx.Client, value: str | None
) -> None:
    path = define(admin, SLUG)
    for _ in range(3):
        record = {} if value == "absent" else {"slug": None}
        assert ada.post(path, json=record).status_code == 201


def test_several_fields_are_unique_together(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, {"fields": ["section", "slug"], "unique": True}, SLUG)
    assert ada.post(path, json={"section": "x", "slug": "a"}).status_code == 201
    assert ada.post(path, json={"section": "x"}).status_code == 201
    assert ada.post(path, json={"section": "x"}).status_code == 201
    response = ada.post(path, json={"section": "x", "slug": "a"})
    is_refused(response, "/section", "/slug", "/slug")
    assert "the same section and slug, and the same slug" in response.json()["detail"]
    is_refused(ada.post(path, json={"section": "y", "slug": "a"}), "/slug")


def test_values_are_compared_as_filters_compare_them(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, *({"fields": [field], "unique": True} for field in ("slug", "n", "at")))
    ada.post(path, json={"slug": "a", "n": 1, "at": "2026-01-01T12:00:00Z"})
    is_refused(
        ada.post(path, content=b'{"n": 1.0}', headers={"content-type": "application/json"}), "/n"
    )
    is_refused(ada.post(path, json={"at": "2026-01-01T13:00:00+01:00"}), "/at")
    assert ada.post(path, json={"slug": "A"}).status_code == 201


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("Ada", "aDA", True), ("ÉTÉ", "été", True), ("a", "b", False), ('"\\N', '"\\n', True)],
)
def test_letters_can_count_in_either_case(
    admin: httpx.Client, ada: httpx.Client, one: str, other: str, *, same: bool
) -> None:
    path = define(admin, {**SLUG, "case_insensitive": True})
    assert ada.post(path, json={"slug": one}).status_code == 201
    response = ada.post(path, json={"slug": other})
    assert response.status_code == (409 if same else 201)


def test_a_filter_leaves_records_out(admin: httpx.Client, ada: httpx.Client) -> None:
    wanted = 'gone != true and (section in ["x", "y"] or created_at < "2020-01-01T00:00:00Z")'
    path = define(admin, {**SLUG, "filter": wanted})
    first = ada.post(path, json={"slug": "a", "section": "x"}).headers["location"]
    assert ada.post(path, json={"slug": "a", "section": "z"}).status_code == 201
    gone = ada.post(path, json={"slug": "a", "section": "y", "gone": True})
    assert gone.status_code == 201
    is_refused(ada.post(path, json={"slug": "a", "section": "y"}), "/slug")
    # A change can bring a record in.
    is_refused(ada.patch(gone.headers["location"], json={"gone": False}), "/slug")
    assert ada.patch(first, json={"gone": True}).status_code == 200
    assert ada.patch(gone.headers["location"], json={"gone": False}).status_code == 200


def test_an_owner_has_one_record(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, {"fields": ["owner"], "unique": True})
    for client in (ada, bob, anonymous, anonymous):
        assert client.post(path, json={}).status_code == 201
    is_refused(ada.post(path, json={}), "/owner")


def test_a_refused_caller_does_not_learn_what_is_taken(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG, rules={**OPEN, "create": 'section != "secret"'})
    ada.post(path, json={"slug": "a"})
    for slug in ("a", "b"):
        response = ada.post(path, json={"slug": slug, "section": "secret"})
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("index", "pointer", "code"),
    [
        ({"fields": []}, "/indexes/0", "invalid_index"),
        ({"fields": ["slug"], "uniqe": True}, "/indexes/0/uniqe", "extra_forbidden"),
        ({"unique": True}, "/indexes/0/fields", "missing"),
        ({"fields": "slug", "unique": True}, "/indexes/0/fields", "list_type"),
        (7, "/indexes/0", "value_error"),
        ({"fields": ["slug"], "case_insensitive": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["slug"], "filter": "n > 1"}, "/indexes/0", "invalid_index"),
        (
            {"fields": ["n"], "unique": True, "case_insensitive": True},
            "/indexes/0",
            "invalid_index",
        ),
        (
            {"fields": ["any"], "unique": True, "case_insensitive": True},
            "/indexes/0",
            "invalid_index",
        ),
        ({"fields": ["-slug"], "unique": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["tags"], "unique": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["id"], "unique": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["slug", "created_at"], "unique": True}, "/indexes/0", "invalid_index"),
        ({**SLUG, "filter": f"n in {list(range(200))}"}, "/indexes/0", "invalid_index"),
        ({**SLUG, "filter": "n >"}, "/indexes/0/filter", "invalid_filter"),
        ({**SLUG, "filter": "owner = @user.id"}, "/indexes/0/filter", "invalid_filter"),
        ({**SLUG, "filter": 'slug = "\\ud800"'}, "/indexes/0/filter", "invalid_filter"),
    ],
)
def test_a_wrong_index_is_refused_with_its_place(
    admin: httpx.Client, index: Any, pointer: str, code: str
) -> None:
    response = admin.put("/collections/wrong", json={"schema": SCHEMA, "indexes": [index]})
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code), response.text


def test_indexes_are_shown_as_they_were_declared(admin: httpx.Client) -> None:
    whole = {**SLUG, "case_insensitive": True, "filter": 'section = "it\'s \\\\ $1"'}
    path = define(admin, "n", ["slug", "-n"], {"fields": ["gone"]}, SLUG, whole)
    assert [
        {name: value for name, value in index.items() if name != "state"}
        for index in shown(admin, path)
    ] == [{"fields": ["n"]}, {"fields": ["slug", "-n"]}, {"fields": ["gone"]}, SLUG, whole]
