"""Limits as a client meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server


@pytest.fixture
def limited(database_url: str) -> Iterator[Server]:
    """A server that has counted nothing yet."""
    configured = settings(
        database_url,
        rate_limit_anonymous="3/hour",
        rate_limit_user="100/hour, 5/second",
    )
    with serving(configured) as running:
        yield running


def test_exactly_the_limit_passes_and_the_fields_tell(limited: Server) -> None:
    client = limited.client()
    responses = [client.get("/collections/none/records") for _ in range(4)]
    assert [response.status_code for response in responses] == [404, 404, 404, 429]
    assert {r.headers["ratelimit-policy"] for r in responses} == {'"anonymous";q=3;w=3600'}
    assert responses[0].headers["ratelimit"] == '"anonymous";r=2;t=1200'
    assert responses[2].headers["ratelimit"].startswith('"anonymous";r=0;t=')
    assert "retry-after" not in responses[2].headers
    problem = responses[3].json()
    assert problem["code"] == "rate_limited"
    assert problem["violated_policies"] == ["anonymous"]
    assert 1190 <= int(responses[3].headers["retry-after"]) <= 1200


def test_nobody_gets_more_by_saying_to_be_somebody_else(limited: Server) -> None:
    client = limited.client()
    for number in range(3):
        client.get("/collections/none/records")
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
            spoofed = {name: f"for=192.0.2.{number}" if name == "Forwarded" else "192.0.2.1, ::1"}
            client.get("/collections/none/records", headers=spoofed)
    assert client.get("/collections/none/records").status_code == 429
    bad = limited.client("not-a-token")
    assert bad.get("/collections/none/records").status_code == 429


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics", "/docs", "/openapi.json"])
def test_probes_metrics_and_documents_are_not_counted(limited: Server, path: str) -> None:
    for _ in range(5):
        response = limited.client().get(path)
        assert response.status_code == 200
        assert "ratelimit" not in response.headers


def test_users_are_counted_apart_from_their_address(limited: Server) -> None:
    admin = limited.admin()
    assert admin.get("/auth/me").headers["ratelimit-policy"] == (
        '"user";q=100;w=3600, "user";q=5;w=1'
    )
    anonymous = limited.client()
    for _ in range(3):
        anonymous.get("/collections/none/records")
    assert anonymous.get("/collections/none/records").status_code == 429
    assert admin.get("/auth/me").status_code == 200
