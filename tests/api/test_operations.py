"""Probes, metrics, ids and log lines."""

from __future__ import annotations

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter, Response

from app.db import migrations
from app.observability import log
from app.ops import readiness
from fixtures.cluster import execute
from fixtures.server import PASSWORD, serving, settings

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server


def test_health_touches_nothing(server: Server, anonymous: httpx.Client) -> None:
    server.statements.clear()
    assert anonymous.get("/health").json() == {"status": "ok"}
    assert server.statements == []


def test_a_server_with_its_database_is_ready(anonymous: httpx.Client) -> None:
    response = anonymous.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "ready"
    assert response.json()["checks"]["database"]["ok"] is True


def test_many_requests_for_readiness_share_reports(server: Server) -> None:
    def ask(_: int) -> int:
        return server.client().get("/health/ready").status_code

    with ThreadPoolExecutor(8) as pool:
        server.statements.clear()
        assert set(pool.map(ask, range(64))) == {200}
    # There is one report per half second; a report per request would be 128 statements.
    assert len(server.statements) < 64


def test_a_database_behind_the_code_is_not_ready(
    database_url: str, anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0.0)
    execute(database_url, "UPDATE listo.migrations SET version_num = '0000'")
    try:
        response = anonymous.get("/health/ready")
        assert response.status_code == 503
        assert response.json()["status"] == "unavailable"
        assert "listo migrate" in response.json()["checks"]["migrations"]["detail"]
    finally:
        execute(database_url, f"UPDATE listo.migrations SET version_num = '{migrations.head()}'")
        # This report replaces the bad one for other tests.
        assert anonymous.get("/health/ready").status_code == 200


def test_a_database_ahead_of_the_code_is_ready(
    database_url: str, anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0.0)
    execute(database_url, "UPDATE listo.migrations SET version_num = '9999'")
    try:
        assert anonymous.get("/health/ready").json()["status"] == "ready"
    finally:
        execute(database_url, f"UPDATE listo.migrations SET version_num = '{migrations.head()}'")


def test_metrics_are_by_template_and_never_by_id(admin: httpx.Client) -> None:
    admin.put("/collections/measured", json={"schema": {}, "rules": {}})
    path = admin.post("/collections/measured/records", json={}).headers["location"]
    admin.get(path)
    admin.get("/no/such/route/of-4711")
    admin.request("BREW", "/no/such/route/of-4711")
    # The server's parser refuses BREW; these reach the application, with and without a route.
    assert admin.request("PROPFIND", path).status_code == 405
    assert admin.request("MKCOL", "/no/such/route/of-4711").status_code == 404
    text = admin.get("/metrics").text
    template = "/collections/{collection}/records/{record_id}"
    labels = f'handler="{template}",method="GET",status="200"'
    assert f"http_request_duration_seconds_count{{{labels}}}" in text
    assert path.rsplit("/", 1)[1] not in text
    assert "of-4711" not in text
    assert f'handler="{template}",method="none",status="405"' in text
    for method in ("BREW", "PROPFIND", "MKCOL"):
        assert method not in text
    for name in (
        "listo_database_pool_connections",
        "listo_password_hash_queue",
        "listo_rule_rejections_total",
        "listo_cursor_rejections_total",
        "listo_requests_in_progress",
        "listo_concurrency_limit",
    ):
        assert f"# TYPE {name}" in text, name


def test_events_of_records_are_counted_by_type(admin: httpx.Client) -> None:
    def written() -> dict[str, float]:
        text = admin.get("/metrics").text
        found = re.findall(
            r'^listo_events_published_total\{type="(.+)"\} (.+)$', text, re.MULTILINE
        )
        return {type_: float(count) for type_, count in found}

    admin.put("/collections/eventful", json={"schema": {}})
    admin.put("/collections/lively", json={"schema": {}, "cache": {"list": "5m"}})
    before = written()
    records = "/collections/eventful/records"
    path = admin.post(records, json={}).headers["location"]
    operations = [{"op": "create", "data": {}}] * 3
    admin.post(f"{records}:batch", json={"operations": operations}).raise_for_status()
    admin.patch(path, json={"n": 1}).raise_for_status()
    admin.delete(path).raise_for_status()
    assert admin.delete(path).status_code == 404
    # In a larger transaction, undone writes do not count and replayed writes count once.
    operations.append({"op": "delete", "id": path.rsplit("/", 1)[1]})
    for headers in ({}, {"Idempotency-Key": "a-failing-batch"}):
        failed = admin.post(f"{records}:batch", json={"operations": operations}, headers=headers)
        assert failed.status_code == 404
    for _ in range(2):
        keyed = admin.post(records, json={}, headers={"Idempotency-Key": "counted-once"})
        assert keyed.status_code == 201
    admin.post("/collections/lively/records", json={}).raise_for_status()
    after = written()
    counts = {type_: after[type_] - before.get(type_, 0) for type_ in after}
    assert counts["record.created"] == 6
    assert counts["record.updated"] == 1
    assert counts["record.deleted"] == 1


