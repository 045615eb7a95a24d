"""The head of a record is a column; large tables of an earlier version have none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from app.db import migrations
from fixtures.cluster import database, execute, fetch
from fixtures.open_transactions import open_transaction
from fixtures.rules import ANYONE
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

DEFINITION = {
    "schema": {"properties": {"n": {"type": "integer"}}, "additionalProperties": False},
    "rules": ANYONE,
}


@pytest.fixture(scope="module", params=["stored", "built"])
def path(request: pytest.FixtureRequest, admin: httpx.Client, database_url: str) -> str:
    """The records of a collection whose table stores heads, and of another."""
    collection = f"/collections/{request.param}"
    assert admin.put(collection, json=DEFINITION).status_code == 201
    if request.param == "built":
        execute(database_url, "ALTER TABLE records.built DROP COLUMN head")
        # Processes read the definition again.
        changed = {**DEFINITION, "indexes": ["n"]}
        assert admin.put(collection, json=changed).status_code == 200
    return f"{collection}/records"


def test_every_operation_gives_the_same_record(path: str, ada: httpx.Client) -> None:
    created = ada.post(path, json={"n": 1}).json()
    assert list(created) == ["id", "version", "created_at", "updated_at", "owner", "n"]
    one = f"{path}/{created['id']}"
    assert ada.get(one).json() == created
    assert _items(ada, path) == [created]

    patched = ada.patch(one, json={"n": 2}).json()
    assert patched == {**created, "version": 2, "updated_at": patched["updated_at"], "n": 2}
    assert patched["updated_at"] > created["updated_at"]
    assert ada.patch(one, json={"n": 2}).json() == patched
    assert ada.get(one).json() == patched

    replaced = ada.put(one, json={}).json()
    assert "n" not in replaced
    assert _items(ada, path) == [ada.get(one).json()] == [replaced]
    assert ada.delete(one).status_code == 204


def test_changes_by_sql_show(path: str, admin: httpx.Client, database_url: str) -> None:
    made = admin.post(path, json={}).json()
    owner = uuid4()
    name = path.split("/")[2]
    execute(
        database_url,
        f"UPDATE records.{name} SET owner = '{owner}', created_at = '2001-02-03T04:05:06Z'"
        f" WHERE id = '{made['id']}'",
    )
    got = admin.get(f"{path}/{made['id']}").json()
    assert UUID(got["owner"]) == owner
    assert got["created_at"] == "2001-02-03T04:05:06.000000Z"
    assert _items(admin, path) == [got]


@pytest.fixture
def former_url(cluster_url: str) -> Iterator[str]:
    """A database of the version before, with a small and a large collection."""
    with database(cluster_url) as url:
        with serving(settings(url)) as server:
            for name in ("small", "large"):
                assert server.admin().put(f"/collections/{name}", json=DEFINITION).is_success
        execute(
            url,
            "ALTER TABLE records.small DROP COLUMN head",
            "ALTER TABLE records.large DROP COLUMN head",
            "DROP FUNCTION listo.record_head",
            "DROP TABLE listo.job_files, listo.jobs, listo.import_changes",
            "INSERT INTO records.small (id, data) VALUES (gen_random_uuid(), '{}')",
            "INSERT INTO records.large (id, data)"
            " SELECT gen_random_uuid(), jsonb_build_object('n', i, 'text', repeat('x', 1500))"
            " FROM generate_series(1, 12000) AS i",
            "UPDATE listo.migrations SET version_num = '0008'",
        )
        yield url


def test_the_migration_rewrites_small_tables_alone(former_url: str) -> None:
    assert migrations.upgrade(former_url)
    assert _with_head(former_url) == ["records.small"]
    with serving(settings(former_url)) as server:
        for name, count in (("small", 1), ("large", 12000)):
            page = server.admin().get(f"/collections/{name}/records?limit=1&count=exact").json()
            assert page["total"] == count
            assert page["items"][0]["version"] == 1
            assert page["items"][0]["created_at"].endswith("Z")
        large = server.admin().post("/collections/large/records", json={"n": 1})
        assert (large.status_code, large.json()["version"]) == (201, 1)


def test_a_table_that_is_in_use_stays_without_the_column(former_url: str) -> None:
    with open_transaction(former_url, "LOCK TABLE records.small IN ACCESS SHARE MODE"):
        assert migrations.upgrade(former_url)
    assert _with_head(former_url) == []
    with serving(settings(former_url)) as server:
        page = server.admin().get("/collections/small/records").json()
    assert [item["version"] for item in page["items"]] == [1]


def _items(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(
        path, params={"sort": "-created_at", "limit": 1}
    ).json()["items"]
    return items


def _with_head(url: str) -> list[str]:
    """The tables of records that have the column."""
    rows = fetch(
        url,
        "SELECT attrelid::regclass::text FROM pg_attribute"
        " JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE attname = 'head' AND relnamespace = 'records'::regnamespace AND relkind = 'r'",
    )
    return [row[0] for row in rows]
