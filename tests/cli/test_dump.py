"""`listo dump` and `listo restore` into an empty database: everything comes back as it was."""

from __future__ import annotations

import json
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cluster import database, execute
from fixtures.listo import Listo
from fixtures.moving import digests, fill, people, rows
from fixtures.server import ADMIN, PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from fixtures.server import Server


@pytest.fixture(scope="module")
def listo(database_url: str) -> Listo:
    return Listo(database_url)


@pytest.fixture(scope="module")
def facts(server: Server, admin: httpx.Client) -> dict[str, Any]:
    return fill(server, admin)


@pytest.fixture
def empty_url(cluster_url: str) -> Iterator[str]:
    with database(cluster_url) as url:
        yield url


@pytest.mark.parametrize("name", ["dump", "dump.tar.zst"])
def test_a_project_comes_back_as_it_was(
    listo: Listo,
    facts: dict[str, Any],
    database_url: str,
    empty_url: str,
    tmp_path: Path,
    name: str,
) -> None:
    report = listo.succeed("dump", tmp_path / name, "--json").report
    assert report["collections"] == {"empty": 0, "notes": 4}
    assert (report["users"], report["api_keys"]) == (3, 1)
    report = Listo(empty_url).succeed("restore", tmp_path / name, "--json").report
    assert report["collections"]["notes"] == {
        "definition": "new",
        "records": {"new": 4, "replaced": 0, "kept": 0},
    }
    assert report["users"] == {"new": 3, "replaced": 0, "kept": 0}
    assert rows(empty_url, "notes") == rows(database_url, "notes")
    assert people(empty_url) == people(database_url)
    listo.succeed("dump", tmp_path / "before")
    Listo(empty_url).succeed("dump", tmp_path / "after")
    assert digests(tmp_path / "after") == digests(tmp_path / "before")


@pytest.mark.parametrize("name", ["dump", "dump.tar.zst"])
def test_nothing_is_a_project_as_well(empty_url: str, tmp_path: Path, name: str) -> None:
    listo = Listo(empty_url)
    report = listo.succeed("dump", tmp_path / name, "--json").report
    assert (report["collections"], report["users"]) == ({}, 0)
    assert listo.succeed("restore", tmp_path / name, "--json").report["collections"] == {}


def test_users_and_keys_log_in_after_a_restore(
    listo: Listo, facts: dict[str, Any], empty_url: str, tmp_path: Path
) -> None:
    listo.succeed("dump", tmp_path / "dump")
    # The server makes its first admin, who makes room for the dump's.
    with serving(settings(empty_url, admin_password="another password here")) as server:
        Listo(empty_url).succeed("restore", tmp_path / "dump")
        server.login(ADMIN["email"], ADMIN["password"])
        ada = server.login("ada@example.com", PASSWORD)
        assert ada.get("/auth/me").json()["roles"] == ["editor", "member"]
        assert ada.patch(facts["path"], json={"size": 2}).json()["version"] == 3
        record = server.client(facts["key"]).get(facts["path"])
        assert record.json()["owner"] == facts["ada"]
        assert server.client(facts["key"]).patch(facts["path"], json={}).status_code == 403
        states = server.admin().get("/collections/notes").json()["indexes"]
        assert [index["state"] for index in states] == ["ready", "ready"]
        twice = ada.post("/collections/notes/records", json={"title": "one"})
        assert twice.json()["code"] == "not_unique"


