"""testssl.sh scans the edge; docs/tls.md has its findings."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures import acme, needs
from fixtures.stack import CA
from infra.stack import compose

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.stack import Stack

SCANNER = f"""
FROM {acme.BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends testssl.sh >/dev/null
"""
# A private authority has no list of revoked certificates; a name outside the DNS has no CAA record;
# and the scanner's own OpenSSL has no GOST.
PRIVATE = {"cert_revocation", "DNS_CAArecord", "engine_problem"}
# The scanner could not try this: on a busy machine it resumes sessions of TLS 1.3 before their
# tickets have come. test_sessions_stay_with_the_server waits for them.
UNTRIED = ("sessionresumption_ticket", "check failed because of connect problem")
# Mozilla's intermediate profile, 5.7, for TLS 1.2; nginx leaves out its DHE suites.
INTERMEDIATE = {
    f"ECDHE-{kind}-{cipher}"
    for kind in ("ECDSA", "RSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
}
TLS13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

Findings = dict[str, dict[str, str]]

pytestmark = needs.unless(acme.why_not())


@pytest.fixture(scope="module")
def findings(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return scan(stack, tmp_path_factory.mktemp("scan"))


def scan(stack: Stack, folder: Path) -> Findings:
    """The findings of testssl.sh on the port that clients reach, by id."""
    # nginx sends no HSTS for `localhost`; this name is in the certificate too.
    name = compose.setting("DOMAIN", "nginx")
    where = f"{name}:{httpx.URL(stack.url).port or 443}"
    (folder / "ca.crt").write_bytes(CA.read_bytes())
    tag = f"listo-test-testssl:{os.getpid()}"
    acme.docker("build", "--quiet", "--tag", tag, "-", input=SCANNER)
    try:
        # The scanner exits with 1 or more if it has findings, which are in the file.
        said = acme.docker(
            "run", "--rm", "--network", "host", "--add-host", f"{name}:127.0.0.1",
            "--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{folder}:/scan", tag,
            "testssl", "--quiet", "--color", "0", "--warnings", "batch", "--ip", "127.0.0.1",
            "--add-ca", "/scan/ca.crt", "--jsonfile", "/scan/found.json", where, check=False,
        )  # fmt: skip
    finally:
        acme.docker("image", "rm", "--force", tag, check=False)
    found: list[dict[str, str]] = json.loads((folder / "found.json").read_text())
    assert found[-1]["id"] == "scanTime", said
    return {one["id"]: one for one in found}


def test_the_scanner_finds_no_fault(findings: Findings) -> None:
    said = {
        name: one["finding"]
        for name, one in findings.items()
        if one["severity"] not in ("OK", "INFO")
        and name not in PRIVATE
        and (name, one["finding"]) != UNTRIED
    }
    assert said == {}
    assert findings["cert_chain_of_trust"]["finding"] == "passed."
    assert findings["overall_grade"]["finding"] == "A+"


def test_the_scanner_sees_the_intermediate_profile(findings: Findings) -> None:
    refused = ("SSLv2", "SSLv3", "TLS1", "TLS1_1")
    assert {findings[version]["finding"] for version in refused} == {"not offered"}
    old = set(findings["supportedciphers_TLSv1_2"]["finding"].split())
    new = set(findings["supportedciphers_TLSv1_3"]["finding"].split())
    assert old
    assert old <= INTERMEDIATE
    assert new == TLS13
    curves = set(findings["FS_ECDHE_curves"]["finding"].split())
    assert curves == {"X25519", "prime256v1", "secp384r1"}
    assert findings["HSTS_time"]["severity"] == "OK"


def test_sessions_stay_with_the_server(stack: Stack) -> None:
    # If a ticket held the session, a later holder of the ticket key could open it. This test asks
    # for tickets of TLS 1.3 itself, since the scanner sees them only if they come fast enough.
    hello = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect 127.0.0.1:8443"
    sizes = {}
    for version in ("-tls1_2", "-tls1_3"):
        said = stack.compose("exec", "-T", "nginx", "sh", "-c", f"{hello} -ign_eof {version} 2>&1")
        assert "HTTP/1.1 " in said
        tickets = re.findall(r"TLS session ticket:\n((?: +[0-9a-f]{4} - .*\n)+)", said)
        sizes[version] = {16 * len(ticket.splitlines()) for ticket in tickets}
    # A ticket of 32 bytes holds only the id of a session; the session itself is on the server.
    assert sizes == {"-tls1_2": set(), "-tls1_3": {32}}
