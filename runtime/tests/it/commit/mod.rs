//! Tests the commit: a published output is complete and never changes, even if other attempts try to publish.

mod attempts;
mod earlier;
mod folders;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use ingest_host::commit::{self, Committed, Destination};
use ingest_host::encode::RejectWriter;
use ingest_host::error::{Class, Error, Result, Stage};
use ingest_host::format::Format;
use ingest_host::receipt::{Receipt, RejectsPart};
use ingest_host::record::Position;
use ingest_host::storage::{Attempt, EndedRequest, FileRole, Owner, SealedAttempt};

use crate::support::inputs::digest;
use crate::support::receipts::{ID, receipt};

const QUEUE: Option<&str> = Some("orders");

/// A temporary folder that contains the destination `out`.
struct CommitFixture {
    folder: tempfile::TempDir,
    destination: Destination,
}

impl CommitFixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let destination = Destination::new(folder.path().join("out").to_str().unwrap(), None).unwrap();
        Self { folder, destination }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("out").join(path)
    }

    fn uri(&self, path: &str) -> String {
        format!("file://{}", self.path(path).display())
    }

    /// Begins an attempt at the request [`ID`].
    fn begin(&self, fence: u64) -> Result<Box<dyn Attempt>> {
        self.destination.storage().begin(owner(ID, fence), Format::Csv)
    }

    fn seal(&self, fence: u64, output: &[u8], rejects: &[u8]) -> Box<dyn SealedAttempt> {
        self.seal_as(owner(ID, fence), output, rejects)
    }

    fn seal_as(&self, owner: Owner, output: &[u8], rejects: &[u8]) -> Box<dyn SealedAttempt> {
        let mut staging = self.destination.storage().begin(owner, Format::Csv).unwrap();
        staging.output().write_all(output).unwrap();
        if !rejects.is_empty() {
            staging.rejects().unwrap().write_all(rejects).unwrap();
        }
        staging.seal().unwrap()
    }

    /// Stages, publishes and commits the output of one attempt.
    fn commit(&self, fence: u64, output: &[u8]) -> Result<Committed> {
        publish(self.seal(fence, output, b""), fence)
    }

    /// Returns the names of all files, including hidden ones.
    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, root: &Path, files: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&path, root, files),
                    false => files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
                }
            }
        }
        let (mut files, root) = (Vec::new(), self.path(""));
        walk(&root, &root, &mut files);
        files.sort();
        files
    }

    /// Returns the names of outputs, rejects and receipts.
    fn visible_files(&self) -> Vec<String> {
        let mut files = self.files();
        let is_visible = |file: &str| {
            let is_link = self.path(file).is_symlink();
            !is_link && !file.starts_with("_ingest/")
                || file.contains("/receipts/")
                || file.contains("/rejects/")
        };
        files.retain(|file| is_visible(file));
        files
    }

    fn receipt(&self) -> Receipt {
        Receipt::read(&fs::read(self.path("_ingest/orders/receipts/day-1.json")).unwrap()).unwrap()
    }
}

/// Returns the owner of the staged files of one attempt.
fn owner(id: &str, fence: u64) -> Owner {
    Owner {
        queue: QUEUE.map(Into::into),
        id: Some(id.into()),
        fence,
        ..Owner::default()
    }
}

/// Returns the request of the tests, whose life `life_ms` is to end in this state.
fn ended(life_ms: i64, state: &str) -> EndedRequest<'_> {
    EndedRequest {
        queue: "orders",
        id: ID,
        submitted_at: "2026-01-01T00:00:00Z",
        life_ms,
        state,
        worker: "w",
    }
}

/// Publishes the sealed files of one attempt and creates its receipt.
fn publish(sealed: Box<dyn SealedAttempt>, fence: u64) -> Result<Committed> {
    commit::publish(sealed, ID, |published| receipt(fence, published))
}

