"""Searches find nothing that their caller may not list, and show nothing that is hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fixtures.searches import OPEN, SCHEMA, SEARCH, define, fill, search, titles

if TYPE_CHECKING:
    import httpx

OWN = {"list": "owner = @user.id", "create": "", "read": ""}


def test_a_rule_is_part_of_the_search(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, rules=OWN)
    fill(ada, path, {"title": "ada's boat", "section": "hers"})
    fill(bob, path, {"title": "bob's boat", "section": "his"}, {"title": "bob's boat boat"})
    asked = {"q": "boat", "facets": "section", "count": "estimated"}
    hers = search(ada, path, **asked)
    assert [item["title"] for item in hers["items"]] == ["ada's boat"]
    assert hers["facets"] == {"section": [{"value": "hers", "count": 1}]}
    assert hers["total"] == 1
    assert len(titles(bob, path, q="boat")) == 2
    assert len(titles(admin, path, q="boat")) == 3
    assert titles(anonymous, path, q="boat") == []
    # The rank of a record does not depend on those of others.
    (alone,) = search(ada, path, q="boat")["items"]
    ranks = {item["title"]: item["_rank"] for item in search(admin, path, q="boat")["items"]}
    assert ranks["ada's boat"] == alone["_rank"]


def test_collections_for_admins_only_are_hidden(
    admin: httpx.Client, ada: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, rules={})
    assert ada.get(f"{path}/search?q=x").status_code == 404
    assert anonymous.get(f"{path}/search?q=x").status_code == 404
    assert admin.get(f"{path}/search?q=x").status_code == 200
    path = define(admin, rules={"read": ""})
    assert ada.get(f"{path}/search?q=x").status_code == 403


def test_hidden_fields_are_not_shown(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, {"title": "boat", "secret": "treasure"})
    found = search(ada, path, q="boat")
    assert "secret" not in found["items"][0]
    assert "treasure" not in str(found)
    assert titles(ada, path, q="treasure") == []


def test_a_field_that_becomes_hidden_is_searched_no_longer(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    schema = {"properties": {"title": {"type": "string"}, "note": {"type": "string"}}}
    both = {"fields": {"title": "A", "note": "B"}, "language": "english"}
    path = define(admin, both, schema=schema)
    fill(ada, path, {"title": "boat", "note": "treasure"})
    assert titles(ada, path, q="treasure") == ["boat"]
    hidden = {"properties": {**schema["properties"], "note": {"type": "string", "writeOnly": True}}}
    body = {"schema": hidden, "rules": OPEN, "search": both}
    refused = admin.put(path, json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/search/fields/note"
    changed = admin.put(path, json={**body, "search": {"fields": {"title": "A"}}})
    assert changed.status_code == 200
    response = ada.get(f"{path}/search", params={"q": "treasure"})
    assert (response.status_code, response.json().get("items", [])) in ((200, []), (409, []))


def test_an_index_needs_no_rights_of_others(
    admin: httpx.Client, ada: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, SEARCH)
    fill(ada, path, {"title": "boat"})
    assert titles(anonymous, path, q="boat") == ["boat"]
    assert "search" not in anonymous.get(path).json()
    shown = admin.get(path).json()["search"]
    assert shown == {**SEARCH, "state": "ready"}
    assert admin.get(path).json()["schema"] == SCHEMA
