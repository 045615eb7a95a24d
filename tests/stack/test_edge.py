"""nginx as clients meet it: TLS, added fields, refusals, and its own answers."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from fixtures.stack import CA, EDGE_ADDRESS, of_request
from infra.stack import compose

if TYPE_CHECKING:
    from fixtures.stack import Stack


def handshake(stack: Stack, context: ssl.SSLContext) -> ssl.SSLSocket:
    url = httpx.URL(stack.url)
    raw = socket.create_connection((url.host, url.port or 443), timeout=10)
    return context.wrap_socket(raw, server_hostname="localhost")


def test_plain_http_is_sent_on_with_its_method(stack: Stack) -> None:
    port = compose.setting("HTTP_PORT", "80")
    answer = httpx.post(f"http://localhost:{port}/auth/login?x=1", json={}, trust_env=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{stack.url}/auth/login?x=1"


def test_the_certificate_is_of_the_local_authority(stack: Stack) -> None:
    context = ssl.create_default_context(cafile=str(CA))
    with handshake(stack, context) as connection:
        certificate = connection.getpeercert()
    assert certificate
    assert ("DNS", "localhost") in certificate["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(stack, ssl.create_default_context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_offered_with_http_2(stack: Stack, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(CA))
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with handshake(stack, context) as connection:
        assert connection.version() == version.name.replace("_", ".")
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(stack: Stack, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(CA))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(stack, context)


def test_hsts_is_for_public_names(stack: Stack) -> None:
    with stack.client() as client:
        public = client.get("/health", headers={"Host": "api.example.org"})
        local = client.get("/health")
        assert client.get("/", follow_redirects=True).url.path == "/docs"
    assert public.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
    assert "Strict-Transport-Security" not in local.headers


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/status", "//metrics", "/x/../metrics"])
def test_operators_pages_are_not_shown_outside(stack: Stack, path: str) -> None:
    with stack.client() as client:
        # The path is sent as it is written here: a client would take `//metrics` for a host.
        answer = client.get(httpx.URL(stack.url).copy_with(raw_path=path.encode()))
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


def test_a_body_over_the_limit_is_refused_at_the_edge(stack: Stack) -> None:
    request_id = uuid4().hex
    with stack.client() as client:
        answer = client.post(
            "/collections/none/records",
            content=b" " * (10_485_760 + 1),
            headers={"Content-Type": "application/json", "X-Request-ID": request_id},
        )
    assert answer.status_code == 413
    problem = answer.json()
    assert (problem["code"], problem["request_id"]) == ("content_too_large", request_id)
    (line,) = of_request(stack, {request_id}, ["nginx"], 1)
    assert line["upstream"] == ""


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"X-Long": "x" * 20_000}, 431), ({f"X-{n}": "x" * 4_000 for n in range(20)}, 431)],
)
def test_a_header_over_the_limit_is_answered_431(
    stack: Stack, headers: dict[str, str], status: int
) -> None:
    with stack.client() as client:
        answer = client.get("/health", headers=headers)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_one_request_id_from_the_edge_to_the_log(stack: Stack) -> None:
    request_id = uuid4().hex
    trace_id = uuid4().hex
    with stack.client() as client:
        answer = client.get(
            "/collections/none/records",
            headers={"X-Request-ID": request_id, "traceparent": f"00-{trace_id}-{'1' * 16}-01"},
        )
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == request_id
    lines = of_request(stack, {request_id}, ["nginx", "api"], 2)
    assert sorted(line["logger"] for line in lines) == ["listo.access", "nginx.access"]
    assert {line["trace_id"] for line in lines} == {trace_id}


def test_an_id_that_is_not_well_formed_is_replaced(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.get("/none", headers={"X-Request-ID": 'x"y'})
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"] != 'x"y'


@pytest.mark.parametrize(
    "spoof",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "203.0.113.7, 198.51.100.9"},
        {"Forwarded": "for=203.0.113.7"},
        {"X-Real-IP": "203.0.113.7"},
        {"X-Forwarded-For": f"{EDGE_ADDRESS}, 127.0.0.1"},
    ],
)
def test_what_a_client_says_of_its_address_is_not_believed(
    stack: Stack, spoof: dict[str, str]
) -> None:
    honest, spoofed = uuid4().hex, uuid4().hex
    with stack.client() as client:
        client.get("/none", headers={"X-Request-ID": honest})
        client.get("/none", headers={"X-Request-ID": spoofed, **spoof})
    lines = of_request(stack, {honest, spoofed}, ["nginx", "api"], 4)
    clients = {line["client"] for line in lines}
    assert len(clients) == 1
    assert "203.0.113.7" not in clients


def test_answers_are_compressed_but_not_beside_secrets(stack: Stack, collection: str) -> None:
    with stack.admin() as admin:
        for number in range(60):
            admin.post(f"/collections/{collection}/records", json={"n": number})
        listed = admin.get(f"/collections/{collection}/records")
        me = admin.get("/auth/api-keys")
    assert listed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in listed.headers["Vary"]
    assert "Content-Encoding" not in me.headers
