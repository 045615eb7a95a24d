#!/bin/sh
# `make engine`: a Docker engine with Compose and Buildx from Debian's packages, and mmdebstrap, which
# builds images if no registry answers. If a new enough engine works, no source of packages is
# added. An engine that is not Debian's is never replaced.
set -eu

say() { echo "engine: $*"; }
fail() {
    echo "engine: $*" >&2
    exit 1
}

works() {
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}
# Engine 25, the first with start_interval for health checks, Compose 2.24, and Buildx.
equipped() {
    docker version --format '{{.Server.APIVersion}}' 2>/dev/null |
        grep -Eq '^1\.(4[4-9]|[5-9][0-9]|[0-9]{3,})$' && has_plugins
}
has_plugins() {
    docker compose version --short 2>/dev/null | grep -Eq '^v?([3-9]|[1-9][0-9]+)\.|^v?2\.(2[4-9]|[3-9][0-9]|[0-9]{3})' &&
        docker buildx version >/dev/null 2>&1
}

if works && equipped; then
    say "Docker $(docker version --format '{{.Server.Version}}') runs; nothing to do"
    if command -v apt-get >/dev/null && ! command -v mmdebstrap >/dev/null; then
        { [ "$(id -u)" = 0 ] && DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null 2>&1; } ||
            say "mmdebstrap is missing; it is needed where no image registry answers (apt-get install mmdebstrap)"
    fi
    exit 0
fi
# dpkg also knows the names of packages that are not installed.
if works && [ "$(dpkg-query --show --showformat '${db:Status-Status}' docker.io 2>/dev/null)" != installed ]; then
    fail "the engine that runs here is not Debian's, and nothing was changed. Engine 25, Compose 2.24 and Buildx or newer are needed: by its own instructions"
fi
[ "$(id -u)" = 0 ] || fail "an engine is installed as root: sudo make engine"
# Files written from here on are for everybody on this machine.
umask 022
# shellcheck source=/dev/null
. /etc/os-release
case "${ID:-} ${VERSION_CODENAME:-}" in
    "debian bookworm" | "debian trixie") ;;
    *) fail "only Debian 12 and 13 are known here (this is ${PRETTY_NAME:-something else}); install Docker 25 and Compose 2.24 or newer by its own instructions" ;;
esac
export DEBIAN_FRONTEND=noninteractive
quietly() { # COMMAND… : shows its output only if it fails
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "this failed: $*"
    fi
    rm -f "$log"
}

source_of() { # MIRROR SUITES
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "$2"
    printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n'
}

suite=$VERSION_CODENAME
if [ "$suite" = bookworm ]; then
    # Debian 12's engine and Compose are too old, and those of Debian 13 run on it. The pin keeps
    # every other package at Debian 12.
    suite=trixie
    mirror_of() { # CODENAME
        # shellcheck disable=SC2016 # apt's own names
        apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(REPO_URI)' 'Created-By: Packages' |
            sed -n "s/^Debian|$1|//p" | head -n 1
    }
    mirror=$(mirror_of bookworm)
    security=$(mirror_of bookworm-security)
    [ -n "$mirror" ] || fail "apt knows no mirror of Debian 12; look at /etc/apt/sources.list"
    say "adding $suite as a source of low priority (/etc/apt/sources.list.d/listo-engine.sources)"
    # The pin comes first: without it the next upgrade would take all packages from Debian 13.
    for release in trixie trixie-updates trixie-security; do
        printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n\n' "$release"
    done >/etc/apt/preferences.d/listo-engine
    {
        source_of "$mirror" "trixie trixie-updates"
        [ -z "$security" ] || source_of "$security" trixie-security
    } >/etc/apt/sources.list.d/listo-engine.sources
fi
say "reading the lists of packages"
quietly apt-get update -qq
if works && ! equipped || ! has_plugins || ! command -v dockerd >/dev/null; then
    say "installing docker.io, docker-compose and docker-buildx"
    quietly apt-get install -y -qq --no-install-recommends "docker.io/$suite" "docker-cli/$suite" \
        "docker-compose/$suite" "docker-buildx/$suite" ca-certificates iptables
fi
if ! command -v mmdebstrap >/dev/null; then
    say "installing mmdebstrap"
    quietly apt-get install -y -qq --no-install-recommends mmdebstrap
fi

works || {
    say "starting the engine"
    if [ -d /run/systemd/system ]; then
        quietly systemctl enable --now docker
    else
        # Without a service manager dockerd runs until the machine stops. Its log keeps the last
        # 20,000 to 40,000 lines.
        # shellcheck disable=SC2016 # its own variables
        setsid sh -c 'dockerd 2>&1 | while IFS= read -r line; do
            lines=$(((${lines:-0} + 1) % 20000))
            [ $lines != 1 ] || mv -f /var/log/dockerd.log /var/log/dockerd.log.1 2>/dev/null || true
            printf "%s\n" "$line" >>/var/log/dockerd.log
        done' >/dev/null 2>&1 </dev/null &
    fi
}
tries=0
until works; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || fail "no engine answers after 60 s; see /var/log/dockerd.log or journalctl -u docker"
    sleep 1
done
equipped || fail "Docker 25, docker compose 2.24 and docker buildx are needed, and another docker comes first in PATH: $(command -v docker)"
say "Docker $(docker version --format '{{.Server.Version}}') with Compose $(docker compose version --short) runs"
