#!/bin/sh
# nginx of the stack: writes what depends on settings and on who is there, starts nginx, and has it
# read its configuration again when the replicas or the certificate change. A reload ends no request.
#
# MAX_BODY_BYTES   largest body of a request
# HTTPS_PORT       where clients reach port 8443
# UPSTREAM         the name that resolves to every replica, and their port
# CGROUP           where the kernel says how much of the CPU may be used
set -eu
umask 027

UPSTREAM="${UPSTREAM:-api:8000}"
name=${UPSTREAM%:*}
port=${UPSTREAM##*:}
cgroup=${CGROUP:-/sys/fs/cgroup}
run=/run/nginx
conf=/etc/listo/nginx/nginx.conf
certificates=/certificates

say() { # LEVEL MESSAGE
    printf '{"timestamp":"%s","level":"%s","logger":"nginx.watch","message":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2"
}

replicas() {
    getent ahostsv4 "$name" | awk '$2 == "STREAM" {print $1}' | sort -u
}

# Nobody there is answered with 502, and is no reason not to start.
write_upstream() { # ADDRESS…
    {
        echo "upstream api {"
        echo "    zone api 128k;"
        echo "    least_conn;"
        [ $# -gt 0 ] || echo "    server 127.0.0.1:1 down;"
        for address in "$@"; do
            # One refusal is enough: a replica that comes back is tried again after a second.
            echo "    server $address:$port max_fails=1 fail_timeout=1s;"
        done
        echo "    keepalive 64;"
        echo "    keepalive_timeout 60s;"
        echo "}"
    } >"$run/upstream.new"
    mv "$run/upstream.new" "$run/upstream.conf"
}

# `auto` would count the host's cores, however few of them the container may use.
write_workers() {
    workers=auto
    # Version 2, or version 1; without a limit they say max, or -1.
    limit=$(cat "$cgroup/cpu.max" 2>/dev/null ||
        cat "$cgroup/cpu/cpu.cfs_quota_us" "$cgroup/cpu/cpu.cfs_period_us" 2>/dev/null) || limit=max
    # shellcheck disable=SC2086 # quota and period
    set -- $limit
    if [ "$1" != max ] && [ "$1" -gt 0 ]; then
        cores=$(nproc)
        workers=$((($1 + $2 - 1) / $2))
        [ "$workers" -le "$cores" ] || workers=$cores
    fi
    echo "worker_processes $workers;" >"$run/workers.conf"
}

write_settings() {
    public=${HTTPS_PORT:-443}
    if [ "$public" = 443 ]; then suffix=""; else suffix=":$public"; fi
    {
        echo "client_max_body_size ${MAX_BODY_BYTES:-10485760};"
        echo "map \$server_port \$https_port {"
        echo "    default \"$suffix\";"
        echo "}"
    } >"$run/settings.conf"
}

certificate() {
    cat "$certificates/fullchain.pem" "$certificates/privkey.pem" 2>/dev/null | cksum
}

reload() { # REASON
    if nginx -c "$conf" -t -q 2>"$run/test"; then
        nginx -c "$conf" -s reload
        say INFO "$1, configuration read again"
    else
        say ERROR "$1, but nginx refuses the configuration and goes on with the former one"
        cat "$run/test" >&2
    fi
}

# What a kill left unfinished there is nobody's.
mkdir -p "$run/spool"
rm -rf "$run/spool/body" "$run/spool/proxy"
[ -r "$certificates/fullchain.pem" ] && [ -r "$certificates/privkey.pem" ] ||
    { say ERROR "no certificate in $certificates"; exit 1; }
write_workers
write_settings
known=$(replicas)
# shellcheck disable=SC2086 # one word for each address
write_upstream $known
served=$(certificate)

nginx -c "$conf" &
server=$!
trap 'kill -QUIT "$server" 2>/dev/null' TERM INT QUIT
trap 'reload "asked to"' HUP

# A signal ends `wait`, so that it is acted on at once.
while kill -0 "$server" 2>/dev/null; do
    sleep 1 &
    wait $! || true
    found=$(replicas)
    # No answer at all is a fault of the name service sooner than the end of every replica.
    if [ -n "$found" ] && [ "$found" != "$known" ]; then
        known=$found
        # shellcheck disable=SC2086
        write_upstream $known
        reload "replicas are $(echo "$known" | tr '\n' ' ')"
    fi
    present=$(certificate)
    if [ "$present" != "$served" ] && [ -r "$certificates/privkey.pem" ]; then
        served=$present
        reload "the certificate changed"
    fi
done
wait "$server"
