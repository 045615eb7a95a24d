"""Collections in files: YAML as far as JSON goes, and each fault in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.collections.files import UnusableFile, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("[yes, no, on, off, y, n]", ["yes", "no", "on", "off", "y", "n"]),
        ("[true, false, null, ~]", [True, False, None, None]),
        ("[2026-01-31, 2026-01-31T12:00:00Z]", ["2026-01-31", "2026-01-31T12:00:00Z"]),
        ("[1, -0.5, 12345678901234567890]", [1, -0.5, 12345678901234567890]),
        ("{1: a}", {"1": "a"}),
        ("{true: b}", {"true": "b"}),
        ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3}),
        ('"Dürer 😀"', "Dürer 😀"),
    ],
)
def test_yaml_means_what_json_would(tmp_path: Path, content: str, value: object) -> None:
    file = tmp_path / "notes.yaml"
    file.write_text(f"name: notes\nschema: {{default: {content}}}\n")
    ((name, definition),) = read(file)
    assert name == "notes"
    assert definition.schema == {"default": value}


def test_documents_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("---\nname: b\nschema: {}\n---\nname: a\nschema: {}\n---\n")
    assert [name for name, _ in read(file)] == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "It holds no collection."),
        ("[1, 2]", "Each document is an object with a name."),
        ("schema: {}", "Each document is an object with a name."),
        ("name: 7\nschema: {}", "Each document is an object with a name."),
        ("name: No Name\nschema: {}", "A collection's name has"),
        ("name: a", "/schema: Field required"),
        ("name: a\nschema: {}\nrule: {}", "/rule: Extra inputs are not permitted"),
        ("name: a\nschema: {type: string}", "/schema/type: must be object"),
        ("name: a\nschema: {}\nrules: {list: 'title ='}", "/rules/list: "),
        ("name: a\nschema: {}\nindexes: [[]]", "/indexes/0: "),
        ("name: a\nschema: {type: object", "expected ',' or '}'"),
        ("name: a\nname: b\nschema: {}", "'name' comes twice (line 2, column 1)."),
        ("name: a\nschema: {default: .nan}", "not JSON compliant"),
        ("name: a\nschema: &loop {properties: *loop}", "Circular reference"),
        ("name: a\nschema: {default: !!binary aGVsbG8=}", "not JSON serializable"),
        ("name: a\nschema: !!python/name:os.system", "could not determine a constructor"),
        ('name: a\nschema: {title: "a\\0b"}', "U+0000"),
        ("name: a\nschema: " + "{a: " * 70 + "1" + "}" * 70, "deeper than 64 levels"),
        ("name: a\nschema: " + "[" * 3000, "nested too deeply"),
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
