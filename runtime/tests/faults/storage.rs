//! Rows about outputs that cannot be written.

use std::path::PathBuf;

use crate::Scale;
use crate::bed::{Bed, QUEUE};
use crate::crew::unshare;

/// An input whose output is larger than the file system of the row: 8 MiB.
const MANY: usize = 125_000;
const FEW: usize = 100;

/// Runs the cases that need a file system of their own in a mount namespace. Containers often may not make one, so the
/// slice does without; the whole suite does not.
pub(crate) fn bad_output(scale: &Scale) -> String {
    if !may_mount() {
        let needed = "NOT TRIED: a full and a read-only file system, which need root or user namespaces";
        assert!(!scale.is_full, "{needed}");
        return format!("{needed}; {}", removed());
    }
    [full(), read_only(), removed()].join("; ")
}

fn may_mount() -> bool {
    let tried = unshare().args(["sh", "-c", "mount -t tmpfs none /mnt"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// The output's file system has 8 MiB, and each output more: tried again, nothing under a final name, and done when there is room.
fn full() -> String {
    let mut bed = Bed::on_redis(&[], MANY);
    bed.submit(2);
    std::fs::create_dir(bed.host.path("out")).unwrap();
    let worker = bed.worker_in_mount("mount -t tmpfs -o size=8m none out", "");
    bed.wait_until("both to be tried again", |_| {
        worker.log().matches("failed, will be tried again").count() >= 2
    });
    let log = worker.log();
    assert!(log.contains("No space left on device"), "{log}");
    assert_eq!(bed.count("dead"), 0, "room may come back");
    let left = worker.files("out");
    let is_hidden =
        |path: &PathBuf| path.to_string_lossy().contains("/.staging/") || path.ends_with(".output-id");
    assert!(left.iter().all(is_hidden), "{left:?}");
    drop(worker);
    // The file system is gone with its worker, and with it what that one may have published.
    let other = bed.worker(None, "--move-output", None);
    bed.wait_for_all();
    other.stop();
    bed.check();
    "a full file system: retried, no final name, done when there was room".into()
}

/// The output's file system can only be read: the worker refuses to start, and one at work gives its requests up.
fn read_only() -> String {
    let mut bed = Bed::on_redis(&[], FEW);
    bed.submit(4);
    std::fs::create_dir(bed.host.path("out")).unwrap();
    let mut worker = bed.worker_in_mount("mount -t tmpfs none out && mount -o remount,ro out", "");
    assert_eq!(worker.wait(), Some(1), "{}", worker.log());
    assert!(worker.log().contains("Read-only file system"), "{}", worker.log());
    assert_eq!(
        bed.count("ready"),
        4,
        "a worker that cannot write takes no request"
    );
    drop(worker);

    let worker = bed.worker_in_mount("mount -t tmpfs none out", "");
    bed.wait_until("the first ones to be done", |bed| bed.count("done") == 4);
    worker.run("mount -o remount,ro out");
    let refused = bed.next_inputs(1);
    let output = crate::bed::submit_command(&bed.host, &refused).output().unwrap();
    assert!(output.status.success());
    bed.wait_until("a dead letter", |bed| bed.count("dead") == 1);
    let letters = bed.host.run(&format!("dead list --queue {QUEUE} --json")).json();
    assert!(
        letters[0]["error"]
            .as_str()
            .unwrap()
            .contains("Read-only file system"),
        "{letters:?}"
    );
    "a read-only one: refused at the start, later a dead letter that says so".into()
}

/// The folder goes while a worker is at work, and comes back by itself.
fn removed() -> String {
    let mut bed = Bed::on_redis(&[], FEW);
    bed.submit(4);
    let worker = bed.worker(None, "", None);
    bed.wait_until("the first ones to be done", |bed| bed.count("done") == 4);
    std::fs::remove_dir_all(bed.host.path("out")).unwrap();
    bed.accepted.clear();
    bed.submit(20);
    bed.wait_until("the others to be done", |bed| bed.count("done") == 24);
    worker.stop();
    bed.check_audit();
    assert_eq!(bed.check_output(), bed.accepted.keys().cloned().collect());
    "a removed one: created again".into()
}
