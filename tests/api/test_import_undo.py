"""Imports that are taken back: all of one, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fixtures.exports import OPEN, SCHEMA, fill
from fixtures.imports import define, export, import_, lines, ndjson, records

if TYPE_CHECKING:
    import httpx


def undo(client: httpx.Client, report: dict[str, Any]) -> httpx.Response:
    return client.post(f"/jobs/{report['job']}/undo")


def test_an_import_can_be_undone_once(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    fill(ada, path, {"n": 1, "title": "a"}, {"n": 2, "title": "b"})
    before = lines(export(ada, path))
    content = ndjson(*({"id": each["id"], "title": "z"} for each in before), {"n": 3}, {"n": 4})
    report = import_(ada, path, content, mode="upsert").json()
    assert (report["inserted"], report["updated"]) == (2, 2)
    assert undo(ada, report).json() == {"deleted": 2, "restored": 2}
    after = lines(export(ada, path))
    assert [(each["id"], each["n"], each["title"]) for each in after] == [
        (each["id"], each["n"], each["title"]) for each in before
    ]
    assert [each["version"] for each in after] == [3, 3]
    assert undo(ada, report).json()["code"] == "nothing_to_undo"
    assert ada.get(f"/jobs/{report['job']}").json()["state"] == "undone"


def test_an_import_whose_records_changed_stays(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    report = import_(ada, path, ndjson({"n": 1}, {"n": 2}, {"n": 3})).json()
    first, second, third = lines(export(ada, path))
    ada.patch(f"{path}/records/{second['id']}", json={"n": 7})
    response = undo(ada, report)
    assert (response.status_code, response.json()["code"]) == (409, "records_changed")
    assert response.json()["records"] == [second["id"]]
    assert len(lines(export(ada, path))) == 3
    # A record that is gone is as it was before.
    report = import_(ada, path, ndjson({"n": 8}, {"n": 9})).json()
    eighth = next(each for each in lines(export(ada, path)) if each["n"] == 8)
    ada.delete(f"{path}/records/{eighth['id']}")
    assert undo(ada, report).json() == {"deleted": 1, "restored": 0}
    assert {first["id"], third["id"]} < {each["id"] for each in lines(export(ada, path))}


def test_a_record_that_was_made_again_stays(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin)
    content = ndjson({"n": 1, "id": str(uuid4())})
    report = import_(ada, path, content).json()
    (record,) = lines(export(ada, path))
    ada.delete(f"{path}/records/{record['id']}")
    import_(ada, path, content)
    assert undo(ada, report).json()["code"] == "records_changed"
    assert len(lines(export(ada, path))) == 1


def test_unique_values_that_were_passed_on_come_back(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = f"/collections/u{uuid4().hex[:12]}"
    unique = [{"fields": ["title"], "unique": True}]
    admin.put(path, json={"schema": SCHEMA, "rules": OPEN, "indexes": unique})
    fill(ada, path, {"title": "a"}, {"title": "b"})
    a, b = (each["id"] for each in lines(export(ada, path)))
    content = ndjson({"id": a, "title": "c"}, {"id": b, "title": "a"})
    report = import_(ada, path, content, mode="upsert").json()
    assert report["updated"] == 2
    assert undo(ada, report).json() == {"deleted": 0, "restored": 2}
    assert records(ada, path, "id", "title") == [[a, "a"], [b, "b"]]


def test_only_who_may_delete_undoes(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client
) -> None:
    path = define(admin, {**OPEN, "delete": None})
    report = import_(ada, path, ndjson({"n": 1})).json()
    assert undo(bob, report).status_code == 404
    assert undo(ada, report).status_code == 403
    assert undo(admin, report).json() == {"deleted": 1, "restored": 0}
