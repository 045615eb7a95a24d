"""JSON comes back as it was sent, and merge patches follow RFC 7396, for any value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.collections.json_schema.keywords import RESERVED

if TYPE_CHECKING:
    import httpx

PATH = "/collections/json/records"

# Texts may hold neither NUL nor lone surrogates.
TEXT = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.decimals(-(10**20), 10**20, allow_nan=False, places=9)
    | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT.filter(lambda key: key not in RESERVED), VALUES, max_size=6)


@pytest.fixture(scope="module", autouse=True)
def collection(admin: httpx.Client) -> None:
    rules = dict.fromkeys(("read", "create", "update"), "")
    assert admin.put("/collections/json", json={"schema": {}, "rules": rules}).is_success


def dump(value: Any) -> str:
    """JSON text with every digit of a Decimal."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        members = (f"{json.dumps(key)}:{dump(item)}" for key, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


def own(text: str) -> Any:
    """A record's own fields; all numbers as Decimal."""
    value = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return {key: item for key, item in value.items() if key not in RESERVED}


def exact(value: Any) -> Any:
    return json.loads(dump(value), parse_float=Decimal, parse_int=Decimal)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def send(client: httpx.Client, method: str, path: str, value: Any) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return client.request(method, path, content=dump(value).encode(), headers=headers)


@given(value=OBJECTS)
def test_any_record_comes_back_as_it_was_sent(
    anonymous: httpx.Client, value: dict[str, Any]
) -> None:
    created = send(anonymous, "POST", PATH, value)
    assert created.status_code == 201, created.text
    read = anonymous.get(created.headers["location"])
    assert own(read.text) == exact(value)
    # The server takes the JSON of its own answer unchanged.
    replaced = send(anonymous, "PUT", created.headers["location"], own(read.text))
    assert own(replaced.text) == exact(value)


@given(target=OBJECTS, patch=OBJECTS, again=st.booleans())
def test_any_merge_patch_follows_rfc_7396(
    anonymous: httpx.Client, target: dict[str, Any], patch: dict[str, Any], *, again: bool
) -> None:
    if again:
        # Patches of present members find more faults than others.
        patch = {**patch, **{key: None if n % 2 else {"x": None} for n, key in enumerate(target)}}
    location = send(anonymous, "POST", PATH, target).headers["location"]
    patched = send(anonymous, "PATCH", location, patch)
    assert patched.status_code == 200, patched.text
    assert own(patched.text) == exact(merge(target, patch))
