"""The table of bad input: each row gets its documented problem and never a 5xx. The log stays free
of tracebacks and secrets."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from fixtures.rules import ANYONE
from fixtures.server import PASSWORD

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

P = "/collections/table/records"
JSON = {"Content-Type": "application/json"}
NOBODY = "01a00000-0000-7000-8000-000000000000"


def b64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture(scope="module", autouse=True)
def table(admin: httpx.Client, ada: httpx.Client) -> str:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"type": "string", "maxLength": 20}, "n": {"type": "number"}},
    }
    rules = ANYONE
    assert admin.put("/collections/table", json={"schema": schema, "rules": rules}).is_success
    return str(ada.post(P, json={"a": "x"}).json()["id"])


# method, path, headers, body, status, code
ROWS: list[tuple[str, str, dict[str, str], Any, int, str]] = [
    # bodies
    ("POST", P, JSON, b"", 400, "invalid_json"),
    ("POST", P, JSON, b"\xff\xfe{}", 400, "invalid_json"),
    ("POST", P, JSON, b'{"a":"\\u0000"}', 422, "validation_failed"),
    ("POST", P, JSON, b'{"a":1,"a":2}', 400, "invalid_json"),
    ("POST", P, JSON, b'{"n":1e999}', 422, "validation_failed"),
    ("POST", P, JSON, b"[" * 5000, 400, "invalid_json"),
    ("POST", P, JSON, b"[]", 422, "invalid_record"),
    ("POST", P, JSON, b"null", 422, "invalid_record"),
    ("POST", P, JSON, b'{"a":5}', 422, "invalid_record"),
    ("POST", P, JSON, b'{"b":5}', 422, "invalid_record"),
    ("POST", P, JSON, b'{"version":5}', 422, "invalid_record"),
    ("POST", P, JSON, b'{"a":"' + b"x" * 21 + b'"}', 422, "invalid_record"),
    ("POST", P, {"Content-Type": "text/plain"}, b"{}", 415, "unsupported_media_type"),
    ("POST", P, {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1", 415,
     "unsupported_media_type"),
    ("POST", P, {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415,
     "unsupported_media_type"),
    ("PATCH", f"{P}/ID", {"Content-Type": "application/json-patch+json"}, b"[]", 415,
     "unsupported_media_type"),
    ("PATCH", f"{P}/ID", JSON, b"[]", 422, "invalid_record"),
    ("PATCH", f"{P}/ID", JSON, b'{"id":null}', 422, "invalid_record"),
    ("PATCH", f"{P}/ID", JSON, b'{"a":{"b":1}}', 422, "invalid_record"),
    ("PATCH", f"{P}/ID", JSON, b'{"x":' + b"1" * 3993 + b"e308}", 422, "validation_failed"),
    ("PUT", f"{P}/ID", JSON, b'"x"', 422, "invalid_record"),
    ("POST", f"{P}:batch", JSON, b"{}", 422, "invalid_batch"),
    ("POST", f"{P}:batch", JSON, b'{"operations":[{"op":"delete","id":5}]}', 422, "invalid_batch"),
    ("POST", "/auth/login", JSON, b"{}", 422, "validation_failed"),
    ("POST", "/auth/login", JSON, b'{"email":"a","password":"b","x":1}', 422, "validation_failed"),
    ("POST", "/auth/login", JSON, b'{"email":1,"password":[]}', 422, "validation_failed"),
    ("POST", "/auth/login", JSON, b'{"email":"a@b.c","password":"\\u0000"}', 422,
     "validation_failed"),
    ("POST", "/auth/login", JSON, b'{"email":"nobody","password":"x"}', 401,
     "invalid_credentials"),
    ("POST", "/auth/login", JSON, b'"' + b"x" * 100 + b'"', 422, "validation_failed"),
    ("POST", "/auth/register", JSON, b'{"email":"no","password":"long enough 1"}', 422,
     "validation_failed"),
    ("POST", "/auth/register", JSON, b'{"email":"x@example.com","password":"short"}', 422,
     "validation_failed"),
    ("POST", "/auth/register", JSON, b'{"email":"ada@example.com","password":"long enough 1"}',
     409, "email_taken"),
    ("POST", "/auth/refresh", JSON, b'{"refresh_token":"lr_x"}', 401, "invalid_token"),
    ("POST", "/auth/refresh", JSON, '{"refresh_token":"\u00e9"}'.encode(), 401, "invalid_token"),
    ("POST", "/auth/api-keys", JSON, b'{"name":"x","scopes":["all"]}', 422, "validation_failed"),
    ("POST", "/auth/api-keys", JSON, b'{"name":"x","scopes":["users:admin"]}', 403,
     "scope_not_held"),
    ("POST", "/auth/api-keys", JSON,
     b'{"name":"x","scopes":["records:read"],"expires_at":"2001-01-01T00:00:00Z"}', 422,
     "validation_failed"),
    # paths and ids
    ("GET", f"{P}/1", {}, None, 404, "record_not_found"),
    ("GET", f"{P}/{NOBODY}", {}, None, 404, "record_not_found"),
    ("GET", f"{P}/{{{NOBODY}}}", {}, None, 404, "record_not_found"),
    ("GET", f"{P}/%00", {}, None, 404, "record_not_found"),
    ("GET", f"{P}/..%2f..", {}, None, 404, "not_found"),
    ("PUT", f"{P}/1", JSON, b"{}", 400, "invalid_id"),
    ("DELETE", f"{P}/1", {}, None, 404, "record_not_found"),
    ("GET", "/collections/%00/records", {}, None, 404, "collection_not_found"),
    ("GET", "/collections/none/records", {}, None, 404, "collection_not_found"),
    ("GET", "/collections/table%22/records", {}, None, 404, "collection_not_found"),
    ("GET", "/collections/%ff/records", {}, None, 404, "collection_not_found"),
    ("DELETE", "/auth/api-keys/x", {}, None, 400, "invalid_parameter"),
    ("GET", "/users/x", {}, None, 400, "invalid_parameter"),
    ("GET", "/users", {}, None, 403, "forbidden"),
    ("TRACE", P, {}, None, 405, "method_not_allowed"),
    # lists
    ("GET", f"{P}?limit=0", {}, None, 400, "invalid_parameter"),
    ("GET", f"{P}?limit=1e2", {}, None, 400, "invalid_parameter"),
    ("GET", f"{P}?limit=", {}, None, 400, "invalid_parameter"),
    ("GET", f"{P}?limit=%00", {}, None, 400, "invalid_parameter"),
    ("GET", f"{P}?offset=5", {}, None, 400, "invalid_parameter"),
    ("GET", f"{P}?filter=a", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=a%3D%27x%27", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=a%3D%22%5Cu0000%22", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=a%3D%22%00%22", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=%ff", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=n%3D1e999", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=n%3D1)%20or%20(1%3D1", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=a%20like%20%22%5C%5C%22", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=created_at%3E%220000-00-00%22", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=created_at%3E%220001-01-01T00:00:00%2B23:59%22", {}, None, 400,
     "invalid_filter"),
    ("GET", f"{P}?filter=version%3D99999999999999999999", {}, None, 400, "invalid_filter"),
    ("GET", f"{P}?filter=other%3D1", {}, None, 400, "unknown_field"),
    ("GET", f"{P}?sort=other", {}, None, 400, "unknown_field"),
    ("GET", f"{P}?sort=a;drop%20table", {}, None, 400, "invalid_sort"),
    ("GET", f"{P}?sort=,", {}, None, 400, "invalid_sort"),
    ("GET", f"{P}?cursor=x", {}, None, 400, "invalid_cursor"),
    ("GET", f"{P}?cursor=%00", {}, None, 400, "invalid_cursor"),
    ("GET", f"{P}?cursor=" + "A" * 9000, {}, None, 400, "invalid_cursor"),
    ("GET", f"{P}?fields=a,,", {}, None, 400, "invalid_parameter"),
    # headers
    ("GET", f"{P}/ID", {"If-None-Match": "x"}, None, 400, "invalid_precondition"),
    ("PUT", f"{P}/ID", {**JSON, "If-Match": '"a'}, b"{}", 400, "invalid_precondition"),
    ("PUT", f"{P}/ID", {**JSON, "If-Match": '"a"'}, b"{}", 412, "version_conflict"),
    ("PUT", f"{P}/ID", {**JSON, "If-Match": '"-1"'}, b"{}", 412, "version_conflict"),
    ("PUT", f"{P}/ID", {**JSON, "If-Match": '"1"', "If-None-Match": "*"}, b"{}", 400,
     "invalid_precondition"),
    # tokens
    ("GET", "/auth/me", {"Authorization": ""}, None, 401, "invalid_token"),
    ("GET", "/auth/me", {"Authorization": "Bearer"}, None, 401, "invalid_token"),
    ("GET", "/auth/me", {"Authorization": "Basic YTpi"}, None, 401, "invalid_token"),
    ("GET", "/auth/me", {"Authorization": "Bearer x.y.z"}, None, 401, "invalid_token"),
    ("GET", "/auth/me", {"Authorization": "Bearer lk_x"}, None, 401, "invalid_token"),
    ("GET", "/auth/me", {"Authorization": "Bearer " + "A" * 5000}, None, 401, "invalid_token"),
    ("GET", P, {"Authorization": "Bearer lk_x"}, None, 401, "invalid_token"),
    ("GET", "/auth/me",
     {"Authorization": f"Bearer {b64({'alg': 'none'})}.{b64({'sub': NOBODY})}."}, None, 401,
     "invalid_token"),
    # definitions
    ("PUT", "/collections/Table", JSON, b'{"schema":{}}', 401, "authentication_required"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1][:60]} {row[4]}")
def test_bad_input_gets_its_problem_without_a_trace(
    server: Server,
    ada: httpx.Client,
    table: str,
    capfd: pytest.CaptureFixture[str],
    row: tuple[str, str, dict[str, str], Any, int, str],
) -> None:
    method, path, headers, body, status, code = row
    client = server.client() if path == "/collections/Table" else ada
    capfd.readouterr()
    response = client.request(method, path.replace("ID", table), headers=headers, content=body)
    assert response.status_code == status, response.text
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert {"type", "title", "detail"} <= problem.keys()
    for error in problem.get("errors", ()):
        assert {"pointer", "message", "code"} <= error.keys()
    client.get("/health")
    output = "".join(capfd.readouterr())
    assert "Traceback" not in output
    assert PASSWORD not in output
    assert str(ada.headers["authorization"]).removeprefix("Bearer ") not in output


def forged(server: Server, ada: httpx.Client, **changes: Any) -> str:
    """Ada's access token with other claims, header or key."""
    token = str(ada.headers["authorization"]).removeprefix("Bearer ")
    header = {**jwt.get_unverified_header(token), **changes.pop("header", {})}
    claims = {**jwt.decode(token, options={"verify_signature": False}), **changes.pop("claims", {})}
    for name in changes.pop("without", ()):
        del claims[name]
    key = changes.pop("key", server.settings.jwt_secret.get_secret_value())
    algorithm = changes.pop("algorithm", "HS256")
    return jwt.encode(claims, key, algorithm, headers=header)


def test_a_token_signed_rightly_is_taken(server: Server, ada: httpx.Client) -> None:
    token = forged(server, ada)
    assert server.client(token).get("/auth/me").status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "another secret of thirty-two characters"},
        {"algorithm": "HS384", "header": {"alg": "HS384"}, "key": "0123456789abcdef" * 4},
        {"algorithm": "none", "key": None, "header": {"alg": "none"}},
        {"header": {"kid": "unknown"}},
        {"claims": {"iss": "somebody"}},
        {"claims": {"aud": "others"}},
        {"claims": {"exp": int(time.time()) - 1}},
        {"claims": {"sub": NOBODY}},
        {"claims": {"sid": NOBODY}},
        {"claims": {"sid": "x"}},
        {"without": ["exp"]},
        {"without": ["sid"]},
        {"without": ["iss"]},
        {"without": ["aud"]},
    ],
)
def test_forged_tokens_are_refused(
    server: Server, ada: httpx.Client, changes: dict[str, Any]
) -> None:
    response = server.client(forged(server, ada, **changes)).get("/auth/me")
    assert response.status_code == 401
    assert response.json()["code"] == "invalid_token"
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
