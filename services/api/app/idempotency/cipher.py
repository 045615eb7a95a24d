"""Kept answers are sealed, since some show a secret that is otherwise stored as a hash only.

Both the fingerprint and the seal depend on the idempotency key, which the table lacks, and on this
server's secret: a reader of the table learns nothing, even by trying likely passwords.
"""

from __future__ import annotations

import hmac
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.idempotency.models import Answer, KeyedRequest

_NONCE_BYTES = 12


class ResponseCipher:
    """Seals with the first of the secrets, and opens an answer that any of them sealed."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    def fingerprint(self, request: KeyedRequest) -> bytes:
        return _fingerprint(self._secrets[0], request)

    def seal(self, request: KeyedRequest, answer: Answer) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        cipher = _cipher(self._secrets[0], request)
        return nonce + cipher.encrypt(nonce, answer.dump(), answer.status.to_bytes(2, "big"))

    def open(
        self, request: KeyedRequest, fingerprint: bytes, status: int, sealed: bytes
    ) -> Answer | None:
        """The answer if the fingerprint is that of this request, else None."""
        for secret in self._secrets:
            if hmac.compare_digest(_fingerprint(secret, request), fingerprint):
                nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
                cipher = _cipher(secret, request)
                opened = cipher.decrypt(nonce, text, status.to_bytes(2, "big"))
                return Answer.load(status, opened)
        return None


def _fingerprint(secret: bytes, request: KeyedRequest) -> bytes:
    return _derive(secret, b"fingerprint", request.digest, request)


def _cipher(secret: bytes, request: KeyedRequest) -> AESGCM:
    return AESGCM(_derive(secret, b"seal", b"", request))


def _derive(secret: bytes, use: bytes, content: bytes, request: KeyedRequest) -> bytes:
    # The key comes last, as the only part without a fixed length.
    message = b"listo idempotency %s:%s%s%s" % (use, content, request.id, request.key.encode())
    return hmac.digest(secret, message, "sha256")
