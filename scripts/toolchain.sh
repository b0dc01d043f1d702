#!/bin/sh
# Checks that Rust and a C compiler are installed. Adds the parts that rustup can add:
# - the WebAssembly target,
# - for `toolchain.sh lint`: rustfmt and clippy,
# - for `toolchain.sh miri`: a nightly toolchain with Miri.
# For everything else, it prints instructions. It uses the network only if a part is missing.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf '\n' >&2
    printf '%s\n' "$@" >&2
    exit 1
}

if ! command -v cargo >/dev/null 2>&1; then
    fail "Rust is not installed. Install it with rustup, as https://rustup.rs says:" \
        "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" \
        "Then run this again."
fi

# If rustup has no default toolchain, rustc is installed but cannot run.
if ! version=$(rustc --version 2>/dev/null) || ! cargo --version >/dev/null 2>&1; then
    fail "Rust is there, but rustc or cargo does not run. With rustup, this sets it up:" \
        "    rustup default stable"
fi

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
found=$(printf '%s\n' "$version" | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
if [ "${found%%.*}" -lt "${wanted%%.*}" ] ||
    { [ "${found%%.*}" -eq "${wanted%%.*}" ] && [ "${found#*.}" -lt "${wanted#*.}" ]; }; then
    fail "Rust $wanted or newer is needed, and this is $version. With rustup, this brings it up to date:" \
        "    rustup update stable && rustup default stable"
fi

probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
echo 'int main(void) { return 0; }' >"$probe/probe.c"
if ! cc -o "$probe/probe" "$probe/probe.c" >/dev/null 2>&1; then
    fail "A C compiler is needed to link, and cc does not work here. Install one:" \
        "    Debian, Ubuntu   apt-get install build-essential" \
        "    Fedora           dnf install gcc" \
        "    Arch             pacman -S base-devel" \
        "    Alpine           apk add build-base"
fi

add() { # WHAT NAME: rustup adds it to the toolchain that is used here
    if ! command -v rustup >/dev/null 2>&1; then
        fail "This Rust lacks the $1 $2, and there is no rustup to add it. Install Rust with rustup" \
            "(https://rustup.rs), or the package of your system that has it."
    fi
    echo "Adding the $1 $2 to the Rust toolchain ..."
    rustup "$1" add "$2" || fail "rustup could not add the $1 $2; is the network there?"
}

if [ ! -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2/lib" ]; then
    add target wasm32-wasip2
fi

if [ "${1:-}" = lint ]; then
    cargo fmt --version >/dev/null 2>&1 || add component rustfmt
    cargo clippy --version >/dev/null 2>&1 || add component clippy
fi

if [ "${1:-}" = miri ] && ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "Installing a nightly toolchain with Miri ..."
    rustup toolchain install nightly --profile minimal --no-self-update --component miri --component rust-src ||
        fail "rustup could not install it; is the network there? A nightly toolchain of a single day may lack Miri."
fi
