"""Sessions: refreshing, logging out, changing the password, and guessing at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.answers.asker import MISSING, PASSWORD

if TYPE_CHECKING:
    from bench.answers.asker import Asker

OTHER = "another long password"
REFRESHED: tuple[Any, ...] = (
    {"refresh_token": "lr_x"}, {"refresh_token": "é"}, {"refresh_token": ""}, {"refresh_token": 5},
    {"refresh_token": "x" * 129}, {"refresh_token": f"lr_{'x' * 43}"}, {"token": "x"}, {}, [], None,
)  # fmt: skip
CHANGES: tuple[Any, ...] = (
    {"current_password": PASSWORD, "new_password": "short"},
    {"current_password": PASSWORD, "new_password": "x" * 1025},
    {"current_password": PASSWORD}, {"new_password": OTHER}, {}, [], None,
    {"current_password": PASSWORD, "new_password": OTHER, "more": 1},
    {"current_password": "wrong", "new_password": OTHER},
)  # fmt: skip


def ask(ask: Asker) -> None:
    for body in REFRESHED:
        ask("POST", "/auth/refresh", body)
    ask("POST", "/auth/register", {"email": "sam@example.com", "password": PASSWORD})
    for session in ("one", "two", "three"):
        ask.log_in(session, "sam@example.com")
    _refreshes(ask)
    for body in CHANGES:
        ask("POST", "/auth/password", body, by="one")
    ask("POST", "/auth/password", CHANGES[-1])
    ask("POST", "/auth/password", {"current_password": PASSWORD, "new_password": OTHER}, by="one")
    for session in ("one", "two", "three"):
        ask("GET", "/auth/me", by=session)
    for password in (PASSWORD, OTHER):
        ask.log_in("four", "sam@example.com", password)
    _log_outs(ask)
    _guesses(ask)


def _refreshes(ask: Asker) -> None:
    first = {"refresh_token": ask.handed_on["two's refresh token"]}
    given = ask("POST", "/auth/refresh", first)
    # Two windows may use a token at the same time.
    ask("POST", "/auth/refresh", first)
    ask("POST", "/auth/refresh", {"refresh_token": given.get("refresh_token")})
    ask.tokens["refreshed"] = given.get("access_token")
    for caller in ("two", "refreshed"):
        ask("GET", "/auth/me", by=caller)
    for token in (first["refresh_token"], f"{ask.tokens['two']}x", ask.tokens["two"][:-3]):
        ask("GET", "/auth/me", fields=[("Authorization", f"Bearer {token}")])


def _log_outs(ask: Asker) -> None:
    ask("POST", "/auth/logout")
    for _ in range(2):
        ask("POST", "/auth/logout", by="four")
    ask("GET", "/auth/me", by="four")
    ask("GET", "/collections/loose/records?limit=1", by="four")
    refresh = {"refresh_token": ask.handed_on.get("four's refresh token", MISSING)}
    ask("POST", "/auth/refresh", refresh)


def _guesses(ask: Asker) -> None:
    """Five wrong passwords are free, and the next has to wait."""
    wrong = {"email": "guessed@example.com", "password": "a wrong password"}
    change = {"current_password": "a wrong password", "new_password": OTHER}
    for _ in range(4):
        ask("POST", "/auth/login", wrong)
        ask("POST", "/auth/password", change, by="bob")
    ask.until(429, "POST", "/auth/login", wrong)
    ask.until(429, "POST", "/auth/password", change, by="bob")
