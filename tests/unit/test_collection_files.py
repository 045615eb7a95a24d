"""Collections in files: the part of YAML that JSON can express, and each error in one line."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from app.collections.files.reading import UnusableFile, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("[yes, no, on, off, y, n]", ["yes", "no", "on", "off", "y", "n"]),
        ("[true, True, false, FALSE]", [True, True, False, False]),
        ("[null, Null, ~, ]", [None, None, None]),
        ("[2026-01-31, 2026-01-31T12:00:00Z]", ["2026-01-31", "2026-01-31T12:00:00Z"]),
        ("[08:30, 12:75, 1.2.3, '8:30', \"01234\"]", ["08:30", "12:75", "1.2.3", "8:30", "01234"]),
        ("[1, -0.5, 12345678901234567890]", [1, -0.5, 12345678901234567890]),
        ("[12e3, 1E3, 1.0, 1.5e-3]", [12e3, 1e3, 1.0, 1.5e-3]),
        ("[+12, .5, -.5, 1., 00.5, 0x1F, 0o17]", [12, 0.5, -0.5, 1.0, 0.5, 31, 15]),
        ('[!!str 12, \'yes\', "\\u0041", "\\ud83d\\ude00"]', ["12", "yes", "A", "😀"]),
        ("{1: a, 01: b, 12:30: c, 1_000: d}", {"1": "a", "01": "b", "12:30": "c", "1_000": "d"}),
        ("{true: b, yes: c, ~: d, '<<': e}", {"true": "b", "yes": "c", "~": "d", "<<": "e"}),
        ("{a: &a [1, {b: 2}], c: *a}", {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}),
        ('"Dürer 😀"', "Dürer 😀"),
        ('{"a":1,"b":[12e3,"\\/"]}', {"a": 1, "b": [12e3, "/"]}),
    ],
)
def test_yaml_means_what_json_would(tmp_path: Path, content: str, value: object) -> None:
    file = tmp_path / "notes.yaml"
    file.write_text(f"name: notes\nschema: {{default: {content}}}\n")
    ((name, definition),) = read(file)
    assert name == "notes"
    assert json.dumps(definition.schema) == json.dumps({"default": value})


def test_documents_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("---\nname: b\nschema: {}\n---\nname: a\nschema: {}\n---\n")
    assert [name for name, _ in read(file)] == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "It holds no collection."),
        ("[1, 2]", "A collection is an object with a schema."),
        ("schema: {}\n---\nname: a\nschema: {}", "A collection has no `name`"),
        ("name: 7\nschema: {}", "A collection's name is a text."),
        ("name: No Name\nschema: {}", "A collection's name has"),
        ("name: a", "/schema: Field required"),
        ("name: a\nschema: {}\nrule: {}", "/rule: Extra inputs are not permitted"),
        ("name: a\nschema: {type: string}", "/schema/type: must be object"),
        ("name: a\nschema: {}\nrules: {list: 'title ='}", "/rules/list: "),
        ("name: a\nschema: {}\nindexes: [[]]", "/indexes/0: "),
        ("name: a\nschema: {type: object", "expected ',' or '}'"),
        ("name: a\nname: b\nschema: {}", "'name' comes twice (line 2, column 1)."),
        (
            "name: a\nschema: &loop {properties: *loop}",
            "is complete (line 2, column 28)",
        ),
        ("name: a\nschema: {default: *none}", "*none names nothing"),
        ("name: a\nschema: {default: !!binary aGVsbG8=}", "tags are not read (line 2"),
        ("name: a\nschema: !!python/name:os.system", "tags are not read (line 2, column 9)"),
        ("name: a\nschema: !!map {}", "tags are not read (line 2, column 9)"),
        ("name: a\nschema: {? [b] : c}", "a key is a text (line 2"),
        ("name: a\nschema:\n  <<: {type: object}", "merges in YAML 1.1 only"),
        ("name: a\nschema: {1: a, '1': b}", "'1' comes twice (line 2, column 16)."),
        ("%YAML 1.1\n---\nname: a\nschema: {}", "only YAML 1.2 is read"),
        ('name: a\nschema: {title: "a\u2028b"}', "U+2028 ends a line in YAML 1.1 only"),
        ('name: a\nschema: {title: "\\ud83d"}', "half of a surrogate pair (line 2, column 17)"),
        ("name: a\nschema: {maximum: " + "9" * 5000 + "}", "at most 4,300 digits (line 2"),
        ('name: a\nschema: {title: "a\\0b"}', "U+0000"),
        ("name: a\nschema: " + "{a: " * 70 + "1" + "}" * 70, "deeper than 64 levels"),
        ("name: a\nschema: " + "[" * 3000, "deeper than 64 levels (line 2, column 72)"),
        (b"\xff\xff\xff", "notes.yaml: "),
    ],
)
def test_faults_name_the_file_in_one_line(tmp_path: Path, content: str | bytes, fault: str) -> None:
    file = tmp_path / "notes.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UnusableFile) as raised:
        read(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert fault in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("name: a", "not valid JSON"),
        ('{"name": "a", "name": "b", "schema": {}}', "uplicate"),
        ('{"name": "a", "schema": {"title": "\\ud800"}}', "not valid JSON"),
        ('{"name": "a", "schema": {"default": 1e999}}', "exponent"),
    ],
)
def test_json_files_are_read_as_strictly_as_bodies(
    tmp_path: Path, content: str, fault: str
) -> None:
    file = tmp_path / "a.json"
    file.write_text(content)
    with pytest.raises(UnusableFile, match=fault):
        read(file)


@pytest.mark.parametrize(
    "scalar",
    ["01234", "0777", "-012", "089", "1_000", "1_000.5", "1_", "0b101", "0x_1F",
     "-0x1F", "8:30", "12:30:45", "190:20:30.15", ".inf", "-.Inf", ".nan"],
)  # fmt: skip
def test_an_ambiguous_scalar_is_refused_with_its_line(tmp_path: Path, scalar: str) -> None:
    file = tmp_path / "notes.yaml"
    file.write_text(f"schema:\n  enum:\n    - {scalar}\n")
    with pytest.raises(UnusableFile, match=r"quote it.* \(line 3, column 7\)\.$") as raised:
        read(file)
    assert f": {scalar} is " in str(raised.value)
    file.write_text(f"schema:\n  enum:\n    - '{scalar}'\n")
    ((_, definition),) = read(file)
    assert definition.schema == {"enum": [scalar]}


def test_a_few_lines_do_not_become_gigabytes(tmp_path: Path) -> None:
    names = [chr(ord("a") + number) for number in range(20)]
    lines = ["  a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    for before, name in pairwise(names):
        lines.append(f"  {name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    file = tmp_path / "bomb.yaml"
    file.write_text("schema:\n" + "\n".join(lines))
    with pytest.raises(UnusableFile, match=r"more than 10,485,760 characters \(line 8, "):
        read(file)


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
@pytest.mark.parametrize(
    "value", [12e3, 1.0, 10**40, "\u2028\x85\t", "12:30", "1_000", {"k" * 2000: 1, "<<": 2}, []]
)
def test_json_is_yaml(tmp_path: Path, suffix: str, value: object) -> None:
    body = {"schema": {"default": value}}
    for form in ({}, {"ensure_ascii": False}, {"indent": "\t"}):
        file = tmp_path / f"books.{suffix}"
        file.write_text(json.dumps(body, **form))
        ((name, definition),) = read(file)
        assert name == "books"
        assert json.dumps(definition.schema) == json.dumps(body["schema"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_read_as_shells_write_them(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "books.yaml"
    file.write_text("schema: {title: Dürer}\n", encoding=encoding)
    ((_, definition),) = read(file)
    assert definition.schema == {"title": "Dürer"}
