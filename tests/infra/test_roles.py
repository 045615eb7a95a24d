"""The API as the role that the stack gives it, in a database that another role owns."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.db import migrations
from fixtures.cluster import execute, fetch
from fixtures.listo import Listo
from fixtures.server import Server, serving, settings
from fixtures.stack_postgres import StackPostgres, stack_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture(scope="module")
def postgres() -> Iterator[StackPostgres]:
    with stack_postgres() as made:
        made.start()
        migrated = Listo(made.url("owner"))("migrate", DATABASE_APP_ROLE="listo_app")
        assert migrated.status == 0, migrated
        yield made


@pytest.fixture(scope="module")
def owner(postgres: StackPostgres) -> str:
    return postgres.url("owner")


@pytest.fixture(scope="module")
def application(postgres: StackPostgres) -> str:
    return postgres.url("app")


@pytest.fixture(scope="module")
def server(application: str) -> Iterator[Server]:
    with serving(settings(application)) as running:
        yield running


def test_the_role_may_do_all_that_the_api_does(
    server: Server, admin: httpx.Client, application: str
) -> None:
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "n": {"type": "number"}},
    }
    definition = {"schema": schema, "indexes": ["title"]}
    assert admin.put("/collections/things", json=definition).status_code == 201
    records = "/collections/things/records"
    path = admin.post(records, json={"title": "a", "n": 1}).headers["location"]
    assert admin.patch(path, json={"n": 2}).json()["version"] == 2
    assert admin.get(records, params={"filter": 'title = "a"'}).json()["items"][0]["n"] == 2
    # An index on an existing table is built concurrently, after the answer.
    definition["indexes"] = ["title", "n"]
    assert admin.put("/collections/things", json=definition).status_code == 200
    deadline = time.monotonic() + 30
    query = (
        "SELECT count(*) FROM pg_index WHERE indrelid = 'records.things'::regclass AND indisvalid"
    )
    while fetch(application, query)[0][0] != 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    definition["schema"] = {**schema, "required": ["title"]}
    assert admin.put("/collections/things", json=definition).status_code == 200
    assert admin.post(records, json={}).status_code == 422
    batch = {"operations": [{"op": "create", "data": {"title": str(n)}} for n in range(20)]}
    assert admin.post(f"{records}:batch", json=batch).status_code == 200
    assert admin.delete(path).status_code == 204
    file = b'{"title":"b"}\n{"title":"c"}\n'
    done = admin.post("/collections/things/import?format=ndjson", content=file)
    assert done.json()["inserted"] == 2, done.text
    undone = admin.post(f"/jobs/{done.json()['job']}/undo")
    assert undone.json() == {"deleted": 2, "restored": 0}, undone.text
    assert admin.post("/collections/things/exports").status_code == 202
    search = {"fields": {"title": "A"}, "language": "english"}
    found = {"schema": schema, "search": search}
    assert admin.put("/collections/found", json=found).status_code == 201
    admin.post("/collections/found/records", json={"title": "Éclairs"})
    items = admin.get("/collections/found/search?q=eclair").json()["items"]
    assert [item["title"] for item in items] == ["Éclairs"]
    bob = server.member("bob@example.com")
    key = bob.post("/auth/api-keys", json={"name": "k", "scopes": ["records:read"]})
    assert key.status_code == 201
    assert bob.delete(f"/auth/api-keys/{key.json()['id']}").status_code == 204
    assert bob.post("/auth/logout").status_code == 204
    assert admin.get("/health/ready").json()["status"] == "ready"
    gone = admin.delete("/collections/things", params={"confirm": "things"})
    assert gone.status_code == 204
    assert admin.get(records).status_code == 404


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE listo.users",
        "TRUNCATE listo.events",
        "ALTER TABLE listo.users ADD COLUMN x int",
        "ALTER TABLE listo.users DISABLE TRIGGER ALL",
        "CREATE INDEX ON listo.users (name)",
        "CREATE TABLE public.x ()",
        "CREATE TABLE listo.x ()",
        "CREATE SCHEMA x",
        "DROP SCHEMA records CASCADE",
        "CREATE OR REPLACE FUNCTION listo.rfc3339(t timestamptz) RETURNS text RETURN 'x'",
        "UPDATE listo.migrations SET version_num = '9999'",
        "DELETE FROM listo.migrations",
        "ALTER TABLE listo.migrations ADD COLUMN x int",
        "CREATE ROLE x",
        "ALTER ROLE listo_app SUPERUSER",
        "ALTER DATABASE listo SET work_mem = '1GB'",
        "CREATE EXTENSION citext",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "SET ROLE listo_owner",
        "SELECT pg_stat_statements_reset()",
    ],
)
def test_the_role_may_do_no_more(application: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        execute(application, statement)


def test_the_owner_may_change_collections(admin: httpx.Client, owner: str) -> None:
    """Migrations do so, and may create trusted extensions."""
    admin.put("/collections/changed", json={"schema": {}})
    execute(
        owner,
        "ALTER TABLE records.changed ADD COLUMN later text",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "CREATE INDEX CONCURRENTLY ON records.changed USING gin (later gin_trgm_ops)",
    )
    created = admin.post("/collections/changed/records", json={})
    assert created.status_code == 201
    admin.delete("/collections/changed", params={"confirm": "changed"})


def test_the_role_may_use_later_tables_and_those_of_another_owner(
    owner: str, application: str
) -> None:
    execute(
        owner,
        "CREATE TABLE listo.later (id bigserial, x int)",
        'CREATE TABLE records."select" ()',
    )
    try:
        outcome = Listo(owner)("migrate", "--json", DATABASE_APP_ROLE="listo_app")
        assert outcome.report == {"changed": False, "migration": migrations.head()}
        execute(
            application,
            "INSERT INTO listo.later (x) VALUES (1)",
            'DROP TABLE records."select"',
        )
    finally:
        execute(owner, "DROP TABLE listo.later", 'DROP TABLE IF EXISTS records."select"')


def test_monitoring_does_not_wait_for_a_locked_table(postgres: StackPostgres, owner: str) -> None:
    async def measure() -> None:
        holder = await asyncpg.connect(owner)
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE listo.events")
                monitor = await asyncpg.connect(postgres.url("monitor"))
                try:
                    with pytest.raises(asyncpg.LockNotAvailableError):
                        await monitor.fetch(
                            "SELECT pg_total_relation_size(relid) FROM pg_stat_user_tables"
                        )
                finally:
                    await monitor.close()
        finally:
            await holder.close()

    asyncio.run(measure())


def test_the_application_cannot_migrate(application: str, owner: str) -> None:
    execute(owner, "UPDATE listo.migrations SET version_num = '0000'")
    try:
        outcome = Listo(application)("migrate")
        assert outcome.status == 1
        assert outcome.fault.startswith("PostgreSQL refused: permission denied")
    finally:
        execute(owner, f"UPDATE listo.migrations SET version_num = '{migrations.head()}'")


def test_a_role_that_does_not_exist_is_told(owner: str) -> None:
    outcome = Listo(owner)("migrate", DATABASE_APP_ROLE="nobody's")
    assert outcome.status == 1
    assert outcome.fault == "DATABASE_APP_ROLE=nobody's: the database has no such role."


def test_a_role_that_migrates_and_serves_loses_no_right(owner: str) -> None:
    """The owner is the application role as well."""
    assert Listo(owner)("migrate", DATABASE_APP_ROLE="listo_owner").status == 0
    execute(owner, "UPDATE listo.migrations SET version_num = version_num")
