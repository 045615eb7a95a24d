#!/bin/sh
# Keeps the certificate of DOMAIN: orders it by ACME (HTTP-01), renews it when a third of its lifetime
# is left, and publishes it in one step. A served certificate stays until there is a better one.
#
#   entrypoint.sh run     the service: order, renew, wait (HUP: look again now; TERM: stop)
#   entrypoint.sh once    order or renew if that is due; exit 1 if it was refused
#   entrypoint.sh health  exit 1 unless a certificate of DOMAIN is published and far from its end
#
# Exit codes: 0 well, 1 refused or unwell, 78 bad settings. Log: JSON lines on stdout.
set -u
umask 077

: "${DOMAIN:=}" "${ACME_EMAIL:=}" "${ACME_CA_FILE:=}"
: "${ACME_DIRECTORY_URL:=https://acme-v02.api.letsencrypt.org/directory}"
: "${ACME_CHECK_SECONDS:=43200}" "${ACME_RETRY_SECONDS:=600}" "${ACME_RETRY_MAX_SECONDS:=21600}"
: "${ACME_CERTIFICATES:=/certificates}" "${ACME_WEBROOT:=/challenge}" "${ACME_STATE:=/state}"

child=
wake=
failures=0

log() { # level message [logger]
    printf '{"timestamp":"%s","level":"%s","logger":"%s","message":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$1" "${3:-acme}" \
        "$(printf %s "$2" | tr -s '\n\r\t' '   ' | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"
}

refuse() { # a bad setting, in one line
    log ERROR "$1"
    exit 78
}

require_number() { # name least: refuse a value that is not a whole number of at least `least`
    eval "value=\$$1"
    # shellcheck disable=SC2154 # eval sets it
    case $value in
        '' | *[!0-9]* | 0?* | ??????????*) refuse "$1 is '$value'; it must be a whole number of seconds." ;;
    esac
    [ "$value" -ge "$2" ] || refuse "$1 is $value; it must be at least $2."
}

matches() { # value pattern: whether the pattern fits the whole value, which is one line
    [ "$(printf %s "$1" | wc -l)" -eq 0 ] && printf %s "$1" | grep -Eqx "$2"
}

check_settings() {
    label='[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?'
    word="[^@[:space:]\"']+"
    case $DOMAIN in
        '') refuse "DOMAIN is not set; it is the public name to get a certificate for." ;;
        \**) refuse "DOMAIN is '$DOMAIN'; HTTP-01 cannot prove a wildcard, name one host." ;;
    esac
    [ ${#DOMAIN} -le 253 ] || refuse "DOMAIN is longer than the 253 characters that a name may have."
    matches "$DOMAIN" "($label\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]" \
        || refuse "DOMAIN is '$DOMAIN'; it must be one full name in lower case, like api.example.org."
    matches "$ACME_EMAIL" "$word@$word\.$word" \
        || refuse "ACME_EMAIL is '$ACME_EMAIL'; it must be an address that the authority can write to."
    case $ACME_DIRECTORY_URL in
        https://?*) ;;
        *) refuse "ACME_DIRECTORY_URL is '$ACME_DIRECTORY_URL'; it must begin with https://." ;;
    esac
    if [ -n "$ACME_CA_FILE" ]; then
        openssl x509 -noout -in "$ACME_CA_FILE" 2>/dev/null \
            || refuse "ACME_CA_FILE is '$ACME_CA_FILE'; there is no certificate in PEM to read."
        export LEGO_CA_CERTIFICATES="$ACME_CA_FILE"
    fi
    require_number ACME_CHECK_SECONDS 1
    require_number ACME_RETRY_SECONDS 1
    require_number ACME_RETRY_MAX_SECONDS "$ACME_RETRY_SECONDS"
    for directory in "$ACME_CERTIFICATES" "$ACME_WEBROOT" "$ACME_STATE"; do
        [ -d "$directory/." ] || refuse "$directory is no directory."
        [ -w "$directory" ] || refuse "$directory must be a directory that uid $(id -u) can write to."
    done
    # A folder for each authority: production does not accept accounts and certificates of staging.
    path=$ACME_STATE/$(printf %s "$ACME_DIRECTORY_URL" | sha256sum | cut -c1-16)
    certificate=$path/certificates/$DOMAIN.crt
    key=$path/certificates/$DOMAIN.key
}