/// Publishes an attempt at another request that has the same id. This happens if the queue's server has lost its data.
fn publish_other(sealed: Box<dyn SealedAttempt>, fence: u64) -> Result<Committed> {
    commit::publish(sealed, ID, |published| {
        let mut receipt = receipt(fence, published);
        receipt.request.submitted_at = format!("2026-02-01T00:00:{fence:02}Z");
        receipt
    })
}

#[test]
fn output_rejects_and_receipt_appear_under_their_names() {
    let fixture = CommitFixture::new();
    let output: Vec<u8> = (0..100_000)
        .flat_map(|n| format!("{n},x\n").into_bytes())
        .collect();
    let mut rejects = Vec::new();
    let position = Position {
        record: 1,
        line: 2,
        offset: 3,
    };
    RejectWriter::default()
        .append(&mut rejects, position, "bad-id", "id is empty", b",x")
        .unwrap();
    let mut staging = fixture.begin(1).unwrap();
    // Some writes are smaller than the buffer, and some are larger.
    let (mut rest, mut size) = (output.as_slice(), 1);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        staging.output().write_all(piece).unwrap();
        (rest, size) = (after, size * 8);
    }
    assert_eq!(staging.output().bytes(), output.len() as u64);
    staging.rejects().unwrap().write_all(&rejects).unwrap();
    let sealed = staging.seal().unwrap();
    assert_eq!(
        (
            sealed.digest(FileRole::Output).cloned().unwrap(),
            sealed.digest(FileRole::Rejects).cloned(),
        ),
        (digest(&output), Some(digest(&rejects)))
    );

    let Committed::New(receipt) = publish(sealed, 7).unwrap() else {
        panic!("there was no receipt");
    };
    assert_eq!(receipt, fixture.receipt());
    assert_eq!(receipt.outputs[0].uri, fixture.uri("orders/day-1.csv"));
    assert_eq!(receipt.outputs[0].sha256, digest(&output).sha256);
    assert_eq!(
        receipt.rejects.uri,
        Some(fixture.uri("_ingest/orders/rejects/day-1.rejects.csv"))
    );
    let files = [
        "_ingest/orders/receipts/day-1.json",
        "_ingest/orders/rejects/day-1.rejects.csv",
        "orders/day-1.csv",
    ];
    assert_eq!(fixture.files(), files);
    assert_eq!(fs::read(fixture.path(files[2])).unwrap(), output);
    assert_eq!(fs::read(fixture.path(files[1])).unwrap(), rejects);
}

#[test]
fn without_rejects_there_is_no_file_of_them() {
    let fixture = CommitFixture::new();
    let mut staging = fixture.begin(1).unwrap();
    staging.rejects().unwrap().write_all(b"").unwrap();
    let sealed = staging.seal().unwrap();
    assert_eq!(
        (
            sealed.digest(FileRole::Output).cloned().unwrap(),
            sealed.digest(FileRole::Rejects).cloned(),
        ),
        (digest(b""), None)
    );
    publish(sealed, 1).unwrap();
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
    assert_eq!(fixture.receipt().rejects, RejectsPart::default());
}

#[test]
fn what_is_not_published_leaves_nothing() {
    let fixture = CommitFixture::new();
    let mut staging = fixture.begin(1).unwrap();
    staging.output().write_all(&[b'x'; 1 << 20]).unwrap();
    staging.rejects().unwrap().write_all(b"x").unwrap();
    assert_eq!(fixture.files().len(), 2);
    drop(staging);
    drop(fixture.seal(1, b"a\n", b"b\n"));
    assert_eq!(fixture.files(), [""; 0]);
}

#[test]
fn a_staged_file_that_changed_is_not_published() {
    let fixture = CommitFixture::new();
    let sealed = fixture.seal(1, b"a\n", b"");
    let staged = fixture.files().remove(0);
    fs::write(fixture.path(&staged), "").unwrap();
    let error = publish(sealed, 1).expect_err("truncated");
    assert!(
        error.to_string().ends_with("has 0 bytes, but 2 were written"),
        "{error}"
    );
    assert_eq!(fixture.files(), [""; 0]);
}

