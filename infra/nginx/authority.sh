#!/bin/sh
# Makes a local authority once, and a certificate signed by it for localhost, nginx and the names in
# NAMES (comma-separated). A certificate of another authority is left alone while it is valid.
set -eu
umask 077

authority=/authority
certificates=/certificates
days=397 # the longest lifetime that browsers accept
names="localhost,nginx,127.0.0.1,::1${NAMES:+,$NAMES}"

fail() {
    echo "authority: $*" >&2
    exit 1
}

altnames() {
    list=""
    for name in $(echo "$names" | tr ',' ' '); do
        case $name in
            *[!A-Za-z0-9.:-]*) fail "$name is neither a name nor an address" ;;
            *:*) list="$list,IP:$name" ;;
            *[!0-9.]*) list="$list,DNS:$name" ;;
            *.*.*.*) list="$list,IP:$name" ;;
            *) list="$list,DNS:$name" ;;
        esac
    done
    echo "${list#,}"
}

make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 3650 \
        -subj "/CN=Listo local authority" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$authority/ca.key.new" -out "$authority/ca.crt.new" 2>/dev/null
    chmod 644 "$authority/ca.crt.new"
    mv "$authority/ca.crt.new" "$authority/ca.crt"
    # The key comes last, since its file means that the authority is complete.
    mv "$authority/ca.key.new" "$authority/ca.key"
}

# Both files are made in a new folder, and a single rename makes nginx serve them.
issue() {
    folder="$certificates/local.$(date +%s).$$"
    mkdir "$folder"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$folder/privkey.pem" -out "$folder/request" 2>/dev/null
    cat >"$folder/extensions" <<EOF
subjectAltName=$1
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
EOF
    openssl x509 -req -in "$folder/request" -days $days -sha256 -CA "$authority/ca.crt" \
        -CAkey "$authority/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
        -extfile "$folder/extensions" -out "$folder/certificate" 2>"$folder/said" ||
        { said=$(tail -n 1 "$folder/said"); rm -r "$folder"; fail "no certificate for $1: $said"; }
    cat "$folder/certificate" "$authority/ca.crt" >"$folder/fullchain.pem"
    echo "$1" >"$folder/names"
    rm "$folder/request" "$folder/extensions" "$folder/certificate" "$folder/said"
    ln -sfn "$(basename "$folder")" "$certificates/current.new"
    mv -T "$certificates/current.new" "$certificates/current"
    for file in fullchain.pem privkey.pem; do
        [ -L "$certificates/$file" ] || ln -sf "current/$file" "$certificates/$file"
    done
    for old in "$certificates"/local.*; do
        [ "$old" = "$folder" ] || rm -r "$old"
    done
}

[ -w "$authority" ] && [ -w "$certificates" ] ||
    fail "$authority and $certificates must be writable by $(id -u)"
wanted=$(altnames)
[ -e "$authority/ca.key" ] || make_authority
present="$certificates/fullchain.pem"
if [ -e "$present" ] && openssl x509 -in "$present" -noout -checkend 0 >/dev/null 2>&1 &&
    ! openssl x509 -in "$present" -noout -issuer | grep -q "Listo local authority"; then
    echo "authority: the certificate in use is by another authority"
elif [ -e "$present" ] && openssl x509 -in "$present" -noout -checkend 2592000 >/dev/null 2>&1 &&
    [ "$(cat "$certificates/current/names" 2>/dev/null)" = "$wanted" ]; then
    echo "authority: the certificate is valid for 30 days or more"
else
    issue "$wanted"
    echo "authority: issued for $wanted"
fi
