#!/bin/sh
# Sets up the tools with which the host is compared, and runs the comparison. If a tool cannot be set up, it is left
# out, and BENCHMARKS.md says so. All other files are written to target/bench.
#
# With BEFORE=FOLDER, another build is compared, too. The folder contains its `ingest-host`, `alarms.wasm` and
# `clean.wasm`. The report is then written to target/bench/before.md.
set -eu
cd "$(dirname "$0")/.."

TARGET=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
WORK=$TARGET/bench
VENV=$WORK/venv
mkdir -p "$WORK"

if python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "Setting up pandas, polars and RQ in $VENV ..."
    [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
    if ! "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement runtime/benches/contenders/requirements.txt; then
        echo "pip cannot install them here" >&2
        rm -rf "$VENV"
    fi
else
    echo "There is no python3 with venv (Debian, Ubuntu: apt-get install python3-venv)" >&2
fi

if ! command -v mlr >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
    echo "Installing Miller with apt-get ..."
    apt-get -qq update || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends miller </dev/null || true
fi

if [ -n "${BEFORE:-}" ]; then
    # BENCHMARKS.md has the results of one build only, so a comparison of two builds must not replace it.
    exec cargo bench --locked --workspace --bench compare -- \
        --full --work "$WORK" --before "$(cd "$BEFORE" && pwd)" --report "$WORK/before.md"
fi
exec cargo bench --locked --workspace --bench compare -- \
    --full --big --work "$WORK" --report "$PWD/BENCHMARKS.md"
