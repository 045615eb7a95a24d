"""Access tokens: JWT (RFC 7519), HS256 and nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import jwt

from app.auth.errors import InvalidToken
from app.core.clock import utcnow

if TYPE_CHECKING:
    from app.core.settings import Settings

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "listo"
_CLAIMS = ["iss", "aud", "exp", "iat", "sub", "sid"]


@dataclass(frozen=True, slots=True)
class Claims:
    user_id: UUID
    session_id: UUID
    expires_at: float


class Tokens:
    """Signs with JWT_SECRET; verifies with that or JWT_SECRET_PREVIOUS, as `kid` says."""

    def __init__(self, settings: Settings) -> None:
        self.ttl = settings.access_token_ttl
        secrets = [settings.jwt_secret, settings.jwt_secret_previous]
        self._keys = {
            _key_id(secret.get_secret_value()): secret.get_secret_value()
            for secret in secrets
            if secret is not None
        }
        self._current = next(iter(self._keys))

    def issue(self, user_id: UUID, session_id: UUID) -> str:
        now = utcnow()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "iat": now,
            "exp": now + timedelta(seconds=self.ttl),
        }
        return jwt.encode(
            claims, self._keys[self._current], ALGORITHM, headers={"kid": self._current}
        )

    def verify(self, token: str) -> Claims:
        """Raises InvalidToken."""
        try:
            key = self._keys[str(jwt.get_unverified_header(token).get("kid"))]
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                # `iat` is not verified: another process's clock may be more than a second ahead.
                options={"require": _CLAIMS, "verify_iat": False},
            )
            return Claims(UUID(claims["sub"]), UUID(claims["sid"]), float(claims["exp"]))
        except jwt.ExpiredSignatureError:
            raise InvalidToken("The access token has expired.") from None
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, AttributeError):
            raise InvalidToken from None


def _key_id(secret: str) -> str:
    return hashlib.sha256(b"listo key id " + secret.encode()).hexdigest()[:12]
