"""Start everything, say where it is, start it anew when the code changes, and stop it again."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import select
import socket
import sys
import time
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from io import TextIOWrapper
from pathlib import Path
from shlex import quote

import asyncpg
from dotenv import dotenv_values
from rich.console import Console
from watchfiles import PythonFilter, watch

from app.core.env_file import SettingsError, find_env_file
from app.core.errors import Problem
from app.core.settings import Settings
from app.db import migrations
from app.dev import signals
from app.dev.instance import CannotStart, Instance
from app.dev.postgres import EmbeddedPostgres, PostgresError
from app.dev.processes import API, Processes

# The folder that `.listo` lives in.
PROJECT = Path(os.environ.get("LISTO_PROJECT") or API.parents[1])
READY_SECONDS = 60
ADMIN = "admin@example.com"

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """The exit status: 0 after Ctrl-C, 1 with one line if `make dev` cannot start."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Messages must appear immediately, also in a file.
        sys.stdout.reconfigure(line_buffering=True)
    runner = Runner(PROJECT)
    try:
        runner.start()
        runner.watch()
    except signals.Stopped:
        return 0
    except (CannotStart, PostgresError, SettingsError, migrations.DatabaseNewer,
            migrations.CannotMigrate) as error:  # fmt: skip
        return _complain(str(error))
    except (Problem, asyncpg.PostgresError) as error:
        said = error if isinstance(error, asyncpg.PostgresError) else error.__cause__
        if isinstance(said, asyncpg.PostgresError):
            return _complain(f"PostgreSQL says: {said}.")
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error.filename or 'The system'}: {error.strerror}.")
    finally:
        runner.stop()
    return 0


