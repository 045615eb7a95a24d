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

CLIENTS = ROOT / "tests" / "clients"
BIN = Path(sys.executable).parent
# The generated module `client` fails mypy's strict mode, and the generator writes redundant casts.
MYPY = """
[mypy]
strict = true
disable_error_code = redundant-cast
[mypy-listo_client.client]
ignore_errors = true
"""


@pytest.fixture
def server_with_collections(cluster_url: str) -> Iterator[Server]:
    """A server with only the collections of collections.json."""
    with database(cluster_url) as url, serving(settings(url)) as server:
        admin = server.admin()
        for name, schema in json.loads((CLIENTS / "collections.json").read_text()).items():
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


def credentials(server: Server) -> dict[str, str]:
    token = str(server.admin().headers["authorization"]).removeprefix("Bearer ")
    return {"URL": server.url, "TOKEN": token}


def save_document(server: Server, folder: Path) -> Path:
    document: dict[str, Any] = server.admin().get("/openapi.json").json()
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    return path


def test_openapi_python_client(server_with_collections: Server, tmp_path: Path) -> None:
    document = save_document(server_with_collections, tmp_path)
    run(
        tmp_path, BIN / "openapi-python-client", "generate", "--fail-on-warning",
        "--path", document, "--meta", "none", "--output-path", "listo_client",
        PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip
    shutil.copy(CLIENTS / "program.py", tmp_path)
    (tmp_path / "mypy.ini").write_text(MYPY)
    run(tmp_path, BIN / "mypy", "--config-file", "mypy.ini", "listo_client", "program.py")
    run(tmp_path, sys.executable, "program.py", **credentials(server_with_collections))


@needs.unless(None if shutil.which("npm") else "there is no npm here")
def test_openapi_typescript_and_openapi_fetch(
    server_with_collections: Server, tmp_path: Path
) -> None:
    modules = install_npm_packages()
    for name in ("package.json", "program.ts", "tsconfig.json"):
        shutil.copy(CLIENTS / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    programs = modules / ".bin"
    document = save_document(server_with_collections, tmp_path)
    run(tmp_path, programs / "openapi-typescript", document, "-o", "listo.d.ts")
    run(tmp_path, programs / "tsc", "-p", ".")
    run(tmp_path, "node", "program.js", **credentials(server_with_collections))


def install_npm_packages() -> Path:
    """The folder with the packages of the lock file, beside Python's packages."""
    digest = hashlib.sha256((CLIENTS / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path(sys.prefix) / f"npm-{digest}"
    if not (folder / "complete").exists():
        folder.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(CLIENTS / name, folder)
        run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        (folder / "complete").touch()
    return folder / "node_modules"
