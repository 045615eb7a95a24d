"""JSON Merge Patch (RFC 7396, section 2) from text to text, so that numbers stay as they are."""

from __future__ import annotations

import msgspec
import orjson

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def merge(target: str, patch: str) -> str:
    """`target` with `patch` applied, both texts of objects; `target` itself if nothing changes."""
    before = target.encode()
    merged = _merged(before, patch.encode())
    return target if merged is before else merged.decode()


def _merged(target: bytes, patch: bytes) -> bytes:
    is_object = target[:1] == b"{"
    members = _members(target) if is_object else {}
    merged = {name: bytes(value) for name, value in members.items()}
    changed = not is_object
    for name, value in _members(patch).items():
        given, before = bytes(value), merged.get(name)
        if given == b"null":
            after = None
            merged.pop(name, None)
        else:
            after = _merged(before or b"", given) if given[:1] == b"{" else given
            merged[name] = after
        changed = changed or after != before
    if not changed:
        return target
    return b"{%b}" % b",".join(
        b"%b:%b" % (orjson.dumps(name), value) for name, value in merged.items()
    )
