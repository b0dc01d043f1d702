#!/usr/bin/env bash
# Builds the files of a release in target/release-files: scripts/release.sh [TARGET...]
#
#   ingest-host-VERSION-TARGET.tar.gz   the program, stripped, with the plugins `clean` and `alarms`, licences, changelog
#   ingest-host-VERSION.cdx.json        the SBOM of the program, CycloneDX
#   *.crate                             the crates that may be published, checked by `cargo publish --dry-run`
#   SHA256SUMS                          the digests of these files
#
# TARGET is by default this machine's processor with musl, which gives a static program. Without a C compiler for musl,
# the default is glibc. RELEASE.md says when to run this script. The script publishes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n==== %s (%d s since the start)\n' "$*" "$SECONDS"; }
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

scripts/toolchain.sh
if [ -n "$(git status --porcelain)" ]; then
    fail "There are changes that are not committed. What a release is built from must be in the repository."
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
machine=$(uname -m)
if [ $# -eq 0 ]; then
    if command -v musl-gcc >/dev/null; then
        set -- "$machine-unknown-linux-musl"
    else
        echo "There is no musl-gcc (Debian: musl-tools), so the program will need the glibc of this machine or a newer one."
        set -- "$machine-unknown-linux-gnu"
    fi
fi

files=$PWD/target/release-files
build=$PWD/target/release-build
rm -rf "$files"
mkdir -p "$files" "$build"
export CARGO_TARGET_DIR=$build
export CARGO_PROFILE_RELEASE_STRIP=symbols
# The binary must not contain the paths of the machine that builds it. They are private, and differ between builds.
export RUSTFLAGS="--remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
# The files in an archive get the time of the commit, so that the archives of two builds of one commit are the same. The
# compilers must not get this time: they would compile the C code again for each commit.
committed=$(git log -1 --format=%ct)

say "SBOM and licences"
if ! cargo cyclonedx --version >/dev/null 2>&1; then
    env -u RUSTFLAGS cargo install --quiet --locked cargo-cyclonedx
fi
sboms() { find . -path ./target -prune -o -name release-sbom.json "$@"; }
trap 'sboms -exec rm {} +' EXIT
# The command writes an SBOM next to each manifest. The release needs only the SBOM of the program, without the paths of
# this machine.
SOURCE_DATE_EPOCH=$committed cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$1" --override-filename release-sbom
sed "s#file://$PWD/#file:///#g" runtime/release-sbom.json >"$files/ingest-host-$version.cdx.json"
sboms -exec rm {} +
python3 scripts/licenses.py "$files/ingest-host-$version.cdx.json" >"$build/THIRD-PARTY-LICENSES.txt"

say "plugins"
cargo build --locked --release -p clean -p alarms --target wasm32-wasip2

for target in "$@"; do
    say "ingest-host for $target"
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
        rustup target add "$target"
    fi
    case $target in
    *-musl) export "CC_${target//-/_}=musl-gcc" ;;
    esac
    cargo build --locked --release -p ingest-host --bin ingest-host --target "$target"

    name=ingest-host-$version-$target
    staged=$build/$name
    rm -rf "$staged"
    mkdir -p "$staged/plugins"
    cp "$build/$target/release/ingest-host" LICENSE CHANGELOG.md "$build/THIRD-PARTY-LICENSES.txt" "$staged"
    cp "$build"/wasm32-wasip2/release/{clean,alarms}.wasm "$staged/plugins"

    say "try $name"
    program=$staged/ingest-host
    "$program" --version
    glibc=$({ grep -ao 'GLIBC_[0-9.]*[0-9]' "$program" || true; } | sort -uV | tail -n 1)
    echo "needs ${glibc:-no glibc: it is static}"
    tried=$build/tried
    rm -rf "$tried"
    mkdir "$tried"
    printf 'id,name\n1,Oulu\n2,Vienna\n' >"$tried/in.csv"
    "$program" ingest "$tried/in.csv" --plugin "$staged/plugins/clean.wasm" --output "$tried/out"

    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$committed" -C "$build" -cf - "$name" |
        gzip -9n >"$files/$name.tar.gz"
done

say "crates"
# In this output, `publish = false` is an empty list.
crates=$(cargo metadata --locked --no-deps --format-version 1 | python3 -c '
import json, sys
packages = json.load(sys.stdin)["packages"]
print(*(package["name"] for package in packages if package["publish"] != []))')
if [ -z "$crates" ]; then
    echo "NOT PACKAGED: no crate may be published (publish = false in Cargo.toml)"
else
    rm -rf "$build/package"
    # shellcheck disable=SC2046
    set -- $(printf -- '-p %s ' $crates)
    cargo publish --dry-run --locked "$@"
    # The dry run also builds the crates, but the location of its files is not documented.
    cargo package --quiet --no-verify --locked "$@"
    cp "$build"/package/*.crate "$files"
fi

say "checksums"
(cd "$files" && sha256sum -- * >"$build/SHA256SUMS" && mv "$build/SHA256SUMS" . && sha256sum --check --quiet SHA256SUMS)
cat "$files/SHA256SUMS"
ls -l "$files"
echo "All of it is in $files. $build has the builds, and can go."
