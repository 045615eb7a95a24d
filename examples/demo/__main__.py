"""`make demo`: define three collections, load them over HTTP, and ask them something."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from dotenv import dotenv_values
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.demo.sources import COLLECTIONS, SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(os.environ.get("LISTO_PROJECT") or Path(__file__).parents[2])
BATCH = 500
QUERIES: list[tuple[str, str, dict[str, Any]]] = [
    ("Which characters are arrows?", "characters",
     {"filter": 'words has "arrow"', "sort": "code", "fields": "char,name", "limit": 3,
      "count": "exact"}),
    ("Which letters have a numeric value?", "characters",
     {"filter": 'category = "Lo" and numeric is not null', "sort": "-numeric",
      "fields": "char,name,numeric", "limit": 3}),
    ("Where is it latest in the day?", "timezones",
     {"filter": "year = 2026", "sort": "-offset_minutes,zone", "fields": "zone,offset_minutes",
      "limit": 3}),
    ("Which European zones do not change their clocks?", "timezones",
     {"filter": 'area = "Europe" and year = 2026 and not saves_daylight = true',
      "fields": "zone", "sort": "zone", "limit": 3, "count": "exact"}),
    ("What here depends on typing-extensions?", "packages",
     {"filter": 'requires has "typing-extensions"', "sort": "name", "fields": "name,release",
      "limit": 3, "count": "exact"}),
    ("Which packages are large, or have no summary?", "packages",
     {"filter": "files > 500 or summary is null", "sort": "-files",
      "fields": "name,files", "limit": 3}),
]  # fmt: skip

console = Console(highlight=False, soft_wrap=True)


class Failed(Exception):
    """The demo cannot go on; the message is for the user."""


def main() -> int:
    given = _given()
    host, port = given.get("HOST", "localhost"), given.get("PORT", "8000")
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        with httpx.Client(base_url=base, timeout=60, trust_env=False) as client:
            _ok(client.get("/health"))
            _login(client, given)
            with _without_limit(client):
                for name, definition in COLLECTIONS.items():
                    _ok(client.put(f"/collections/{name}", json=definition))
                _load(client)
            for title, name, parameters in QUERIES:
                _ask(client, title, name, parameters)
    except httpx.ConnectError:
        console.print(f"Nothing answers at {base}; start it first: make dev", markup=False)
        return 1
    except Failed as error:
        console.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped; run it again to go on.")
        return 130
    return 0


def _given() -> dict[str, str]:
    """The environment, completed by what `make dev` serves with while it runs."""
    sources = (dotenv_values(PROJECT / ".listo" / "env"), os.environ)
    return {name: value for source in sources for name, value in source.items() if value}


def _login(client: httpx.Client, given: dict[str, str]) -> None:
    email = given.get("ADMIN_EMAIL", "admin@example.com")
    password = given.get("ADMIN_PASSWORD") or _ask_password(email)
    response = client.post("/auth/login", json={"email": email, "password": password})
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise Failed(
            f"The password of {email} is not right. Set ADMIN_PASSWORD, or a new one with: "
            f"LISTO_ENV_FILE=.listo/env .venv/bin/listo admin reset-password {email}"
        )
    client.headers["Authorization"] = f"Bearer {_ok(response).json()['access_token']}"


@contextmanager
def _without_limit(client: httpx.Client) -> Iterator[None]:
    """Act by an API key for which no rate limit holds: so many records at once exceed a user's."""
    scopes = ["collections:admin", "records:read", "records:write"]
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    about = {"name": "make demo", "scopes": scopes, "rate_limit": "off", "expires_at": expires}
    key = _ok(client.post("/auth/api-keys", json=about)).json()
    session = client.headers["Authorization"]
    client.headers["Authorization"] = f"Bearer {key['key']}"
    try:
        yield
    finally:
        client.headers["Authorization"] = session
        client.delete(f"/auth/api-keys/{key['id']}")


def _ask_password(email: str) -> str:
    if not sys.stdin.isatty():
        raise Failed("Set ADMIN_PASSWORD to the password that `make dev` printed.")
    return console.input(f"Password of {email}: ", password=True)


def _load(client: httpx.Client) -> None:
    columns = (
        TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        for name, source in SOURCES.items():
            records = list(source())
            there = _ok(
                client.get(f"/collections/{name}/records", params={"limit": 1, "count": "exact"})
            ).json()["total"]
            task = progress.add_task(name, total=len(records), completed=min(there, len(records)))
            # The order is always the same, so a run that was stopped goes on where it was.
            for start in range(there, len(records), BATCH):
                operations = [
                    {"op": "create", "data": data} for data in records[start : start + BATCH]
                ]
                _ok(
                    client.post(
                        f"/collections/{name}/records:batch", json={"operations": operations}
                    )
                )
                progress.update(task, advance=len(operations))


def _ask(client: httpx.Client, title: str, name: str, parameters: dict[str, Any]) -> None:
    response = _ok(client.get(f"/collections/{name}/records", params=parameters))
    page = response.json()
    console.print(f"\n[bold]{title}[/]")
    shown = "&".join(f"{key}={value}" for key, value in parameters.items())
    console.print(f"  GET /collections/{name}/records?{shown}", style="cyan", markup=False)
    for item in page["items"]:
        fields = {key: value for key, value in item.items() if key != "id"}
        console.print("    " + ", ".join(f"{k} {v}" for k, v in fields.items()), markup=False)
    rest = f"of {page['total']}" if "total" in page else "and more" if page["next"] else ""
    milliseconds = response.elapsed.total_seconds() * 1000
    console.print(f"    [dim]{len(page['items'])} {rest} in {milliseconds:.1f} ms[/]")


def _ok(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    problem = response.json()
    faults = "; ".join(f"{e['pointer']} {e['message']}" for e in problem.get("errors", ()))
    asked = f"{response.request.method} {response.request.url.path}"
    raise Failed(f"{asked}: {problem['detail']} {faults}")


if __name__ == "__main__":
    sys.exit(main())
