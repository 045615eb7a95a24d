"""The facts of the host that the firewall needs, and how its rules outlive a restart."""

import os
import shutil
import subprocess
from pathlib import Path

TABLE = "listo_firewall"
UNIT = "listo-firewall.service"
UNIT_TEXT = """[Unit]
Description=Listo's firewall
Documentation=file:{rules}
DefaultDependencies=no
After=local-fs.target nftables.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} -f {rules}

[Install]
WantedBy=sysinit.target
"""


class NftError(Exception):
    """The output of nft."""


def find_nft() -> str | None:
    return shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def nft(*arguments: str, rules: str | None = None) -> str:
    """Run nft.

    Raises:
        NftError: with its output.
    """
    command = [find_nft() or "nft", *arguments]
    done = subprocess.run(command, input=rules, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NftError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def current() -> str | None:
    """The loaded table, None if no table is loaded."""
    try:
        return nft("list", "table", "inet", TABLE)
    except NftError as fault:
        if "No such file" in str(fault):
            return None
        raise


def uplinks() -> set[str]:
    """Interfaces with a default route, of IPv4 or IPv6."""
    found = set()
    for line in _lines("/proc/net/route")[1:]:
        fields = line.split()
        if fields[1] == "00000000" and fields[7] == "00000000":
            found.add(fields[0])
    for line in _lines("/proc/net/ipv6_route"):
        fields = line.split()
        if fields[0] == "0" * 32 and fields[1] == "00":
            found.add(fields[9])
    return found - {"lo"}


def ssh_session() -> tuple[str, int] | None:
    """The client's address and the server's port, even if sudo and make run in between."""
    process = os.getpid()
    while process > 1:
        try:
            environ = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        for each in environ:
            name, _, value = each.decode(errors="replace").partition("=")
            fields = value.split()
            if name == "SSH_CONNECTION" and len(fields) == 4 and fields[3].isdigit():  # noqa: PLR2004
                return fields[0], int(fields[3])
        process = int(status.rpartition(")")[2].split()[1])
    return None


def keep(rules: str, etc: Path) -> str:
    """Have `rules` loaded at each start of the host; returns how, in one line."""
    path = etc / "listo" / "firewall.nft"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(rules, encoding="utf-8")
    new.replace(path)
    if not Path("/run/systemd/system").is_dir():
        return f"No systemd here: have `nft -f {path}` run at start."
    unit = etc / "systemd" / "system" / UNIT
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(UNIT_TEXT.format(nft=find_nft(), rules=path), encoding="utf-8")
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT)
    return f"Loaded again at each start by {UNIT}."


def forget(etc: Path) -> None:
    unit = etc / "systemd" / "system" / UNIT
    if unit.exists():
        _systemctl("disable", UNIT)
        unit.unlink()
        _systemctl("daemon-reload")
    (etc / "listo" / "firewall.nft").unlink(missing_ok=True)


def _systemctl(*arguments: str) -> None:
    if program := shutil.which("systemctl"):
        subprocess.run([program, "--quiet", *arguments], check=False)  # noqa: S603


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
