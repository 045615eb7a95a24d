"""Concurrent large bodies: as many as fit in the process' memory."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fixtures.cluster import database
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import pytest


def test_no_more_large_bodies_are_taken_in_than_there_is_memory_for(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.observability.machine.share", lambda: 124 << 20)
    monkeypatch.setattr("app.overload.room._WAIT_SECONDS", 0.5)
    large = {"text": "x" * 300_000}
    with database(cluster_url) as url, serving(settings(url)) as server:
        admin = server.admin()
        admin.put("/collections/large", json={"schema": {}}).raise_for_status()
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)) as client:
            # The only large body may have all of the room.
            client.sendall(
                "POST /collections/large/records HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {admin.headers['authorization']}\r\n"
                "Content-Type: application/json\r\nContent-Length: 9000000\r\n\r\n{".encode()
            )
            wait_until(lambda: sum(server.services.concurrency.in_work) == 1)
            refused = admin.post("/collections/large/records", json=large)
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert admin.post("/collections/large/records", json={}).status_code == 201
        assert admin.post("/collections/large/records", json=large).status_code == 201
