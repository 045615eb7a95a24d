"""The stack and the firewall read `.env` as Compose does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.stack.compose import dotenv

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PORT=8443", "8443"),
        ("  PORT = 8443  ", "8443"),
        ("PORT=8443 # ours", "8443"),
        ("PORT= # none", "# none"),
        ("export PORT=8443", "8443"),
        ("PORT=a#b", "a#b"),
        ("PORT=#b", "#b"),
        ("PORT='a # b' # ours", "a # b"),
        ('PORT="a # b" # ours', "a # b"),
        (r'PORT="a \"b\""', 'a "b"'),
        ("PORT=it's", "it's"),
        ("PORT=a=b", "a=b"),
        ("# PORT=1", None),
        ("PORT", None),
    ],
)
def test_a_line_has_the_value_that_compose_reads(
    tmp_path: Path, line: str, value: str | None
) -> None:
    path = tmp_path / ".env"
    path.write_text(f"\n{line}\nOTHER=1\n")
    assert dotenv(path) == ({"OTHER": "1"} if value is None else {"PORT": value, "OTHER": "1"})


def test_without_a_file_there_are_no_settings(tmp_path: Path) -> None:
    assert dotenv(tmp_path / ".env") == {}


def test_bytes_that_are_no_text_are_tolerated(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"NAME=caf\xe9\nPORT=1\n")
    assert dotenv(path)["PORT"] == "1"


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(SystemExit, match=r"\.env cannot be read: Is a directory\.$"):
        dotenv(tmp_path / ".env")