#[test]
fn abandoned_staging_is_reaped_and_nothing_else() {
    let fixture = CommitFixture::new();
    assert_eq!(
        fixture.destination.storage().reap(Duration::ZERO, &[]).unwrap(),
        0,
        "before there is anything"
    );
    fixture.commit(1, b"a\n").unwrap();
    let mut staging = fixture.begin(1).unwrap();
    staging.rejects().unwrap().write_all(b"x").unwrap();
    std::mem::forget(staging);
    assert_eq!(
        fixture
            .destination
            .storage()
            .reap(Duration::from_secs(3600), &[])
            .unwrap(),
        0
    );
    assert_eq!(
        fixture.destination.storage().reap(Duration::ZERO, &[]).unwrap(),
        2
    );
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
}

/// Checks that the reaper keeps staged files beyond its age limit while any worker runs their request. An attempt that
/// waits for memory can be without a write for hours.
#[test]
fn staging_of_a_request_at_work_is_kept_for_all_workers() {
    let fixture = CommitFixture::new();
    let mut keys = Vec::new();
    let _staged = ["day-2", ID].map(|id| {
        let mut staging = fixture
            .destination
            .storage()
            .begin(owner(id, 2), Format::Csv)
            .unwrap();
        staging.rejects().unwrap().write_all(b"x").unwrap();
        for name in fixture.files() {
            let name = name.rsplit('/').next().unwrap();
            let key = name.split('.').next().unwrap().to_owned();
            if key.len() == 32 && !keys.contains(&key) {
                keys.push(key);
            }
        }
        staging
    });
    assert_eq!(keys.len(), 2);
    // The reaper also keeps the fence files of the request.
    let fences = fixture.path("_ingest/orders/fences");
    fs::create_dir_all(&fences).unwrap();
    for key in &keys {
        fs::write(fences.join(format!("{key}.lock")), "").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(7_200);
    for file in fixture.files() {
        let file = fs::File::open(fixture.path(&file)).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let hour = Duration::from_secs(3_600);
    let (queue, before) = (owner(ID, 2).queue.unwrap(), fixture.files().len());
    assert_eq!(
        fixture.destination.storage().reap(hour, &[(&queue, ID)]).unwrap(),
        3
    );
    let kept = fixture.files();
    assert_eq!(kept.len(), before - 3);
    assert!(kept.iter().any(|name| name.ends_with(".output")), "{kept:?}");
    assert!(kept.iter().any(|name| name.ends_with(".rejects")), "{kept:?}");
    assert!(kept.iter().any(|name| name.ends_with(".lock")), "{kept:?}");
    assert!(kept.iter().all(|name| !name.contains(&keys[0])), "{kept:?}");
    // Another worker does not run this request. It keeps the files, because the first worker's call of `reap` has set
    // their modification times to now.
    assert_eq!(fixture.destination.storage().reap(hour, &[]).unwrap(), 0);
    assert_eq!(fixture.files(), kept);
    assert_eq!(
        fixture.destination.storage().reap(Duration::ZERO, &[]).unwrap(),
        3
    );
}

#[test]
fn staging_in_which_a_file_grows_is_not_reaped() {
    let fixture = CommitFixture::new();
    let mut staging = fixture.begin(1).unwrap();
    let staged = fixture.path(&fixture.files()[0]);
    let long_ago = SystemTime::now() - Duration::from_secs(7_200);
    let hour = Duration::from_secs(3_600);
    let age = || {
        let file = fs::File::open(&staged).unwrap();
        file.set_modified(long_ago).unwrap();
    };
    age();
    staging.output().write_all(&[b'x'; 1 << 20]).unwrap();
    assert_eq!(fixture.destination.storage().reap(hour, &[]).unwrap(), 0);
    assert!(staged.exists());
    age();
    assert_eq!(fixture.destination.storage().reap(hour, &[]).unwrap(), 1);
    assert!(!staged.exists());
}

#[test]
fn a_folder_that_was_removed_or_turned_is_found_out() {
    let fixture = CommitFixture::new();
    fixture.commit(1, b"a\n").unwrap();
    fs::remove_dir_all(fixture.path("")).unwrap();
    fixture.commit(1, b"a\n").unwrap();
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );

    // A link replaces the folder. Later outputs go to the target of the link, and their receipts name the target.
    let elsewhere = fixture.folder.path().canonicalize().unwrap().join("elsewhere");
    fs::rename(fixture.path("orders"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, fixture.path("orders")).unwrap();
    fs::remove_file(fixture.path("_ingest/orders/receipts/day-1.json")).unwrap();
    fixture.commit(2, b"b\n").unwrap();
    let output = elsewhere.join("day-1~2.csv");
    assert_eq!(
        fixture.receipt().outputs[0].uri,
        format!("file://{}", output.display())
    );
    assert_eq!(fs::read(output).unwrap(), b"b\n");
}

#[test]
fn an_output_that_is_another_one_than_at_the_start_is_found_out() {
    let fixture = CommitFixture::new();
    let identity = fixture.destination.storage().identity().unwrap();
    fixture.commit(1, b"a\n").unwrap();
    fixture.destination.storage().check_identity().unwrap();
    // The folder is removed. The same process creates the folder again, with the same id.
    fs::remove_dir_all(fixture.path("")).unwrap();
    fixture.commit(2, b"a\n").unwrap();
    fixture.destination.storage().check_identity().unwrap();
    assert_eq!(
        fs::read_to_string(fixture.path("_ingest/output-id"))
            .unwrap()
            .trim(),
        identity
    );
    // This is the state after a volume with another output has been mounted at the same path.
    fs::remove_dir_all(fixture.path("")).unwrap();
    fs::create_dir_all(fixture.path("_ingest")).unwrap();
    fs::write(fixture.path("_ingest/output-id"), "another\n").unwrap();
    let error = fixture.begin(3).expect_err("another output");
    assert_eq!(error.class(), Class::Transient, "{error}");
    let error = fixture
        .destination
        .storage()
        .check_identity()
        .expect_err("another output");
    // The stage is `Commit` and not `Config`, because the arguments of the worker are not the cause.
    assert_eq!((error.stage(), error.class()), (Stage::Commit, Class::Permanent));
    assert!(
        error
            .to_string()
            .contains("is another output than when this worker started"),
        "{error}"
    );
}

#[test]
fn attempts_that_commit_at_once_share_syncs_and_all_are_there() {
    let fixture = CommitFixture::new();
    let barrier = Barrier::new(16);
    std::thread::scope(|scope| {
        for number in 0..16_u64 {
            let (fixture, barrier) = (&fixture, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..8 {
                    let id = format!("day-{number}-{round}");
                    let sealed = fixture.seal_as(owner(&id, number), id.as_bytes(), b"");
                    let committed = commit::publish(sealed, &id, |published| receipt(number, published));
                    assert!(matches!(committed, Ok(Committed::New(_))), "{committed:?}");
                }
            });
        }
    });
    assert_eq!(fixture.files().len(), 2 * 16 * 8);
}

#[test]
fn a_queue_whose_folder_is_taken_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let check = |rejects: Option<PathBuf>, queue| {
        let rejects = rejects.map(|path| path.to_str().unwrap().to_owned());
        let destination = Destination::new(out.to_str().unwrap(), rejects.as_deref()).unwrap();
        destination.storage().check_queue(queue)
    };
    for (rejects, queue) in [
        (None, "receipts"),
        (None, "rejects"),
        (None, "Receipts"),
        (None, "_ingest"),
        (None, "a/b"),
        (Some(out.join("bad")), "rejects"),
        (Some(out.join("bad")), "bad"),
        (Some(out.clone()), "receipts"),
        (Some(out.clone()), "orders"),
        (Some(folder.path().to_owned()), "out"),
    ] {
        let error = check(rejects, queue).expect_err(queue);
        assert_eq!((error.stage(), error.class()), (Stage::Config, Class::Permanent));
    }
    for (rejects, queue) in [(None, "orders"), (Some(out.join("bad")), "good")] {
        check(rejects, queue).expect(queue);
    }
    assert!(!out.exists(), "a check leaves nothing");
}

