#!/bin/sh
# Makes sure that redis-server is installed, because the tests start their own servers. If it is missing, it is
# installed with apt-get. On a machine without apt-get, instructions are printed.
set -eu

fail() {
    printf '\n' >&2
    printf '%s\n' "$@" >&2
    exit 1
}

install_with_apt() {
    set -- env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120
    if [ "$(id -u)" -ne 0 ]; then
        # sudo asks for a password only if a person is at a terminal.
        if [ -t 0 ] && [ -z "${CI:-}" ]; then set -- sudo "$@"; else set -- sudo -n "$@"; fi
    fi
    "$@" update </dev/null || echo "apt-get update failed, trying to go on without" >&2
    "$@" install -y --no-install-recommends redis-server </dev/null
}

if ! command -v redis-server >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1; then
        echo "The tests need redis-server; installing it with apt-get ..."
        install_with_apt || true
    fi
fi

if ! command -v redis-server >/dev/null 2>&1; then
    fail "The tests need redis-server, version 6.2 or newer (they start it themselves). Install it:" \
        "    Debian, Ubuntu   apt-get install redis-server" \
        "    Fedora           dnf install redis           (valkey-compat-redis on newer ones)" \
        "    Arch             pacman -S redis" \
        "    Alpine           apk add redis" \
        "    macOS            brew install redis" \
        "Then run this again."
fi

found=$(redis-server --version | sed 's/.* v=\([0-9]*\.[0-9]*\).*/\1/')
if [ "${found%%.*}" -lt 6 ] || { [ "${found%%.*}" -eq 6 ] && [ "${found#*.}" -lt 2 ]; }; then
    fail "The tests need redis-server 6.2 or newer, and this is $(redis-server --version)"
fi
