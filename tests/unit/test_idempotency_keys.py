"""Valid values of Idempotency-Key, and when two requests are the same."""

from __future__ import annotations

import pytest

from app.core.actor import ANONYMOUS
from app.idempotency.cipher import ResponseCipher
from app.idempotency.errors import InvalidIdempotencyKey
from app.idempotency.keys import parse_key
from app.idempotency.models import Answer, KeyedRequest


@pytest.mark.parametrize(
    ("field", "key"),
    [
        (b"1", "1"),
        (b"8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (b'"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (b"order:1/2+a==", "order:1/2+a=="),
        (b"a" * 255, "a" * 255),
        (b'"' + b"a" * 255 + b'"', "a" * 255),
        (b'  "a, b; c" \t', "a, b; c"),
        (b'"\\"\\\\"', '"\\'),
        (b'" "', " "),
    ],
)
def test_a_well_formed_field_has_its_key(field: bytes, key: str) -> None:
    assert parse_key(field) == key


@pytest.mark.parametrize(
    "field",
    [
        b"", b" ", b'""', b'"', b'"a', b'a"', b'"a"b', b'"a" "b"', b'"a", "b"', b"a,b", b"a b",
        b"a;b", b'"a";b=1', b'"a\\n"', b'"\\"', b'"\\', b"\xc3\xa4", b'"\xff"', b"a\tb", b'"a\tb"',
        b"\x7f", b"a\x00", b"\x1b[0m", b'"\n"', b"a\r\nb", b"a\n",
        b"a" * 256, b'"' + b"a" * 256 + b'"',
    ],
)  # fmt: skip
def test_a_malformed_field_is_refused(field: bytes) -> None:
    with pytest.raises(InvalidIdempotencyKey):
        parse_key(field)


def test_all_anonymous_clients_are_one_caller() -> None:
    """Only the whole request tells anonymous clients apart, not their networks."""
    one = KeyedRequest.from_parts("k", ANONYMOUS, method="POST", path="/", rest=[b"a", b""])
    two = KeyedRequest.from_parts("k", ANONYMOUS, method="POST", path="/", rest=[b"", b"a"])
    assert one.id == two.id
    assert one.digest != two.digest


def test_a_seal_opens_for_the_very_request_only() -> None:
    def request(key: str = "k", body: bytes = b"{}") -> KeyedRequest:
        return KeyedRequest.from_parts(key, ANONYMOUS, method="POST", path="/", rest=[body])

    answer = Answer(201, [(b"etag", b'"1"'), (b"x-odd", b"\xe4")], b'{"secret":\n1}')
    old, new = ResponseCipher("o" * 32), ResponseCipher("n" * 32, "o" * 32)
    kept = old.fingerprint(request()), answer.status, old.seal(request(), answer)
    assert new.open(request(), *kept) == old.open(request(), *kept) == answer
    assert new.fingerprint(request()) != old.fingerprint(request())
    assert ResponseCipher("n" * 32).open(request(), *kept) is None
    assert old.open(request(key="l"), *kept) is None
    assert old.open(request(body=b"{ }"), *kept) is None
    assert b"secret" not in kept[2]
