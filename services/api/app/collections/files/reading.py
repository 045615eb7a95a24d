"""Collections in files, YAML or JSON, as they are kept beside an application's code."""

from __future__ import annotations

import codecs
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from app.collections import service
from app.collections.files import yaml_text
from app.collections.schemas import CollectionIn
from app.core.errors import InvalidJson, Problem
from app.core.json import parse_strict
from app.http.members import validation_problem

if TYPE_CHECKING:
    from app.collections.models import Definition

STANDARD_INPUT = Path("-")


class UnusableFile(Exception):
    """A file holds no collections; the message is one line that names it."""


def read(file: Path, name: str | None = None) -> list[tuple[str, Definition]]:
    """The collections of one file by name, checked; `-` is standard input.

    The only collection of a file may lack a name: it gets `name`, or else the file's name. Raises
    UnusableFile.
    """
    shown = "standard input" if file == STANDARD_INPUT else str(file)
    if name is None and file != STANDARD_INPUT:
        name = file.stem
    try:
        found = _documents(file)
        default_name = name if len(found) == 1 else None
        definitions = [from_document(document, default_name) for document in found]
    except OSError as error:
        raise UnusableFile(f"{shown}: {error.strerror}.") from None
    except UnusableFile as error:
        raise UnusableFile(f"{shown}: {error}") from None
    except Problem as problem:
        raise UnusableFile(f"{shown}: {problem.in_one_line}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise UnusableFile(f"{shown}: {error.problem}{where}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UnusableFile(f"{shown}: {' '.join(str(error).split())}") from None
    if not definitions:
        raise UnusableFile(f"{shown}: It holds no collection.")
    return definitions


def to_document(name: str, definition: Definition) -> dict[str, Any]:
    """The collection as `read` takes it, for JSON."""
    dumped: dict[str, Any] = json.loads(definition.dump())
    return {"name": name, **dumped}


def _documents(file: Path) -> list[Any]:
    content = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    if file.suffix == ".json":
        return [parse_strict(content)]
    # PowerShell's `>` writes UTF-16.
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig")
    try:
        # Try JSON first: PyYAML refuses some valid JSON.
        return [parse_strict(text.encode())]
    except InvalidJson:
        parts = [parse_strict(part.encode()) for part in yaml_text.documents(text)]
        return [part for part in parts if part is not None]


def from_document(document: Any, default_name: str | None) -> tuple[str, Definition]:
    """The collection of a parsed document, checked; without a name it gets `default_name`. Raises
    UnusableFile, Problem."""
    if not isinstance(document, dict):
        raise UnusableFile("A collection is an object with a schema.")
    name = document.pop("name", default_name)
    if name is None:
        raise UnusableFile(
            "A collection has no `name`, and only a single one can take its file's:"
            " add name: …, or --name."
        )
    if not isinstance(name, str):
        raise UnusableFile("A collection's name is a text.")
    try:
        return name, service.define(name, CollectionIn.model_validate(document))
    except ValidationError as error:
        raise UnusableFile(validation_problem(error).faults) from None
