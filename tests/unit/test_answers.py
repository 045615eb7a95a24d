"""`make compare-answers`: its masks, its diffs, and its refusals."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.answers.asker import Exchange
from bench.answers.difference import differing, told
from bench.answers.masks import Masks

ROOT = Path(__file__).parents[2]
OWN = "9f3c8b52-6f0e-4d7a-9a39-2f6a1d3e5c70"


def new_id() -> str:
    """A UUID of version 7, made now."""
    stamp, tail = f"{int(time.time() * 1000):012x}", os.urandom(9).hex()
    return f"{stamp[:8]}-{stamp[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"


def sealed(value: Any, before: bytes = b"") -> str:
    text = before + json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@pytest.fixture
def masks() -> Masks:
    made = Masks()
    made.next()
    return made


def test_the_same_id_stays_the_same(masks: Masks) -> None:
    first, second = new_id(), new_id()
    assert masks.text(f"{first} {second} {first}") == "<id 1.1> <id 1.2> <id 1.1>"
    masks.next()
    assert masks.text(f"{second} {new_id()}") == "<id 1.2> <id 2.1>"


@pytest.mark.parametrize("text", [
    OWN, "01a00000-0000-7000-8000-000000000000", "2001-01-01T00:00:00.000000Z",
    "2099-01-01T00:00:00.000000Z", "0123456789abcdef0123456789abcdef", '"2"', "eyJ.eyJ.x",
    "A" * 200, '{"total":1796015459749262}',
])  # fmt: skip
def test_what_clients_choose_is_not_masked(masks: Masks, text: str) -> None:
    assert masks.text(text) == text


def test_a_time_is_the_same_in_a_record_and_in_a_cursor(masks: Masks) -> None:
    microseconds = time.time_ns() // 1000
    now = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    stamp = f"{now:%Y-%m-%dT%H:%M:%S}.{microseconds % 1_000_000:06}Z"
    cursor = sealed([1, str(microseconds), OWN], before=os.urandom(16))
    assert masks.text(stamp) == "<time 1.1>Z"
    assert masks.text(cursor) == f"<cursor (1, '<time 1.1>', '{OWN}')>"


def test_the_claims_of_a_token_are_compared(masks: Masks) -> None:
    now = int(time.time())
    claims = {"sub": new_id(), "iat": now, "exp": now + 60}
    token = f"{sealed({'alg': 'HS256'})}.{sealed(claims)}.{'x' * 43}"
    shown = masks.text(token)
    assert shown == "<token (('alg': 'HS256'), ('sub': '<id 1.1>', 'exp': 'iat + 60'))>"


def test_a_secret_and_its_prefix_have_one_mask(masks: Masks) -> None:
    key = "lk_" + base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    assert masks.text(f'"key":"{key}"') == '"key":"<secret 1.1>"'
    assert masks.text(f'"prefix":"{key[:9]}"') == '"prefix":"<secret 1.1>[:9]"'


@pytest.mark.parametrize(
    ("policy", "standing", "masked"),
    [
        ('"user";q=60;w=60', '"user";r=17;t=1', '"user";r=<left>;t=<seconds>'),
        ('"user";q=60;w=86400', '"user";r=17;t=9', '"user";r=17;t=<seconds>'),
        ('"a";q=1;w=1, "a";q=5;w=86400', '"a";r=0;t=1, "a";r=4;t=2',
         '"a";r=<left>;t=<seconds>, "a";r=4;t=<seconds>'),
    ],
)  # fmt: skip
def test_the_remaining_quota_is_masked_only_if_it_comes_back_meanwhile(
    masks: Masks, policy: str, standing: str, masked: str
) -> None:
    head = masks.head(("HTTP/1.1 200 OK", f"RateLimit-Policy: {policy}", f"ratelimit: {standing}"))
    assert head[2] == f"ratelimit: {masked}"


def exchange(body: str, status: str = "200 OK") -> Exchange:
    return Exchange("1. GET /x", (f"HTTP/1.1 {status}", f"content-length: {len(body)}"), body)


def test_a_change_is_shown_once_with_its_request_first() -> None:
    before = [exchange('{"a":1,"b":[]}'), exchange('{"a":1,"b":[]}'), exchange("same")]
    after = [exchange('{"a":2,"b":[]}'), exchange('{"a":2,"b":[]}'), exchange("same")]
    pairs = differing(before, after)
    assert len(pairs) == 2
    (text,) = told(pairs)
    assert text.splitlines()[:3] == ["1. GET /x", "--- before", "+++ now"]
    assert '-  "a":1,\n+  "a":2,\n   "b":[]' in text
    assert text.endswith("… and the same change in 1 more")


def test_of_wide_lines_only_the_place_of_the_change_is_shown() -> None:
    (text,) = told(differing([exchange("x" * 5000 + "a")], [exchange("x" * 5000 + "b")]))
    assert "xa\n+…x" in text
    assert max(map(len, text.splitlines())) < 200


def test_blanks_make_a_difference() -> None:
    (text,) = told(differing([exchange("a\nb")], [exchange("a\rb")]))
    assert r"-'a\nb'" in text


@pytest.mark.parametrize("before", ["", "nothing-of-that-name", "HEAD:Makefile", "--all"])
def test_a_name_of_no_commit_is_refused_in_one_line(before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.answers", "--", before],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'services/api'}:{ROOT}:{ROOT / 'tests'}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "BEFORE=" in done.stderr
