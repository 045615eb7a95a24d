#!/bin/sh
# Writes the configuration that depends on settings and replicas, starts nginx, and has nginx read
# the configuration again when replicas or the certificate change. A reload ends no request.
#
# MAX_BODY_BYTES   largest body of a request
# MAX_IMPORT_BYTES largest file of an import
# REQUEST_TIMEOUT  the API's upper bound for a request, in seconds
# HTTPS_PORT       the port that clients use to reach port 8443
# UPSTREAM         the name that resolves to every replica, and their port
# CGROUP           where the kernel says how much of the CPU may be used
set -eu
umask 027

UPSTREAM="${UPSTREAM:-api:8000}"
name=${UPSTREAM%:*}
port=${UPSTREAM##*:}
cgroup=${CGROUP:-/sys/fs/cgroup}
patience=$(awk -v timeout="${REQUEST_TIMEOUT:-30}" 'BEGIN { print int(timeout + 0.999) + 5 }')
run=/run/nginx
conf=/etc/listo/nginx/nginx.conf
certificates=/certificates

say() { # LEVEL MESSAGE
    printf '{"timestamp":"%s","level":"%s","logger":"nginx.watch","message":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2"
}

# The addresses of the name, without those in `leaving`: replicas that `make up` is about to stop.
# After two minutes the file no longer counts: a killed `make up` left it.
resolve() {
    find "$run/leaving" -mmin -2 -exec cat {} + >"$run/left" 2>/dev/null || true
    getent ahostsv4 "$name" | awk '$2 == "STREAM" {print $1}' | sort -u | grep -vxFf "$run/left" || true
}

# The replicas that get requests. A replica that refuses connections is starting or leaving, and one
# that is silent three times in a row hangs. If no replica answers, all get requests: they are more
# likely busy than gone.
replicas() {
    addresses=$(resolve)
    [ -n "$addresses" ] || return 0
    curl --silent --noproxy '*' --parallel --max-time 2 --output /dev/null --write-out '%{url} %{exitcode}\n' \
        "http://{$(echo "$addresses" | paste -sd,)}:$port/health" >"$run/looks" 2>/dev/null || true
    # 28 is curl's exit code for a timeout.
    awk -v file="$run/silent" -F '[ /:]+' '
        BEGIN { while ((getline line < file) > 0) { split(line, it, " "); before[it[1]] = it[2] } }
        { silent[$2] = $NF == 28 ? before[$2] + 1 : 0 }
        $NF == 0 || ($NF == 28 && silent[$2] < 3) { print $2 }
        END { printf "" >file; for (one in silent) print one, silent[one] >file }
    ' "$run/looks" | sort >"$run/answering"
    if [ -s "$run/answering" ]; then cat "$run/answering"; else echo "$addresses"; fi
}

# Without any replica nginx starts all the same, and answers 502.
servers() { # OPTIONS ADDRESS…
    options=$1
    shift
    [ $# -gt 0 ] || echo "    server 127.0.0.1:1 down;"
    for address in "$@"; do
        echo "    server $address:$port $options;"
    done
}

write_upstream() { # ADDRESS…
    {
        echo "upstream api {"
        echo "    zone api 128k;"
        echo "    least_conn;"
        # One refusal is enough: a replica that comes back is tried again after a second.
        servers "max_fails=1 fail_timeout=1s" "$@"
        echo "    keepalive 64;"
        echo "    keepalive_timeout 60s;"
        echo "}"
        # If all replicas have just failed, requests go to each in turn: least_conn would choose the
        # replica that refuses connections, since it has the fewest.
        echo "upstream anybody {"
        echo "    zone anybody 128k;"
        servers max_fails=0 "$@"
        echo "}"
    } >"$run/upstream.new"
    mv "$run/upstream.new" "$run/upstream.conf"
}

# `auto` would count all cores of the host, even if the container has a lower limit.
write_workers() {
    workers=auto
    # The files of cgroup version 2, or 1; without a limit they hold max, or -1.
    limit=$(cat "$cgroup/cpu.max" 2>/dev/null ||
        cat "$cgroup/cpu/cpu.cfs_quota_us" "$cgroup/cpu/cpu.cfs_period_us" 2>/dev/null) || limit=max
    # shellcheck disable=SC2086 # quota and period
    set -- $limit
    if [ "$1" != max ] && [ "$1" -gt 0 ]; then
        cores=$(nproc)
        workers=$((($1 + $2 - 1) / $2))
        [ "$workers" -le "$cores" ] || workers=$cores
    fi
    {
        echo "worker_processes $workers;"
        echo "worker_shutdown_timeout $((patience + 20))s;"
    } >"$run/workers.conf"
    # nginx writes many whole lines together: readers of the log wake less often. The kernel never
    # mixes writes of 4 KiB; in a nearly full pipe it could mix larger writes of several workers.
    if [ "$workers" = 1 ]; then buffer=32k; else buffer=4k; fi
    echo "access_log /dev/stdout access buffer=$buffer flush=1s;" >"$run/log.conf"
}

write_settings() {
    public=${HTTPS_PORT:-443}
    if [ "$public" = 443 ]; then suffix=""; else suffix=":$public"; fi
    {
        echo "client_max_body_size ${MAX_BODY_BYTES:-10485760};"
        # Longer than the API's own limit, since the API's answer explains more than nginx' 504.
        echo "proxy_read_timeout ${patience}s;"
        echo "proxy_send_timeout ${patience}s;"
        echo "map \$server_port \$https_port {"
        echo "    default \"$suffix\";"
        echo "}"
    } >"$run/settings.conf"
    echo "client_max_body_size ${MAX_IMPORT_BYTES:-1073741824};" >"$run/import.conf"
}

# From 1.27.4 on, nginx can leave the connections of clients open when it reads its configuration
# again; the next answer then says `Connection: close`. Earlier versions close idle connections at
# once, and a request that was on its way gets no answer.
write_keepalive() {
    version=$(nginx -v 2>&1 | sed 's|.*/||')
    minimum=
    if printf '1.27.4\n%s\n' "$version" | sort -CV; then minimum="keepalive_min_timeout 30s;"; fi
    echo "$minimum" >"$run/keepalive.conf"
}

# The hybrid of X25519 and ML-KEM-768 comes first if OpenSSL knows it (3.5 or later): nginx refuses
# an unknown group.
write_groups() {
    groups=X25519:prime256v1:secp384r1
    if openssl list -kem-algorithms 2>/dev/null | grep -q X25519MLKEM768; then
        groups=X25519MLKEM768:$groups
    fi
    echo "ssl_ecdh_curve $groups;" >"$run/groups.conf"
}

certificate() {
    cat "$certificates/fullchain.pem" "$certificates/privkey.pem" 2>/dev/null | cksum
}

reload() { # REASON
    if nginx -c "$conf" -t -q 2>"$run/test"; then
        nginx -c "$conf" -s reload
        cp "$run/upstream.conf" "$run/upstream.read"
        say INFO "$1, configuration read again"
    else
        say ERROR "$1, but nginx refuses the configuration and goes on with the former one"
        cat "$run/test" >&2
    fi
}

mkdir -p "$run/spool"
[ -r "$certificates/fullchain.pem" ] && [ -r "$certificates/privkey.pem" ] ||
    { say ERROR "no certificate in $certificates"; exit 1; }
write_workers
write_settings
write_keepalive
write_groups
known=$(replicas) || known=
# shellcheck disable=SC2086 # one word for each address
write_upstream $known
served=$(certificate)
# `check` runs beside the nginx that serves, and tries the files that a new nginx would read.
[ "${1:-}" != check ] || exec nginx -c "$conf" -t -q

# Nothing needs the files that a killed nginx left.
rm -rf "$run/spool/body" "$run/spool/proxy" "$run/silent" "$run/leaving"
cp "$run/upstream.conf" "$run/upstream.read"
nginx -c "$conf" &
server=$!
ending=
trap 'ending=1; kill -QUIT "$server" 2>/dev/null' TERM INT QUIT
trap 'reload "asked to"' HUP

# A signal ends `wait`, so its trap runs immediately.
while [ -z "$ending" ] && kill -0 "$server" 2>/dev/null; do
    sleep 1 &
    wait $! || true
    [ -z "$ending" ] || break
    found=$(replicas) || found=
    # An empty answer is more likely an error of the name service than the end of every replica.
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
status=0
wait "$server" || status=$?
# A signal can end `wait` once more before nginx has ended.
while kill -0 "$server" 2>/dev/null; do wait "$server" || status=$?; done
exit "$status"
