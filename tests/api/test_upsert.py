"""Creates that change the record which has their unique values already."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    import httpx

SCHEMA = {
    "required": ["slug"],
    "properties": {
        "slug": {"type": "string"},
        "section": {"type": "string", "default": "main"},
        "n": {"type": "integer"},
        "pin": {"type": "string", "writeOnly": True},
        "more": {"type": "object"},
    },
    "additionalProperties": False,
}
OPEN = {"list": "", "read": "", "create": "", "update": "", "delete": ""}
SLUG = {"fields": ["slug"], "unique": True, "case_insensitive": True}
BOTH = {"fields": ["section", "slug"], "unique": True}


def define(admin: httpx.Client, *indexes: Any, rules: Any = OPEN, **rest: Any) -> str:
    path = f"/collections/u{uuid4().hex[:12]}"
    body = {"schema": SCHEMA, "rules": rules, "indexes": indexes, **rest}
    response = admin.put(path, json=body)
    assert response.status_code == 201, response.text
    return f"{path}/records"


def put(
    client: httpx.Client, path: str, resolution: str, record: Any, on: str = "slug", **rest: Any
) -> httpx.Response:
    params = {"on_conflict": on, "resolution": resolution}
    return client.post(path, params=params, json=record, **rest)


def own(response: httpx.Response) -> dict[str, Any]:
    assert response.is_success, response.text
    system = ("id", "version", "created_at", "updated_at", "owner")
    return {name: value for name, value in response.json().items() if name not in system}


@pytest.mark.parametrize("caching", [{}, {"cache": {"list": "1m", "record": "1m"}}])
@pytest.mark.parametrize(
    ("resolution", "after", "version"),
    [
        ("merge", {"slug": "A", "section": "x", "n": 2, "more": {"a": 1, "b": 2}}, 2),
        ("replace", {"slug": "A", "section": "main", "n": 2, "more": {"b": 2}}, 2),
        ("ignore", {"slug": "a", "section": "x", "n": 1, "more": {"a": 1}}, 1),
    ],
)
def test_a_present_record_is_changed_as_was_asked(
    admin: httpx.Client, ada: httpx.Client, resolution: str, after: Any, version: int, caching: Any
) -> None:
    path = define(admin, SLUG, **caching)
    record = {"slug": "a", "section": "x", "n": 1, "more": {"a": 1}}
    first = put(ada, path, resolution, record)
    assert first.status_code == 201
    assert first.headers["location"] == f"{path}/{first.json()['id']}"
    ada.get(first.headers["location"])

    second = put(ada, path, resolution, {"slug": "A", "n": 2, "more": {"b": 2}})
    assert second.status_code == 200
    assert "location" not in second.headers
    assert second.headers["etag"] == f'"{version}"'
    assert second.json()["id"] == first.json()["id"]
    assert own(second) == own(ada.get(first.headers["location"])) == after
    assert len(ada.get(path).json()["items"]) == 1


def test_several_fields_in_any_order_and_defaults_decide(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, BOTH)
    first = put(ada, path, "merge", {"slug": "a", "n": 1}, "slug,section")
    again = put(ada, path, "merge", {"slug": "a", "n": 2}, "section,slug")
    other = put(ada, path, "merge", {"slug": "a", "section": "y"}, "section,slug")
    assert [each.status_code for each in (first, again, other)] == [201, 200, 201]


def test_of_two_indexes_on_the_same_fields_either_finds_the_record(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    plain = {"fields": ["slug"], "unique": True}
    path = define(admin, {**plain, "filter": 'section = "x"'}, plain)
    statuses = [
        put(ada, path, "merge", {"slug": slug, "section": section}).status_code
        for slug, section in (("a", "y"), ("a", "y"), ("b", "x"), ("b", "x"))
    ]
    assert statuses == [201, 200, 201, 200]


def test_all_of_many_at_once_are_applied(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, SLUG)
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda n: put(ada, path, "merge", {"slug": "a", "more": {f"k{n}": n}}), range(40)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 39 + [201]
    (record,) = ada.get(path).json()["items"]
    assert record["more"] == {f"k{n}": n for n in range(40)}
    assert record["version"] == 40


def test_a_record_that_comes_and_goes_is_created_or_changed(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)

    def write(n: int) -> int:
        response = put(ada, path, "merge", {"slug": "a", "n": n})
        if n % 2:
            ada.delete(f"{path}/{response.json()['id']}")
        return response.status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(write, range(80)))
    assert statuses == {200, 201}


def test_with_an_idempotency_key_the_first_answer_is_given_again(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)
    key = {"Idempotency-Key": str(uuid4())}
    first = put(ada, path, "merge", {"slug": "a", "n": 1}, headers=key)
    put(ada, path, "merge", {"slug": "a", "n": 2})
    again = put(ada, path, "merge", {"slug": "a", "n": 1}, headers=key)
    assert (first.status_code, again.status_code, again.text) == (201, 201, first.text)
    changed = put(ada, path, "merge", {"slug": "a"}, headers={"Idempotency-Key": str(uuid4())})
    assert (changed.status_code, changed.json()["n"]) == (200, 2)


def test_rules_hold_for_the_present_record(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client
) -> None:
    mine = {**OPEN, "read": "owner = @user.id", "list": "owner = @user.id"}
    path = define(admin, SLUG, rules=mine)
    put(ada, path, "merge", {"slug": "a", "n": 1})
    for resolution in ("merge", "replace", "ignore"):
        hidden = put(bob, path, resolution, {"slug": "a", "n": 2})
        assert (hidden.status_code, hidden.json()["code"]) == (409, "not_unique")
        assert ada.get(path).json()["items"][0]["n"] == 1
    path = define(admin, SLUG, rules={**OPEN, "update": "owner = @user.id"})
    put(ada, path, "merge", {"slug": "a", "n": 1})
    assert put(bob, path, "merge", {"slug": "a", "n": 2}).status_code == 403
    assert put(bob, path, "ignore", {"slug": "a", "n": 2}).json()["n"] == 1
    path = define(admin, SLUG, rules={**OPEN, "create": None})
    assert put(ada, path, "merge", {"slug": "a"}).status_code == 403
    path = define(admin, SLUG, rules={**OPEN, "update": None})
    assert put(ada, path, "merge", {"slug": "a"}).status_code == 403
    assert put(ada, path, "ignore", {"slug": "a"}).status_code == 201


def test_a_value_that_another_index_keeps_is_still_refused(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG, {"fields": ["n"], "unique": True})
    ada.post(path, json={"slug": "a", "n": 1})
    ada.post(path, json={"slug": "b", "n": 2})
    for slug in ("b", "c"):
        response = put(ada, path, "merge", {"slug": slug, "n": 1})
        assert response.status_code == 409, response.text
        assert [error["pointer"] for error in response.json()["errors"]] == ["/n"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("on_conflict=slug", "invalid_parameter"),
        ("resolution=merge", "invalid_parameter"),
        ("on_conflict=slug&resolution=overwrite", "invalid_parameter"),
        ("on_conflict=slug&resolution=merge&resolution=ignore", "invalid_parameter"),
        ("on_confict=slug&resolution=merge", "invalid_parameter"),
        ("on_conflict=&resolution=merge", "invalid_parameter"),
        ("on_conflict=n&resolution=merge", "invalid_parameter"),
        ("on_conflict=section,slug&resolution=merge", "invalid_parameter"),
        ("on_conflict=slog&resolution=merge", "unknown_field"),
        ("on_conflict=pin&resolution=merge", "unknown_field"),
        ("on_conflict=slug,&resolution=merge", "invalid_filter"),
    ],
)
def test_wrong_parameters_are_refused(
    admin: httpx.Client, ada: httpx.Client, query: str, code: str
) -> None:
    path = define(admin, SLUG, {"fields": ["pin"], "unique": True})
    response = ada.post(f"{path}?{query}", json={"slug": "a"})
    assert (response.status_code, response.json()["code"]) == (400, code), response.text
    assert ada.get(path).json()["items"] == []


@pytest.mark.parametrize("resolution", ["merge", "replace", "ignore"])
@pytest.mark.parametrize(
    "record", [[], "a", {"n": 1}, {"slug": 1}, {"slug": "a", "id": "x"}, {"slug": "a", "m": 1}]
)
def test_a_new_record_must_fit_the_schema(
    admin: httpx.Client, ada: httpx.Client, resolution: str, record: Any
) -> None:
    path = define(admin, SLUG)
    response = put(ada, path, resolution, record)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_record")


def test_without_a_value_there_is_nothing_to_look_for(
    admin: httpx.Client, ada: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, {"fields": ["more.key", "section"], "unique": True})
    for record in ({"slug": "a"}, {"slug": "a", "more": {"key": None}}):
        response = put(ada, path, "merge", record, "section,more.key")
        assert response.status_code == 422
        assert [error["pointer"] for error in response.json()["errors"]] == ["/more/key"]
    path = define(admin, {"fields": ["owner"], "unique": True})
    assert put(ada, path, "merge", {"slug": "a"}, "owner").status_code == 201
    assert put(ada, path, "merge", {"slug": "b"}, "owner").status_code == 200
    assert put(anonymous, path, "merge", {"slug": "a"}, "owner").status_code == 422


def test_a_key_that_may_not_read_learns_nothing(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, SLUG)
    ada.post(path, json={"slug": "a", "n": 1})
    body = {"name": "writer", "scopes": ["records:write"]}
    key = ada.post("/auth/api-keys", json=body).json()["key"]
    writer = {"Authorization": f"Bearer {key}"}
    merged = put(ada, path, "merge", {"slug": "a"}, headers=writer)
    assert merged.status_code == 200
    assert merged.json().keys() == {"id", "version"}
    ignored = put(ada, path, "ignore", {"slug": "a"}, headers=writer)
    assert (ignored.status_code, ignored.json()["code"]) == (403, "insufficient_scope")


def test_the_document_names_the_parameters_where_they_are_taken(admin: httpx.Client) -> None:
    with_index = define(admin, SLUG, {"fields": ["pin"], "unique": True})
    without = define(admin)
    paths = admin.get("/openapi.json").json()["paths"]
    on_conflict, resolution = asked(paths[with_index]["post"])
    assert (on_conflict["name"], on_conflict["schema"]["enum"]) == ("on_conflict", ["slug"])
    assert resolution["schema"]["enum"] == ["merge", "replace", "ignore"]
    assert "200" in paths[with_index]["post"]["responses"]
    assert asked(paths[without]["post"]) == []


def asked(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in operation["parameters"] if each["in"] == "query"]
