"""The changelog keeps its form, and all files name the same version."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from app import __version__
from fixtures.pages import ROOT

KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_the_page_names_the_version() -> None:
    page = (ROOT / "docs/versioning.md").read_text()
    assert f"This is version {__version__}." in page
    assert (
        f"The code calls itself {__version__}." in CHANGELOG or f"## [{__version__}]" in CHANGELOG
    )


def test_the_package_and_the_images_have_the_version() -> None:
    package = tomllib.loads((ROOT / "services/api/pyproject.toml").read_text())
    assert package["project"]["version"] == __version__
    built: list[dict[str, Any]] = yaml.safe_load((ROOT / "infra/images/list.yaml").read_text())[
        "built"
    ]
    assert {image["version"] for image in built} == {__version__}


def test_the_changelog_begins_with_what_is_not_released() -> None:
    first, *released = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert first == "[Unreleased]"
    for head in released:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head), head


@pytest.mark.parametrize(
    "section",
    re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:],
    ids=lambda section: section.partition("\n")[0],
)
def test_changes_are_of_known_kinds_in_their_order(section: str) -> None:
    kinds = re.findall(r"^### (.+)$", section, re.MULTILINE)
    assert kinds == [kind for kind in KINDS if kind in kinds]
    for changes in re.split(r"^### .+$", section, flags=re.MULTILINE)[1:]:
        assert changes.strip().startswith("- "), changes
