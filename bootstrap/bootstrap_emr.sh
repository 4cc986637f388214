#!/usr/bin/env bash
# EMR bootstrap action: unpacks Pomona's Python environment into /opt/pomona. EMR runs it on each node at startup.
#
#     bootstrap_emr.sh s3://bucket/pomona/VERSION/environment.tar.gz SHA256      (or file:///… on the node)
#
# Downloads only the archive, and unpacks it only if its SHA-256 is the one given, which is stored in the definition of
# the cluster: changing the object in the bucket is not enough to run other code on the nodes. Changes nothing else on
# the node, including its system Python. An identical environment is kept; an older one is replaced only after the new
# one has been checked. Any failure ends the script with a non-zero exit status, so that EMR rejects the node.
set -euo pipefail

readonly target=/opt/pomona
work_dir=

log() { printf '%s bootstrap_emr: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }
fail() {
    log "FAILED: $*"
    exit 1
}
cleanup() {
    status=$?
    if [ -n "$work_dir" ]; then
        if [ -e "$work_dir/old" ] && [ ! -e "$target" ]; then as_root mv "$work_dir/old" "$target"; fi
        as_root rm -rf "$work_dir"
    fi
    if [ "$status" -ne 0 ]; then log "exit status $status: no new environment on this node"; fi
}
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }
manifest_value() { awk -v key="$1" '$1 == key { print $2 }' "$work_dir/new/ENVIRONMENT"; }

fetch() { # URI, file
    case $1 in
        s3://* | s3a://*)
            command -v aws >/dev/null || fail "the aws command is not installed on this node: cannot download $1"
            aws s3 cp --only-show-errors "s3://${1#*://}" - | as_root tee "$2" >/dev/null ||
                fail "cannot download $1: does it exist, and may the role of the nodes read it?"
            ;;
        file:///*)
            [ -f "${1#file://}" ] || fail "$1: no such file"
            as_root cp -- "${1#file://}" "$2"
            ;;
        *) fail "$1: give the s3:// or file:/// URI of an archive" ;;
    esac
}

check_platform() { # is the archive built for this machine and C library?
    local machine glibc node_glibc
    machine=$(manifest_value machine) glibc=$(manifest_value glibc)
    node_glibc=$(getconf GNU_LIBC_VERSION) && node_glibc=${node_glibc#* }
    if [ "$machine" != "$(uname -m)" ]; then
        fail "the environment is for $machine, but this node is $(uname -m): build it on such a machine"
    fi
    if [ "$(printf '%s\n' "$glibc" "$node_glibc" | sort -V | tail -n 1)" != "$node_glibc" ]; then
        fail "the environment needs glibc $glibc, but this node has $node_glibc: build it with Dockerfile"
    fi
}

main() {
    [ $# -eq 2 ] || fail "expected two arguments, the URI of environment.tar.gz and its SHA-256; got $#"
    [[ $2 =~ ^[0-9a-f]{64}$ ]] || fail "$2: expected a SHA-256, 64 of 0-9 and a-f"
    trap cleanup EXIT
    as_root mkdir -p "${target%/*}"
    work_dir=$(as_root mktemp -d "$target.XXXXXXXX")
    as_root chmod 755 "$work_dir"
    log "downloading $1"
    fetch "$1" "$work_dir/archive"
    local sum
    sum=$(sha256sum "$work_dir/archive") && sum=${sum%% *}
    [ "$sum" = "$2" ] ||
        fail "the SHA-256 of $1 is $sum, expected $2: it was changed; \`pomona cloud up\` uploads it again"
    if [ "$(cat "$target/ARCHIVE" 2>/dev/null)" = "$sum" ]; then
        log "$target is up to date ($sum)"
        return
    fi
    as_root mkdir "$work_dir/new"
    as_root tar -xzf "$work_dir/archive" -C "$work_dir/new" --no-same-owner ||
        fail "$1 is not a .tar.gz, or the disk is full: build and upload it again"
    [ -f "$work_dir/new/ENVIRONMENT" ] || fail "$1 is not a Pomona environment"
    check_platform
    as_root chmod -R u=rwX,go=rX "$work_dir/new"
    "$work_dir/new/bin/python" -I -c 'import onnxruntime, pyarrow, boto3, streaming.images.decode' ||
        fail "the Python of $1 does not run on this node"
    local version
    version=$("$work_dir/new/bin/pomona" --version) || fail "the command of $1 does not run on this node"
    printf '%s\n' "$sum" | as_root tee "$work_dir/new/ARCHIVE" >/dev/null
    if [ -e "$target" ]; then as_root mv "$target" "$work_dir/old"; fi
    as_root mv "$work_dir/new" "$target"
    log "$target now contains $version"
}

main "$@"
