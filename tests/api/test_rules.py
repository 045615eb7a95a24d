"""Rules: which callers get which records, and how little other callers learn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fixtures.cluster import database, execute
from fixtures.server import serving, settings

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "public": {"type": "boolean"},
        "at": {"type": "string", "format": "date-time"},
    },
}


def define(admin: httpx.Client, name: str, **rules: str | None) -> str:
    response = admin.put(f"/collections/{name}", json={"schema": SCHEMA, "rules": rules})
    assert response.is_success, response.text
    return f"/collections/{name}/records"


@pytest.mark.parametrize(
    ("who", "rule", "status"),
    [
        ("anonymous", None, 404),
        ("ada", None, 404),
        ("admin", None, 200),
        ("anonymous", "", 200),
        ("anonymous", "@user.id is not null", 200),
        ("ada", "@user.id is not null", 200),
    ],
)
def test_listing(
    who: str, rule: str | None, status: int, request: pytest.FixtureRequest, admin: httpx.Client
) -> None:
    path = define(admin, "lists", list=rule)
    client: httpx.Client = request.getfixturevalue(who)
    assert client.get(path).status_code == status


def test_a_list_holds_only_what_the_rule_lets_through(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(
        admin, "posts", list="public = true or owner = @user.id",
        read="public = true or owner = @user.id", create="",
    )  # fmt: skip
    ada.post(path, json={"title": "hers", "public": False})
    ada.post(path, json={"title": "open", "public": True})
    anonymous.post(path, json={"title": "nobody's", "public": False})

    def titles(client: httpx.Client) -> list[str]:
        page = client.get(path, params={"count": "exact"}).json()
        assert page["total"] == len(page["items"])
        return [item["title"] for item in page["items"]]

    assert titles(ada) == ["hers", "open"]
    assert titles(bob) == ["open"]
    # The record without an owner is not an anonymous caller's own.
    assert titles(anonymous) == ["open"]
    assert titles(admin) == ["hers", "open", "nobody's"]


def test_a_hidden_record_is_as_if_it_were_not_there(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client
) -> None:
    path = define(admin, "diary", read="owner = @user.id", create="", update="", delete="")
    adas_record = f"{path}/{ada.post(path, json={'title': 'x'}).json()['id']}"
    absent_record = f"{path}/01a00000-0000-7000-8000-000000000000"
    for method, body in (("GET", None), ("PATCH", {}), ("PUT", {}), ("DELETE", None)):
        headers = {"If-Match": '"5"'} if method != "GET" else {}
        if method == "GET":
            hidden = bob.get(adas_record)
            absent = bob.get(absent_record)
            assert hidden.status_code == absent.status_code == 404
            assert hidden.json()["code"] == absent.json()["code"] == "record_not_found"
            continue
        hidden = bob.request(method, adas_record, json=body, headers=headers)
        absent = bob.request(method, absent_record, json=body, headers=headers)
        assert hidden.status_code == absent.status_code == 404, method


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        *(
            (method, f"/records/{id_}", {})
            for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE")
            for id_ in ("x", "01a00000-0000-7000-8000-000000000000")
        ),
        ("GET", "/records/x", {"If-None-Match": '"1"'}),
        ("PUT", "/records/x", {"If-None-Match": "*"}),
        ("PATCH", "/records/x", {"If-Match": '"1"'}),
        ("DELETE", "/records/x", {"If-Match": '"1"'}),
        ("GET", "/records", {}),
        ("GET", "/records?filter=%", {}),
        ("GET", "/records?cursor=x", {}),
        ("POST", "/records", {}),
        ("POST", "/records:batch", {}),
        ("GET", "", {}),
        ("PUT", "", {}),
        ("DELETE", "", {}),
    ],
)
def test_a_hidden_collection_is_as_if_it_were_not_there(
    admin: httpx.Client,
    ada: httpx.Client,
    anonymous: httpx.Client,
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    define(admin, "hidden")
    body: dict[str, str] | None = {} if method in ("PUT", "PATCH", "POST") else None
    for client in (ada, anonymous):
        hidden, absent = (
            client.request(method, f"/collections/{name}{path}", json=body, headers=headers)
            for name in ("hidden", "absent")
        )
        assert hidden.status_code == absent.status_code >= 400
        if method != "HEAD":
            any_request_id = {"request_id": None}
            assert hidden.json() | any_request_id == absent.json() | any_request_id


def test_a_visible_record_that_may_not_be_changed_is_403(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, "wall", list="", read="", create="@user.id is not null",
                  update="owner = @user.id", delete="owner = @user.id")  # fmt: skip
    adas_record = f"{path}/{ada.post(path, json={'title': 'x'}).json()['id']}"
    assert bob.patch(adas_record, json={"title": "y"}).status_code == 403
    assert bob.put(adas_record, json={"title": "y"}).status_code == 403
    assert bob.delete(adas_record).status_code == 403
    assert anonymous.delete(adas_record).status_code == 401
    assert anonymous.post(path, json={"title": "y"}).status_code == 401
    assert anonymous.post(path, json={"title": "y"}).headers["www-authenticate"] == "Bearer"
    assert ada.get(adas_record).json()["title"] == "x"


def test_the_create_rule_sees_the_new_record(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, "drafts", read="", create='public = false and title like "d%"')
    assert ada.post(path, json={"title": "draft", "public": False}).status_code == 201
    assert ada.post(path, json={"title": "draft", "public": True}).status_code == 403
    assert ada.post(path, json={"title": "other", "public": False}).status_code == 403
    assert len(admin.get(path).json()["items"]) == 1


def test_roles_decide(server: Server, admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, "news", list='@user.roles has "editor"', create='@user.roles has "editor"')
    editor = server.member("ed@example.com", ("member", "editor"))
    assert editor.post(path, json={"title": "x"}).status_code == 201
    assert len(editor.get(path).json()["items"]) == 1
    assert ada.get(path).json()["items"] == []
    assert ada.post(path, json={"title": "x"}).status_code == 403


def test_a_changed_rule_holds_at_once(admin: httpx.Client, anonymous: httpx.Client) -> None:
    path = define(admin, "flip", list="")
    for rule, status in (("", 200), (None, 404), ("", 200), (None, 404)):
        define(admin, "flip", list=rule)
        assert anonymous.get(path).status_code == status


def test_definitions_show_rules_to_admins_only(admin: httpx.Client, ada: httpx.Client) -> None:
    define(admin, "shown", list="owner = @user.id")
    define(admin, "unseen")
    assert admin.get("/collections/shown").json()["rules"]["list"] == "owner = @user.id"
    assert "rules" not in ada.get("/collections/shown").json()
    assert ada.get("/collections/unseen").status_code == 404
    assert "unseen" not in [item["name"] for item in ada.get("/collections").json()["items"]]
    assert ada.put("/collections/mine", json={"schema": SCHEMA}).status_code == 403


@pytest.mark.parametrize("rule", ["title = 1 ortitle = 2", 'at > "2020"'])
def test_a_stored_rule_that_is_no_longer_valid_admits_only_admins(
    cluster_url: str, rule: str
) -> None:
    with database(cluster_url) as url:
        with serving(settings(url)) as server:
            path = define(server.admin(), "older", list="", read="title = 1", create="")
            define(server.admin(), "other", list="")
        execute(
            url,
            "UPDATE listo.collections SET definition ="
            f""" replace(definition::text, '"title = 1"', '{json.dumps(rule)}')::jsonb""",
        )
        with serving(settings(url)) as server:
            admin, ada = server.admin(), server.member("ada@example.com")
            made = ada.post(path, json={"title": "x"})
            assert made.status_code == 201
            record = f"{path}/{made.json()['id']}"
            assert ada.get(record).status_code == 403
            assert admin.get(record).status_code == 200
            assert len(ada.get("/collections").json()["items"]) == 2
            shown = admin.get("/collections/older").json()
            assert shown["rules"]["read"] == rule
            refused = admin.put("/collections/older", json={
                "schema": shown["schema"], "rules": shown["rules"],
            })  # fmt: skip
            assert refused.json()["errors"][0]["pointer"] == "/rules/read"