#[test]
fn rejects_do_not_go_where_outputs_go() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    for rejects in [out.clone(), out.join("."), link] {
        let destination = Destination::new(out.to_str().unwrap(), rejects.to_str()).unwrap();
        for queue in [None, QUEUE] {
            let error = destination
                .storage()
                .begin(
                    Owner {
                        queue: queue.map(Into::into),
                        ..Owner::default()
                    },
                    Format::Csv,
                )
                .expect_err("one folder");
            assert_eq!((error.stage(), error.class()), (Stage::Config, Class::Permanent));
            assert!(error.to_string().contains("a folder of its own"), "{error}");
        }
    }
}

#[test]
fn rejects_may_live_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (output, rejects) = (
        format!("file://{}/o%20ut/", root.display()),
        root.join("re#jects"),
    );
    let destination = Destination::new(&output, rejects.to_str()).unwrap();
    let mut staging = destination
        .storage()
        .begin(Owner::default(), Format::Csv)
        .unwrap();
    staging.output().write_all(b"a\n").unwrap();
    staging.rejects().unwrap().write_all(b"r\n").unwrap();
    publish(staging.seal().unwrap(), 0).unwrap();
    assert_eq!(fs::read(root.join("o ut/day-1.csv")).unwrap(), b"a\n");
    assert_eq!(fs::read(rejects.join("day-1.rejects.csv")).unwrap(), b"r\n");
    let receipt = Receipt::read(&fs::read(root.join("o ut/_ingest/receipts/day-1.json")).unwrap()).unwrap();
    assert_eq!(receipt.outputs[0].uri, format!("{output}day-1.csv"));
    assert_eq!(
        receipt.rejects.uri.unwrap(),
        format!("file://{}/re%23jects/day-1.rejects.csv", root.display())
    );
}

