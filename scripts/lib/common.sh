# What the scripts share; sourced by bash, never run.
# shellcheck shell=bash

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
    BOLD='' RED='' GREEN='' PLAIN=''
fi
# shellcheck disable=SC2034  # read by the scripts that source this
readonly BOLD RED GREEN PLAIN

note() { # what is going on; standard output is kept for results
    printf '%s\n' "$*" >&2
}

die() {
    printf '%s%s:%s %s\n' "$RED" "${0##*/}" "$PLAIN" "$*" >&2
    exit 1
}

# The folder for what is fetched or built once, outside the tree. It falls back
# to a private one under the temporary folder where HOME cannot be written.
crema_cache() {
    local dir=${CREMA_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/crema}
    if ! mkdir -p "$dir" 2>/dev/null || ! [ -w "$dir" ]; then
        [ -z "${CREMA_CACHE:-}" ] || die "CREMA_CACHE=$CREMA_CACHE cannot be written"
        dir=${TMPDIR:-/tmp}/crema-cache-$(id -u)
        (umask 077 && mkdir -p "$dir") || die "no folder for a cache: set CREMA_CACHE"
        [ -O "$dir" ] || die "$dir belongs to someone else: set CREMA_CACHE"
    fi
    printf '%s\n' "$dir"
}

need_command() { # COMMAND...
    local name
    for name; do
        command -v "$name" >/dev/null 2>&1 ||
            die "the command $name is missing: run scripts/setup test"
    done
}

# Verifies files in a folder against a committed list of checksums, both ways:
# each file listed is there and right, and nothing else is there.
verify_checksums() { # LIST FOLDER
    local list=$1 folder=$2
    (cd "$folder" && sha256sum --check --strict --quiet) <"$list" >&2 &&
        diff <(awk '{ print $2 }' "$list" | LC_ALL=C sort) \
             <(LC_ALL=C ls -1 "$folder") >&2
}
