"""The source of the images: a registry if one answers, otherwise Debian's packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime

from infra.stack.compose import (
    DEBIAN,
    REGISTRY,
    ROOT,
    STATE,
    CannotRun,
    config,
    docker,
    dotenv,
    setting,
)
from infra.stack.progress import step

BASE = "listo/debian:13"
SUITE = "trixie"
LOG = STATE / "build.log"
UPDATE_DAYS = 7
_PULL_SECONDS = 45


def choose() -> str:
    """The value of COMPOSE_FILE; the first call chooses it and keeps it in `.env`."""
    kept = os.environ.get("COMPOSE_FILE") or dotenv().get("COMPOSE_FILE")
    if kept is None:
        kept = REGISTRY if _registry_answers() else DEBIAN
        _keep("COMPOSE_FILE", kept, "Which files `docker compose` reads; `make up` chose them.")
    _keep("RUN_DIR", str(STATE / "run"), "Where the log shipper's socket is; `make up` keeps it.")
    os.environ["COMPOSE_FILE"] = kept
    _keep_profile("acme", wanted=bool(setting("DOMAIN")))
    return kept


def keep_replicas() -> None:
    """Keep the requested number of replicas in `.env`, for later commands."""
    if replicas := os.environ.get("REPLICAS"):
        _keep("REPLICAS", replicas, "How many replicas; `make up REPLICAS=…` changes it.")


def _keep_profile(name: str, *, wanted: bool) -> None:
    present = [word for word in setting("COMPOSE_PROFILES").split(",") if word]
    if wanted != (name in present):
        profiles = ",".join([word for word in present if word != name] + [name] * wanted)
        why = "Services that only some need; `make up` adds acme where DOMAIN is set."
        _keep("COMPOSE_PROFILES", profiles, why)
        os.environ["COMPOSE_PROFILES"] = profiles


def of_debian() -> bool:
    return "compose.debian.yaml" in os.environ["COMPOSE_FILE"]


def provide() -> None:
    """Pull missing images, and build our own. Raises CannotRun."""
    LOG.unlink(missing_ok=True)
    if of_debian():
        _provide_base()
    if not of_debian():
        policy = "always" if setting("FRESH") else "missing"
        pull = ["docker", "compose", "pull", "--ignore-buildable", "--quiet", "--policy", policy]
        step("images pulled", pull, LOG)
    seen: set[str] = set()
    for service, image in _buildable():
        if image not in seen:
            seen.add(image)
            step(f"image {image}", ["docker", "compose", "build", "--quiet", service], LOG)


def _provide_base() -> None:
    """Make the base of the other images if it is missing; a new base brings Debian's updates."""
    made = docker("image", "inspect", "--format", "{{.Created}}", BASE)
    if made.returncode or setting("FRESH"):
        _make_base()
        return
    # Some engines give nine decimals of a second, more than Python accepts.
    age = datetime.now(UTC) - datetime.fromisoformat(f"{made.stdout[:19]}+00:00")
    if age.days >= UPDATE_DAYS:
        print(f"  ! Debian's packages are {age.days} days old; `make up FRESH=1` renews them")


def _registry_answers() -> bool:
    name = re.search(r"^    image: (redis:\S+)", (ROOT / REGISTRY).read_text(), re.MULTILINE)
    assert name is not None
    print("  … looking for an image registry", flush=True)
    if docker("image", "inspect", name[1]).returncode == 0:
        return True
    return docker("pull", "--quiet", name[1], timeout=_PULL_SECONDS).returncode == 0


def _keep(name: str, value: str, why: str) -> None:
    """Set a variable in `.env`, in place of its former value; `why` is a new variable's comment."""
    path = ROOT / ".env"
    # The file is read as in `dotenv`, so that all other bytes stay.
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
    lines = text.removesuffix("\n").split("\n") if text else []
    line = f"{name}={value}"
    if line in lines:
        return
    places = [number for number, old in enumerate(lines) if old.startswith(f"{name}=")]
    if places:
        lines[places[-1]] = line
    else:
        lines += [f"# {why}", line]
    fresh = path.with_name(".env.new")
    fresh.touch(0o600)
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    fresh.replace(path)


def _buildable() -> list[tuple[str, str]]:
    services = config()["services"]
    return [(name, one["image"]) for name, one in services.items() if "build" in one]


def _make_base() -> None:
    """Make a Debian image of some 80 MB from this machine's package mirror."""
    if shutil.which("mmdebstrap") is None:
        raise CannotRun(
            "There is no image registry, and no mmdebstrap to build images from Debian packages: "
            "`make engine` installs it (Debian), or: apt-get install mmdebstrap"
        )
    archive = STATE / "debian.tar"
    excluded = ("man", "doc", "locale", "info", "lintian", "bash-completion")
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in excluded]
    mirror = _mirror()
    try:
        step(
            f"Debian {SUITE} from packages",
            ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", *options,
             SUITE, str(archive), *mirror],
            LOG,
        )  # fmt: skip
        step(f"image {BASE}", ["docker", "import", str(archive), BASE], LOG)
    finally:
        archive.unlink(missing_ok=True)


def _mirror() -> list[str]:
    """This machine's mirrors if it runs Debian; empty to let mmdebstrap choose."""
    if shutil.which("apt-get") is None:
        return []
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)",  # noqa: S607
         "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    lines: dict[str, str] = {}
    for target in listed.splitlines():
        origin, codename, uri = target.split("|")
        if origin == "Debian":
            kind = codename.partition("-")[2]
            suffix = f"-{kind}" if kind else ""
            if kind in ("", "updates", "security"):
                lines.setdefault(suffix, f"deb {uri} {SUITE}{suffix} main")
    return list(lines.values()) if "" in lines else []
