"""Access tokens under attack, and secrets that change without logging anybody out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.errors import InvalidToken
from app.auth.identity.tokens import Tokens
from fixtures.cluster import database
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "0123456789abcdefghijklmnopqrstuv"
NEXT = "a newer secret, of enough characters"
# A confused verifier takes this PEM form for an HMAC key.
PUBLIC_PEM = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"


def tokens(secret: str = SECRET, previous: str | None = None) -> Tokens:
    return Tokens(settings("postgresql://x/y", jwt_secret=secret, jwt_secret_previous=previous))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header = jwt.get_unverified_header(token)
    return header, jwt.decode(token, options={"verify_signature": False})


def signed(header: Any, claims: Any, key: bytes = SECRET.encode(), digest: str = "sha256") -> str:
    """A token with any header and claims, signed with `key`."""
    body = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{body}.{b64(hmac.new(key, body.encode(), getattr(hashlib, digest)).digest())}"


ATTACKS: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "alg none": lambda h, c: signed({**h, "alg": "none"}, c),
    "alg none without signature": lambda h, c: (
        signed({**h, "alg": "none"}, c).rpartition(".")[0] + "."
    ),
    "alg None": lambda h, c: signed({**h, "alg": "None"}, c),
    "no alg": lambda h, c: signed({"kid": h["kid"]}, c),
    "alg a list": lambda h, c: signed({**h, "alg": ["HS256"]}, c),
    "HS512 by the same secret": lambda h, c: signed({**h, "alg": "HS512"}, c, digest="sha512"),
    "RS256 in name": lambda h, c: signed({**h, "alg": "RS256"}, c),
    "public key as secret": lambda h, c: signed({**h, "alg": "RS256"}, c, PUBLIC_PEM),
    "empty secret": lambda h, c: signed(h, c, b""),
    "other secret": lambda h, c: signed(h, c, NEXT.encode()),
    "no kid": lambda _, c: signed({"alg": "HS256", "typ": "JWT"}, c),
    "kid a path": lambda h, c: signed({**h, "kid": "../../dev/null"}, c, b""),
    "kid a list": lambda h, c: signed({**h, "kid": [h["kid"]]}, c),
    "key in the header": lambda _, c: signed(
        {"alg": "HS256", "jwk": {"kty": "oct", "k": b64(NEXT.encode())}}, c, NEXT.encode()
    ),
    "unknown critical header": lambda h, c: signed({**h, "crit": ["x"], "x": 1}, c),
    "issuer": lambda h, c: signed(h, {**c, "iss": "other"}),
    "audience": lambda h, c: signed(h, {**c, "aud": "other"}),
    "expired": lambda h, c: signed(h, {**c, "exp": int(time.time()) - 1}),
    "exp a text": lambda h, c: signed(h, {**c, "exp": "never"}),
    "exp infinite": lambda h, c: signed(h, {**c, "exp": float("inf")}),
    "not yet": lambda h, c: signed(h, {**c, "nbf": int(time.time()) + 60}),
    "sub a number": lambda h, c: signed(h, {**c, "sub": 1}),
    "sub no id": lambda h, c: signed(h, {**c, "sub": "admin"}),
    "sid no id": lambda h, c: signed(h, {**c, "sid": None}),
    "claims a list": lambda h, c: signed(h, [c]),
    "header a list": lambda h, c: signed([h], c),
    **{
        f"without {name}": lambda h, c, name=name: signed(  # type: ignore[misc]
            h, {key: value for key, value in c.items() if key != name}
        )
        for name in ("iss", "aud", "exp", "iat", "sub", "sid")
    },
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_forged_tokens_are_refused(attack: str) -> None:
    verifier = tokens()
    header, claims = parts(verifier.issue(uuid4(), uuid4()))
    # With a correct signature, the same parts are accepted.
    verifier.verify(signed(header, claims))
    with pytest.raises(InvalidToken):
        verifier.verify(ATTACKS[attack](header, claims))


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b.c.d", "\u00e9.\u00e9.\u00e9", b64(b"[" * 20_000) + ".e30.AAAA",
     b64(b"1" * 6000) + ".e30.AAAA", b64(b'{"kid":"\\ud800"}') + ".e30.AAAA", " . . ", "\x00"],
    ids=range(11),
)  # fmt: skip
def test_texts_that_are_no_tokens_are_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        tokens().verify(text)


_ISSUED = tokens().issue(uuid4(), uuid4())


@given(st.integers(0, len(_ISSUED) - 1), st.characters(codec="latin-1"), st.sampled_from([0, 1]))
def test_a_changed_character_is_noticed(position: int, character: str, replaced: int) -> None:
    changed = _ISSUED[:position] + character + _ISSUED[position + replaced :]
    if changed != _ISSUED:
        with pytest.raises(InvalidToken):
            tokens().verify(changed)


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_random_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        tokens().verify(text)


def test_a_clock_that_is_ahead_elsewhere_does_no_harm() -> None:
    header, claims = parts(tokens().issue(uuid4(), uuid4()))
    tokens().verify(signed(header, {**claims, "iat": int(time.time()) + 5}))


def test_a_token_does_not_tell_the_secret() -> None:
    header, claims = parts(_ISSUED)
    assert set(header) == {"alg", "typ", "kid"}
    assert set(claims) == {"iss", "aud", "exp", "iat", "sub", "sid"}
    assert header["kid"] not in hashlib.sha256(SECRET.encode()).hexdigest()


def test_a_new_secret_logs_nobody_out() -> None:
    user, session = uuid4(), uuid4()
    old = tokens().issue(user, session)
    rotated = tokens(NEXT, SECRET)
    assert rotated.verify(old).user_id == user
    new = rotated.issue(user, session)
    assert parts(new)[0]["kid"] != parts(old)[0]["kid"]
    # Tokens of the old secret are no longer issued, and end with that secret.
    assert tokens(NEXT).verify(new).session_id == session
    with pytest.raises(InvalidToken):
        tokens(NEXT).verify(old)
    with pytest.raises(InvalidToken):
        tokens().verify(new)
    # The old secret cannot sign in the name of the new one.
    header, claims = parts(new)
    with pytest.raises(InvalidToken):
        rotated.verify(signed(header, claims, SECRET.encode()))


def test_sessions_outlive_a_rotation_of_the_secret(cluster_url: str) -> None:
    with database(cluster_url) as url:
        with serving(settings(url)) as server:
            old = str(server.admin().headers["authorization"]).removeprefix("Bearer ")
        with serving(settings(url, jwt_secret=NEXT, jwt_secret_previous=SECRET)) as server:
            assert server.client(old).get("/auth/me").status_code == 200
        with serving(settings(url, jwt_secret=NEXT)) as server:
            assert server.client(old).get("/auth/me").status_code == 401
