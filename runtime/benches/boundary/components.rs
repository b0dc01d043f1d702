//! Builds the components of the guests. Takes the names of packages, and returns the paths of component files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Builds the benchmark's guest.
pub(crate) fn guest() -> PathBuf {
    // These are the packages that the tests build (`component` in tests/it/support/host.rs), and the guest.
    build(
        &["clean", "alarms", "by-hand", "hostile", "boundary-guest"],
        |_| {},
    )
    .join("boundary_guest.wasm")
}

/// Builds the benchmark's guest with 128-bit vectors.
pub(crate) fn guest_with_simd128() -> PathBuf {
    let folder = build(&["boundary-guest"], |cargo| {
        // With other compiler flags, the build needs a target folder of its own. In one folder, each of the two builds
        // would make cargo compile the other one again.
        cargo
            .arg("--target-dir")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("simd128"))
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+simd128");
    });
    folder.join("boundary_guest.wasm")
}

/// Builds the plugin `alarms`.
pub(crate) fn alarms() -> PathBuf {
    guest().with_file_name("alarms.wasm")
}

/// Builds packages, and returns the folder that contains their components.
fn build(packages: &[&str], set: impl FnOnce(&mut Command)) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    for package in packages {
        cargo.args(["-p", package]);
    }
    set(&mut cargo);
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "the guests do not build; if the target is missing: rustup target add wasm32-wasip2"
    );
    let component = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message["filenames"][0].as_str()?)))
        .find(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    component
        .expect("cargo names the components")
        .parent()
        .expect("a folder")
        .to_owned()
}
