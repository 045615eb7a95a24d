"""PostgreSQL goes away and comes back under a running server."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.dev.postgres import THROW_AWAY, EmbeddedPostgres
from fixtures.cluster import execute
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="listo-outage-"))
    folder.chmod(0o755)
    cluster = EmbeddedPostgres(folder, THROW_AWAY)
    cluster.start()
    execute(cluster.url("postgres"), "CREATE DATABASE listo")
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def until(client: httpx.Client, status: int, state: str) -> None:
    def reached() -> bool:
        response = client.get("/health/ready")
        return (response.status_code, response.json()["status"]) == (status, state)

    wait_until(reached)


def test_an_outage_is_503_and_passes_by_itself(postgres: EmbeddedPostgres) -> None:
    # The database is not migrated yet; in development the server migrates it.
    with serving(settings(postgres.url())) as server:
        admin = server.admin()
        admin.put("/collections/notes", json={"schema": {}, "rules": {"read": ""}})
        path = admin.post("/collections/notes/records", json={"a": 1}).headers["location"]
        for _ in range(2):
            postgres.stop()
            until(admin, 503, "unavailable")
            response = admin.get(path)
            assert response.status_code == 503
            assert response.json()["code"] == "database_unavailable"
            assert int(response.headers["retry-after"]) >= 1
            assert admin.get("/health").status_code == 200
            postgres.start()
            until(admin, 200, "ready")
            assert admin.get(path).json()["a"] == 1
        # Remembered credentials may have changed meanwhile, so the server forgot them.
        assert admin.post("/auth/logout").status_code == 204
        assert admin.get("/auth/me").status_code == 401


def test_a_newer_database_is_refused(postgres: EmbeddedPostgres) -> None:
    with serving(settings(postgres.url())):
        pass
    execute(postgres.url(), "UPDATE listo.migrations SET version_num = '9999'")
    with pytest.raises(RuntimeError, match="did not start"), serving(settings(postgres.url())):
        pass


def test_production_does_not_migrate_by_itself(postgres: EmbeddedPostgres) -> None:
    configured = settings(
        postgres.url(), environment="production", jwt_secret="7f3a9c1e5b2d8f6047a1c3e5d9b8f210"
    )
    with pytest.raises(RuntimeError, match="did not start"), serving(configured):
        pass