read_times() { # certificate: sets begin, end
    begin=$(openssl x509 -noout -startdate -in "$1" 2>/dev/null) || return 1
    end=$(openssl x509 -noout -enddate -in "$1" 2>/dev/null) || return 1
    begin=$(date -d "${begin#*=}" +%s) && end=$(date -d "${end#*=}" +%s)
}

seconds_left() { # certificate parts: seconds until 1/parts of its lifetime is left, or 0
    read_times "$1" || { echo 0; return; }
    left=$((end - (end - begin) / $2 - $(date +%s)))
    echo $((left > 0 ? left : 0))
}

expiry() { # certificate
    read_times "$1" && date -u -d "@$end" +%Y-%m-%dT%H:%M:%SZ
}

is_sound() { # certificate key: whether they fit each other and DOMAIN, and are valid now
    openssl x509 -noout -checkhost "$DOMAIN" -in "$1" 2>/dev/null | grep -q 'does match' \
        || return 1
    openssl x509 -noout -checkend 0 -in "$1" >/dev/null 2>&1 || return 1
    of_certificate=$(openssl x509 -noout -pubkey -in "$1" 2>/dev/null) || return 1
    of_key=$(openssl pkey -pubout -in "$2" 2>/dev/null) || return 1
    [ "$of_certificate" = "$of_key" ]
}

# fullchain.pem -> current/fullchain.pem, current -> versions/TIME: one rename changes both files.
publish() { # certificate key
    version=versions/$(date -u +%Y%m%dT%H%M%S.%N)
    (
        cd "$ACME_CERTIFICATES" && mkdir -p "$version" || exit 1
        if [ -e fullchain.pem ] && [ ! -L fullchain.pem ]; then
            # The local authority wrote plain files. Links to copies replace them first, so that a
            # reader never gets an old and a new file.
            mkdir -p versions/before && cp fullchain.pem privkey.pem versions/before/ \
                && link versions/before current || exit 1
        fi
        cp "$1" "$version/fullchain.pem" && cp "$2" "$version/privkey.pem" \
            && chmod 0644 "$version/fullchain.pem" && chmod 0600 "$version/privkey.pem" \
            && chmod 0755 versions "$version" \
            && sync "$version/fullchain.pem" "$version/privkey.pem" || exit 1
        [ -L fullchain.pem ] && [ -L privkey.pem ] || {
            [ -e current ] || link "$version" current || exit 1
            link current/fullchain.pem fullchain.pem && link current/privkey.pem privkey.pem || exit 1
        }
        link "$version" current || exit 1
        # The last three versions stay: a reload under way may still read them.
        find versions -mindepth 1 -maxdepth 1 -name '2*' | sort -r | tail -n +4 \
            | while IFS= read -r old; do rm -rf "$old"; done
    ) || { log ERROR "The certificate cannot be written to $ACME_CERTIFICATES."; return 1; }
    log INFO "The certificate of $DOMAIN is published, valid until $(expiry "$1")."
}

link() { # target name: in one step, also in place of an existing name
    ln -sfn "$1" ".$2.new" && mv -T ".$2.new" "$2"
}