def test_collections_in_memory_are_counted_as_they_come_and_go(
    server: Server, admin: httpx.Client
) -> None:
    def remembered() -> float:
        (line,) = re.findall(r"^listo_collections (.+)$", admin.get("/metrics").text, re.MULTILINE)
        return float(line)

    admin.put("/collections/counted", json={"schema": {}})
    admin.get("/collections/counted")
    before = remembered()
    server.services.registry.drop("counted")
    assert remembered() == before - 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0af7651916cd43dd8448eb211c80319c", True),
        ("req-2026.11:24_x", True),
        ("short", False),
        ("has space here", False),
        ("x" * 129, False),
        ("<script>alert(1)</script>", False),
    ],
)
def test_a_well_formed_request_id_is_kept(
    anonymous: httpx.Client, given: str, *, kept: bool
) -> None:
    response = anonymous.get("/nothing", headers={"X-Request-ID": given})
    id_ = response.headers["x-request-id"]
    assert (id_ == given) is kept
    assert response.json()["request_id"] == id_


def test_head_is_answered_as_get_without_the_body(
    admin: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    rules = dict.fromkeys(("list", "read"), "")
    admin.put("/collections/headed", json={"schema": {}, "rules": rules})
    record = admin.post("/collections/headed/records", json={}).headers["location"]
    paths = ("/health", "/collections/headed/records", record, "/docs", "/docs/favicon.png")
    for path in (*paths, "/nothing", "/auth/login"):
        whole = admin.get(path)
        # HEAD ignores an idempotency key.
        head = admin.head(path, headers={"Idempotency-Key": "head-0001"})
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        for name in ("content-type", "etag", "cache-control", "content-security-policy"):
            assert head.headers.get(name) == whole.headers.get(name), (path, name)
        if whole.is_success:
            assert head.headers["content-length"] == str(len(whole.content))
    capfd.readouterr()
    admin.head(record, headers={"X-Request-ID": "the-head-request"})
    admin.get("/health")
    logged = lines(capfd.readouterr().out)
    (line,) = [each for each in logged if each["request_id"] == "the-head-request"]
    assert (line["method"], line["bytes"]) == ("HEAD", 0)
    assert 'handler="/health",method="HEAD",status="200"' in admin.get("/metrics").text
    etag = {"If-None-Match": admin.head(record).headers["etag"]}
    assert admin.head(record, headers=etag).status_code == 304


def test_a_route_of_its_own_for_head_goes_before_that_for_get(
    server: Server, anonymous: httpx.Client
) -> None:
    router = APIRouter()

    @router.get("/files/{name}")
    async def read(name: str) -> Response:
        return Response(name, headers={"X-Answered-By": "GET"})

    @router.head("/files/{name}")
    @router.head("/sizes/{name}")
    async def look(name: str) -> Response:
        return Response(name, headers={"X-Answered-By": "HEAD"})

    server.app.include_router(router)
    for path in ("/files/a", "/sizes/a"):
        head = anonymous.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["x-answered-by"] == "HEAD"
    assert anonymous.get("/files/a").headers["x-answered-by"] == "GET"
    assert anonymous.get("/sizes/a").status_code == 405
    assert anonymous.head("/files/a/b").status_code == 404


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_request_has_one_access_line(
    ada: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Request-ID": "the-request-id"}
    user = ada.get("/auth/me").json()["id"]
    capfd.readouterr()
    response = ada.get("/auth/me?secret=1", headers=headers)
    ada.get("/health")  # lines of a turn are written together; this request is in a later turn
    found = [
        line for line in lines(capfd.readouterr().out) if line["request_id"] == "the-request-id"
    ]
    assert len(found) == 1
    line = found[0]
    assert line["route"] == "/auth/me"
    assert line["status"] == 200
    assert line["user_id"] == user
    assert line["trace_id"] == trace
    assert line["bytes"] == len(response.content)
    assert isinstance(line["ms"], float)
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("INFO", ["request", "worth a warning", "worth knowing"]),
        ("WARNING", ["worth a warning"]),
        ("CRITICAL", []),
    ],
)
def test_lines_below_the_log_level_are_not_written(
    server: Server,
    anonymous: httpx.Client,
    capfd: pytest.CaptureFixture[str],
    level: str,
    said: list[str],
) -> None:
    @server.app.get(f"/telling/{level}")
    async def tell() -> None:
        logging.getLogger("listo.extension").info("worth knowing")
        logging.getLogger("listo.extension").warning("worth a warning")

    handlers, before = logging.root.handlers[:], logging.root.level
    try:
        log.configure(server.settings.model_copy(update={"log_level": level}))
        anonymous.get(f"/telling/{level}", headers={"X-Request-ID": f"at-level-{level}"})
        anonymous.get("/health")
        logged = lines(capfd.readouterr().out)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(before)
    ours = [line for line in logged if line.get("request_id") == f"at-level-{level}"]
    assert sorted(str(line["message"]) for line in ours) == said


