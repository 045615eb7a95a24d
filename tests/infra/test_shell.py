"""sh can read every shell script of the repository, and shellcheck reports nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fixtures import needs

ROOT = Path(__file__).parents[2]


def _scripts() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.sh", ".ci/run"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted({line for line in listed.stdout.splitlines() if (ROOT / line).exists()})


@pytest.mark.parametrize("script", _scripts())
def test_shell_can_read_it(script: str) -> None:
    shebang = (ROOT / script).read_text(encoding="utf-8").partition("\n")[0]
    assert shebang.startswith("#!"), "name the shell"
    shell = "bash" if "bash" in shebang else "sh"
    done = subprocess.run(
        [shell, "-n", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@needs.unless(None if shutil.which("shellcheck") else "shellcheck is missing")
@pytest.mark.parametrize("script", _scripts())
def test_shellcheck_finds_no_fault(script: str) -> None:
    done = subprocess.run(
        # In `test && test || fail` of the scripts, `fail` ends the script.
        ["shellcheck", "--exclude", "SC2015", "--format", "gcc", script],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