def test_only_the_owner_reads_a_dump(listo: Listo, facts: dict[str, Any], tmp_path: Path) -> None:
    listo.succeed("dump", tmp_path / "folder")
    listo.succeed("dump", tmp_path / "file.tar.zst")
    modes = {path.is_dir(): set[int]() for path in (tmp_path / "folder", tmp_path / "file.tar.zst")}
    for path in (tmp_path / "folder", *(tmp_path / "folder").rglob("*"), tmp_path / "file.tar.zst"):
        modes[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    assert modes == {True: {0o700}, False: {0o600}}


def test_definitions_are_files_that_apply_takes(
    listo: Listo, facts: dict[str, Any], empty_url: str, tmp_path: Path
) -> None:
    listo.succeed("dump", tmp_path / "dump")
    file = tmp_path / "dump" / "collections" / "notes.json"
    report = listo.succeed("collections", "apply", file, "--json").report
    assert report["collections"] == [{"name": "notes", "changed": False}]
    Listo(empty_url).succeed("collections", "apply", file, "--yes")


def test_an_archive_is_an_ordinary_tar_file(
    listo: Listo, facts: dict[str, Any], tmp_path: Path
) -> None:
    import tarfile

    import zstandard

    listo.succeed("dump", tmp_path / "dump.tar.zst")
    listo.succeed("dump", tmp_path / "dump")
    with (tmp_path / "dump.tar.zst").open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
    assert digests(tmp_path / "unpacked") == digests(tmp_path / "dump")
    for path in (tmp_path / "dump").rglob("*.ndjson"):
        unpacked = tmp_path / "unpacked" / path.relative_to(tmp_path / "dump")
        assert unpacked.read_bytes() == path.read_bytes()


def test_records_of_a_dump_are_as_the_api_gives_them(
    listo: Listo, facts: dict[str, Any], admin: httpx.Client, tmp_path: Path
) -> None:
    listo.succeed("dump", tmp_path / "dump")
    text = (tmp_path / "dump/records/notes.ndjson").read_text()
    lines = {each["id"]: each for each in map(json.loads, text.splitlines())}
    shown = admin.get(facts["path"]).json()
    # Readers do not see the field, and a dump has it.
    assert lines[shown["id"]] == {**shown, "pin": "1234"}
    assert str(10**30) in text


def test_records_of_deleted_users_are_left_out_before_the_worker_deletes_them(
    server: Server, facts: dict[str, Any], database_url: str, tmp_path: Path
) -> None:
    gone = server.member("gone@example.com")
    id_ = gone.get("/auth/me").json()["id"]
    kept = server.admin().put("/collections/left", json={"schema": {}, "rules": {"create": ""}})
    assert kept.status_code == 201
    gone.post("/collections/left/records", json={})
    assert server.admin().delete(f"/users/{id_}?records=delete").status_code == 202
    report = Listo(database_url).succeed("dump", tmp_path / "dump", "--json").report
    assert report["collections"]["left"] == 0
    execute(database_url, "DELETE FROM listo.removals")
    server.admin().delete("/collections/left?confirm=left")


def test_two_dumps_while_clients_write_show_one_moment_each(
    server: Server, admin: httpx.Client, database_url: str, cluster_url: str, tmp_path: Path
) -> None:
    """Each transaction writes a pair, into the first and the last collection of the dump."""
    for name in ("aaa", "zzz"):
        admin.put(f"/collections/{name}", json={"schema": {}})
    pair = (
        "WITH one AS (INSERT INTO records.aaa (id, data) VALUES (gen_random_uuid(), '{}')"
        " RETURNING id) INSERT INTO records.zzz (id, data) SELECT id, '{}' FROM one"
    )
    stop = tmp_path / "stop"
    program = (
        "import asyncio, asyncpg, pathlib, sys\n"
        "async def main():\n"
        "    connection = await asyncpg.connect(sys.argv[1])\n"
        "    while not pathlib.Path(sys.argv[3]).exists():\n"
        "        await connection.execute(sys.argv[2])\n"
        "        print(flush=True)\n"
        "asyncio.run(main())\n"
    )
    import sys

    command = [sys.executable, "-c", program, database_url, pair, str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            writer.stdout.readline()
            for number in range(3):
                target = tmp_path / f"dump{number}"
                report = Listo(database_url).succeed("dump", target, "--json").report
                counts = report["collections"]
                assert counts["aaa"] == counts["zzz"] > 0
                ids = [
                    [json.loads(line)["id"] for line in file.read_text().splitlines()]
                    for file in (target / "records/aaa.ndjson", target / "records/zzz.ndjson")
                ]
                assert ids[0] == ids[1]
        finally:
            stop.touch()
            writer.communicate()
    for name in ("aaa", "zzz"):
        admin.delete(f"/collections/{name}?confirm={name}")


def test_a_terminal_gets_bars_and_a_pipe_gets_lines(
    listo: Listo, facts: dict[str, Any], database_url: str, tmp_path: Path
) -> None:
    import os
    import pty
    from contextlib import suppress

    from fixtures.background_program import API
    from fixtures.listo import COMMAND, environment

    piped = listo.succeed("dump", tmp_path / "piped")
    assert piped.errors == ""
    assert piped.output.startswith("4 records dumped, ")
    assert f"{tmp_path / 'piped'}, of 20" in piped.output
    reader, writer = pty.openpty()
    command = (*COMMAND, "dump", str(tmp_path / "shown"))
    with subprocess.Popen(
        command, cwd=API, env=environment(database_url, TERM="xterm"), stdout=writer, stderr=writer
    ):
        os.close(writer)
        shown = b""
        # At the end of its output, reading from a terminal raises an error.
        with suppress(OSError):
            while read := os.read(reader, 4096):
                shown += read
    os.close(reader)
    assert b"records dumped" in shown
    assert b"4/4" in shown


def test_a_table_without_stored_heads_is_dumped_as_well(
    listo: Listo, facts: dict[str, Any], empty_url: str, tmp_path: Path
) -> None:
    listo.succeed("dump", tmp_path / "before")
    Listo(empty_url).succeed("restore", tmp_path / "before")
    execute(empty_url, "ALTER TABLE records.notes DROP COLUMN head")
    Listo(empty_url).succeed("dump", tmp_path / "after")
    assert digests(tmp_path / "after") == digests(tmp_path / "before")
