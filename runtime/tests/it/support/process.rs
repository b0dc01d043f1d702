//! Runs a test in a process of its own, signals and kills processes, and measures their memory.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command};

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

/// Sends the signal with this name, such as `TERM`, to a process.
#[track_caller]
pub(crate) fn send_signal(process: u32, name: &str) {
    let mut kill = Command::new("kill");
    let status = kill.args(["-s", name, &process.to_string()]).status();
    assert!(status.expect("the program `kill`").success(), "{name}");
}

/// Returns true if a signal has suspended the process.
pub(crate) fn is_suspended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program is in parentheses, and can contain some.
    let state = stat.rsplit(") ").next();
    state.is_some_and(|state| state.starts_with('T'))
}

/// A process that is killed when this is dropped, so that a failed test leaves no process behind.
pub(crate) struct KillOnDrop(pub(crate) Child);

impl Deref for KillOnDrop {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for KillOnDrop {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
