"""From what a client typed to PostgreSQL's query: quotes, -, OR, a word that is only begun, and
pairs of letters for Chinese, Japanese and Korean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.collections.declared_search import CJK, LEVELS, MARK, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable

# As in the function `listo.bigrams`.
_LETTERS: Final = (
    "[\u1100-\u11ff\u3040-\u30ff\u3100-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003134f]"
)
_RUN = re.compile(f"{_LETTERS}+")
_LEXEME = r"'(?:[^'\\]|''|\\.)*+'"
_WEIGHTS = r"(?::[*ABCD]+)?"
# Parts of a query's text: what is excluded, with what follows it; a lexeme; between lexemes.
_PART = re.compile(
    rf"(?P<excluded>!(?:{_LEXEME}{_WEIGHTS}|\((?:{_LEXEME}{_WEIGHTS}|[ <>0-9-])++\)))"
    rf"|'(?P<lexeme>(?:[^'\\]|''|\\.)*+)'(?P<weights>{_WEIGHTS})"
    r"|(?P<phrase><(?:-|\d+)>)|(?P<other>&)"
)
_SINGLE = re.compile(rf"('{_LETTERS}')(?!:)")
# Typed text between blanks, a quoted one as a whole.
_TYPED = re.compile(r'-?"[^"]*"?|\S+')
# Letters may have marks that Python takes for no part of a word, but PostgreSQL does: accents,
# points, and the vowels of scripts from Devanagari to Myanmar.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed"
    "\u0711-\u074a\u0900-\u0963\u0966-\u0fbc\u102b-\u103e\u1ab0-\u1aff\u1dc0-\u1dff\u200c\u200d"
    "\u20d0-\u20f0\u302a-\u302f\u3099\u309a\ufe20-\ufe2f"
)
_WORD = re.compile(rf"\w[\w{_MARKS}]*")
_BEGUN = re.compile(rf"{_WORD.pattern}\Z")
# Stands for a word that is only begun until PostgreSQL has read the words before it: a letter would
# be stemmed, a number not.
BEGUN: Final = "listo0begun0"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Texts of PostgreSQL's type `tsquery`.

    The index cannot tell where words stand. So `loose` takes the words of a phrase in any place,
    and leaves out no phrase. `levels` do as well, from the heaviest on: they match the records that
    have each of the words on that level, or above that step.
    """

    query: str
    loose: str
    levels: tuple[str, ...]
    is_single: bool

    @property
    def is_exact(self) -> bool:
        """Whether the index tells all that the query asks."""
        return self.query == self.loose


@dataclass(frozen=True, slots=True)
class Typed:
    """A word of `q`, and where it stands."""

    text: str
    start: int


def split_begun(q: str, language: str) -> tuple[str, str]:
    """The finished words, and the last one if it is only begun: not quoted. The pairs of a run of
    letters are finished: a longer run has them as well."""
    found = _BEGUN.search(q)
    if found is None or q.count('"') % 2:
        return q, ""
    start = found.start()
    if language == CJK:
        start = max([start, *(run.end() for run in _RUN.finditer(q, start))])
    return q[:start], q[start:]


def words_of(q: str) -> list[Typed]:
    """The words to correct: neither quoted nor excluded nor in pairs of letters."""
    return [
        Typed(word[0], typed.start() + word.start())
        for typed in _TYPED.finditer(q)
        if typed[0][0] not in '-"' and typed[0].lower() != "or"
        for word in _WORD.finditer(typed[0])
        if not _RUN.search(word[0])
    ]


def all_words(q: str) -> list[str]:
    """All words of `q`, each once."""
    return list(dict.fromkeys(_WORD.findall(q)))


def replaced(q: str, words: Iterable[tuple[Typed, str]]) -> str:
    """`q` with other words in place of these, which are in their order."""
    for word, other in reversed(list(words)):
        q = q[: word.start] + other + q[word.start + len(word.text) :]
    return q


def lexemes_of(query: str) -> list[tuple[str, bool]]:
    """The lexemes to find, and for each whether it is only begun."""
    return [
        (part["lexeme"].replace("''", "'").replace("\\\\", "\\"), "*" in part["weights"])
        for part in _PART.finditer(query)
        if part["lexeme"] is not None
    ]


def for_websearch(q: str, language: str) -> str:
    """The text for PostgreSQL's websearch_to_tsquery."""
    return _with_pairs(q) if language == CJK else q


def _with_pairs(q: str) -> str:
    """`q` with runs of letters as phrases of pairs, as the index has them."""

    def pairs(found: re.Match[str]) -> str:
        run = found[0]
        if len(run) == 1:
            return run
        text = " ".join(run[at : at + 2] for at in range(len(run) - 1))
        # Within quotes, the phrase is a part of a longer one.
        return f" {text} " if q.count('"', 0, found.start()) % 2 else f'"{text}"'

    return _RUN.sub(pairs, q)


def quoted(lexeme: str) -> str:
    """A lexeme in a query's text."""
    doubled = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"


def finds_begun(query: str) -> bool:
    """Whether the query's text has BEGUN, and not to exclude it."""
    return quoted(BEGUN) in query and f"!{quoted(BEGUN)}" not in query


def with_begun(query: str, begun: str, lexemes: Iterable[str]) -> str:
    """The query's text with a word that is only begun, or any of the `lexemes`, for BEGUN."""
    either = [f"{quoted(begun)}:*", *map(quoted, dict.fromkeys(lexemes))]
    return query.replace(quoted(BEGUN), f"( {' | '.join(either)} )")


def wanted(query: str, language: str) -> Wanted:
    """`query` is the text of a `tsquery` that names at least one lexeme to find."""
    if language == CJK:
        # A single letter begins a pair, or is the last of a run.
        query = _SINGLE.sub(r"\1:*", query)
    loose = _PART.sub(_loosened, query)
    parts = list(_PART.finditer(loose))
    lexemes = sum(part["lexeme"] is not None for part in parts)
    joined = lexemes > 1 and any(part["other"] for part in parts)
    # Several words are seldom on the same level.
    levels = tuple(_at_level(loose, level) for level in (STEPS if joined else LEVELS))
    return Wanted(query, loose, levels, lexemes == 1)


def _loosened(part: re.Match[str]) -> str:
    if part["excluded"] and "(" in part["excluded"]:
        return f"!{quoted(MARK)}"
    return "&" if part["phrase"] else part[0]


def _at_level(loose: str, level: str) -> str:
    """The query for the marks of this level or step."""

    def marked(part: re.Match[str]) -> str:
        if part["lexeme"] is None:
            return part[0]
        return f"'{MARK}{level}{part['lexeme']}'{part['weights']}"

    return _PART.sub(marked, loose)
