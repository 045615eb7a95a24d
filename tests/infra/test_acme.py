"""Certificates by ACME, from a real authority: issued, renewed, refused, served all along."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import acme, needs
from fixtures.acme import Lab, Site, docker, messages, wait

ENTRYPOINT = Path(__file__).parents[2] / "infra/acme/entrypoint.sh"
needs_docker = needs.unless(acme.why_not())


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with acme.laboratory() as made:
        yield made


def _said(name: str, text: str, times: int = 1) -> bool:
    return sum(text in message for message in messages(name)) >= times


@needs_docker
def test_a_certificate_is_issued_published_and_served(lab: Lab) -> None:
    site = Site(lab, "issue")
    local = site.served()
    name = site.keep("run")
    wait(lambda: _said(name, "is published, valid until"))
    assert site.published() != local
    wait(lambda: site.served() == site.published(), 5)
    # A client that trusts the authority and asks for the name accepts the certificate.
    verdict = site.shell(
        "curl -sS -o /dev/null -w '%{ssl_verify_result}' --cacert /pki/pebble.pem.root "
        f"--connect-to ::localhost: https://{site.domain}:8443/metrics"
    )
    assert verdict == "0"
    assert site.shell("grep -c BEGIN /certificates/fullchain.pem") == "2"
    assert site.shell("stat -Lc '%a %u' /certificates/privkey.pem") == "600 10001"
    assert site.shell("stat -Lc '%a %u' /certificates/fullchain.pem") == "644 10001"
    assert site.shell("readlink /certificates/privkey.pem") == "current/privkey.pem"
    docker("exec", name, "acme", "health")
    began = time.monotonic()
    docker("stop", "--time", "8", name)
    assert time.monotonic() - began < 4
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
    assert messages(name)[-1] == "Stopped."

    # A second start has nothing to do; in place of another certificate it publishes its own again.
    serial = site.published()
    code, told = site.once()
    assert (code, told) == (0, [])
    site.shell(
        "cd /certificates && rm -r ./* && openssl req -x509 -newkey ec -pkeyopt "
        "ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=by-hand -keyout privkey.pem "
        "-out fullchain.pem 2>/dev/null"
    )
    wait(lambda: "by-hand" in site.met("-subject"), 5)
    code, told = site.once()
    assert code == 0
    assert [message[:15] for message in told] == ["The certificate"]
    assert site.published() == serial
    wait(lambda: site.served() == serial, 5)


@needs_docker
def test_a_renewal_is_served_without_a_gap(lab: Lab) -> None:
    site = Site(lab, "renew")
    # At any time a reader finds a key and a chain that fit together.
    watch = lab.run(
        lab.tools, "sh", "-c",
        """while :; do
            now=$(readlink /certificates/current 2>/dev/null) || now=.
            of_key=$(openssl pkey -pubout -in "/certificates/$now/privkey.pem")
            of_chain=$(openssl x509 -noout -pubkey -in "/certificates/$now/fullchain.pem")
            [ "$of_key" = "$of_chain" ] || echo "unfit in $now"
            openssl x509 -noout -checkend 0 -in "/certificates/$now/fullchain.pem" >/dev/null \\
                || echo "$now has ended"
            openssl s_client -connect "$SITE:8443" </dev/null >/dev/null 2>&1 || echo "not served"
            sleep 0.2
        done""",
        name="renew-watch", options=["--env", f"SITE={site.domain}", *site.mounts()],
    )  # fmt: skip
    began = time.monotonic()
    name = site.keep("run", authority="short")
    serials = set()
    for times in (1, 2):
        wait(lambda times=times: _said(name, "is published", times), 60)  # type: ignore[misc]
        wait(lambda: site.served() == site.published(), 5)
        serials.add(site.served())
    assert len(serials) == 2
    # The renewal came after two thirds of 45 s, and before the end, as the watch saw.
    assert time.monotonic() - began > 30
    assert docker("logs", watch) == ""
    docker("stop", "--time", "0", name, watch)


@needs_docker
def test_after_a_refusal_the_old_certificate_stays(lab: Lab) -> None:
    site = Site(lab, "refuse")
    assert site.once()[0] == 0
    serial = site.published()
    wait(lambda: site.served() == serial, 5)
    # Another authority makes an order due; no server serves the webroot.
    unserved = lab.volume("refuse-dark")
    docker("run", "--rm", "--volume", f"{unserved}:/challenge", "--entrypoint", "true", lab.acme)
    limits = {"ACME_RETRY_SECONDS": "1", "ACME_RETRY_MAX_SECONDS": "2"}
    name = site.keep("run", authority="short", challenge=unserved, **limits)
    wait(lambda: _said(name, "Failed 3 times"), 60)
    told = messages(name)
    refusals = [message for message in told if message.startswith("No certificate of")]
    assert "404" in refusals[0]
    assert "unauthorized" in refusals[0]
    assert "The old certificate stays, valid until 20" in refusals[0]
    waits = [message for message in told if message.startswith("Failed")]
    assert [each.split("next try in ")[1] for each in waits[:3]] == ["1 s.", "2 s.", "2 s."]
    assert (site.served(), site.published()) == (serial, serial)
    docker("exec", name, "acme", "health")
    docker("rm", "--force", name)

    # Once the cause is removed, a HUP ends the wait.
    slow = site.keep("run", authority="short", challenge=unserved, ACME_RETRY_SECONDS="600")
    wait(lambda: _said(slow, "next try in 600 s"))
    docker("kill", "--signal", "HUP", slow)
    wait(lambda: _said(slow, "Ordering", 2), 5)
    docker("rm", "--force", slow)
    assert site.once(authority="short")[0] == 0
    assert site.published() != serial


@needs_docker
def test_a_first_refusal_leaves_the_local_certificate(lab: Lab) -> None:
    site = Site(lab, "first")
    local = site.served()
    refused = {"DOMAIN": "blocked.listo.test"}, {"DOMAIN": "nowhere.listo.test"}
    for given in refused:
        code, told = site.once(**given)
        assert code == 1
        assert told[-1].startswith(f"No certificate of {given['DOMAIN']} was issued: ")
    for given in ({"ACME_CA_FILE": ""}, {"ACME_DIRECTORY_URL": "https://pebble:1/dir"}):
        code, told = site.once(**given)
        assert code == 1
        assert "certificate signed by unknown authority" in told[-1] or "refused" in told[-1]
    assert site.served() == local
    name = site.keep("health")
    assert docker("wait", name).strip() == "1"
    assert docker("logs", name).startswith("No valid certificate of first.listo.test is published.")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "DOMAIN is not set"),
        ({"DOMAIN": "*.example.org"}, "cannot prove a wildcard"),
        ({"DOMAIN": "localhost"}, "must be one full name"),
        ({"DOMAIN": "192.0.2.7"}, "must be one full name"),
        ({"DOMAIN": "a.example.org b.example.org"}, "must be one full name"),
        ({"DOMAIN": "a.example.org\nb.example.org"}, "must be one full name"),
        ({"DOMAIN": "../x.example.org"}, "must be one full name"),
        ({"DOMAIN": "a.example.org"}, "ACME_EMAIL is ''"),
        ({"ACME_EMAIL": "ops"}, "ACME_EMAIL is 'ops'"),
        ({"ACME_DIRECTORY_URL": "http://ca.example.org"}, "must begin with https://"),
        ({"ACME_CA_FILE": "/nonexistent"}, "no certificate in PEM"),
        ({"ACME_CHECK_SECONDS": "12h"}, "whole number"),
        ({"ACME_CHECK_SECONDS": "0"}, "at least 1"),
        ({"ACME_RETRY_SECONDS": "60", "ACME_RETRY_MAX_SECONDS": "30"}, "at least 60"),
        ({"ACME_WEBROOT": "/nonexistent"}, "is no directory"),
    ],
)
def test_bad_settings_are_refused_in_one_line(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    good = {
        "DOMAIN": "api.example.org",
        "ACME_EMAIL": "ops@example.org",
        "ACME_CERTIFICATES": str(tmp_path),
        "ACME_WEBROOT": str(tmp_path),
        "ACME_STATE": str(tmp_path),
    }
    if not given or given.get("DOMAIN") == "a.example.org":
        good.pop("ACME_EMAIL")
        good.pop("DOMAIN")
    done = subprocess.run(
        ["sh", str(ENTRYPOINT), "run"], capture_output=True, text=True, check=False, timeout=20,
        env={"PATH": os.environ["PATH"], **good, **given},
    )  # fmt: skip
    assert done.returncode == 78, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert said in done.stdout
