"""Accounts: registering, logging in, and the bodies that these take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.answers.asker import PASSWORD

if TYPE_CHECKING:
    from bench.answers.asker import Asker

ADMIN_PASSWORD = "correct horse battery"  # noqa: S105 - of a server that is thrown away

REGISTRATIONS: tuple[Any, ...] = (
    {"email": "ada@example.com", "password": PASSWORD, "name": "Ada Lovelace"},
    {"email": "bob@example.com", "password": PASSWORD},
    {"email": " Carol@Example.COM ", "password": PASSWORD, "name": None},
    {"email": "ADA@example.com", "password": PASSWORD},
    {"email": "dan@example.com", "password": "cafe\u0301 au lait"},
    {"email": "é@example.com", "password": PASSWORD},
    {"email": "no address", "password": PASSWORD},
    {"email": "a@b", "password": PASSWORD},
    {"email": "", "password": PASSWORD},
    {"email": f"{'a' * 250}@example.com", "password": PASSWORD},
    {"email": "short@example.com", "password": "short"},
    {"email": "long@example.com", "password": "x" * 1025},
    {"email": "blank@example.com", "password": " " * 12},
    {"email": "named@example.com", "password": PASSWORD, "name": ""},
    {"email": "named@example.com", "password": PASSWORD, "name": "x" * 201},
    {"email": "named@example.com", "password": PASSWORD, "roles": ["admin"]},
    {"email": 5, "password": None},
    {"email": "eve@example.com"},
    {},
    [],
    None,
    "text",
)
LOGINS: tuple[Any, ...] = (
    {"email": "ada@example.com", "password": PASSWORD},
    {"email": " ADA@EXAMPLE.com", "password": PASSWORD},
    {"email": "dan@example.com", "password": "café au lait"},
    {"email": "ada@example.com", "password": "a wrong password"},
    {"email": "nobody@example.com", "password": PASSWORD},
    {"email": "no address", "password": "x"},
    {"email": "ada@example.com"},
    {"email": "ada@example.com", "password": ""},
    {"email": "ada@example.com", "password": "x" * 1025},
    {"email": "ada@example.com", "password": PASSWORD, "remember": True},
    {"email": ["ada@example.com"], "password": {}},
    {},
    [1],
    "x",
)
TEXTS: tuple[bytes, ...] = (
    b"", b"{", b"null", b'{"email":"a@b.cd","email":"a@b.cd","password":"x"}', b"\xff",
    b'{"email":"a@b.cd","password":"\\u0000"}', b'{"email":"a@b.cd","password":"\\ud800"}',
    b'{"email":' + b"[" * 100, b" " * 70_000 + b"{}", b'"' + b"x" * 70_000 + b'"',
    b"{" + b",".join(b'"m%d":1' % n for n in range(50)) + b"}",
)  # fmt: skip


def ask(ask: Asker) -> None:
    ask("GET", "/health")
    ask.measured("/health/ready")
    ask("GET", "/auth/me")
    ask.log_in("admin", "admin@example.com", ADMIN_PASSWORD)
    for body in REGISTRATIONS:
        ask("POST", "/auth/register", body)
    for body in LOGINS:
        ask("POST", "/auth/login", body)
    for text in TEXTS:
        ask("POST", "/auth/login", text)
        ask("POST", "/auth/register", text)
    ask.log_in("ada", "ada@example.com")
    ask.log_in("bob", "bob@example.com")
    for caller in ("admin", "ada", "bob", ""):
        ask("GET", "/auth/me", by=caller)
    for value in (
        "", "Bearer", "Bearer ", "bearer x", "Basic YTpi", "Bearer x.y.z", "Bearer lk_x",
        f"Bearer lk_{'x' * 43}", f"Token {ask.tokens['ada']}", f"bearer {ask.tokens['ada']}",
        f"Bearer  {ask.tokens['ada']}", f"Bearer {ask.tokens['ada']}x", "Bearer é",
    ):  # fmt: skip
        ask("GET", "/auth/me", fields=[("Authorization", value)])
        ask("GET", "/collections", fields=[("Authorization", value)])
