"""`listo collections apply FILE…`: the difference first, then all of it or nothing."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fixtures.background_program import API
from fixtures.listo import COMMAND, Listo, environment
from fixtures.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

YAML = """\
name: {name}
schema:
  type: object
  properties:
    title: {{type: string}}
    answer: {{enum: [yes, no, 2026-01-31]}}
rules:
  list: ""
  create: "@user.id is not null"
indexes: [title, [title, -created_at]]
"""


@pytest.fixture(scope="module")
def listo(database_url: str) -> Listo:
    return Listo(database_url)


@pytest.fixture
def name() -> str:
    """A name that no collection has yet."""
    return f"c{uuid4().hex}"


@pytest.fixture
def file(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "notes.yaml"
    path.write_text(YAML.format(name=name))
    return path


def definition_of(client: httpx.Client, name: str) -> dict[str, Any] | None:
    response = client.get(f"/collections/{name}")
    return response.json() if response.is_success else None


def test_the_difference_is_shown_and_asked_about(
    listo: Listo, admin: httpx.Client, file: Path, name: str
) -> None:
    refused = listo("collections", "apply", file, answers="n\n")
    assert refused.status == 1
    assert "+  type: object" in refused.output
    assert "Nothing was changed." in refused.errors
    assert definition_of(admin, name) is None

    unanswered = listo("collections", "apply", file)
    assert unanswered.status == 1
    assert definition_of(admin, name) is None

    listo.succeed("collections", "apply", file, answers="y\n")
    collection = admin.get(f"/collections/{name}").json()
    assert collection["schema"]["properties"]["answer"] == {"enum": ["yes", "no", "2026-01-31"]}
    assert collection["rules"]["create"] == "@user.id is not null"
    assert collection["rules"].get("delete") is None
    assert [index["state"] for index in collection["indexes"]] == ["ready", "ready"]


def test_applying_again_changes_nothing_and_asks_nothing(
    listo: Listo, admin: httpx.Client, file: Path, name: str
) -> None:
    report = listo.succeed("collections", "apply", file, "--json").report
    assert report == {"collections": [{"name": name, "changed": True}], "applied": True}
    assert listo.succeed("collections", "apply", file).output == f"{name}: unchanged\n"
    report = listo.succeed("collections", "apply", file, "--json").report
    assert report["collections"] == [{"name": name, "changed": False}]
    assert admin.get(f"/collections/{name}").json()["version"] == 1


def test_a_change_shows_what_goes_and_what_comes(
    listo: Listo, admin: httpx.Client, file: Path, name: str
) -> None:
    listo.succeed("collections", "apply", file, "--yes")
    file.write_text(YAML.format(name=name).replace('list: ""', 'list: "owner = @user.id"'))
    shown = listo.succeed("collections", "apply", file, "--dry-run").output
    lines = [line for line in shown.splitlines() if line.startswith(("+ ", "- "))]
    assert lines == ["-  list: ''", "+  list: owner = @user.id"]
    assert admin.get(f"/collections/{name}").json()["rules"]["list"] == ""
    listo.succeed("collections", "apply", file, "-y")
    assert admin.get(f"/collections/{name}").json()["rules"]["list"] == "owner = @user.id"


def test_many_files_and_documents_are_applied_together(
    listo: Listo, admin: httpx.Client, file: Path, tmp_path: Path, name: str
) -> None:
    other, third = f"{name}b", f"{name}c"
    file.write_text(f"---\nname: {name}\nschema: {{}}\n---\nname: {other}\nschema: {{}}\n---\n")
    single = tmp_path / "third.json"
    single.write_text(json.dumps({"name": third, "schema": {"title": "Dürer 😀"}}))
    listo.succeed("collections", "apply", file, single, "--yes")
    assert all(definition_of(admin, each) for each in (name, other))
    assert admin.get(f"/collections/{third}").json()["schema"] == {"title": "Dürer 😀"}


def test_a_failure_applies_nothing_at_all(
    listo: Listo, admin: httpx.Client, file: Path, tmp_path: Path, name: str
) -> None:
    listo.succeed("collections", "apply", file, "--yes")
    record = admin.post(f"/collections/{name}/records", json={"title": "a"}).json()
    new = tmp_path / "new.yaml"
    new.write_text(f"name: {name}b\nschema: {{}}\n")
    file.write_text(f"name: {name}\nschema: {{required: [size]}}\n")
    outcome = listo("collections", "apply", new, file, "--yes", "--json")
    assert outcome.status == 1
    assert outcome.report["error"].startswith(f"{name}: ")
    assert record["id"] in outcome.report["error"]
    assert definition_of(admin, f"{name}b") is None
    assert admin.get(f"/collections/{name}").json()["version"] == 1


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(
    listo: Listo, database_url: str, admin: httpx.Client, file: Path, name: str
) -> None:
    listo.succeed("collections", "apply", file, "--yes")
    file.write_text(f"name: {name}\nschema: {{title: mine}}\n")
    with subprocess.Popen(
        (*COMMAND, "collections", "apply", str(file)),
        cwd=API,
        env=environment(database_url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        while "+indexes" not in process.stdout.readline():
            assert process.poll() is None
        theirs = {"schema": {"title": "theirs"}}
        assert admin.put(f"/collections/{name}", json=theirs).is_success
        _, errors = process.communicate("y\n", timeout=PATIENCE)
    assert process.returncode == 1
    assert errors == f"{name} was changed meanwhile. Nothing was applied.\n"
    assert admin.get(f"/collections/{name}").json()["schema"] == {"title": "theirs"}


def test_an_index_that_cannot_be_built_is_told_in_one_line(
    listo: Listo, admin: httpx.Client, file: Path, name: str
) -> None:
    file.write_text(f"name: {name}\nschema: {{}}\n")
    listo.succeed("collections", "apply", file, "--yes")
    long = "".join(map(chr, range(0x4E00, 0x9FFF)))
    assert admin.post(f"/collections/{name}/records", json={"title": long}).is_success
    file.write_text(f"name: {name}\nschema: {{}}\nindexes: [title, size]\n")
    (line,) = listo.succeed("collections", "apply", file, "--yes").errors.splitlines()
    assert line.startswith(f"index ['title'] of {name} cannot be built: ")
    shown = admin.get(f"/collections/{name}").json()["indexes"]
    assert [index["state"] for index in shown] == ["failed", "ready"]


def test_the_same_collection_twice_is_refused(listo: Listo, file: Path, name: str) -> None:
    outcome = listo("collections", "apply", file, file, "--yes")
    assert (outcome.status, outcome.fault) == (1, f"{name} is defined twice.")


def test_an_unusable_file_is_named_in_one_line(
    listo: Listo, admin: httpx.Client, file: Path, tmp_path: Path, name: str
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: a\nname: b\nschema: {}")
    outcome = listo("collections", "apply", file, broken, "--yes")
    assert outcome.status == 1
    assert outcome.fault == f"{broken}: 'name' comes twice (line 2, column 1)."
    outcome = listo("collections", "apply", tmp_path / "absent.yaml", "--json")
    assert outcome.status == 1
    assert outcome.report["error"].endswith("absent.yaml: No such file or directory.")
    assert definition_of(admin, name) is None


BODY = {
    "schema": {"properties": {"n": {"enum": [12e3, 1.0, 10**30, "12e3", "8:30"]}, "12:30": {}}},
    "rules": {"list": "", "create": None},
    "indexes": ["n", ["n", "-created_at"]],
    "cache": {"list": "30s"},
}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_file_may_hold_what_put_takes(
    listo: Listo, admin: httpx.Client, tmp_path: Path, name: str, suffix: str
) -> None:
    file = tmp_path / f"{name}.{suffix}"
    file.write_text(json.dumps(BODY))
    listo.succeed("collections", "apply", file, "--yes")
    assert admin.put(f"/collections/{name}", json=BODY).status_code == 200
    assert admin.get(f"/collections/{name}").json()["version"] == 1


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_apply_takes_what_get_prints(
    listo: Listo, admin: httpx.Client, tmp_path: Path, name: str, suffix: str
) -> None:
    assert admin.put(f"/collections/{name}", json=BODY).status_code == 201
    printed = listo.succeed("collections", "get", name).output
    file = tmp_path / f"any.{suffix}"
    file.write_text(printed)
    assert listo.succeed("collections", "apply", file).output == f"{name}: unchanged\n"
    again = listo.succeed("collections", "apply", "-", answers=printed)
    assert again.output == f"{name}: unchanged\n"
    assert listo.succeed("collections", "get", name, "--json").report == json.loads(printed)


def test_getting_an_unknown_collection_is_told(listo: Listo, name: str) -> None:
    outcome = listo("collections", "get", name)
    assert outcome.status == 1
    assert outcome.fault.startswith("There is no such collection")


def test_standard_input_is_applied(listo: Listo, admin: httpx.Client, name: str) -> None:
    body = json.dumps(BODY)
    unnamed = listo("collections", "apply", "-", "--yes", answers=body)
    assert (unnamed.status, unnamed.errors[:42]) == (
        1,
        "standard input: A collection has no `name`",
    )
    unasked = listo("collections", "apply", "-", "--name", name, answers=body)
    assert unasked.status == 1
    assert unasked.errors == "Nothing was changed: standard input cannot answer, so say --yes.\n"
    assert definition_of(admin, name) is None
    listo.succeed("collections", "apply", "-", "--name", name, "--yes", answers=body)
    assert definition_of(admin, name)
    both = listo("collections", "apply", "-", "x.json", "--name", name, answers=body)
    assert (both.status, both.fault) == (1, "--name is for one file.")


def test_the_difference_tells_texts_and_numbers_apart(
    listo: Listo, tmp_path: Path, name: str
) -> None:
    file = tmp_path / f"{name}.json"
    file.write_text('{"schema": {"enum": ["12e3", 12e3, "0x1F", "8:30", "yes"]}}')
    shown = listo.succeed("collections", "apply", file, "--dry-run").output
    lines = [line.strip() for line in shown.splitlines() if line.startswith("+  - ")]
    assert lines == ["+  - '12e3'", "+  - 12000.0", "+  - '0x1F'", "+  - '8:30'", "+  - 'yes'"]
