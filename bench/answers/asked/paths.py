"""Every path with every method, unknown paths, header fields, and pages of other sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.answers.asker import MISSING

if TYPE_CHECKING:
    from bench.answers.asker import Asker, Field

LOOSE = "/collections/loose/records"
PATHS = (
    "/", "/health", "/health/ready", "/metrics", "/docs", "/docs/start.js", "/docs/favicon.png",
    "/docs/nothing", "/openapi.json", "/auth/register", "/auth/login", "/auth/refresh",
    "/auth/logout", "/auth/me", "/auth/password", "/auth/api-keys", f"/auth/api-keys/{MISSING}",
    "/users", f"/users/{MISSING}", f"/users/{MISSING}/removal", "/collections",
    "/collections/nothing", "/collections/nothing/records", "/collections/nothing/records:batch",
    f"/collections/nothing/records/{MISSING}", "/nothing",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get")
# These answers are measurements.
MEASURED = ("/health/ready", "/metrics")
NONE = (
    "//", "/health/", "//health", "/HEALTH", "/healthcare", "/health/ready/", "/collections/",
    "/collections/loose/", "/collections/loose/record", f"{LOOSE}/", f"{LOOSE}:batches",
    f"{LOOSE}:", f"{LOOSE}/{MISSING}/more", "/collections//records", "/users/", "/auth", "/auth/",
    "/auth/login/", "/docs/", "/docs/../health", "/docs/%2e%2e/health", "/docs/swagger-ui.css?x=1",
    "/openapi.json/", "/%00", "/%ff", "/%", "/é", "/a%2fb", "/./health",
    "/?x=1", "/health?x=1", "*", "//metrics",
    "http://listo.example/health", "/favicon.ico", "/robots.txt", "/openapi.yaml", "/redoc",
)  # fmt: skip
PAGE, LOCAL, STRANGE = "https://app.example.com", "http://localhost:5173", "https://evil.example"
PREFLIGHTS: tuple[tuple[str, str], ...] = (
    ("GET", ""), ("PATCH", "content-type"), ("DELETE", "authorization, if-match"), ("TRACE", ""),
    ("POST", "X-Tenant"), ("POST", "x-other"), ("get", ""),
    ("POST", "content-type,x-other,x-tenant"),
)  # fmt: skip
DOUBLED: tuple[tuple[str, str, str], ...] = (
    ("Authorization", "Bearer x", "Bearer y"), ("Content-Type", "application/json", "text/plain"),
    ("If-Match", '"1"', '"2"'), ("If-None-Match", '"1"', "*"), ("Origin", PAGE, STRANGE),
    ("Range", "bytes=0-1", "bytes=2-3"), ("Content-Length", "2", "2"), ("Content-Length", "2", "3"),
    ("Host", "a.example", "b.example"), ("X-Request-ID", "0123456789", "9876543210"),
    ("Content-Encoding", "identity", "gzip"), ("Accept", "text/html", "application/json"),
    ("Idempotency-Key", "a", "b"), ("X-Forwarded-For", "192.0.2.1", "192.0.2.2"),
    ("traceparent", "00-x", "00-y"), ("Cookie", "a=1", "b=2"),
)  # fmt: skip
ALONE: tuple[Field, ...] = (
    ("X-Request-ID", "my-request.id:1"), ("X-Request-ID", "short"), ("X-Request-ID", "x" * 129),
    ("X-Request-ID", "not allowed"), ("X-Request-ID", ""), ("Accept", "text/html"), ("Accept", "x"),
    ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"), ("Range", "bytes=0-3"), ("Host", ""),
    ("X-Large", "x" * 33_000), ("Accept-Encoding", "gzip"), ("If-Modified-Since", "x"),
    ("X-Forwarded-For", "192.0.2.1"), ("X-HTTP-Method-Override", "DELETE"),
    ("Upgrade", "websocket"),
    ("Connection", "close"), ("Expect", "x"), ("Transfer-Encoding", "gzip"), ("X Y", "blank"),
)  # fmt: skip


def ask(ask: Asker) -> None:
    for path in PATHS:
        for method in METHODS:
            if path not in MEASURED or method not in ("GET", "HEAD"):
                ask(method, path)
        ask("OPTIONS", path, by="admin")
    for path in NONE:
        ask("GET", path)
        ask("POST", path, {})
    ask("GET", "/" + "y" * 17_000)
    ask("GET", "/collections?x=" + "y" * 17_000)
    for name, first, second in DOUBLED:
        for values in ((first, second), (second, first), (first, first)):
            fields = [(name, value) for value in values]
            ask("POST", LOOSE, b"{}", fields=[*fields, ("Connection", "close")])
    for field in ALONE:
        for path in ("/health", LOOSE + "?limit=1", "/docs/start.js"):
            ask("GET", path, fields=[field])
    ask("GET", "/collections", fields=[(f"X-{number}", "1") for number in range(101)])
    _pages(ask)


def _pages(ask: Asker) -> None:
    """Requests of other sites' pages, as a browser sends them."""
    for origin in (PAGE, LOCAL, STRANGE, "null", "", "https://app.example.com:8443"):
        for method, wanted in PREFLIGHTS:
            fields = [("Origin", origin), ("Access-Control-Request-Method", method)]
            fields += [("Access-Control-Request-Headers", wanted)] if wanted else []
            ask("OPTIONS", LOOSE, fields=fields)
        private = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Private-Network", "true"),
        ]
        ask("OPTIONS", "/nothing", fields=private)
        for method, path in (
            ("GET", "/health"), ("GET", LOOSE + "?limit=1"), ("OPTIONS", LOOSE),
            ("GET", "/nothing"), ("POST", "/auth/login"), ("HEAD", "/docs"),
        ):  # fmt: skip
            ask(method, path, fields=[("Origin", origin)])