order() {
    lines=$(mktemp) || return 1
    (
        umask 022 # the answers to challenges are for the web server; keys are 0600 anyway
        exec lego --accept-tos --email "$ACME_EMAIL" --server "$ACME_DIRECTORY_URL" --path "$path" \
            --domains "$DOMAIN" --key-type ec256 --http --http.webroot "$ACME_WEBROOT" run
    ) >"$lines" 2>&1 &
    child=$!
    wait "$child"
    result=$?
    while kill -0 "$child" 2>/dev/null; do # a signal ended `wait` early
        wait "$child"
        result=$?
    done
    child=
    reason=
    while IFS= read -r line; do
        case $line in
            *'not find solver'*) continue ;; # about types of challenges that are not in use
            *'[WARN]'*) level=WARNING ;;
            *'[INFO]'*) level=INFO ;;
            *error*) level=ERROR reason=$line ;;
            # The rest is advice on how to keep the account; the docs give that advice.
            *) continue ;;
        esac
        line=$(printf %s "$line" | sed 's|^[0-9/]* [0-9:]* ||; s|^\[[A-Z]*\] ||')
        log "$level" "$line" acme.lego
    done <"$lines"
    [ -n "$reason" ] || reason=$(tail -n 1 "$lines")
    rm -f "$lines"
    reason=$(printf %s "$reason" | sed 's|^[0-9/]* [0-9:]* ||')
    return "$result"
}

keep() { # order or renew where due, publish unless published already; 1 on failure
    due=yes
    if is_sound "$certificate" "$key"; then
        cmp -s "$certificate" "$ACME_CERTIFICATES/fullchain.pem" || publish "$certificate" "$key" \
            || return 1
        [ "$(seconds_left "$certificate" 3)" -eq 0 ] || due=
    fi
    [ -n "$due" ] || return 0
    log INFO "Ordering a certificate of $DOMAIN from $ACME_DIRECTORY_URL."
    if order && is_sound "$certificate" "$key"; then
        publish "$certificate" "$key"
        return
    fi
    served=$ACME_CERTIFICATES/fullchain.pem
    if valid_until=$(expiry "$served"); then
        served="The old certificate stays, valid until $valid_until."
    else
        served="No certificate is published."
    fi
    log ERROR "No certificate of $DOMAIN was issued: ${reason:-what came does not fit}. $served"
    return 1
}

health() {
    served=$ACME_CERTIFICATES/fullchain.pem
    if ! is_sound "$served" "$ACME_CERTIFICATES/privkey.pem"; then
        echo "No valid certificate of $DOMAIN is published."
        return 1
    fi
    # Renewal is due when a third of the lifetime is left; at a sixth, half of that time is over.
    [ "$(seconds_left "$served" 6)" -gt 0 ] || {
        echo "The certificate of $DOMAIN was not renewed, and ends at $(expiry "$served")."
        return 1
    }
}

# seconds: less up to a tenth, so that hosts do not all ask at the same time
jitter() {
    random=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
    echo $(($1 - $1 * random / 655360))
}

rest() { # seconds
    [ -z "$wake" ] || return 0
    sleep "$1" &
    child=$!
    wait "$child"
    kill "$child" 2>/dev/null
    child=
}

stop() {
    [ -z "$child" ] || kill "$child" 2>/dev/null
    log INFO "Stopped."
    exit 0
}

serve() {
    trap stop TERM INT
    trap 'wake=yes' HUP
    log INFO "Keeping the certificate of $DOMAIN."
    while :; do
        wake=
        if keep; then
            failures=0
            pause=$(jitter "$ACME_CHECK_SECONDS")
            due_in=$(seconds_left "$certificate" 3)
            [ "$due_in" -ge "$pause" ] || pause=$((due_in + 1))
        else
            pause=$ACME_RETRY_SECONDS
            doublings=$failures
            while [ "$doublings" -gt 0 ] && [ "$pause" -lt "$ACME_RETRY_MAX_SECONDS" ]; do
                pause=$((pause * 2)) doublings=$((doublings - 1))
            done
            [ "$pause" -le "$ACME_RETRY_MAX_SECONDS" ] || pause=$ACME_RETRY_MAX_SECONDS
            failures=$((failures + 1))
            log WARNING "Failed $failures times; next try in $pause s."
        fi
        rest "$pause"
    done
}

case ${1:-run} in
    run) check_settings; serve ;;
    once) check_settings; keep ;;
    health) check_settings; health ;;
    *) refuse "Unknown command '$1': run, once or health." ;;
esac
