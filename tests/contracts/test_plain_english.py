"""`make lint` refuses sentences without a subject, on added lines alone."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tools.plain_english import Unknown, added, faults, main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who asks gets it.", [(1, "Who")]),
        ("What a killed process left is removed.", [(1, "What")]),
        ("The first is told. It waits.", [(1, "It")]),
        ("The first is\ntold.\nIt waits.", [(3, "It")]),
        ("The key ends. Nor does\nanother one begin.", [(1, "Nor")]),
        ("- Else the machine's.\n- Of these two.", [(1, "Else"), (2, "Of")]),
        ("**It is bold.** It is plain.", [(1, "It")]),
        ("One that waits goes first. One is enough.", [(1, "One"), (1, "One")]),
        ("| a name | The first is told. It waits. |", [(1, "It")]),
        ("1. What is listed.", [(1, "What")]),
        # Headings, questions, names and code.
        ("# What a check may cost", []),
        ("> What is quoted.", []),
        ("What next? Who is it, in version 1.2?", []),
        ("The page [Who asks again](a.md). *What next* is a title.", []),
        ("One worker serves. One of the replicas serves, one more waits.", []),
        ("One-way functions. Offers. Items. IT. Whoever.", []),
        ("| What | Who |", []),
        ("`a. It is code.`", []),
        ("```\nIt is code.\n```\nText.", []),
        ("The subject is it: what it is, and of whom.", []),
    ],
)
def test_sentences_of_pages_are_checked(text: str, found: list[tuple[int, str]]) -> None:
    assert faults("a.md", text) == found


PYTHON = '''"""It is a module.

A text. What follows: a list.
"""

# Of a comment
# that goes on. It does.
name = "It is a text."  # Who asks.
other = "# It is a text, too."  # what it was


class A:
    """A class."""

    def b(self) -> str:
        r"""One that is raw."""
        return """It is returned."""
'''


def test_comments_and_docstrings_are_checked() -> None:
    assert faults("a.py", PYTHON) == [
        (1, "It"), (3, "What"), (6, "Of"), (7, "It"), (8, "Who"), (16, "One"),
    ]  # fmt: skip
    shell = "#!/bin/sh\n# It waits.\necho 'It works.' # here\n    # A step.\n    # Else none.\n"
    for name in ("a.sh", "b/c.yaml", "Makefile", "infra/Dockerfile"):
        assert faults(name, shell) == [(2, "It"), (5, "Else")]
    assert faults("a.json", shell) == []


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> None:
        user = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *user, *arguments], cwd=self.path, check=True, capture_output=True)

    def commit(self, **pages: str) -> None:
        for name, text in pages.items():
            (self.path / f"{name}.md").write_text(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "a")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    # A folder above may be a repository as well.
    (tmp_path / "ours").mkdir()
    return Repository(tmp_path / "ours")


def test_the_lines_that_a_branch_added_count(repository: Repository) -> None:
    repository.commit(a="It is old.\n\nA text.\n\nWho moves?\n")
    repository.git("checkout", "--quiet", "-b", "other")
    repository.commit(a="It is old.\n\nA text.\n\nIt is new.\n", b="One.\n")
    repository.commit(b="One.\n\nTwo.\n")
    (repository.path / "a.md").write_text("It is old.\n\nNone.\n\nIt is new.\n")
    (repository.path / "ü c.md").write_text("New.\nIt is new.\n")
    assert added(repository.path) == {"a.md": {3, 5}, "b.md": {1, 2, 3}, "ü c.md": {1, 2}}


def test_on_main_the_last_commit_counts(repository: Repository) -> None:
    repository.commit(a="A text.\n")
    repository.commit(a="A text.\n\nIt is old.\n")
    repository.commit(b="A text.\n")
    (repository.path / "c.md").write_text("A text.\n")
    assert added(repository.path) == {"b.md": {1}, "c.md": {1}}


def test_a_line_that_moved_was_not_added(repository: Repository) -> None:
    repository.commit(a="A text.\n\nIt is old.\n", b="B\n")
    repository.commit(a="A text.\n", b="B\n\nIt is old.\n")
    assert main(repository.path) == 0


def test_the_message_names_file_line_and_word(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit(a="A text.\n")
    repository.commit(b="A text.\nIt is new.\n")
    assert main(repository.path) == 1
    assert capsys.readouterr().err.startswith("b.md:2: a sentence opens with It; ")


def test_without_the_commits_nothing_is_checked(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit(a="A text.\n")
    repository.commit(a="It is new.\n")
    address = f"file://{repository.path}"
    repository.git("clone", "--quiet", "--depth=1", address, str(tmp_path / "shallow"))
    with pytest.raises(Unknown):
        added(tmp_path / "shallow")
    assert main(tmp_path / "shallow") == 0
    assert "no line was checked" in capsys.readouterr().out


def test_without_git_nothing_is_checked(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (repository.path / "copied").mkdir()
    for folder in (repository.path / "copied", tmp_path):
        assert main(folder) == 0
        assert "no line was checked" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(repository.path) == 0
    assert "there is no git" in capsys.readouterr().out
