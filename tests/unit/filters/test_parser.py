"""The meaning of a filter's text, and the message if the text has none."""

from __future__ import annotations

import pytest

from app.filters.errors import FilterError
from app.filters.language.parser import MAX_DEPTH, MAX_LENGTH, MAX_TERMS, parse_filter, parse_path
from app.filters.language.syntax import And, Comparison, Constant, Field, Items, Not, Or, Variable
from app.filters.language.tree import MAX_DIGITS, MAX_ITEMS

A = Comparison(Field(("a",), 0), "=", Constant("1", 1, 4), 2)


def test_the_example_of_the_pages_parses_to_its_tree() -> None:
    text = (
        'section = "games" and (size >= 1000 or not tags has "beta")'
        ' and name like "lib%" and homepage is null'
    )
    beta = Comparison(Field(("tags",), 43), "has", Constant('"beta"', "beta", 52), 48)
    assert parse_filter(text) == And(
        (
            Comparison(Field(("section",), 0), "=", Constant('"games"', "games", 10), 8),
            Or(
                (
                    Comparison(Field(("size",), 23), ">=", Constant("1000", 1000, 31), 28),
                    Not(beta),
                )
            ),
            Comparison(Field(("name",), 64), "like", Constant('"lib%"', "lib%", 74), 69),
            Comparison(Field(("homepage",), 85), "=", Constant("null", None, 94), 94),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a=1", Comparison(Field(("a",), 0), "=", Constant("1", 1, 2), 1)),
        ("((a = 1))", Comparison(Field(("a",), 2), "=", Constant("1", 1, 6), 4)),
        ("NOT NOT a = 1", Not(Not(Comparison(Field(("a",), 8), "=", Constant("1", 1, 12), 10)))),
        (
            "a = 1 or a = 1 and a = 1",
            Or((A, And((Comparison(Field(("a",), 9), "=", Constant("1", 1, 13), 11),
                        Comparison(Field(("a",), 19), "=", Constant("1", 1, 23), 21))))),
        ),
        (
            "a Not In [1, true]",
            Not(Comparison(Field(("a",), 0), "in",
                           Items((Constant("1", 1, 10), Constant("true", True, 13)), 9), 6)),
        ),
        ("a in (1)", Comparison(Field(("a",), 0), "in", Items((Constant("1", 1, 6),), 5), 2)),
        ("a in []", Comparison(Field(("a",), 0), "in", Items((), 5), 2)),
        ("a is not null", Not(Comparison(Field(("a",), 0), "=", Constant("null", None, 2), 2))),
        ("@user.id = a", Comparison(Variable("user.id", 0), "=", Field(("a",), 11), 9)),
        ("a in @user.roles", Comparison(Field(("a",), 0), "in", Variable("user.roles", 5), 2)),
        ("a has NULL", Comparison(Field(("a",), 0), "has", Constant("null", None, 6), 2)),
        ("not_a.b = 1", Comparison(Field(("not_a", "b"), 0), "=", Constant("1", 1, 10), 8)),
        ("in = 1", Comparison(Field(("in",), 0), "=", Constant("1", 1, 5), 3)),
        ("Or = Nullable",
         Comparison(Field(("Or",), 0), "=", Field(("Nullable",), 5), 3)),
        ("not(a = 1)and(a = 1)or(a = 1)",
         Or((And((Not(Comparison(Field(("a",), 4), "=", Constant("1", 1, 8), 6)),
                  Comparison(Field(("a",), 14), "=", Constant("1", 1, 18), 16))),
             Comparison(Field(("a",), 23), "=", Constant("1", 1, 27), 25)))),
        ("`not`.`a.``b`.`` = 1",
         Comparison(Field(("not", "a.`b", ""), 0), "=", Constant("1", 1, 19), 17)),
        ('a = "\\ud83d\\ude00\\u0041"',
         Comparison(Field(("a",), 0), "=", Constant('"😀A"', "😀A", 4), 2)),
        ("a = -0.10e+2", Comparison(Field(("a",), 0), "=", Constant("-0.10e+2", -10.0, 4), 2)),
        ("a\n>\t1", Comparison(Field(("a",), 0), ">", Constant("1", 1, 4), 2)),
    ],
)  # fmt: skip
def test_a_text_parses_to_its_tree(text: str, tree: object) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "Expected a field"),
        ("   ", 3, "but the filter ends"),
        ("a", 1, "Expected = != > >= < <=, in, like, ilike, has, is or not"),
        ("a =", 3, "a constant"),
        ("a == 1", 3, "found '='"),
        ("= 1", 0, "Expected a field"),
        ("1 = a", 0, "Expected a field"),
        ("a = 'b'", 4, "strings are in double quotes"),
        ('a = "b', 4, "the string is not closed"),
        ('a = "b\nc"', 4, "control character"),
        ("`a = 1", 0, "the backtick is not closed"),
        ('a = "\\x41"', 5, "an escape at position 5 that JSON does not know"),
        ('a = "\\u0000"', 4, "U+0000"),
        ('a = "\\ud800"', 4, "lone surrogate"),
        ('a = "\ud800"', 4, "lone surrogate"),
        ("`\x00` = 1", 0, "U+0000"),
        ("a = 01", 4, "found '0'"),
        ("a = 1.", 4, "found '1'"),
        ("a = .5", 4, "found '.'"),
        ("a = +1", 4, "found '+'"),
        ("a = NaN and", 11, "the filter ends"),
        ("a = 1e309", 4, "an exponent beyond"),
        ("a = 1e-309", 4, "an exponent beyond"),
        ("a = " + "1" * (MAX_DIGITS + 1), 4, "more than 400 digits"),
        ("a = 1 b = 2", 6, "Expected and, or or the end"),
        ("a = 1 and", 9, "but the filter ends"),
        ("a = 1 && b = 2", 6, "found '&'"),
        ("(a = 1", 6, "Expected )"),
        ("a = 1)", 5, "Expected the end"),
        ("a. = 1", 3, "Expected a field"),
        ("a..b = 1", 2, "Expected a field"),
        ("a is true", 5, "Expected null or not"),
        ("a not = 1", 6, "Expected in, like, ilike, has"),
        ("a in [1,]", 8, "Expected a constant"),
        ("a in [b]", 6, "a constant"),
        ("a in [[1]]", 6, "a constant"),
        ("a in [" + "1," * MAX_ITEMS + "1]", 1006, "at most 500 items, this one has 501"),
        ("a = @user.name", 4, "no variable @user.name"),
        ("a = @", 4, "no variable @"),
        ("a = 1 and\n  b = = 2", 16, "(line 2)"),
        ("é = 1", 0, "found 'é'"),
        ('owner = @user.id organisation = "x"', 17, "Expected and, or or the end"),
        ("a = 1 andb = 2", 6, "Expected and, or or the end"),
        ("a = 1 and nota = 1 b", 19, "Expected and, or or the end"),
        ("a isnull", 2, "in, like, ilike, has, is, not or a dot"),
        ("a is nulland b = 1", 5, "Expected null or not"),
        ("a is notnull", 5, "Expected null or not"),
        ("a notin [1]", 2, "in, like, ilike, has, is, not or a dot"),
        ("a = trueand b = 1", 12, "Expected and, or, a dot or the end"),
        ("a = 1 or_b = 2", 6, "Expected and, or or the end"),
        ("a haſ 1", 2, "found 'h'"),
        ("a ın [1]", 2, "found 'ı'"),
        ("a İLIKE 1", 2, "found 'İ'"),
        ("a ıs null", 2, "found 'ı'"),
        ('a = "' + '\\"' * 2000 + "(" * 30, 4, "string"),
        ("(" * 4096, MAX_DEPTH, "at most 20 levels"),
        ("not " * 1024, 4 * MAX_DEPTH, "at most 20 levels"),
        ("(not " * 11 + "a = 1" + ")" * 11, 50, "at most 20 levels"),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH, "at most 4096 characters, this one has 4097"),
        (" or ".join(["a = 1"] * (MAX_TERMS + 1)), 902, "at most 100 comparisons"),
    ],
)
def test_faults_are_told_with_their_place(text: str, position: int, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert caught.value.members == {"position": position}
    assert message in caught.value.detail


def test_the_fault_is_shown_in_its_line() -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter('title = "a"\nand size = = 4 and size > 20 and size < 2000 and size != 70')
    assert caught.value.detail == (
        "Expected a field, @user.id, a list, ( or a constant at position 23 (line 2),"
        " but found '=': and size = ⟨here⟩= 4 and size > 20 and size < 2…"
    )


@pytest.mark.parametrize(
    "text",
    [
        "(" * MAX_DEPTH + "a = 1" + ")" * MAX_DEPTH,
        "not " * MAX_DEPTH + "a = 1",
        " and ".join(["not (a = 1)"] * MAX_TERMS),
        " and ".join(["not a in (1)"] * MAX_TERMS),
        "a in [" + ",".join("1" * MAX_ITEMS) + "]",
        'a = "' + "(" * 4000 + '"',
        "a = " + "9" * MAX_DIGITS,
    ],
)
def test_the_bounds_themselves_are_allowed(text: str) -> None:
    parse_filter(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b_1._", ("a", "b_1", "_")),
        ("`a.b`.``", ("a.b", "")),
        ("a.`😀``'\"`", ("a", "😀`'\"")),
    ],
)
def test_a_path_parses_to_its_keys(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "position"), [("", 7), ("a.", 9), ("a b", 8), ("1", 7), ("a.`b", 9), ("`\x00`", 7)]
)
def test_a_faulty_path_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(FilterError) as caught:
        parse_path(text, 7)
    assert caught.value.position == position
