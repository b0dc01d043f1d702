#!/bin/sh
# Installs the servers of object stores that `make test-all` uses, below target/stores:
# - Azurite, Microsoft's emulator of Azure Blob Storage, with npm
# - moto, a server with the interface of S3, with pip, in a virtual environment
# The tests start the servers themselves. If Node or Python's venv is missing, they are installed with apt-get. On a
# machine without apt-get, instructions are printed. Does nothing if these versions are installed already.
set -eu
cd "$(dirname "$0")/.."

# This version runs on Node 18. Later ones want Node 21 or newer.
AZURITE=3.35.0
# The extra `server` of moto would install the libraries for all services of AWS. This server needs those for S3 only.
MOTO=5.2.5
FLASK=3.1.3
FLASK_CORS=6.0.5

TARGET=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
HERE=$TARGET/stores

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

has_python() {
    python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

if [ "$(cat "$HERE/installed" 2>/dev/null)" = "azurite $AZURITE, moto $MOTO" ]; then
    exit 0
fi
has_node || install_with_apt nodejs npm
has_node || fail "\`make test-all\` needs Node 18 or newer with npm, for Azurite. Install it:" \
    "    Debian, Ubuntu   apt-get install nodejs npm" \
    "    Fedora           dnf install nodejs-npm" \
    "    Arch             pacman -S nodejs npm" \
    "    Alpine           apk add nodejs npm" \
    "    macOS            brew install node" \
    "Then run this again. \`make test\` does not need it."
has_python || install_with_apt python3 python3-venv
has_python || fail "\`make test-all\` needs Python 3.10 or newer with venv, for moto. Install it:" \
    "    Debian, Ubuntu   apt-get install python3 python3-venv" \
    "    others           the package python3" \
    "Then run this again. \`make test\` does not need it."

echo "Installing Azurite $AZURITE and moto $MOTO into $HERE ..."
rm -rf "$HERE"
mkdir -p "$HERE"
npm install --prefix "$HERE" --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error \
    "azurite@$AZURITE" </dev/null || fail "npm cannot install azurite $AZURITE; is the network there?"
python3 -m venv "$HERE/venv"
"$HERE/venv/bin/pip" install --quiet --disable-pip-version-check \
    "moto[s3]==$MOTO" "flask==$FLASK" "flask-cors==$FLASK_CORS" </dev/null ||
    fail "pip cannot install moto $MOTO; is the network there?"
echo "azurite $AZURITE, moto $MOTO" >"$HERE/installed"
