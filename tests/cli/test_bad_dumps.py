"""Dumps that are damaged, edited or made up, and places where none can be written: one line, and
nothing is done."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from app.cli.progress import Silence
from app.db.database import Database
from app.moving.errors import CannotMove
from app.moving.restoring.conflicts import Rule
from app.moving.restoring.restore import restore
from fixtures.background_program import API, hear_signals
from fixtures.cluster import database, execute, fetch
from fixtures.listo import COMMAND, Listo, environment
from fixtures.moving import amend, fill, members_of, pack
from fixtures.open_transactions import open_transaction
from fixtures.server import settings
from fixtures.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from fixtures.server import Server

    Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(
    server: Server, admin: httpx.Client, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    fill(server, admin)
    path = tmp_path_factory.mktemp("made") / "dump"
    Listo(database_url).succeed("dump", path)
    Listo(database_url).succeed("dump", path.with_name("dump.tar.zst"))
    return path


@pytest.fixture(scope="module")
def empty(cluster_url: str) -> Iterator[Listo]:
    """Nothing ever comes into this database."""
    with database(cluster_url) as url:
        yield Listo(url)
        assert fetch(url, "SELECT FROM listo.users") == []
        assert fetch(url, "SELECT FROM listo.collections") == []
        assert fetch(url, "SELECT FROM pg_class WHERE relnamespace = 'records'::regnamespace") == []


@pytest.fixture
def dump(made: Path, tmp_path: Path) -> Path:
    import shutil

    return shutil.copytree(made, tmp_path / "dump")


def refusal(empty: Listo, path: Path) -> str:
    """The line by which the command refuses the dump, without a process for each of many."""

    async def work() -> str:
        database = Database(empty.database_url, pool_size=1)
        await database.open()
        try:
            configured = settings(empty.database_url)
            with pytest.raises(CannotMove) as refused:
                await restore(database, configured, path, Rule.FAIL, Silence())
            return str(refused.value)
        finally:
            await database.close()

    line = asyncio.run(work())
    assert "\n" not in line
    return line


def in_manifest(dump: Path, change: Callable[[Any], object]) -> None:
    found = json.loads((dump / "manifest.json").read_text())
    change(found)
    (dump / "manifest.json").write_text(json.dumps(found))


def in_records(before: bytes, after: bytes) -> Change:
    """An edit of the records, and of the manifest with them."""
    return lambda dump: amend(
        dump, "records/notes.ndjson", lambda text: _replaced(text, before, after)
    )


def in_users(before: bytes, after: bytes) -> Change:
    return lambda dump: amend(dump, "users.ndjson", lambda text: _replaced(text, before, after))


def _replaced(text: bytes, before: bytes, after: bytes) -> bytes:
    assert before in text
    return text.replace(before, after, 1)


def write(name: str, change: Callable[[bytes], bytes]) -> Change:
    """An edit of a file alone."""
    return lambda dump: (dump / name).write_bytes(change((dump / name).read_bytes()))


NOTES = "records/notes.ndjson"
CASES: dict[str, tuple[Change, str]] = {
    "digest": (
        write(NOTES, lambda text: text.replace(b"one", b"two")),
        f"{NOTES} has another SHA-256 than the manifest says: it was changed.",
    ),
    "digest of users": (
        write("users.ndjson", lambda text: text.replace(b"ada@", b"eve@")),
        "users.ndjson has another SHA-256 than the manifest says: it was changed.",
    ),
    "digest of a definition": (
        write("collections/notes.json", lambda text: text.replace(b'""', b"null", 1) + b"  "),
        "collections/notes.json is larger than the manifest says, ",
    ),
    "cut": (write(NOTES, lambda text: text[:-5]), "by the manifest "),
    "longer": (write(NOTES, lambda text: text + b"{}\n"), "is larger than the manifest says, "),
    "count": (
        lambda dump: in_manifest(
            dump, lambda found: found["collections"][1]["records"].update(lines=5)
        ),
        f"{NOTES} has 4 lines, and by the manifest 5.",
    ),
    "count of users": (
        lambda dump: in_manifest(dump, lambda found: found["users"].update(lines=2)),
        "users.ndjson has 3 lines, and by the manifest 2.",
    ),
    "missing": (lambda dump: (dump / NOTES).unlink(), f"{NOTES} is missing."),
    "format": (
        lambda dump: in_manifest(dump, lambda found: found.update(format=2)),
        "manifest.json: This is a dump of format 2, and Listo ",
    ),
    "no format": (lambda dump: in_manifest(dump, lambda found: found.pop("format")), "`format`"),
    "no JSON": (write("manifest.json", lambda _: b"{"), "manifest.json: "),
    "another member": (
        lambda dump: in_manifest(dump, lambda found: found.update(more=1)), "`more`"
    ),
    "a path": (
        lambda dump: in_manifest(
            dump, lambda found: found["collections"][0].update(name="../../etc/passwd")
        ),
        "manifest.json: The collections need names, in order, each once.",
    ),
    "a collection twice": (
        lambda dump: in_manifest(
            dump, lambda found: found["collections"].append(found["collections"][1])
        ),
        "manifest.json: The collections need names, in order, each once.",
    ),
    "a record that does not fit": (
        in_records(b'"title": "one"', b'"title": 1'),
        '/title: the value is not of type "string"',
    ),
    "a reserved name": (in_records(b'"title": "one"', b'"title": "one", "id": "x"'), "/id: "),
    "a record without a head": (in_records(b'{"id":', b'{"Id":'), "line 1: a record begins with"),
    "no version": (in_records(b'"version":1', b'"version":0'), "a record begins with"),
    "no time": (in_records(b'"created_at":"20', b'"created_at":"2026-02-30T00:00:00.000000Z","20'),
                "a record begins with"),
    "no day": (
        lambda dump: amend(
            dump, NOTES,
            lambda text: _replaced(text, text.split(b'"created_at":"')[1][:10], b"2026-02-30"),
        ),
        "2026-02-30T",
    ),
    "no JSON in a record": (in_records(b'"title": "one"', b'"title": one'), "is not valid JSON"),
    "two values of a name": (
        in_records(b'"title": "one"', b'"title": "one", "title": "one"'), "is not valid JSON",
    ),
    "a control character": (in_records(b'"title": "one"', b'"title":\t"one"'), "control character"),
    "NUL": (in_records(b'"title": "one"', b'"title": "\\u0000"'), "U+0000"),
    "no end": (
        lambda dump: amend(dump, NOTES, lambda text: text[:-1]), "The last line has no end."
    ),
    "no order": (
        lambda dump: amend(
            dump, NOTES, lambda text: b"".join(reversed(text.splitlines(keepends=True)))
        ),
        f"{NOTES}, line 2: the lines are not in the order of their ids.",
    ),
    "twice": (
        lambda dump: amend(
            dump, NOTES, lambda text: text.splitlines(keepends=True)[0] + text
        ),
        f"{NOTES}, line 2: the lines are not in the order of their ids.",
    ),
    "a definition that means nothing": (
        lambda dump: amend(
            dump, "collections/notes.json",
            lambda text: _replaced(text, b"@user.id is not null", b"@user.name is not null"),
        ),
        "collections/notes.json: ",
    ),
    "another name in a definition": (
        lambda dump: amend(
            dump, "collections/notes.json", lambda text: _replaced(text, b'"notes"', b'"empty"')
        ),
        "collections/notes.json is about the collection empty.",
    ),
    "an upper-case address": (in_users(b"ada@example", b"Ada@example"), "users.ndjson, line "),
    "no hash": (in_users(b"$argon2id$", b"$argon2xx$"), "`$.password_hash`"),
    "a costly hash": (
        lambda dump: amend(
            dump, "users.ndjson",
            lambda text: text.replace(
                text.split(b'"password_hash" : "')[1].split(b'"')[0], b"$2a$31$" + b"x" * 53
            ),
        ),
        "`$.password_hash`",
    ),
    "no role": (in_users(b'"editor"', b'"Editor!"'), "`$.roles[0]`"),
    "an address twice": (
        in_users(b"bob@example.com", b"ada@example.com"),
        "Nothing was done: two users of the dump have this address: ada@example.com.",
    ),
    "a key of nobody": (
        lambda dump: amend(
            dump, "users.ndjson",
            lambda text: b"".join(
                line for line in text.splitlines(keepends=True) if b"ada@" not in line
            ),
        ),
        "Nothing was done: these API keys belong to no user of the dump: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "fault"), CASES.values(), ids=CASES.keys())
def test_a_dump_that_is_not_as_it_was_made_is_refused(
    empty: Listo, dump: Path, change: Change, fault: str
) -> None:
    change(dump)
    assert fault in refusal(empty, dump)


ARCHIVES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "cut": (lambda dump: dump.with_name("dump.tar.zst").read_bytes()[:-700], "ends too early"),
    "damaged": (
        lambda dump: _with_a_flaw(dump.with_name("dump.tar.zst").read_bytes()), "damaged"
    ),
    "empty": (lambda _: b"", "ends too early"),
    "no archive": (lambda _: b"PK\3\4" + bytes(2000), "damaged"),
    "no tar": (lambda _: zstandard.compress(b"x" * 5000), "damaged"),
    "a path": (
        lambda dump: pack([*members_of(dump)[:1], ("../../evil", b"x")]),
        "The archive holds '../../evil', which is no file of a dump.",
    ),
    "an absolute path": (
        lambda _: pack([("/etc/passwd", b"x")]),
        "The archive holds '/etc/passwd', which is no file of a dump.",
    ),
    "a link": (
        lambda _: pack([("manifest.json", b"")], type=b"2", linkname="/etc/passwd"),
        "The archive holds 'manifest.json', which is no file of a dump.",
    ),
    "another order": (
        lambda dump: pack(members_of(dump)[::-1]), "does not begin with manifest.json"
    ),
    "a file that is not in the manifest": (
        lambda dump: pack([*members_of(dump), ("records/more.ndjson", b"")]),
        "records/more.ndjson is not in the manifest.",
    ),
    "a file that is missing": (
        lambda dump: pack(members_of(dump)[:-1]), "records/notes.ndjson is missing; the dump ends."
    ),
    "a large line": (
        lambda _: pack([("manifest.json", b" " * (70 << 20))]),
        "manifest.json is larger than 67,108,864 bytes.",
    ),
    "a bomb": (
        lambda dump: pack([*members_of(dump)[:-1], (NOTES, b" " * (200 << 20))]),
        f"{NOTES} is larger than the manifest says, ",
    ),
    "a wide window": (
        lambda _: zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(window_log=27)
        ).compressobj().compress(os.urandom(1 << 20)),
        "damaged",
    ),
}  # fmt: skip


def _with_a_flaw(content: bytes) -> bytes:
    # In the digest of the last frame but those of the archive's end.
    place = len(content) - 1024 - 12 - 20
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize(("make", "fault"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_an_archive_that_is_none_of_a_dump_is_refused(
    empty: Listo, made: Path, tmp_path: Path, make: Callable[[Path], bytes], fault: str
) -> None:
    file = tmp_path / "dump.tar.zst"
    file.write_bytes(make(made))
    assert fault in refusal(empty, file)
    assert list(tmp_path.iterdir()) == [file]


def test_memory_stays_flat_whatever_a_line_unfolds_to(
    empty: Listo, dump: Path, tmp_path: Path
) -> None:
    amend(dump, NOTES, lambda _: b" " * (300 << 20) + b"\n")
    file = tmp_path / "dump.tar.zst"
    file.write_bytes(pack(members_of(dump)))
    assert file.stat().st_size < 100_000
    limited = 'ulimit -v 1500000; exec "$@"'
    ended = subprocess.run(
        ["sh", "-c", limited, "sh", *COMMAND, "restore", str(file)],
        cwd=API, env=environment(empty.database_url), capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr == f"{NOTES}: A line is longer than 33,554,432 bytes.\n"


def test_what_is_no_dump_is_told(empty: Listo, tmp_path: Path) -> None:
    assert empty("restore", tmp_path).refusal == (
        f"{tmp_path} holds no manifest.json, so it is no dump."
    )
    absent = tmp_path / "absent"
    assert empty("restore", absent).refusal == f"{absent}: No such file or directory."


@pytest.mark.parametrize("name", ["dump", "dump.tar.zst"])
def test_an_existing_target_is_refused(empty: Listo, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.write_text("mine")
    assert empty("dump", target).refusal == f"{target} is there already."
    assert target.read_text() == "mine"
    target.unlink()
    target.symlink_to("nowhere")
    assert empty("dump", target).refusal == f"{target} is there already."
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["dump", "dump.tar.zst"])
def test_a_place_that_takes_no_files_is_told(empty: Listo, tmp_path: Path, name: str) -> None:
    target = tmp_path / "absent" / name
    assert empty("dump", target).refusal == f"{target}: No such file or directory."
    file = tmp_path / "file"
    file.touch()
    assert empty("dump", file / name).refusal == f"{file / name}: Not a directory."


@pytest.mark.parametrize("name", ["dump", "dump.tar.zst"])
def test_a_full_disk_is_told_and_nothing_is_left(
    database_url: str, admin: httpx.Client, tmp_path: Path, name: str
) -> None:
    admin.put("/collections/wide", json={"schema": {}})
    execute(
        database_url,
        "INSERT INTO records.wide (id, data) SELECT gen_random_uuid(), jsonb_build_object('t',"
        " (SELECT string_agg(md5(n || random()::text || i), '') FROM generate_series(1, 60) i))"
        " FROM generate_series(1, 300) n",
    )
    # A file of more than these 512-byte blocks cannot be written, as on a disk that is full.
    limited = 'trap "" XFSZ; ulimit -f 100; exec "$@"'
    ended = subprocess.run(
        ["sh", "-c", limited, "sh", *COMMAND, "dump", str(tmp_path / name)],
        cwd=API, env=environment(database_url), capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"{tmp_path / name}: File too large.\n"
    assert list(tmp_path.iterdir()) == []
    admin.delete("/collections/wide?confirm=wide")


@pytest.mark.parametrize("name", ["dump", "dump.tar.zst"])
@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_dump_that_is_broken_off_leaves_nothing(
    made: Path, database_url: str, tmp_path: Path, name: str, with_signal: signal.Signals
) -> None:
    with open_transaction(database_url, "LOCK TABLE records.notes"):
        process = subprocess.Popen(
            (*COMMAND, "dump", str(tmp_path / name)), cwd=API, env=environment(database_url),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=hear_signals,  # noqa: PLW1509 - it only calls the kernel
        )  # fmt: skip
        # The dump waits for the table once its file is there.
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
        process.send_signal(with_signal)
        process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_a_restore_that_is_broken_off_leaves_nothing(made: Path, empty: Listo) -> None:
    url = empty.database_url
    with open_transaction(url, "LOCK TABLE listo.users IN SHARE ROW EXCLUSIVE MODE"):
        process = subprocess.Popen(
            (*COMMAND, "restore", str(made)), cwd=API, env=environment(url),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=hear_signals,  # noqa: PLW1509 - it only calls the kernel
        )  # fmt: skip
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'users'"
        while not fetch(url, waiting):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode != 0


def test_a_database_that_is_away_is_status_3(tmp_path: Path, made: Path) -> None:
    away = Listo("postgresql://nobody:s3cr3t@127.0.0.1:1/listo")
    for command in (("dump", tmp_path / "dump"), ("restore", made)):
        assert away(*command).status == 3
    assert list(tmp_path.iterdir()) == []
