"""Clients that are generated from the OpenAPI document compile, and do every operation."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures import needs
from fixtures.cluster import database
from fixtures.rules import ANYONE
from fixtures.server import serving, settings
from infra.stack.compose import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server

HERE = ROOT / "tests" / "clients"
BIN = Path(sys.executable).parent
# Its own client is not strict, and some of its casts are to what a value is already.
MYPY = """
[mypy]
strict = true
disable_error_code = redundant-cast
[mypy-listo_client.client]
ignore_errors = true
"""


@pytest.fixture
def defined(cluster_url: str) -> Iterator[Server]:
    """A server with the collections, and no others."""
    with database(cluster_url) as url, serving(settings(url)) as server:
        admin = server.admin()
        for name, schema in json.loads((HERE / "collections.json").read_text()).items():
            made = admin.put(f"/collections/{name}", json={"schema": schema, "rules": ANYONE})
            assert made.is_success, made.text
        yield server


def run(folder: Path, *command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def access(server: Server) -> dict[str, str]:
    token = str(server.admin().headers["authorization"]).removeprefix("Bearer ")
    return {"URL": server.url, "TOKEN": token}


def written(server: Server, folder: Path) -> Path:
    document: dict[str, Any] = server.admin().get("/openapi.json").json()
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    return path


def test_openapi_python_client(defined: Server, tmp_path: Path) -> None:
    run(
        tmp_path, BIN / "openapi-python-client", "generate", "--fail-on-warning",
        "--path", written(defined, tmp_path), "--meta", "none", "--output-path", "listo_client",
        PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip
    shutil.copy(HERE / "program.py", tmp_path)
    (tmp_path / "mypy.ini").write_text(MYPY)
    run(tmp_path, BIN / "mypy", "--config-file", "mypy.ini", "listo_client", "program.py")
    run(tmp_path, sys.executable, "program.py", **access(defined))


@needs.unless(None if shutil.which("npm") else "there is no npm here")
def test_openapi_typescript_and_openapi_fetch(defined: Server, tmp_path: Path) -> None:
    modules = installed()
    for name in ("package.json", "program.ts", "tsconfig.json"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    programs = modules / ".bin"
    run(tmp_path, programs / "openapi-typescript", written(defined, tmp_path), "-o", "listo.d.ts")
    run(tmp_path, programs / "tsc", "-p", ".")
    run(tmp_path, "node", "program.js", **access(defined))


def installed() -> Path:
    """The packages of the lock file, beside those of Python."""
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path(sys.prefix) / f"npm-{digest}"
    if not (folder / "complete").exists():
        folder.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, folder)
        run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        (folder / "complete").touch()
    return folder / "node_modules"
