"""Files that no other program checks: YAML can be read, Dockerfiles keep to the rules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INSTRUCTION = re.compile(r"([A-Za-z]+)\s+(.*)", re.DOTALL)
AS = re.compile(r"(.+?)\s+AS\s+(\S+)", re.IGNORECASE)


def repository_files(*patterns: str) -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted({line for line in done.stdout.splitlines() if (ROOT / line).exists()})


class Loader(yaml.SafeLoader):
    """YAML with Compose's tags, in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(set(keys)) == len(keys), f"twice: {keys} {node.start_mark}"
        return super().construct_mapping(node, deep)


def without_tag(loader: Loader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


Loader.add_multi_constructor("!", without_tag)


@pytest.mark.parametrize("path", repository_files("*.yml", "*.yaml"))
def test_yaml_can_be_read(path: str) -> None:
    with (ROOT / path).open(encoding="utf-8") as file:
        assert list(yaml.load_all(file, Loader))


@pytest.mark.parametrize("path", repository_files("compose*.yaml"))
def test_images_are_named_with_a_version(path: str) -> None:
    (whole,) = yaml.load_all((ROOT / path).read_text(encoding="utf-8"), Loader)
    images = [one["image"] for one in whole["services"].values() if one and "image" in one]
    assert [image for image in images if not has_version(image)] == []


@pytest.mark.parametrize("path", repository_files("*Dockerfile"))
def test_dockerfiles_keep_to_the_rules(path: str) -> None:
    assert faults((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FROM debian\nUSER 1", "debian has no version"),
        ("FROM debian:latest\nUSER 1", "debian:latest has no version"),
        ("ARG BASE=debian\nFROM ${BASE}\nUSER 1", "debian has no version"),
        ("FROM reg.example.org:5000/debian\nUSER 1", "has no version"),
        ("FROM debian:13", "ends as root"),
        ("FROM debian:13 AS a\nUSER 1\nFROM debian:13\nUSER 0:0", "ends as root"),
        ("FROM debian:13 AS a\nUSER 1\nUSER root\nFROM debian:13\nUSER 1", "ends as root"),
        ("FROM debian:13\nADD https://example.org/x /\nUSER 1", "ADD of an address"),
        ("FROM debian:13\nRUN curl https://x | \\\n sh\nUSER 1", "runs what it loads"),
        ("FROM debian:13\nENV API_SECRET=x\nUSER 1", "a secret in the image"),
    ],
)
def test_the_rules_see_what_they_are_for(text: str, fault: str) -> None:
    (found,) = faults(text)
    assert fault in found


def has_version(image: str) -> bool:
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    return bool(digest) or (bool(colon) and tag not in ("", "latest"))


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, without comments, and with continued lines joined."""
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    found = (INSTRUCTION.match(line) for line in joined)
    return [(match[1].upper(), match[2].strip()) for match in found if match]


def faults(text: str) -> list[str]:
    found: list[str] = []
    arguments: dict[str, str] = {}
    # The last user of each stage; a stage that others start from may end as root.
    users: dict[str, str] = {}
    used: set[str] = set()
    stage = ""
    for word, rest in instructions(text):
        if word == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default.strip('"')
        elif word == "FROM":
            named = AS.fullmatch(rest)
            source = re.sub(
                r"\$\{?(\w+)\}?", lambda m: arguments[m[1]], named[1] if named else rest
            )
            stage = named[2] if named else f"stage {len(users)}"
            if source in users:
                used.add(source)
            elif not has_version(source):
                found.append(f"{source} has no version")
            users[stage] = users.get(source, "")
        elif word == "USER":
            users[stage] = rest
        elif word == "ADD" and "://" in rest:
            found.append("ADD of an address")
        elif word == "RUN" and re.search(r"(curl|wget)[^|;&]*\|\s*(ba)?sh\b", rest):
            found.append("runs what it loads")
        elif word == "ENV" and re.search(r"(PASSWORD|SECRET|TOKEN)\w*[= ]", rest):
            found.append("a secret in the image")
        used |= set(re.findall(r"--from=(\S+)", rest))
    ending = (name for name in users if name not in used)
    return found + [
        f"{name} ends as root" for name in ending if users[name].split(":")[0] in ("", "0", "root")
    ]
