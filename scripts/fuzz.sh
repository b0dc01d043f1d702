#!/usr/bin/env bash
# Has libFuzzer look for bytes that break a property, for so many seconds each: scripts/fuzz.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift

if ! rustup toolchain list | grep -q '^nightly'; then
    echo "Installing the nightly toolchain, which has what libFuzzer needs"
    rustup toolchain install nightly --profile minimal --no-self-update
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "Installing cargo-fuzz"
    cargo install --quiet --locked cargo-fuzz
fi

[ $# -gt 0 ] || set -- $(cd fuzz/targets && ls | sed 's/\.rs$//')
for target in "$@"; do
    echo "==== $target, $seconds s"
    # What is found is kept apart from the seeds.
    found=fuzz/target/found/$target
    mkdir -p "$found"
    cargo +nightly fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1
done
echo "Nothing was found."
