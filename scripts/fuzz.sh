#!/usr/bin/env bash
# Runs libFuzzer on each target, and compares the host with Python's csv and json. Each target takes a given number of
# seconds: scripts/fuzz.sh SECONDS [TARGET...]. With the SEED that an earlier run printed, the comparison creates the
# same files as that run.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift

if ! rustup toolchain list | grep -q '^nightly'; then
    echo "Installing the nightly toolchain, which libFuzzer needs"
    rustup toolchain install nightly --profile minimal --no-self-update
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "Installing cargo-fuzz"
    cargo install --quiet --locked cargo-fuzz
fi

# `differential` is the comparison with Python, and not a target of libFuzzer.
differential=no
[ $# -gt 0 ] || set -- $(cd fuzz/targets && ls | sed 's/\.rs$//') differential
for target in "$@"; do
    shift
    if [ "$target" = differential ]; then differential=yes; else set -- "$@" "$target"; fi
done
for target in "$@"; do
    echo "==== $target, $seconds s"
    # New inputs are written to a folder of their own, apart from the seeds.
    found=fuzz/target/found/$target
    mkdir -p "$found"
    cargo +nightly fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1
done
if [ "$differential" = yes ]; then
    seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
    echo "==== differential against Python, $seconds s, SEED=$seed"
    end=$((SECONDS + seconds))
    while [ "$SECONDS" -lt "$end" ]; do
        SEED=$seed CASES=50000 cargo test --quiet --locked --workspace --test it differential::
        seed=$((seed + 1))
    done
fi
echo "Nothing was found."
