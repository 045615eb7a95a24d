"""Cursors: where a page ended, sealed so that they cannot be made up or carried elsewhere."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.filters.errors import InvalidCursor, SortValueTooLong

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAC_BYTES = 16
# What fits in a URL with room for the filter.
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Cursor:
    """The key values of a record, and whether the page before it is meant."""

    position: tuple[str, ...]
    backward: bool


class CursorCodec:
    """Signs with keys derived from the secrets; the first signs, any of them verifies."""

    def __init__(self, *secrets: str) -> None:
        self._keys = [hmac.digest(secret.encode(), b"listo cursor", "sha256") for secret in secrets]

    def encode(self, position: Sequence[str], *, backward: bool, binding: str) -> str:
        """A cursor that `decode` takes with the same binding only. Raises SortValueTooLong."""
        payload = orjson.dumps([int(backward), *position])
        if len(payload) > MAX_BYTES:
            raise SortValueTooLong
        sealed = self._mac(self._keys[0], payload, binding) + payload
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def decode(self, text: str, *, binding: str) -> Cursor:
        """Raises InvalidCursor."""
        if len(text) > MAX_BYTES * 2 or not text.isascii():
            raise InvalidCursor
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidCursor from None
        mac, payload = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not any(
            hmac.compare_digest(mac, self._mac(key, payload, binding)) for key in self._keys
        ):
            raise InvalidCursor
        backward, *position = orjson.loads(payload)
        return Cursor(tuple(position), bool(backward))

    @staticmethod
    def _mac(key: bytes, payload: bytes, binding: str) -> bytes:
        return hmac.digest(key, payload + b"\n" + binding.encode(), "sha256")[:_MAC_BYTES]
