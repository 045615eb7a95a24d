"""Clients can use entity tags through a proxy that compresses, which changes the tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from fixtures.stack import Stack

# nginx compresses a text of this length.
TEXT = "x" * 2_000
ENCODINGS = ("gzip", "br", "zstd", "identity")
ACCEPTED = [*ENCODINGS, ", ".join(ENCODINGS)]


def tag_of(client: httpx.Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) > len(TEXT)
    tag: str = answer.headers["ETag"]
    return tag


@pytest.mark.parametrize("encoding", ACCEPTED)
def test_the_tag_of_a_large_record_guards_its_changes(
    stack: Stack, collection: str, encoding: str
) -> None:
    path = f"/collections/{collection}/records"
    with stack.client(headers={"Accept-Encoding": encoding}) as client:
        made = client.post(path, json={"text": TEXT, "n": 1})
        path = f"{path}/{made.json()['id']}"
        first = tag_of(client, path)
        assert client.get(path, headers={"If-None-Match": first}).status_code == 304
        # The answers to a create and to a change are compressed as well.
        for n, method in enumerate(("PATCH", "PUT", "PATCH"), 2):
            current = made.headers["ETag"] if n == 2 else tag_of(client, path)
            body = {"text": TEXT, "n": n}
            changed = client.request(method, path, json=body, headers={"If-Match": current})
            assert changed.status_code == 200, changed.text
            late = client.request(method, path, json=body, headers={"If-Match": current})
            assert (late.status_code, late.json()["code"]) == (412, "version_conflict")
        last = tag_of(client, path)
        assert client.get(path, headers={"If-None-Match": first}).status_code == 200
        assert client.delete(path, headers={"If-Match": first}).status_code == 412
        assert client.delete(path, headers={"If-Match": last}).status_code == 204


@pytest.mark.parametrize("encoding", ACCEPTED)
def test_the_tag_of_a_large_collection_guards_its_changes(
    stack: Stack, collection: str, encoding: str
) -> None:
    path = f"/collections/{collection}"
    with stack.admin() as admin:
        admin.headers["Accept-Encoding"] = encoding
        definition: dict[str, Any] = {"schema": {"type": "object", "description": TEXT}}
        assert admin.put(path, json=definition).status_code == 200
        first = tag_of(admin, path)
        definition["schema"]["title"] = "changed"
        changed = admin.put(path, json=definition, headers={"If-Match": first})
        assert changed.status_code == 200, changed.text
        definition["schema"]["title"] = "changed again"
        assert admin.put(path, json=definition, headers={"If-Match": first}).status_code == 412
        late = admin.delete(f"{path}?confirm={collection}", headers={"If-Match": first})
        assert late.status_code == 412
        # The answer to the change already carried the tag that is valid now.
        again = admin.put(path, json=definition, headers={"If-Match": changed.headers["ETag"]})
        assert again.status_code == 200, again.text


@pytest.mark.parametrize("encoding", ACCEPTED)
def test_the_tag_of_a_cached_list_is_known_again(stack: Stack, encoding: str) -> None:
    with stack.collection(cache={"list": "1m"}) as name:
        path = f"/collections/{name}/records"
        with stack.client(headers={"Accept-Encoding": encoding}) as client:
            client.post(path, json={"text": TEXT})
            tag = tag_of(client, path)
            assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
            client.post(path, json={"text": TEXT})
            assert client.get(path, headers={"If-None-Match": tag}).status_code == 200
