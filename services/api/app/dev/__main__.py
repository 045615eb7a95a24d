"""Start everything, say where it is, and stop everything again."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

import asyncpg
from dotenv import dotenv_values
from rich.console import Console

from app.core.settings import Settings, SettingsError, find_env_file
from app.db import migrations
from app.dev.instance import CannotStart, Instance
from app.dev.postgres import EmbeddedPostgres, PostgresError

API = Path(__file__).parents[2]
PROJECT = Path(os.environ.get("LISTO_PROJECT") or API.parents[1])
READY_SECONDS = 60
STOP_SECONDS = 10

console = Console(highlight=False, soft_wrap=True)


class Stopped(Exception):
    """Somebody wants us to stop."""


def main() -> int:
    """The exit status: 0 after Ctrl-C, 1 with one line where it cannot start or something dies."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What is said must be seen at once also where it goes to a file.
        sys.stdout.reconfigure(line_buffering=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    run = _Run()
    try:
        run.start()
        return run.watch()
    except Stopped:
        return 0
    except (CannotStart, PostgresError, SettingsError, migrations.DatabaseNewer) as error:
        console.print(f"[bold red]make dev:[/] {error}", markup=True)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        run.stop()


class _Run:
    def __init__(self) -> None:
        self.instance = Instance(PROJECT / ".listo")
        self.postgres: EmbeddedPostgres | None = None
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**_env_file(), **os.environ}
        self.host = self.environment.get("HOST") or "127.0.0.1"
        self.port = _port(self.environment.get("PORT") or "8000")
        self.password: str | None = None

    def start(self) -> None:
        self.instance.claim()
        self.instance.end_leftovers()
        _check_port(self.host, self.port)
        self.environment.setdefault("JWT_SECRET", self.instance.secret())
        if not self.environment.get("DATABASE_URL"):
            self.environment["DATABASE_URL"] = self._embedded()
        os.environ.update(self.environment)
        settings = Settings.load()
        migrations.upgrade(settings.database_url.get_secret_value())
        if not settings.admin_email:
            password, fresh = self.instance.admin_password()
            self.environment["ADMIN_EMAIL"] = "admin@example.com"
            self.environment["ADMIN_PASSWORD"] = password
            self.password = password if fresh else None
        self._serve()
        self._wait_ready()
        self._greet()

    def watch(self) -> int:
        """Wait until a child ends, which none should."""
        while True:
            for name, child in self.children.items():
                if child.poll() is not None:
                    console.print(f"[bold red]make dev:[/] the {name} ended ({child.returncode}).")
                    return 1
            time.sleep(0.3)

    def stop(self) -> None:
        for child in self.children.values():
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self.children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
        if self.postgres is not None:
            self.postgres.stop()
        if self.children:
            self.instance.forget()
            console.print("\nStopped.")

    def _embedded(self) -> str:
        self.postgres = EmbeddedPostgres(self.instance.folder)
        self.postgres.start()
        asyncio.run(_ensure_database(self.postgres.url("postgres")))
        return self.postgres.url()

    def _serve(self) -> None:
        python = sys.executable
        commands = {
            "server": [
                python, "-m", "uvicorn", "app.main:app", "--reload", "--reload-dir",
                str(API / "app"), "--host", self.host, "--port", str(self.port),
                "--no-server-header", "--timeout-graceful-shutdown", "5", "--log-level", "warning",
            ],
            "worker": [
                python, "-m", "watchfiles", "--filter", "python", "--verbosity", "warning",
                f"{python} -m app.worker", str(API / "app"),
            ],
        }  # fmt: skip
        for name, command in commands.items():
            # In groups of their own: Ctrl-C is ours to handle, and they are told in order.
            self.children[name] = subprocess.Popen(  # noqa: S603 - our own arguments
                command, cwd=API, env=self.environment, process_group=0,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - before any thread
            )  # fmt: skip
        self.instance.record([child.pid for child in self.children.values()])

    def _wait_ready(self) -> None:
        # A proxy of the environment has no business between us and ourselves.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if any(child.poll() is not None for child in self.children.values()):
                raise CannotStart("it did not start, see above.")
            try:
                with opener.open(f"{self._url}/health/ready", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise CannotStart(f"it was not ready within {READY_SECONDS} s.")

    @property
    def _url(self) -> str:
        host = "localhost" if self.host in ("127.0.0.1", "0.0.0.0") else self.host  # noqa: S104
        return f"http://{host}:{self.port}"

    def _greet(self) -> None:
        url = self._url
        console.print(f"\n[bold green]Listo is ready.[/]  {url}\n")
        console.print(f"  [cyan]{url}/docs[/]          the API, to try in the browser")
        console.print(f"  [cyan]{url}/health/ready[/]  is it well?")
        console.print(f"  [cyan]{url}/metrics[/]       what it measures")
        if self.password:
            console.print("\n  Admin  [bold]admin@example.com[/], password (shown this once):")
            console.print(f"         [bold]{self.password}[/]")
            body = f'{{"email":"admin@example.com","password":"{self.password}"}}'
            console.print(
                f"\n  curl -s {url}/auth/login -H 'Content-Type: application/json' -d '{body}'\n",
                markup=False,
            )
        else:
            console.print(f"\n  curl -s {url}/collections\n", markup=False)
        console.print("[dim]Ctrl-C stops everything.[/]\n")


def _end_with_parent() -> None:
    # So that kill -9 does not leave a server behind; elsewhere the next start ends it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _stop(_: int, __: FrameType | None) -> None:
    raise Stopped


def _env_file() -> dict[str, str]:
    path = find_env_file()
    values = dotenv_values(path) if path else {}
    return {name: value for name, value in values.items() if value}


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        console.print(f"[bold red]make dev:[/] PORT must be 1 to 65535, not {text!r}.")
        sys.exit(1)
    return int(text)


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"Port {port} cannot be used ({error.strerror}); try: make dev PORT={port + 1}"
            ) from None


async def _ensure_database(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'listo'"):
            await connection.execute("CREATE DATABASE listo")
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main())