def test_no_secret_is_in_logs_or_metrics(
    database_url: str, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    client = server.client()
    body = {"email": "eve@example.com", "password": PASSWORD}
    client.post("/auth/register", json=body)
    tokens = client.post("/auth/login", json=body).json()
    authorization = {"Authorization": f"Bearer {tokens['access_token']}", "Cookie": "c00kie=1"}
    key = client.post(
        "/auth/api-keys", json={"name": "k", "scopes": ["records:read"]}, headers=authorization
    ).json()["key"]
    client.get("/collections", headers={"Authorization": f"Bearer {key}"})
    client.get("/collections", headers={"Authorization": "Basic dXNlcjpwYXNz"})
    client.get("/collections", headers={"Authorization": f"Bearer {key}x"})
    client.post(
        "/auth/login", content=b'{"email": "eve@example.com", "password": "' + PASSWORD.encode()
    )
    client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    client.get("/health")
    logged = "".join(capfd.readouterr())
    assert "/auth/login" in logged
    counted = client.get("/metrics").text
    assert "/auth/login" in counted
    for secret in (
        PASSWORD,
        tokens["access_token"],
        tokens["refresh_token"],
        key,
        "c00kie",
        "dXNlcjpwYXNz",
        server.settings.jwt_secret.get_secret_value(),
    ):
        assert secret not in logged
        assert secret not in counted


def test_an_unexpected_exception_is_answered_without_a_traceback(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(settings(database_url, redis_url="redis://unused")) as broken:

        @broken.app.get("/broken")
        async def fail() -> None:
            raise RuntimeError("token=abcdefgh12345678 went wrong")

        response = broken.client().get("/broken")
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert response.headers["content-type"] == "application/problem+json"
    assert "went wrong" not in response.text
    output = "".join(capfd.readouterr())
    assert "RuntimeError" in output
    assert response.json()["request_id"] in output
    assert "abcdefgh12345678" not in output


def test_two_processes_without_redis_do_not_serve_one_database(
    database_url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.db import notifications

    monkeypatch.setattr(notifications, "CLAIM_SECONDS", 0.2)
    with pytest.raises(RuntimeError, match="did not start"), serving(settings(database_url)):
        pass


def test_the_check_for_other_processes_outlasts_the_statement_timeout(
    database_url: str,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from app.db import notifications

    monkeypatch.setattr(notifications, "CLAIM_SECONDS", 1.0)
    hasty = settings(database_url, database_statement_timeout=0.3)
    with suppress(RuntimeError), serving(hasty):
        pass
    assert "Another process already serves this database" in capfd.readouterr().out


def test_the_server_does_not_say_what_it_is(anonymous: httpx.Client) -> None:
    assert "server" not in anonymous.get("/health").headers


def test_the_root_leads_to_the_documents(anonymous: httpx.Client) -> None:
    root = anonymous.get("/")
    assert root.status_code == 307
    found = anonymous.get("/", follow_redirects=True)
    assert (found.status_code, found.url.path) == (200, "/docs")
    assert "/" not in anonymous.get("/openapi.json").json()["paths"]


def test_the_documents_load_nothing_from_elsewhere(anonymous: httpx.Client) -> None:
    page = anonymous.get("/docs")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    for asset in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        assert "://" not in asset
        assert anonymous.get("/" + asset).status_code == 200, asset
    assert anonymous.get("/docs/../main.py").status_code == 404
    assert anonymous.get("/docs/%2e%2e%2fcore.py").status_code == 404