#[test]
fn a_destination_that_cannot_be_is_refused() {
    for (uri, what) in [
        ("s3://bucket/out", "--output s3://bucket/out: is not supported"),
        ("https://u:pw@h/out", "--output https://h/out: is not supported"),
        ("", "--output : not a path"),
        (
            "file:out",
            "--output: file:out: a file: URI takes an absolute path",
        ),
    ] {
        let error = Destination::new(uri, None).expect_err(uri);
        assert_eq!(error.class(), Class::Permanent);
        assert!(error.to_string().starts_with(what), "{error}");
    }
    let fixture = CommitFixture::new();
    for queue in ["../x", "a/b", "", "receipts", "rejects", "_ingest", "_x"] {
        let error = fixture
            .destination
            .storage()
            .begin(
                Owner {
                    queue: Some(queue.into()),
                    ..Owner::default()
                },
                Format::Csv,
            )
            .expect_err(queue);
        assert_eq!((error.stage(), error.class()), (Stage::Config, Class::Permanent));
    }
    let sealed = fixture.seal(1, b"", b"");
    let error = commit::publish(sealed, "../x", |published| receipt(0, published)).expect_err("an id");
    assert_eq!((error.stage(), error.class()), (Stage::Config, Class::Permanent));
}

#[test]
fn a_folder_that_cannot_be_written_to_shows_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let sys = PathBuf::from("/sys/ingest");
    // Root ignores the permissions of a folder, but even root cannot create a folder in sysfs.
    let no_right = ": give the user of this process the right to read and write there";
    for (path, blamed, advice) in [
        (file.clone(), &file, ""),
        (file.join("out"), &file, ""),
        (sys.clone(), &sys, no_right),
    ] {
        let error = Destination::new(path.to_str().unwrap(), None)
            .unwrap()
            .storage()
            .begin(Owner::default(), Format::Csv)
            .expect_err("no folder");
        assert_eq!(
            (error.stage(), error.class()),
            (Stage::Commit, Class::Permanent),
            "{}",
            error.report()
        );
        assert_eq!(
            error.to_string(),
            format!(
                "commit {}: the folder cannot be created{advice}",
                blamed.display()
            )
        );
    }
}
