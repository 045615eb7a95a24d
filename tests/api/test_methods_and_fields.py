"""Methods of a path, encodings of a body, and fields that are given more than once."""

from __future__ import annotations

import gzip
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from fixtures.cluster import database
from fixtures.rules import ANYONE
from fixtures.server import serving, settings

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

PATH = "/collections/fielded/records"
RECORD = f"{PATH}/019b3c2e-7f00-7a61-8c1d-2f9e4b6a7c50"


@pytest.fixture(scope="module")
def fielded(admin: httpx.Client) -> str:
    admin.put("/collections/fielded", json={"schema": {}, "rules": ANYONE}).raise_for_status()
    return PATH


ALLOWED = {
    "/health": "GET, HEAD, OPTIONS",
    "/openapi.json": "GET, HEAD, OPTIONS",
    "/collections": "GET, HEAD, OPTIONS",
    "/collections/fielded": "GET, HEAD, PUT, DELETE, OPTIONS",
    # A missing collection has the same methods: they do not tell whether a collection is there.
    "/collections/nothing": "GET, HEAD, PUT, DELETE, OPTIONS",
    PATH: "GET, HEAD, POST, OPTIONS",
    f"{PATH}:batch": "POST, OPTIONS",
    RECORD: "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
    "/auth/api-keys": "GET, HEAD, POST, OPTIONS",
    "/auth/login": "POST, OPTIONS",
    "/users": "GET, HEAD, POST, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
def test_allow_names_all_methods_of_a_path(anonymous: httpx.Client, path: str) -> None:
    asked = anonymous.options(path)
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["allow"] == ALLOWED[path]
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"):
        if method not in ALLOWED[path]:
            refused = anonymous.request(method, path)
            assert (method, refused.status_code) == (method, 405)
            assert refused.headers["allow"] == ALLOWED[path]


def test_options_of_nothing_is_404(anonymous: httpx.Client) -> None:
    assert anonymous.options("/nothing").status_code == 404


def test_preflights_are_told_from_plain_options(cluster_url: str) -> None:
    origin = "https://app.example.org"
    with (
        database(cluster_url) as url,
        serving(settings(url, cors_origins=[origin])) as other,
    ):
        headers = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
        preflight = other.client().options(RECORD, headers=headers)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == origin
        plain = other.client().options(PATH, headers={"Origin": origin})
        assert (plain.status_code, plain.headers["allow"]) == (204, ALLOWED[PATH])
        assert plain.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "x", "gzip, identity", "GZIP"])
@pytest.mark.parametrize("path", [PATH, "/auth/login", "/users"])
def test_an_encoded_body_is_not_taken(
    anonymous: httpx.Client, fielded: str, path: str, coding: str
) -> None:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    refused = anonymous.post(path, content=gzip.compress(b"{}"), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
    assert refused.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_the_coding_identity_is_taken(anonymous: httpx.Client, fielded: str, coding: str) -> None:
    made = anonymous.post(fielded, json={}, headers={"Content-Encoding": coding})
    assert made.status_code == 201


SINGLE: dict[str, tuple[str, str]] = {
    "Authorization": ("Bearer x", "Bearer y"),
    "Content-Type": ("application/json", "text/plain"),
    "If-Match": ('"1"', '"2"'),
    "If-None-Match": ('"1"', "*"),
    "Origin": ("https://a.example", "https://b.example"),
    "Range": ("bytes=0-1", "bytes=2-3"),
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_a_single_field_that_is_given_twice_is_refused(
    anonymous: httpx.Client, fielded: str, name: str, *, turned: bool, same: bool
) -> None:
    first, second = SINGLE[name]
    values = [first, first] if same else [first, second]
    headers = [(name, value) for value in (reversed(values) if turned else values)]
    request = anonymous.build_request("POST", fielded, content=b"{}", headers=headers)
    refused = anonymous.send(request)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    assert refused.json()["detail"] == f"{name} is given more than once."
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert refused.headers["content-security-policy"]


def send(client: httpx.Client, method: str, path: str, *fields: tuple[str, str]) -> Any:
    json = [("Content-Type", "application/json")]
    return client.send(client.build_request(method, path, content=b"{}", headers=[*json, *fields]))


def test_two_hosts_are_refused(server: Server) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        fields = b"Host: a\r\nHost: b\r\nConnection: close\r\n\r\n"
        connection.sendall(b"GET /health HTTP/1.1\r\n" + fields)
        with connection.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 400 Bad Request\r\n"


def test_request_ids_given_twice_are_ignored(anonymous: httpx.Client, fielded: str) -> None:
    given = ("X-Request-ID", "0123456789abcdef")
    assert send(anonymous, "POST", fielded, given).headers["x-request-id"] == given[1]
    assert send(anonymous, "POST", fielded, given, given).headers["x-request-id"] != given[1]


def test_an_idempotency_key_given_twice_is_refused(anonymous: httpx.Client, fielded: str) -> None:
    key = ("Idempotency-Key", str(uuid4()))
    assert send(anonymous, "POST", fielded, key).status_code == 201
    refused = send(anonymous, "POST", fielded, key, key)
    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_invalid")


def test_an_encoding_in_a_second_field_is_refused_too(
    anonymous: httpx.Client, fielded: str
) -> None:
    codings = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    assert send(anonymous, "POST", fielded, *codings).status_code == 415
    assert send(anonymous, "POST", fielded, *reversed(codings)).status_code == 415
