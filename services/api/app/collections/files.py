"""Collections in files, YAML or JSON, as they are kept beside an application's code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from app.collections import service
from app.collections.schemas import CollectionIn
from app.core.body import invalid
from app.core.errors import Problem
from app.core.json import parse

if TYPE_CHECKING:
    from app.collections.models import Definition

_BOOLEAN = "tag:yaml.org,2002:bool"
_REPLACED = (_BOOLEAN, "tag:yaml.org,2002:timestamp")


class UnusableFile(Exception):
    """A file holds no collections; the message is one line that names it."""


class _Loader(yaml.SafeLoader):
    """YAML as far as JSON goes: `no` and `2026-01-31` are strings, and no key comes twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the library declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} comes twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_BOOLEAN, re.compile("true|false"), list("tf"))


def read(file: Path) -> list[tuple[str, Definition]]:
    """The collections of one file by name, checked. Raises UnusableFile."""
    try:
        found = [_definition(document) for document in _documents(file)]
    except OSError as error:
        raise UnusableFile(f"{file}: {error.strerror}.") from None
    except UnusableFile as error:
        raise UnusableFile(f"{file}: {error}") from None
    except Problem as problem:
        raise UnusableFile(f"{file}: {problem.in_one_line}") from None
    except RecursionError:
        raise UnusableFile(f"{file}: It is nested too deeply.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise UnusableFile(f"{file}: {error.problem}{where}.") from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UnusableFile(f"{file}: {' '.join(str(error).split())}") from None
    if not found:
        raise UnusableFile(f"{file}: It holds no collection.")
    return found


def _documents(file: Path) -> list[Any]:
    content = file.read_bytes()
    if file.suffix == ".json":
        return [parse(content)]
    loaded = [part for part in yaml.load_all(content, _Loader) if part is not None]
    # What JSON has not is refused where a request's body would be.
    return [parse(json.dumps(part, allow_nan=False).encode()) for part in loaded]


def _definition(document: Any) -> tuple[str, Definition]:
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise UnusableFile("Each document is an object with a name.")
    name = document.pop("name")
    try:
        return name, service.define(name, CollectionIn.model_validate(document))
    except ValidationError as error:
        raise UnusableFile(invalid(error).faults) from None
