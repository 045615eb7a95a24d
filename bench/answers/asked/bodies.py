"""Bodies of records: good and bad JSON, sizes, depths, media types and codings."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.answers.asker import Asker, Field

LOOSE = "/collections/loose/records"
TEXTS: tuple[bytes, ...] = (
    b"", b" ", b"{", b"{}", b" {} ", b"[]", b"null", b"true", b'"x"', b"5", b"{}{}", b"{},",
    b'{"a":1,}', b'{"a":1,"a":2}', b'{"a":{"b":1,"b":1}}', b"{'a':1}", b"{a:1}", b'{"a":01}',
    b'{"a":+1}', b'{"a":.5}', b'{"a":1.}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}',
    b'{"a":1e999}', b'{"a":1e-999}', b'{"a":1e308}', b'{"a":1e309}', b'{"a":1E2}', b'{"a":-0}',
    b'{"a":-0.0}', b'{"a":1.10}', b'{"a":12345678901234567890123}', b'{"a":0.1000000000000000055}',
    b'{"a":' + b"9" * 4300 + b"}", b'{"a":' + b"9" * 4301 + b"}", b'{"a":' + b"9" * 310 + b".5}",
    b'{"a":0.' + b"1" * 16_100 + b"}", b'{"a":"\\u0000"}', b'{"\\u0000":1}', b'{"a":"\\ud83d"}',
    b'{"a":"\\ud83d\\ude00"}', b'{"a":"\xc3\x28"}', b"\xff\xfe{}", b"\xef\xbb\xbf{}",
    b'{"a":"\t"}', b'{"a":"\\x"}', b'{"a":"\\u00e9\xc3\xa9"}', b'{"a":"e\xcc\x81"}',
    b'{"a":' + b"[" * 62 + b"]" * 62 + b"}", b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    b"[" * 5000, b'{"a":' * 70 + b"1" + b"}" * 70, b'{"a":1 // none\n}', b'{"a":[1,,2]}',
    b'{"count":"1"}', b'{"count":1e0}', b'{"count":1.5}', b'{"title":null}',
)  # fmt: skip
# The bounds of size, met and exceeded.
LARGE: tuple[bytes, ...] = (
    b'{"a":"' + b"x" * 49_992 + b'"}', b'{"a":"' + b"x" * 49_993 + b'"}',
    b'{"a":[' + b"1," * 20_000 + b"1]}", b'{"a":[' + b"1e300," * 5000 + b"1]}",
    b"{" + b",".join(b'"m%d":1' % n for n in range(3000)) + b"}", b" " * 399_990 + b"{}",
    b'{"a":"' + b"x" * 300_000 + b'"}', b'{"a":[' + b"1," * 199_000 + b"1]}",
)  # fmt: skip
MEDIA_TYPES = (
    "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/plain", "",
    "application/merge-patch+json", "application/json-patch+json", "application/problem+json",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "*/*", "json",
    "application/json, text/plain", "application/json ;charset=latin-1",
)  # fmt: skip
CODINGS = ("gzip", "br", "deflate", "x", "gzip, identity", "GZIP", "identity", "Identity", "")


def ask(ask: Asker) -> None:
    for text in (*TEXTS, *LARGE):
        made = ask("POST", LOOSE, text)
        ask("DELETE", f"{LOOSE}/{made.id}")
    made = ask("POST", LOOSE, {"title": "kept", "count": 1, "a": {"b": 1}})
    ask.handed_on["kept"] = f"{LOOSE}/{made.id}"
    for text in TEXTS[:24]:
        ask("PATCH", ask.handed_on["kept"], text)
    for media_type in MEDIA_TYPES:
        fields = [("Content-Type", media_type)]
        ask("POST", LOOSE, b'{"count":5}', fields=fields)
        ask("PATCH", ask.handed_on["kept"], b'{"count":5}', fields=fields)
        ask("POST", "/auth/login", b"{}", fields=fields)
    for coding in CODINGS:
        body = gzip.compress(b"{}", mtime=0) if "gzip" in coding.lower() else b"{}"
        for target in (LOOSE, "/auth/login", "/users"):
            ask("POST", target, body, fields=[("Content-Encoding", coding)])
    _framing(ask)


def _framing(ask: Asker) -> None:
    """Bodies in chunks, and bodies with a false length."""
    chunks = b'2\r\n{"\r\n6;x=y\r\na":1}\n\r\n0\r\n\r\n'
    chunked: list[Field] = [("Transfer-Encoding", "chunked")]
    ask("POST", LOOSE, chunks, fields=chunked)
    ask("POST", LOOSE, b"0\r\n\r\n", fields=chunked)
    ask("GET", LOOSE + "?limit=1", b"0\r\n\r\n", fields=chunked)
    for size in ("400001", "99999999999999999999", "-1", "x", "1e3", ""):
        ask("POST", LOOSE, b"{", fields=[("Content-Length", size), ("Connection", "close")])
    # An interim answer invites the body.
    ask("POST", LOOSE, b"{}", fields=[("Expect", "100-continue")])
    ask("DELETE", f"{LOOSE}/1", b"{}")
    ask("GET", LOOSE + "?limit=1", b'{"a":')
