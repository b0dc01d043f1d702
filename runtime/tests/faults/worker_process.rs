//! Starts, kills, suspends and inspects workers that run as processes.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::host::Host;
use crate::support::process::{is_suspended, peak_bytes, send_signal};
use crate::time_limit;

/// The pause between two looks at a worker that is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A worker process whose log is written to a file. Dropping this value kills the worker.
pub(crate) struct WorkerProcess {
    child: Child,
    log: PathBuf,
}

impl WorkerProcess {
    pub(crate) fn start(mut command: Command, host: &Host) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NUMBER: AtomicUsize = AtomicUsize::new(0);

        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = host.path(&format!("worker-{number}.log"));
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills the worker with SIGKILL, so it cannot clean up.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Runs a shell command in the mount namespace of the worker.
    pub(crate) fn run(&self, command: &str) {
        let mut enter = Command::new("nsenter");
        enter
            .arg("--target")
            .arg(self.child.id().to_string())
            .arg("--mount");
        if !rustix::process::geteuid().is_root() {
            enter.args(["--user", "--preserve-credentials"]);
        }
        let folder = self.log.parent().unwrap();
        let entered = enter.arg(format!("--wdns={}", folder.display()));
        assert!(
            entered.args(["sh", "-c", command]).status().unwrap().success(),
            "{command}"
        );
    }

    /// Returns the files that the worker sees in a folder.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        let folder = root.join(self.log.parent().unwrap().join(folder).strip_prefix("/").unwrap());
        let mut files = Vec::new();
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { &mut folders } else { &mut files }.push(path);
            }
        }
        files
    }

    /// Returns the worker's peak memory in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        peak_bytes(self.child.id()) >> 20
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Returns true if the worker's process is suspended.
    pub(crate) fn stands_still(&self) -> bool {
        is_suspended(self.child.id())
    }

    /// Waits until the worker ends, and returns its exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return ended.code();
            }
            time_limit::check(|| format!("waits for the end of a worker, whose log is {}", self.log()));
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Resumes the worker whenever it is suspended, until it ends.
    pub(crate) fn wake_until_it_ends(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            if self.stands_still() {
                self.signal("CONT");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Asks the worker to stop, and waits until it has ended.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.wait(), Some(0), "{}", self.log());
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a command that creates a mount namespace. The caller adds the program that runs in the namespace. Without
/// root, the command also creates a user namespace.
pub(crate) fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--mount");
    command
}