class Runner:
    """One `make dev`, from its start to its end."""

    def __init__(self, project: Path) -> None:
        self.instance = Instance(project.resolve() / ".listo")
        self.postgres: EmbeddedPostgres | None = None
        self.processes: Processes | None = None
        self.environment: dict[str, str] = {}
        self.host = ""
        self.port = 0
        self.socket: socket.socket | None = None

    def start(self) -> None:
        """Return as soon as requests are answered. Raises CannotStart, and errors of the parts."""
        self.environment = _environment()
        self.host = self.environment.setdefault("HOST", "127.0.0.1")
        self.port = _port(self.environment.setdefault("PORT", "8000"))
        self.instance.claim()
        self.instance.end_leftovers()
        self.socket = _listen(self.host, self.port)
        self.environment.setdefault("JWT_SECRET", self.instance.secret())
        embedded = None
        if "DATABASE_URL" not in self.environment:
            embedded = EmbeddedPostgres(self.instance.folder)
            self.environment["DATABASE_URL"] = embedded.url()
        self.environment.setdefault("ADMIN_EMAIL", ADMIN)
        kept = "ADMIN_PASSWORD" not in self.environment
        fresh = False
        if kept:
            self.environment["ADMIN_PASSWORD"], fresh = self.instance.admin_password()
        os.environ.update(self.environment)
        settings = Settings.load()
        if embedded is not None:
            self._start_postgres(embedded)
        signals.check()
        migrations.upgrade(settings.database_url.get_secret_value())
        signals.check()
        names = {"HOST", "PORT", *map(str.upper, Settings.model_fields)} & self.environment.keys()
        self.instance.show({name: self.environment[name] for name in sorted(names)})
        self.processes = Processes(self.instance, self.environment, self.socket.fileno())
        self.processes.start()
        self._wait_ready()
        self._greet(kept=kept, show_password=fresh)

    def watch(self) -> None:
        """Start the server and the worker anew whenever the code changes, until a signal comes."""
        assert self.processes is not None
        for changes in watch(
            *_code(), watch_filter=PythonFilter(), rust_timeout=200, yield_on_timeout=True
        ):
            signals.check()
            if changes:
                names = ", ".join(sorted({Path(path).name for _, path in changes}))
                console.print(f"[dim]{names} changed, starting anew.[/]")
                self.processes.stop()
                self.processes.start()
            for name, status in self.processes.ended():
                console.print(
                    f"[bold red]make dev:[/] the {name} ended ({status}), see above; "
                    "it is started anew when the code changes."
                )

    def stop(self) -> None:
        """Stop what was started; can be called at any time."""
        if self.processes is not None:
            self.processes.stop()
            self.instance.hide()
        if self.socket is not None:
            self.socket.close()
        if self.postgres is not None:
            self.postgres.stop()
            console.print("\nStopped.")

    def _start_postgres(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres
        postgres.start()
        asyncio.run(_ensure_database(postgres.url("postgres")))

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while self._ready_status(deadline) != HTTPStatus.OK:
            time.sleep(0.05)

    def _ready_status(self, deadline: float) -> int:
        """The server's status once it serves our socket; 0 if it closes the connection early."""
        assert self.processes is not None
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        with closing(HTTPConnection(host, self.port, timeout=READY_SECONDS)) as connection:
            connection.request("GET", "/health/ready")
            while not select.select([connection.sock], [], [], 0.05)[0]:
                signals.check()
                for name, _ in self.processes.ended():
                    raise CannotStart(f"the {name} did not start, see above.")
                if time.monotonic() > deadline:
                    raise CannotStart(f"it was not ready within {READY_SECONDS} s.")
            try:
                return connection.getresponse().status
            except (HTTPException, ConnectionError):
                return 0

    def _url(self, host: str) -> str:
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _greet(self, *, kept: bool, show_password: bool) -> None:
        local = self.host in ("127.0.0.1", "::1", "0.0.0.0", "::")  # noqa: S104
        url = self._url("localhost" if local else self.host)
        console.print(f"\n[bold green]Listo is ready.[/]  {url}\n")
        console.print(f"  [cyan]{url}/docs[/]          the API, to try in the browser")
        console.print(f"  [cyan]{url}/health/ready[/]  is it well?")
        console.print(f"  [cyan]{url}/metrics[/]       what it measures")
        email, password = self.environment["ADMIN_EMAIL"], self.environment["ADMIN_PASSWORD"]
        command = f"{url}/collections"
        if show_password:
            console.print(f"\n  Admin  [bold]{email}[/], password (shown this once):")
            console.print(f"         [bold]{password}[/]")
            body = json.dumps({"email": email, "password": password}, separators=(",", ":"))
            command = f"{url}/auth/login -H 'Content-Type: application/json' -d {quote(body)}"
        elif kept:
            console.print(f"\n  Admin  [bold]{email}[/], first password in .listo/admin_password")
        console.print(f"\n  curl -s {command}\n", markup=False)
        console.print("[dim]Ctrl-C stops everything.[/]\n")


def _complain(message: str) -> int:
    if signals.received():
        # The error is only that a program of ours got the same signal.
        return 0
    console.print("[bold red]make dev:[/]", end=" ")
    console.print(message, markup=False)
    return 1


def _environment() -> dict[str, str]:
    """The environment, completed from `.env`; an empty value counts as not given."""
    path = find_env_file()
    from_file = dotenv_values(path) if path else {}
    given = {name: value for name, value in os.environ.items() if value}
    return {name: value for name, value in from_file.items() if value} | given


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 1 << 16:
        raise CannotStart(f"PORT must be 1 to 65535, not {text!r}.")
    return int(text)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CannotStart(
            f"HOST is no address of this machine: {host} ({error.strerror})."
        ) from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit this option. uvicorn does not set it, since it mistakes a socket
    # handed over by number for a Unix socket; answers on kept connections would be 40 ms late.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise CannotStart(
            f"Port {port} cannot be used ({error.strerror}); try: make dev PORT={port % 65535 + 1}"
        ) from None
    return listening


def _code() -> list[Path]:
    """The folders whose changes start the processes anew: ours, and those of extensions."""
    folders = [API / "app"]
    for extension in Settings.load().listo_extensions:
        spec = importlib.util.find_spec(re.split("[.:]", extension)[0])
        if spec is not None and spec.origin is not None:
            folders.append(Path(spec.origin).parent)
        elif spec is not None:
            folders.extend(map(Path, spec.submodule_search_locations or ()))
    return folders


async def _ensure_database(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'listo'"):
            await connection.execute("CREATE DATABASE listo")
    finally:
        await connection.close()
