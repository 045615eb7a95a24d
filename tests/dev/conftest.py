"""Project folder, port and database that each `make dev` of a test has to itself."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures.background_program import free_port
from fixtures.cluster import database
from fixtures.dev import processes_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="listo-dev-"))
    folder.chmod(0o755)
    yield folder
    for process in processes_of(folder):
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def fresh_database(cluster_url: str) -> Iterator[str]:
    """A database without an admin."""
    with database(cluster_url) as url:
        yield url
