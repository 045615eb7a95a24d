"""`make firewall`: let only the stack and SSH in; taken back by itself unless confirmed."""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.firewall import host
from infra.firewall.settings import BadSettingError, Settings, check_reachable, read

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
REMOVE = f"table inet {host.TABLE}\ndelete table inet {host.TABLE}\n"


def main() -> int:
    options = _options()
    try:
        return COMMANDS[options.command](options)
    except (BadSettingError, host.NftError) as fault:
        sys.stderr.write(f"firewall: {fault}\n")
        return 1


def plan(_: argparse.Namespace) -> int:
    """Print and check the rules, and change nothing."""
    settings = read(os.environ, ROOT / ".env")
    check_reachable(settings, host.uplinks(), host.ssh_session())
    rules = render(settings)
    _say(rules)
    _say("\n".join(f"# {line}" for line in summary(settings)))
    if os.geteuid() or not host.find_nft():
        _say("# Not checked: that takes root and nft (apt-get install nftables).")
    else:
        host.nft("-c", "-f", "-", rules=rules)
        _say("# Checked by nft.")
    _say("# Dry run: nothing was changed.")
    return 0


def apply(options: argparse.Namespace) -> int:
    _must_be_able()
    settings = read(os.environ, ROOT / ".env")
    check_reachable(settings, host.uplinks(), host.ssh_session())
    rules = render(settings)
    host.nft("-c", "-f", "-", rules=rules)
    _say("\n".join(summary(settings)))
    before = host.current()
    pending = _begin(options, settings.rollback_seconds, rules, before)
    try:
        host.nft("-f", "-", rules=rules)
    except host.NftError:
        pending.unlink(missing_ok=True)
        raise
    seconds = settings.rollback_seconds
    if not sys.stdin.isatty():
        _say(f"Loaded. Taken back in {seconds} s unless you confirm: make firewall ACTION=confirm")
        return 0
    _say(f"Loaded, and taken back in {seconds} s. Open a second connection to this host now;")
    _say("if it works, type yes: ")
    if _answer(seconds) == "yes":
        return confirm(options)
    _say(f"Not confirmed: taken back to what it was {seconds} s after it was loaded.")
    return 1


def confirm(options: argparse.Namespace) -> int:
    _must_be_able()
    for pending in options.state.glob("pending-*"):
        # The file belongs to the process that renames it: this one, or the timer.
        taken = pending.with_name(f"confirmed-{pending.name}")
        try:
            pending.rename(taken)
        except FileNotFoundError:
            continue
        state = json.loads(taken.read_text(encoding="utf-8"))
        taken.unlink()
        _say(f"The firewall stays. {host.keep(state['rules'], options.etc)}")
        return 0
    if host.current() is None:
        raise BadSettingError(
            "Nothing waits to be confirmed: it was taken back. Run `make firewall`."
        )
    _say("Nothing waits to be confirmed: the firewall is in force.")
    return 0


def off(options: argparse.Namespace) -> int:
    _must_be_able()
    for pending in options.state.glob("pending-*"):
        pending.unlink(missing_ok=True)
    host.forget(options.etc)
    host.nft("-f", "-", rules=REMOVE)
    _say("The firewall is off: the host answers on every port that something listens on.")
    return 0


def status(options: argparse.Namespace) -> int:
    """Print the rules; the exit code is 3 if the firewall is off."""
    _must_be_able()
    table = host.current()
    if table is None:
        _say("The firewall is off.")
        return 3
    _say(table)
    waits = any(options.state.glob("pending-*"))
    _say("# In force, waiting to be confirmed." if waits else "# In force.")
    return 0


def timer(options: argparse.Namespace) -> int:
    """Take the rules back after a while, even if the terminal that started this is gone."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    time.sleep(options.seconds)
    pending = options.state / f"pending-{options.id}"
    taken = pending.with_name(f"back-{options.id}")
    try:
        pending.rename(taken)
    except FileNotFoundError:
        return 0
    state = json.loads(taken.read_text(encoding="utf-8"))
    try:
        host.nft("-f", "-", rules=REMOVE + (state["before"] or ""))
    except host.NftError:
        # A host that is open, as before the first firewall, is better than a locked-out operator.
        host.nft("-f", "-", rules=REMOVE)
    taken.unlink()
    return 0


def render(settings: Settings) -> str:
    """The rules file with its sets filled: one transaction."""
    lines = [(HERE / "listo.nft").read_text(encoding="utf-8")]
    for name, elements in settings.sets().items():
        lines.append(f"flush set inet {host.TABLE} {name}")
        if elements:
            listed = ", ".join(elements)
            lines.append(f"add element inet {host.TABLE} {name} {{ {listed} }}")
    return "\n".join(lines) + "\n"


def summary(settings: Settings) -> list[str]:
    ssh = "closed"
    if settings.ssh_ports:
        networks = ", ".join([*settings.ssh_from4, *settings.ssh_from6])
        ssh = f"port {', '.join(settings.ssh_ports)} from {networks}"
    listed = {
        "tcp": ", ".join(settings.tcp_ports) or "none",
        "udp": ", ".join(settings.udp_ports) or "none",
        "docker": ", ".join(settings.docker) or "none",
        "trusted": ", ".join(settings.trusted) or "none",
    }
    return [
        "Open to everyone: TCP {tcp}; UDP {udp}.".format(**listed),
        f"SSH: {ssh}.",
        "Not filtered: lo, containers ({docker}), trusted interfaces ({trusted}).".format(**listed),
        "Everything else that comes from outside is dropped. Other tables, Docker's too, stay.",
    ]


def _begin(options: argparse.Namespace, seconds: int, rules: str, before: str | None) -> Path:
    """Start the timer that takes the rules back, before anything is changed."""
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for waiting in options.state.glob("pending-*"):
        old = json.loads(waiting.read_text(encoding="utf-8"))
        if old["until"] > time.monotonic():
            raise BadSettingError(
                "One firewall waits to be confirmed already: make firewall ACTION=confirm, or wait."
            )
        # The timer of that run was killed: the rules from before that run are those to restore.
        before = old["before"]
        waiting.unlink()
    name = f"{os.getpid()}-{time.monotonic_ns()}"
    pending: Path = options.state / f"pending-{name}"
    until = time.monotonic() + seconds + 5
    state = {"until": until, "rules": rules, "before": before}
    new = pending.with_name(f"new-{name}")
    new.write_text(json.dumps(state), encoding="utf-8")
    new.rename(pending)
    arguments = ["--state", str(options.state), "--id", name, "--seconds", str(seconds)]
    subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "infra.firewall", "timer", *arguments],
        cwd=ROOT,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return pending


def _answer(seconds: int) -> str:
    try:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.readline().strip().lower() if ready else ""
    except KeyboardInterrupt:
        return ""


def _must_be_able() -> None:
    if os.geteuid():
        raise BadSettingError("Only root can do this: sudo make firewall (or DRY_RUN=1 to look).")
    if not host.find_nft():
        raise BadSettingError("nft is missing: apt-get install nftables.")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="firewall", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--state", type=Path, default=Path("/run/listo-firewall"))
    parser.add_argument("--etc", type=Path, default=Path("/etc"))
    parser.add_argument("--id", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


COMMANDS = {
    "plan": plan,
    "apply": apply,
    "confirm": confirm,
    "off": off,
    "status": status,
    "timer": timer,
}

if __name__ == "__main__":
    sys.exit(main())
