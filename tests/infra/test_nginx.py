"""nginx's configuration and the scripts around it, in the stack's image."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from fixtures.nginx import SERVE, Container, box, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = "nginx -c /etc/listo/nginx/nginx.conf"


@pytest.fixture
def idle_box() -> Iterator[Container]:
    """A box in which nothing runs."""
    with box("exec sleep 600") as made:
        yield made


@pytest.fixture
def nginx() -> Iterator[Container]:
    with box(SERVE) as made:
        wait(made.serving)
        yield made


@pytest.fixture(scope="module")
def shared_nginx() -> Iterator[Container]:
    """A box for tests that only send requests."""
    with box(SERVE) as made:
        wait(made.serving)
        yield made


def test_the_configuration_is_accepted_for_any_number_of_replicas(nginx: Container) -> None:
    for addresses in ((), ("10.9.0.1",), ("10.9.0.1", "10.9.0.2", "10.9.0.3")):
        nginx.replicas(*addresses)
        expected = [f"{address}:8000 max_fails=1 fail_timeout=1s;" for address in addresses]
        expected = expected or ["127.0.0.1:1 down;"]
        wait(lambda expected=expected: nginx.servers() == expected)  # type: ignore[misc]
        done = nginx.run(f"{NGINX} -t")
        assert done.returncode == 0, done.stderr
        # There are no warnings either.
        assert [line.rpartition(" ")[2] for line in done.stderr.splitlines()] == [
            "ok",
            "successful",
        ], done.stderr
        assert nginx.serving()
    assert nginx.said("replicas are 10.9.0.1 10.9.0.2 10.9.0.3 , configuration read again")


def test_replicas_stay_when_the_name_service_is_silent(nginx: Container) -> None:
    nginx.replicas("10.9.0.1")
    wait(lambda: len(nginx.servers()) == 1 and "10.9.0.1" in nginx.servers()[0])
    nginx.replicas()
    time.sleep(2.5)
    assert nginx.servers() == ["10.9.0.1:8000 max_fails=1 fail_timeout=1s;"]


def test_without_replicas_the_edge_answers_502_with_the_request_id(nginx: Container) -> None:
    answer = nginx.must(
        "curl -sS --cacert /authority/ca.crt -H 'X-Request-ID: 0123456789abcdef' "
        "-w '\\n%{http_code} %{content_type}' https://localhost:8443/collections"
    )
    body, _, rest = answer.rpartition("\n")
    assert rest == "502 application/problem+json"
    assert json.loads(body)["code"] == "bad_gateway"
    assert json.loads(body)["request_id"] == "0123456789abcdef"


def test_check_validates_the_configuration_without_serving(idle_box: Container) -> None:
    idle_box.authority()
    check = "/etc/listo/nginx/entrypoint.sh check"
    done = idle_box.run(check)
    assert done.returncode == 0, done.stderr
    assert not idle_box.serving()
    refused = idle_box.run(f"MAX_BODY_BYTES=many {check}")
    assert refused.returncode != 0
    assert "client_max_body_size" in refused.stderr


def test_a_page_of_another_origin_can_read_what_the_edge_says(nginx: Container) -> None:
    answer = nginx.must(
        "curl -sSi --cacert /authority/ca.crt -H 'Origin: https://app.example.com' "
        "https://localhost:8443/collections"
    )
    fields = answer.lower().splitlines()
    # This answer holds no client's data; answers of the API follow CORS_ORIGINS.
    assert "access-control-allow-origin: *" in fields
    assert "access-control-expose-headers: retry-after, x-request-id" in fields


HELLO = "openssl s_client -connect localhost:8443 -tls1_3 {} </dev/null 2>&1"


def test_post_quantum_key_exchange_is_used_if_the_client_offers_it(nginx: Container) -> None:
    offered = "-groups X25519MLKEM768:X25519"
    hello = nginx.run(HELLO.format(offered)).stdout
    assert "Negotiated TLS1.3 group: X25519MLKEM768" in hello
    assert "Peer Temp Key: X25519" in nginx.run(HELLO.format("-groups X25519")).stdout


def test_an_openssl_without_that_key_exchange_serves_the_others() -> None:
    former = 'PATH="/tmp/former:$PATH"'
    fake = "printf '#!/bin/sh\n[ $1 = list ] || exec /usr/bin/openssl \"$@\"\n'"
    script = f"mkdir /tmp/former && {fake} >/tmp/former/openssl && chmod +x /tmp/former/openssl"
    with box(f"{script} && export {former} && {SERVE}") as one:
        wait(one.serving)
        assert one.must("cat /run/nginx/groups.conf") == (
            "ssl_ecdh_curve X25519:prime256v1:secp384r1;"
        )
        assert "Peer Temp Key: X25519" in one.run(HELLO.format("")).stdout


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("1.26.3", ""),
        ("1.27.4", "keepalive_min_timeout 30s;"),
        ("1.30.5", "keepalive_min_timeout 30s;"),
    ],
)
def test_an_nginx_that_can_leaves_connections_open_when_it_reads_its_files_again(
    idle_box: Container, version: str, kept: str
) -> None:
    fake = f"printf '#!/bin/sh\nif [ $1 = -v ]; then echo nginx version: nginx/{version} >&2; fi\n'"
    idle_box.must(
        f"mkdir /tmp/other && {fake} >/tmp/other/nginx && chmod +x /tmp/other/nginx "
        "&& /etc/listo/nginx/authority.sh >/dev/null "
        '&& PATH="/tmp/other:$PATH" /etc/listo/nginx/entrypoint.sh check'
    )
    assert idle_box.must("cat /run/nginx/keepalive.conf") == kept


@pytest.mark.parametrize("url", ["https://localhost:8443/x", "http://localhost:8080/x"])
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ("-X TRACE", 405, "method_not_allowed"),
        ("-X CONNECT", 405, "method_not_allowed"),
        ("-X get", 400, "bad_request"),
        ("-H 'If-Match: 1' -H 'If-Match: 2'", 400, "bad_request"),
        ("-X POST -H 'Transfer-Encoding: gzip'", 501, "not_implemented"),
        (f"-H 'X-Long: {'x' * 20_000}'", 431, "request_header_fields_too_large"),
    ],
)
def test_requests_refused_by_nginx_get_a_problem(
    shared_nginx: Container, url: str, sent: str, status: int, code: str
) -> None:
    answer = shared_nginx.must(f"curl -sSi --http1.1 --cacert /authority/ca.crt {sent} {url}")
    head, _, body = answer.replace("\r", "").partition("\n\n")
    fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    assert head.split()[1] == str(status)
    assert fields["content-type"] == "application/problem+json"
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (status, code)
    assert json.loads(body)["request_id"] == fields["x-request-id"]
    assert "strict-transport-security" not in fields
    allowed = "get, head, post, put, patch, delete, options"
    assert fields.get("allow") == (allowed if status == 405 else None)


def test_settings_are_written_into_the_configuration() -> None:
    settings = ("HTTPS_PORT=8444", "MAX_BODY_BYTES=1000", "UPSTREAM=elsewhere:81")
    # The API reads this setting as 8.2 seconds.
    with box(SERVE, *settings, "REQUEST_TIMEOUT=08.2") as one:
        wait(one.serving)
        assert "proxy_read_timeout 14s;" in one.must("cat /run/nginx/settings.conf")
        where = one.must("curl -sS -o /dev/null -w '%{redirect_url}' 'http://localhost:8080/a?b=c'")
        assert where == "https://localhost:8444/a?b=c"
        status = one.must(
            "head -c 1001 /dev/zero | curl -sS -o /dev/null -w '%{http_code}' --data-binary @- "
            "--cacert /authority/ca.crt https://localhost:8443/collections"
        )
        assert status == "413"


V1 = "mkdir cpu && cd cpu && echo 100000 >cpu.cfs_period_us && echo {} >cpu.cfs_quota_us"


@pytest.mark.parametrize(
    ("limit", "workers"),
    [
        ("echo 50000 100000 >cpu.max", 1),
        ("echo 100000 100000 >cpu.max", 1),
        ("echo 99900000 100000 >cpu.max", None),
        ("echo max 100000 >cpu.max", None),
        (V1.format(100000), 1),
        (V1.format(-1), None),
        ("true", None),
    ],
)
def test_it_has_a_worker_for_each_core_that_it_may_use(limit: str, workers: int | None) -> None:
    """The cores of the machine bound the number."""
    command = f"(mkdir /tmp/cgroup && cd /tmp/cgroup && {limit}) && {SERVE}"
    with box(command, "CGROUP=/tmp/cgroup") as one:
        wait(one.serving)
        found = one.must("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c 'worker process$'")
        assert int(found) == (workers or int(one.must("nproc")))


def test_an_invalid_certificate_is_not_served(nginx: Container) -> None:
    served_serial = "openssl s_client -connect localhost:8443 </dev/null 2>/dev/null "
    served_serial += "| openssl x509 -noout -serial"
    before = nginx.must(served_serial)
    nginx.must("cd /certificates && cp fullchain.pem /tmp/good && echo bad >current/fullchain.pem")
    wait(lambda: nginx.said("goes on with the former one"))
    assert nginx.must(served_serial) == before
    nginx.must("cp /tmp/good /certificates/current/fullchain.pem")
    wait(lambda: nginx.said("the certificate changed, configuration read again"))
    # The same authority issues another certificate.
    assert nginx.authority("api.example.org").returncode == 0
    wait(lambda: nginx.must(served_serial) == nginx.serial())
    assert nginx.must(served_serial) != before


def test_without_a_certificate_it_ends_with_one_line(idle_box: Container) -> None:
    done = idle_box.run("/etc/listo/nginx/entrypoint.sh")
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["message"] == "no certificate in /certificates"


def test_the_authority_issues_once(idle_box: Container) -> None:
    done = idle_box.authority("api.example.org,192.0.2.7")
    assert done.returncode == 0, done.stderr
    idle_box.must(
        "openssl verify -x509_strict -CAfile /authority/ca.crt /certificates/fullchain.pem"
    )
    names = idle_box.must("openssl x509 -noout -ext subjectAltName -in /certificates/fullchain.pem")
    assert names.splitlines()[1].strip() == (
        "DNS:localhost, DNS:nginx, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, "
        "DNS:api.example.org, IP Address:192.0.2.7"
    )
    assert idle_box.valid_for_days(396)
    # Browsers refuse certificates with a longer term.
    assert not idle_box.valid_for_days(398)
    modes = idle_box.must(
        "stat -Lc %a /authority/ca.key /authority/ca.crt /certificates/privkey.pem"
    )
    assert modes.split() == ["600", "644", "600"]
    before = idle_box.serial()
    again = idle_box.authority("api.example.org,192.0.2.7")
    assert (again.returncode, "valid for 30 days" in again.stdout) == (0, True)
    assert idle_box.serial() == before


@pytest.mark.parametrize("unmoved", ["ca.key", "ca.crt"])
def test_an_authority_half_made_is_made_anew(idle_box: Container, unmoved: str) -> None:
    idle_box.must(
        "mkdir /tmp/bin && cd /tmp/bin && "
        f"printf '#!/bin/sh\\ncase $1 in */{unmoved}.new) exit 1 ;; esac\\nexec /bin/mv \"$@\"\\n' "
        ">mv && chmod +x mv"
    )
    assert idle_box.run("PATH=/tmp/bin:$PATH /etc/listo/nginx/authority.sh").returncode != 0
    done = idle_box.authority()
    assert done.returncode == 0, done.stderr
    idle_box.must("openssl verify -CAfile /authority/ca.crt /certificates/fullchain.pem")


def test_a_new_name_gets_a_certificate_of_the_same_authority(idle_box: Container) -> None:
    idle_box.authority()
    authority, before = idle_box.must("cat /authority/ca.crt"), idle_box.serial()
    assert "DNS:api.example.org" in idle_box.authority("api.example.org").stdout
    assert idle_box.serial() != before
    assert idle_box.must("cat /authority/ca.crt") == authority
    assert idle_box.must("ls -d /certificates/local.* | wc -l") == "1"


@pytest.mark.parametrize(("days", "renewed"), [(31, False), (29, True)])
def test_it_renews_in_the_last_thirty_days(idle_box: Container, days: int, renewed: bool) -> None:  # noqa: FBT001
    idle_box.authority()
    idle_box.must(
        "cd /certificates/current && openssl req -new -key privkey.pem -subj /CN=localhost "
        f"| openssl x509 -req -days {days} -CA /authority/ca.crt -CAkey /authority/ca.key "
        "-out fullchain.pem"
    )
    before = idle_box.serial()
    assert idle_box.authority().returncode == 0
    assert (idle_box.serial() != before) is renewed
    assert idle_box.valid_for_days(90) is renewed


@pytest.mark.parametrize(("last", "replaced"), [("+2 days", False), ("-2 days", True)])
def test_a_certificate_of_another_issuer_stays_while_valid(
    idle_box: Container, last: str, *, replaced: bool
) -> None:
    idle_box.must(
        "cd /certificates && mkdir theirs && ln -s theirs current && "
        "ln -s current/fullchain.pem current/privkey.pem . && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-subj /CN=api.example.org -keyout theirs/privkey.pem -out theirs/fullchain.pem "
        f"-not_before 20200101000000Z -not_after $(date -u -d '{last}' +%Y%m%d%H%M%SZ)"
    )
    before = idle_box.serial()
    assert idle_box.authority("api.example.org").returncode == 0
    assert (idle_box.serial() != before) is replaced


@pytest.mark.parametrize("name", ["under_score", "a/b", "a;b", "$(id)", "né", "q=1"])
def test_an_invalid_name_is_refused(idle_box: Container, name: str) -> None:
    done = idle_box.authority(f"api.example.org,{name}")
    assert done.returncode == 1
    assert done.stderr.strip() == f"authority: {name} is neither a name nor an address"
    assert idle_box.must("ls /certificates") == ""
