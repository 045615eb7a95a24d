"""A cursor is sealed, and works only for its own list and caller."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.filters.cursor import Cursor, CursorCodec
from app.filters.errors import InvalidCursor

CODEC = CursorCodec("0123456789abcdef0123456789abcdef")
BINDING = "collection\nfilter\nsort\nuser:1"
ID = "00000000-0000-0000-0000-000000000007"
WHOLE = CODEC.encode(['"é😀"', ID], backward=False, binding=BINDING)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6), st.booleans(), st.text())
def test_what_was_encoded_is_decoded(values: list[str], backward: bool, binding: str) -> None:  # noqa: FBT001 - a generated value
    values = [value.encode("utf-8", "replace").decode() for value in values]
    text = CODEC.encode(values, backward=backward, binding=binding)
    assert CODEC.decode(text, binding=binding) == Cursor(tuple(values), backward)
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "binding",
    ["", BINDING + " ", "other\nfilter\nsort\nuser:1", BINDING[:-1] + "2"],
)
def test_a_cursor_of_another_list_is_refused(binding: str) -> None:
    with pytest.raises(InvalidCursor):
        CODEC.decode(WHOLE, binding=binding)


def test_a_cursor_under_another_secret_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        CursorCodec("another secret").decode(WHOLE, binding=BINDING)


def test_the_secret_can_be_changed_without_losing_cursors() -> None:
    changed = CursorCodec("another secret", "0123456789abcdef0123456789abcdef")
    assert changed.decode(WHOLE, binding=BINDING).position == ('"é😀"', ID)
    fresh = changed.encode([ID], backward=False, binding=BINDING)
    with pytest.raises(InvalidCursor):
        CODEC.decode(fresh, binding=BINDING)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "é", "====", "AAAA", "AAAA" * 10, "*" * 40, "A" * 100_000, WHOLE[:-1], WHOLE + "A",
        WHOLE[:-4], "A" + WHOLE[1:], WHOLE + "\n", " " + WHOLE, "null", "\x00" * 44,
        base64.urlsafe_b64encode(b"\x00" * 16 + b'[0,"1"]').decode().rstrip("="),
    ],
)  # fmt: skip
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor) as caught:
        CODEC.decode(text, binding=BINDING)
    assert (caught.value.status, caught.value.code) == (400, "invalid_cursor")


@given(st.binary(max_size=200))
def test_made_up_bytes_are_refused(sealed: bytes) -> None:
    with pytest.raises(InvalidCursor):
        CODEC.decode(base64.urlsafe_b64encode(sealed).decode().rstrip("="), binding=BINDING)


@given(st.integers(0, len(WHOLE) * 6 - 1))
def test_a_cursor_with_a_changed_bit_is_refused(bit: int) -> None:
    sealed = bytearray(base64.urlsafe_b64decode(WHOLE + "=" * (-len(WHOLE) % 4)))
    sealed[bit // 8 % len(sealed)] ^= 1 << bit % 8
    with pytest.raises(InvalidCursor):
        CODEC.decode(base64.urlsafe_b64encode(sealed).decode().rstrip("="), binding=BINDING)


@pytest.mark.parametrize("backward", [False, True])
def test_a_cursor_names_the_record_instead_of_too_long_values(backward: bool) -> None:  # noqa: FBT001 - a parameter
    values = ['"' + "x" * 100_000 + '"', "1", ID]
    text = CODEC.encode(values, backward=backward, binding=BINDING)
    assert len(text) < 300
    cursor = CODEC.decode(text, binding=BINDING)
    assert (cursor.position, cursor.record, cursor.backward) == ((), ID, backward)
    assert cursor.resolve(values) == Cursor(tuple(values), backward)
    for others in (None, ["1", "1", ID], [values[0] + " ", "1", ID]):
        with pytest.raises(InvalidCursor, match="start again"):
            cursor.resolve(others)


def test_the_longest_cursor_can_be_used() -> None:
    longest = next(
        text
        for length in range(2048, 0, -1)
        if CODEC.decode(
            text := CODEC.encode(["x" * length, ID], backward=True, binding=BINDING),
            binding=BINDING,
        ).position
    )
    assert 2000 < len(longest) < 4096
