//! Parses `RUST_LOG`. The text goes in, and a filter for log lines comes out.

use tracing_subscriber::filter::Targets;

use crate::plugin::LOG_TARGET;
use crate::telemetry::log::FAILURE;

/// The targets that a filter may name: the crates that log, the crates that people expect to log, and the targets of
/// this program.
const TARGETS: &[&str] = &[
    "cranelift_codegen",
    "cranelift_frontend",
    FAILURE,
    "h2",
    "hyper",
    "hyper_util",
    "ingest_host",
    "jiff",
    "jiff_core",
    LOG_TARGET,
    "mio",
    "object_store",
    "pulley_interpreter",
    "redis",
    "regalloc2",
    "reqwest",
    "rustls",
    "rustls_platform_verifier",
    "tokio",
    "tower",
    "wasmtime",
    "wasmtime_environ",
    "wasmtime_internal_cranelift",
    "wasmtime_internal_unwinder",
    "wasmtime_wasi",
    "wasmtime_wasi_io",
    "wit_parser",
];

/// Parses a filter: `LEVEL` or `TARGET=LEVEL,...`. A word that is neither a level nor a known target is an error.
/// Without this check, a mistyped level would count as a target, and all other log lines, including errors, would be
/// silenced.
pub(super) fn parse(text: &str) -> Result<Targets, String> {
    let targets: Targets = text.parse().map_err(|error| format!("{error}"))?;
    let unknown = targets.iter().find_map(|(target, _)| {
        let name = target.split(':').next().unwrap_or_default();
        (!TARGETS.contains(&name)).then(|| target.to_owned())
    });
    match unknown {
        Some(target) => Err(format!("{target:?} is neither a level nor a target")),
        None => Ok(targets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_no_target() {
        for text in [
            "debug",
            "WARN",
            "off",
            "3",
            "warn,plugin=debug",
            "plugin",
            "failure=off,plugin=info",
            "ingest_host::worker=trace,info",
            "hyper_util=debug",
            "info,hyper=warn",
        ] {
            parse(text).expect(text);
        }
        for text in [
            "inof",
            "dbug",
            "warm",
            "wran,plugin=debug",
            "info,plugins=debug",
            "plugin=loud",
            "ingest-host=debug",
            "plugin_host",
        ] {
            parse(text).expect_err(text);
        }
    }

    /// If a new dependency logs, the filter must know it.
    #[test]
    fn every_crate_that_logs_is_a_target() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        let lock = std::fs::read_to_string(lock).expect("the workspace's lock file");
        let mut found = 0;
        for package in lock.split("[[package]]").skip(1) {
            let name = package
                .lines()
                .find_map(|line| line.strip_prefix("name = "))
                .expect("a name");
            let name = name.trim_matches('"').replace('-', "_");
            let logs = package
                .lines()
                .any(|line| matches!(line.trim(), "\"log\"," | "\"tracing\","));
            // These crates are not in the program: they are for other systems, or for tests.
            let elsewhere = [
                "iana_time_zone",
                "jni",
                "s3s",
                "s3s_fs",
                "tracing_error",
                "wit_component",
            ];
            if logs && !elsewhere.contains(&&*name) {
                assert!(TARGETS.contains(&&*name), "{name}");
                found += 1;
            }
        }
        assert!(found > 10, "{found}");
    }
}
