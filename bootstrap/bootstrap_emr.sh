#!/usr/bin/env bash
# Unpacks Pomona's Python environment on a node of a cluster, into /opt/pomona: EMR runs this on each node as it starts.
#
#     bootstrap_emr.sh s3://bucket/releases/VERSION/environment.tar.gz      (or file:///… on the node)
#
# Nothing is fetched but the archive, and nothing else of the node is changed, its own Python included. What is there
# already is left alone; an older one is replaced only when the new one has been seen to work. Any failure ends the
# script with a status that is not 0, so that EMR does not take the node.
set -euo pipefail

readonly place=/opt/pomona
parts=

say() { printf '%s bootstrap_emr: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }
fail() {
    say "FAILED: $*"
    exit 1
}
tidy() {
    status=$?
    if [ -n "$parts" ]; then
        if [ -e "$parts/old" ] && [ ! -e "$place" ]; then as_root mv "$parts/old" "$place"; fi
        as_root rm -rf "$parts"
    fi
    if [ "$status" -ne 0 ]; then say "ended with status $status: this node has no new environment"; fi
}
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }
told() { awk -v key="$1" '$1 == key { print $2 }' "$parts/new/ENVIRONMENT"; }

fetch() { # URI, file
    case $1 in
        s3://* | s3a://*)
            command -v aws >/dev/null || fail "no aws command on this node: $1 cannot be fetched"
            aws s3 cp --only-show-errors "s3://${1#*://}" - | as_root tee "$2" >/dev/null ||
                fail "$1 could not be fetched: may the role of the nodes read it, and does it exist?"
            ;;
        file:///*)
            [ -f "${1#file://}" ] || fail "$1: no such file"
            as_root cp -- "${1#file://}" "$2"
            ;;
        *) fail "$1: name an archive by its s3:// or file:/// URI" ;;
    esac
}

fits() { # does this node have what the archive was made for?
    local machine glibc there
    machine=$(told machine) glibc=$(told glibc)
    there=$(getconf GNU_LIBC_VERSION) && there=${there#* }
    if [ "$machine" != "$(uname -m)" ]; then
        fail "the environment is for $machine, and this node is $(uname -m): build it on such a machine"
    fi
    if [ "$(printf '%s\n' "$glibc" "$there" | sort -V | tail -n 1)" != "$there" ]; then
        fail "the environment needs glibc $glibc, and this node has $there: make it with Dockerfile"
    fi
}

main() {
    [ $# -eq 1 ] || fail "give one word, the URI of environment.tar.gz; there were $#"
    trap tidy EXIT
    as_root mkdir -p "${place%/*}"
    parts=$(as_root mktemp -d "$place.XXXXXXXX")
    as_root chmod 755 "$parts"
    say "fetching $1"
    fetch "$1" "$parts/archive"
    local sum
    sum=$(sha256sum "$parts/archive") && sum=${sum%% *}
    if [ "$(cat "$place/ARCHIVE" 2>/dev/null)" = "$sum" ]; then
        say "$place holds it already ($sum)"
        return
    fi
    as_root mkdir "$parts/new"
    as_root tar -xzf "$parts/archive" -C "$parts/new" --no-same-owner ||
        fail "$1 is no whole .tar.gz, or the disk is full: build and upload it again"
    [ -f "$parts/new/ENVIRONMENT" ] || fail "$1 is not an environment of Pomona"
    fits
    as_root chmod -R u=rwX,go=rX "$parts/new"
    "$parts/new/bin/python" -I -c 'import onnxruntime, pyarrow, boto3, streaming.images.decode' ||
        fail "the Python of $1 does not run on this node"
    local version
    version=$("$parts/new/bin/pomona" --version) || fail "the command of $1 does not run on this node"
    printf '%s\n' "$sum" | as_root tee "$parts/new/ARCHIVE" >/dev/null
    if [ -e "$place" ]; then as_root mv "$place" "$parts/old"; fi
    as_root mv "$parts/new" "$place"
    say "$place holds $version"
}

main "$@"
