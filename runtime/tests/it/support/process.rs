//! Runs a test in a process of its own, and measures the memory of processes.

use std::process::Command;

const IS_OWN: &str = "INGEST_HOST_TEST_HAS_ITS_OWN_PROCESS";

/// Returns true if this process runs only the calling test. If it runs other tests, too, this function runs the calling
/// test in a process of its own, and returns false when the test has passed there.
///
/// A test needs this if it measures its whole process, or the peak memory of a program that it starts. Until the
/// started program is loaded, the kernel counts the memory of the parent process as the program's memory.
#[track_caller]
pub(crate) fn is_own() -> bool {
    if std::env::var_os(IS_OWN).is_some() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().expect("libtest names the thread after the test");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(IS_OWN, "1")
        .output()
        .expect("this program runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test} in a process of its own: {}\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Returns the peak memory of a process so far, in bytes.
pub(crate) fn peak_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.expect("a peak").trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") << 10
}
