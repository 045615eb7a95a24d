"""`listo serve` and `listo worker`: the processes of Listo."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import app
from app.core.settings import Settings

_APPLICATION = "app.main:app"
_GUNICORN = Path(app.__file__).parents[1] / "gunicorn.conf.py"
# On Ctrl-C in development, the server waits at most this long for clients with open connections.
_STOP_SECONDS = 5


def serve(
    host: Annotated[
        str, typer.Option(envvar="HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PORT", min=1, max=65535, help="The port to listen on.")
    ] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Serve by gunicorn with so many processes; more than one need REDIS_URL. "
            "Without this: one process in development, else as cores and memory allow.",
        ),
    ] = None,
    descriptor: Annotated[int | None, typer.Option("--fd", hidden=True)] = None,
) -> None:
    """Serve the API until SIGINT or SIGTERM.

    Settings come from the environment, `.env` and files of secrets. ENVIRONMENT says whether this
    is production."""
    production = Settings.load().production
    if descriptor is None and (production or workers is not None):
        _become_gunicorn(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", workers)
    # Imported here, as the worker below is: all other commands do without it.
    import uvicorn  # noqa: PLC0415

    uvicorn.run(
        _APPLICATION,
        host=host,
        port=port,
        fd=descriptor,
        http="app.http.protocol:Protocol",
        proxy_headers=False,
        server_header=False,
        # `make dev`, which hands over a socket, says by itself where the server is.
        log_level="info" if descriptor is None else "warning",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def _become_gunicorn(address: str, workers: int | None) -> None:
    """Replace this process, so that signals and the exit status are gunicorn's."""
    program = [sys.executable, "-m", "gunicorn", _APPLICATION, f"--config={_GUNICORN}"]
    program.append(f"--bind={address}")
    if workers is not None:
        program.append(f"--workers={workers}")
    os.execv(program[0], program)  # noqa: S606 - our own arguments


def work() -> None:
    """Do the duties of the worker until SIGINT or SIGTERM: tidy up, finish indexes."""
    from app import worker  # noqa: PLC0415

    raise typer.Exit(worker.run(Settings.load()))
