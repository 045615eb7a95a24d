"""Refuse added lines whose sentences open with a word that names no subject: docs/conventions.md.

Only lines count that were added since the branch left `main`, or on `main` since the commit before;
a line that only moved does not. Without git, or where the clone is too shallow, nothing is checked.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
Lines = list[tuple[int, str]]

# `One` is a subject where no noun follows: "One that waits", but neither "One worker" nor "One of".
_ALONE = (
    "after|at|by|can|cannot|did|does|for|had|has|in|is|may|must|on|should|that|to|was|which|who"
    "|whose|will|with|without|would"
)
OPENING = re.compile(
    r"(?:\A|[.!?][)\"'*_]*\s+)"
    rf"(?P<word>Who|What|Nor|Else|Of|It|One(?=\s+(?:{_ALONE})\b))(?![\w-])"
)
SENTENCE = re.compile(r"(?:[^.!?]|[.!?](?=\w))*[.!?]?")
CODE = re.compile(r"(`+).+?\1", re.DOTALL)
ITEM = re.compile(r"(?:[-*+]|\d+\.)\s+")
HUNK = re.compile(r"@@ -\S+ \+(\d+)")
COMMENTED = {".sh", ".yaml", ".yml", ".toml", ".conf", "Dockerfile", "Makefile"}


class Unknown(Exception):
    """The added lines cannot be told, and the message says why."""


def faults(name: str, text: str) -> list[tuple[int, str]]:
    """Line and word of each refused sentence of a file."""
    return sorted(found for one in _paragraphs(name, text) for found in _refused(one))


def _refused(paragraph: Lines) -> Iterator[tuple[int, str]]:
    text = "\n".join(line for _, line in paragraph)
    text = CODE.sub(lambda code: re.sub(r"[^\n]", "x", code[0]), text)
    for opening in OPENING.finditer(text):
        begin = opening.start("word")
        sentence = SENTENCE.match(text, begin)
        if sentence and not sentence[0].endswith("?"):
            yield paragraph[text.count("\n", 0, begin)][0], opening["word"]


def _paragraphs(name: str, text: str) -> list[Lines]:
    kind = Path(name).suffix or Path(name).name
    if kind == ".md":
        return _grouped(_markdown(text))
    if kind == ".py":
        alone, beside = _comments(text)
        return [*_grouped(alone), *_grouped(_docstrings(text)), *([one] for one in beside)]
    if kind in COMMENTED:
        lines = enumerate(text.splitlines(), 1)
        return _grouped((n, line.strip(" #")) for n, line in lines if re.match(r"\s*#(?!!)", line))
    return []


def _grouped(lines: Iterable[tuple[int, str]]) -> list[Lines]:
    """Lines grouped into paragraphs, items of lists and rows of tables."""
    found: list[Lines] = []
    former = -1
    for number, line in lines:
        text = line.strip()
        item = ITEM.match(text)
        if not text:
            continue
        if number != former + 1 or item or text.startswith("|"):
            found.append([])
        found[-1].append((number, text[item.end() :] if item else text))
        former = number
    return found


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        if not fence and not fenced and not line.startswith("#"):
            yield number, line
        fenced ^= fence


def _comments(text: str) -> tuple[Lines, Lines]:
    """The comments on a line of their own, and the comments beside code."""
    alone: Lines = []
    beside: Lines = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            kind = beside if token.line[:column].strip() else alone
            kind.append((line, token.string.strip("#: ")))
    return alone, beside


def _docstrings(text: str) -> Iterator[tuple[int, str]]:
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node) is not None:
            string = node.body[0]
            for number in range(string.lineno, (string.end_lineno or string.lineno) + 1):
                yield number, re.sub(r'^\s*[rR]?"+|"+\s*$', "", lines[number - 1])


def added(root: Path) -> dict[str, set[int]]:
    """The added lines by file, uncommitted ones included. Raises Unknown."""
    if Path(_git(root, "rev-parse", "--show-toplevel").strip()).resolve() != root.resolve():
        raise Unknown("this folder is no repository of git")
    diff = _git(
        root, "-c", "core.quotePath=off", "diff", "--unified=0", "--no-color", "--no-ext-diff",
        "--find-renames", "--src-prefix=a/", "--dst-prefix=b/", _base(root), "--",
    )  # fmt: skip
    gone = {line[1:].strip() for line in diff.splitlines() if line.startswith("-")}
    found: dict[str, set[int]] = {}
    name, number = "", 0
    for line in diff.splitlines():
        if line.startswith("+++ "):
            name = line[6:].rstrip("\t")
        elif hunk := HUNK.match(line):
            number = int(hunk[1])
        elif line.startswith("+"):
            if line[1:].strip() not in gone:
                found.setdefault(name, set()).add(number)
            number += 1
    for new in _git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0"):
        if new and (root / new).is_file():
            found[new] = set(range(1, len((root / new).read_bytes().splitlines()) + 1))
    return found


def _base(root: Path) -> str:
    head = _git(root, "rev-parse", "HEAD").strip()
    for main in ("main", "origin/main"):
        try:
            base = _git(root, "merge-base", "HEAD", main).strip()
            return base if base != head else _git(root, "rev-parse", "--verify", "HEAD~").strip()
        except Unknown:
            continue
    raise Unknown("the commit to compare with is not in this clone")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            ["git", *arguments],  # noqa: S607
            cwd=root, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise Unknown("there is no git") from None
    if done.returncode:
        raise Unknown(done.stderr.strip().partition("\n")[0])
    return done.stdout


def main(root: Path = ROOT) -> int:
    """The exit status: 1 where a line is refused."""
    try:
        lines = added(root)
    except Unknown as why:
        print(f"plain English: no line was checked ({why})")
        return 0
    refused = [
        f"{name}:{line}: a sentence opens with {word}; name its subject (docs/conventions.md)"
        for name in sorted(lines)
        if (root / name).is_file()
        for line, word in faults(name, (root / name).read_text(errors="replace"))
        if line in lines[name]
    ]
    sys.stderr.writelines(f"{line}\n" for line in refused)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
