#!/bin/sh
# Installs the packages of npm that the tests of plugins in JavaScript use, below target/js: the engines and tools with
# which an author builds a plugin, and the compiler that checks types. scripts/node/package-lock.json pins each of them.
# If Node is missing, it is installed with apt-get. On a machine without apt-get, instructions are printed. Does nothing if
# these versions are installed already.
#
# The folder target/js/cache is npm's cache. With it, the tests run `npm install` as an author does, but offline.
set -eu
cd "$(dirname "$0")/.."

TARGET=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
HERE=$TARGET/js

fail() {
    printf '\n' >&2
    printf '%s\n' "$@" >&2
    exit 1
}

install_with_apt() { # PACKAGE...
    command -v apt-get >/dev/null 2>&1 || return 0
    packages=$*
    set -- env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || return 0
        # sudo asks for a password only if a person is at a terminal.
        if [ -t 0 ] && [ -z "${CI:-}" ]; then set -- sudo "$@"; else set -- sudo -n "$@"; fi
    fi
    echo "The tests need $packages; installing with apt-get ..."
    "$@" update </dev/null || echo "apt-get update failed, trying to go on without" >&2
    # shellcheck disable=SC2086
    "$@" install -y --no-install-recommends $packages </dev/null || true
}

has_node() {
    command -v npm >/dev/null 2>&1 && node -e 'process.exit(process.versions.node.split(".")[0] >= 18 ? 0 : 1)' 2>/dev/null
}

has_node || install_with_apt nodejs npm
has_node || fail "\`make test-all\` needs Node 18 or newer with npm, for plugins in JavaScript. Install it:" \
    "    Debian, Ubuntu   apt-get install nodejs npm" \
    "    Fedora           dnf install nodejs-npm" \
    "    Arch             pacman -S nodejs npm" \
    "    Alpine           apk add nodejs npm" \
    "    macOS            brew install node" \
    "Then run this again. \`make test\` does not need it."

if cmp -s scripts/node/package-lock.json "$HERE/installed"; then
    exit 0
fi
echo "Installing the packages of scripts/node/package.json into $HERE ..."
rm -rf "$HERE"
mkdir -p "$HERE"
cp scripts/node/package.json scripts/node/package-lock.json "$HERE"
npm ci --prefix "$HERE" --cache "$HERE/cache" --no-audit --no-fund --ignore-scripts --loglevel=error </dev/null ||
    fail "npm cannot install the packages; is the network there?"
cp scripts/node/package-lock.json "$HERE/installed"
