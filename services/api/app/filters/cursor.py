"""Cursors: the place where a page ended, signed so that a made-up or foreign cursor is refused."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.filters.errors import InvalidCursor

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAC_BYTES = 16
# Base64 makes four bytes of three; the rest of a URL is for the filter.
_MAX_POSITION = 2048
_MAX_SEALED = 4096
_BACKWARD, _REFERENCE = 1, 2


@dataclass(frozen=True, slots=True)
class Cursor:
    """The key values of the record that a page ended with, and whether to go back from it.

    For values too long for a URL, `position` is empty, `record` is the id of the record that has
    them, and `resolve` takes the values.
    """

    position: tuple[str, ...]
    backward: bool
    record: str | None = None
    digest: str = ""

    def resolve(self, values: Sequence[str] | None) -> Cursor:
        """The cursor with the present values of `record`; None stands for a deleted record.

        Raises InvalidCursor if the values have changed or the record is deleted.
        """
        if values is None or _digest(values) != self.digest:
            raise InvalidCursor(
                "The record that the page ended with has been changed; start again."
            )
        return Cursor(tuple(values), self.backward)


class CursorCodec:
    """Signs with keys derived from the secrets: the first key signs, every key can verify."""

    def __init__(self, *secrets: str) -> None:
        self._keys = [hmac.digest(secret.encode(), b"listo cursor", "sha256") for secret in secrets]

    def encode(self, position: Sequence[str], *, backward: bool, binding: str) -> str:
        """A cursor that `decode` accepts only with the same `binding`.

        `position` has the values of `key_columns`, so the last value is the record's id.
        """
        payload = orjson.dumps([backward and _BACKWARD, *position])
        if len(payload) > _MAX_POSITION:
            flags = _REFERENCE | (backward and _BACKWARD)
            payload = orjson.dumps([flags, position[-1], _digest(position)])
        sealed = self._mac(self._keys[0], payload, binding) + payload
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def decode(self, text: str, *, binding: str) -> Cursor:
        """Raises InvalidCursor (400) for a text that was not encoded with this `binding`."""
        if len(text) > _MAX_SEALED * 4 // 3 or not text.isascii():
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
        flags, *position = orjson.loads(payload)
        backward = bool(flags & _BACKWARD)
        if flags & _REFERENCE:
            return Cursor((), backward, *position)
        return Cursor(tuple(position), backward)

    @staticmethod
    def _mac(key: bytes, payload: bytes, binding: str) -> bytes:
        # The payload is JSON in one line, so no other payload and binding give the same bytes.
        sealed = payload + b"\n" + binding.encode("utf-8", "surrogatepass")
        return hmac.digest(key, sealed, "sha256")[:_MAC_BYTES]


def _digest(position: Sequence[str]) -> str:
    return hashlib.sha256(orjson.dumps(list(position))).hexdigest()
