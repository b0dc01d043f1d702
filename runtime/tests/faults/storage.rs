//! Tests a row of the fault table in docs/reliability.md: outputs that cannot be written.

use std::path::PathBuf;

use crate::Scale;
use crate::fixture::{FaultsFixture, QUEUE};
use crate::worker_process::unshare;

/// The number of records in an input whose output is larger than the row's file system of 8 MiB.
const MANY: usize = 125_000;
const FEW: usize = 100;

/// Runs three cases. Two of them need a file system of their own, so they run in a mount namespace. Many containers do
/// not permit such a namespace. In such a container, the slice skips the two cases, and the whole suite fails.
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

/// Checks a file system of 8 MiB, in which no output has enough space. The requests are retried, and no output gets a
/// final name. Then a worker with enough space does the requests.
fn full() -> String {
    let mut fixture = FaultsFixture::on_redis(&[], MANY);
    fixture.submit(2);
    std::fs::create_dir(fixture.host.path("out")).unwrap();
    let worker = fixture.worker_in_mount("mount -t tmpfs -o size=8m none out", "");
    fixture.wait_until("both to be tried again", |_| {
        worker.log().matches("failed, will be tried again").count() >= 2
    });
    let log = worker.log();
    assert!(log.contains("No space left on device"), "{log}");
    assert_eq!(fixture.count("dead"), 0, "room may come back");
    let left = worker.files("out");
    let is_hidden =
        |path: &PathBuf| path.to_string_lossy().contains("/staging/") || path.ends_with("output-id");
    assert!(left.iter().all(is_hidden), "{left:?}");
    assert!(
        left.iter().any(|path| path.ends_with("_ingest/output-id")),
        "{left:?}"
    );
    drop(worker);
    // The file system existed only in the mount namespace of the killed worker, so all files in it are lost. The next
    // worker has another output folder.
    let other = fixture.worker(None, "--move-output", None);
    fixture.wait_for_all();
    other.stop();
    fixture.check();
    "on a full file system, requests were retried, no file got its final name before there was room, and then the \
     requests were done"
        .into()
}

/// Checks a read-only file system. A worker refuses to start on it. If the file system becomes read-only while a worker
/// runs, the next request becomes a dead letter that names the cause.
fn read_only() -> String {
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    fixture.submit(4);
    std::fs::create_dir(fixture.host.path("out")).unwrap();
    let mut worker = fixture.worker_in_mount("mount -t tmpfs none out && mount -o remount,ro out", "");
    assert_eq!(worker.wait(), Some(1), "{}", worker.log());
    assert!(worker.log().contains("Read-only file system"), "{}", worker.log());
    assert_eq!(
        fixture.count("ready"),
        4,
        "a worker that cannot write takes no request"
    );
    drop(worker);

    let worker = fixture.worker_in_mount("mount -t tmpfs none out", "");
    fixture.wait_until("the first ones to be done", |fixture| fixture.count("done") == 4);
    worker.run("mount -o remount,ro out");
    let refused = fixture.next_inputs(1);
    let output = crate::fixture::submit_command(&fixture.host, &refused)
        .output()
        .unwrap();
    assert!(output.status.success());
    fixture.wait_until("a dead letter", |fixture| fixture.count("dead") == 1);
    let letters = fixture
        .host
        .run(&format!("dead list --queue {QUEUE} --json"))
        .json();
    assert!(
        letters[0]["error"]
            .as_str()
            .unwrap()
            .contains("Read-only file system"),
        "{letters:?}"
    );
    "if the file system is read-only when the worker starts, the worker refuses to start; if it becomes read-only \
     later, the request becomes a dead letter that names the cause"
        .into()
}

/// Checks an output folder that is removed while a worker runs. The worker creates it again.
fn removed() -> String {
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    fixture.submit(4);
    let worker = fixture.worker(None, "", None);
    fixture.wait_until("the first ones to be done", |fixture| fixture.count("done") == 4);
    std::fs::remove_dir_all(fixture.host.path("out")).unwrap();
    fixture.accepted.clear();
    fixture.submit(20);
    fixture.wait_until("the others to be done", |fixture| fixture.count("done") == 24);
    worker.stop();
    fixture.check_audit();
    assert_eq!(fixture.check_output(), fixture.accepted.keys().cloned().collect());
    "if the output folder is removed, the worker creates it again".into()
}
