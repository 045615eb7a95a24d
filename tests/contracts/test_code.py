"""Rules of the code that no linter knows."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = ROOT / "services" / "api" / "app"
SOURCES = sorted(APP.rglob("*.py"))


def line_count(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_only_the_database_layer_commits() -> None:
    for path in SOURCES:
        if path.is_relative_to(APP / "db"):
            continue
        assert not re.search(r"\.(commit|rollback)\(", path.read_text()), path


def test_files_and_functions_stay_small() -> None:
    sizes = {path: line_count(path) for path in SOURCES}
    assert max(sizes.values()) <= 400, max(sizes, key=lambda path: sizes[path])
    assert statistics.median(size for size in sizes.values() if size) <= 100
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 50, (path, node.name)
    for path in (ROOT / "tests").rglob("*.py"):
        assert line_count(path) <= 600, path


def test_services_py_imports_no_service() -> None:
    # Everything that imports services.py would then import all packages, and import-linter would
    # not notice: its contract `ladder` ignores the imports of app.services.
    imported = [
        node.module
        for node in ast.parse((APP / "services.py").read_text()).body
        if isinstance(node, ast.ImportFrom)
    ]
    assert imported == ["__future__", "dataclasses", "typing"]


def test_packages_stay_small() -> None:
    for folder in {path.parent for path in SOURCES}:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= 12, folder


@pytest.mark.parametrize("module", ["app.cli", "app.worker"])
def test_the_command_line_and_the_worker_load_no_web_framework(module: str) -> None:
    program = f"import sys, {module}; print({{'fastapi', 'starlette'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=APP.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_every_problem_has_its_own_code_and_words() -> None:
    import importlib

    from app.core.errors import Problem

    for path in SOURCES:
        if path.name not in ("__main__.py", "main.py") and not path.is_relative_to(APP / "dev"):
            name = ".".join(path.relative_to(APP.parent).with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))

    def with_subclasses(kind: type[Problem]) -> list[type[Problem]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in with_subclasses(sub))]

    codes: dict[str, type[Problem]] = {}
    for kind in with_subclasses(Problem):
        if not kind.__module__.startswith("app."):
            continue
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code), kind
        assert kind.__doc__, kind
        if "code" in vars(kind):
            assert codes.setdefault(kind.code, kind) is kind, kind.code


def test_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.dev.settings_docs", "--check"],
        cwd=APP.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_package_contains_py_typed_and_all_its_data_files() -> None:
    assert (APP / "py.typed").exists()
    project = tomllib.loads((APP.parent / "pyproject.toml").read_text())
    packaged = project["tool"]["setuptools"]["package-data"]["app"]
    # Setuptools includes other files than Python only where a pattern names them.
    others = [path for path in APP.rglob("*.*") if path.suffix not in {".py", ".pyc"}]
    lost = [path for path in others if not any(path in APP.glob(pattern) for pattern in packaged)]
    assert lost == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("services/api/requirements*.txt")))
def test_the_lock_has_hashes_and_names_no_host(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    for requirement in re.split(r"\n(?=[a-z0-9])", text.strip()):
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_documents_name_files_and_targets_that_exist() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), (document, target)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
