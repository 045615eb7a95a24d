"""Exports and their clients: those that leave or are slow, places, charges, and cut answers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from asyncpg.cursor import Cursor as CursorType

from fixtures.cluster import database, execute
from fixtures.exports import (
    begun,
    big,
    define,
    export,
    fill,
    is_running,
    lines,
)
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from fixtures.server import Server


def test_a_client_that_leaves_ends_the_statement(admin: httpx.Client, database_url: str) -> None:
    path = big(admin, database_url)
    with begun(admin, path):
        assert is_running(database_url, path)
    wait_until(lambda: not is_running(database_url, path))


def test_a_client_that_takes_nothing_is_given_up(cluster_url: str) -> None:
    with database(cluster_url) as url, serving(settings(url, request_timeout=1)) as impatient:
        admin = impatient.admin()
        path = big(admin, url)
        address = urlsplit(impatient.url)
        with socket.create_connection((address.hostname, address.port)) as peer:
            token = admin.headers["authorization"]
            request = f"GET {path}/export HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
            peer.sendall(request.encode())
            assert peer.recv(12) == b"HTTP/1.1 200"
            assert is_running(url, path)
            wait_until(lambda: not is_running(url, path))
            rest = b""
            while part := peer.recv(1 << 16):
                rest += part
        assert not rest.endswith(b"\r\n0\r\n\r\n")


def test_a_broken_export_is_not_a_whole_one(admin: httpx.Client, database_url: str) -> None:
    path = big(admin, database_url)
    with begun(admin, path) as parts:
        execute(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE pid <> pg_backend_pid()"
            f" AND relation = to_regclass('records.\"{path.rpartition('/')[2]}\"')",
        )
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


def test_a_collection_can_be_deleted_during_an_export(
    admin: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(admin, path) as parts:
        name = path.rpartition("/")[2]
        assert admin.delete(path, params={"confirm": name}).status_code == 204
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


def test_a_caller_has_one_export_at_a_time_in_a_process(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(admin, path):
        second = admin.get(f"{path}/export")
        assert (second.status_code, second.json()["code"]) == (429, "export_in_progress")
        assert "retry-after" in second.headers
        assert ada.get(f"{path}/export", params={"filter": "n < 3"}).status_code == 200
        # Single records and lists do not wait.
        assert admin.get(f"{path}/records", params={"limit": 1}).status_code == 200


def test_when_all_places_are_taken_others_come_later(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(admin, path), begun(ada, path):
        third = bob.get(f"{path}/export")
        assert (third.status_code, third.json()["code"]) == (503, "overloaded")
        assert "retry-after" in third.headers
        assert bob.head(f"{path}/export").status_code == 200


def test_all_strangers_together_have_one_export(
    server: Server, admin: httpx.Client, database_url: str
) -> None:
    path = big(admin, database_url)
    with begun(server.client(), path):
        assert server.client().get(f"{path}/export").status_code == 429
        assert admin.get(f"{path}/export", params={"filter": "n < 3"}).status_code == 200


def test_an_export_counts_for_several_requests_even_if_it_is_broken_off(cluster_url: str) -> None:
    with (
        database(cluster_url) as url,
        serving(settings(url, rate_limit_user="10000/day")) as limited,
    ):
        admin = limited.admin()

        def left() -> int:
            field = admin.get("/auth/me").headers["ratelimit"]
            return int(field.partition("r=")[2].partition(";")[0])

        path = define(admin)
        before = left()
        export(admin, path)
        assert before - left() == 11
        path = big(admin, url)
        before = left()
        with begun(admin, path):
            pass
        wait_until(lambda: not is_running(url, path))
        assert before - left() >= 11


def test_head_runs_no_export(admin: httpx.Client, database_url: str) -> None:
    path = big(admin, database_url)
    response = admin.head(f"{path}/export")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    assert not is_running(database_url, path)
    assert admin.head(f"{path}/export?format=xml").status_code == 400


def test_a_small_record_and_then_large_ones_are_fetched_within_bounds(
    admin: httpx.Client, ada: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = define(admin)
    fill(ada, path, *({"n": n} for n in range(300)))
    for n in range(30):
        ada.post(f"{path}/records", json={"n": n, "title": "x" * 900_000})
    fetched = []
    fetch_rows = CursorType.fetch

    async def noted(self: Any, number: int, **rest: Any) -> Any:
        rows = await fetch_rows(self, number, **rest)
        fetched.append(sum(len(row[1]) for row in rows))
        return rows

    monkeypatch.setattr(CursorType, "fetch", noted)
    assert len(lines(export(ada, path, sort="id"))) == 330
    assert max(fetched) <= 17 << 20
