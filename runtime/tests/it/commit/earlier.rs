//! Tests that this version shares an output folder with version 0.1.0: it finds the files of that version, and of all
//! attempts at a request only one commits, even if they belong to workers of both versions.

use std::os::unix::fs::symlink;

use ingest_host::error::Code;
use ingest_host::storage::{Artifact, Concluded, LocalStorage, Published, Storage};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

/// Creates the receipt of a request in the same way as version 0.1.0. Returns whether there was none.
fn create_like_0_1_0(fixture: &CommitFixture, id: &str, text: &str) -> bool {
    let staging = fixture.path(".staging");
    fs::create_dir_all(&staging).unwrap();
    let staged = staging.join(format!("{:032x}.receipt", fastrand::u128(..)));
    fs::write(&staged, text).unwrap();
    let path = fixture.path("orders/receipts").join(format!("{id}.json"));
    match renameat_with(CWD, &staged, CWD, &path, RenameFlags::NOREPLACE) {
        Ok(()) => true,
        Err(rustix::io::Errno::EXIST) => {
            fs::remove_file(staged).unwrap();
            false
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Creates the receipt of a request, which has none, for the output `orders/day-1.csv` in the same way as version 0.1.0.
fn commit_like_0_1_0(fixture: &CommitFixture, id: &str) {
    let text = text(fixture, "orders/day-1.csv");
    assert!(create_like_0_1_0(fixture, id, &text), "{id} had no receipt");
}

/// Returns the text of a receipt of the tests' request, whose output has this path and the bytes `a\n`.
fn text(fixture: &CommitFixture, output: &str) -> String {
    let digest = digest(b"a\n");
    let receipt = receipt(
        1,
        &Published {
            output: Artifact {
                uri: fixture.uri(output),
                bytes: digest.bytes,
                sha256: digest.sha256,
            },
            rejects: None,
        },
    );
    serde_json::to_string(&receipt).unwrap()
}

/// Returns a fixture in which version 0.1.0 has committed the request.
fn committed_by_0_1_0() -> CommitFixture {
    let fixture = CommitFixture::new();
    fs::create_dir_all(fixture.path("orders/receipts")).unwrap();
    fs::write(fixture.path("orders/day-1.csv"), "a\n").unwrap();
    commit_like_0_1_0(&fixture, ID);
    fixture
}

fn is_moved(fixture: &CommitFixture) {
    assert!(fixture.path("orders/receipts").is_symlink());
    assert_eq!(
        fs::read_link(fixture.path("orders/receipts")).unwrap(),
        Path::new("../_ingest/orders/receipts")
    );
    assert!(!fixture.path("_ingest/orders/receipts").is_symlink());
}

#[test]
fn a_request_that_0_1_0_has_committed_is_done() {
    let fixture = committed_by_0_1_0();
    let storage = fixture.destination.storage();
    let found = storage.committed("orders", ID, "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(found, Some(fixture.receipt()));
    is_moved(&fixture);
    let again = fixture.commit(2, b"b\n").unwrap();
    assert_eq!(again, Committed::Existing(fixture.receipt()));

    // The commit and the end of a request move the receipts, too.
    let fixture = committed_by_0_1_0();
    assert!(matches!(fixture.commit(2, b"b\n"), Ok(Committed::Existing(_))));
    is_moved(&fixture);
    let fixture = committed_by_0_1_0();
    let concluded = fixture.destination.storage().conclude(ended(1, "dead"));
    assert!(matches!(concluded, Ok(Concluded::Committed(_))), "{concluded:?}");
    is_moved(&fixture);
    assert_eq!(fs::read(fixture.path("orders/day-1.csv")).unwrap(), b"a\n");
}

#[test]
fn a_late_attempt_of_0_1_0_and_a_new_one_never_both_commit() {
    // The attempt of 0.1.0 has opened its folder before this version moves it.
    let fixture = CommitFixture::new();
    fs::create_dir_all(fixture.path("orders/receipts")).unwrap();
    fixture.commit(2, b"b\n").unwrap();
    assert!(!create_like_0_1_0(&fixture, ID, "{}"));
    assert_eq!(fixture.receipt().attempt.fence, 2);

    // The attempt of 0.1.0 is the faster one.
    let fixture = CommitFixture::new();
    fs::create_dir_all(fixture.path("orders/receipts")).unwrap();
    let committed = commit::publish(fixture.seal(2, b"b\n", b"r\n"), ID, |published| {
        let of_0_1_0 = text(&fixture, "orders/day-1.5.csv");
        fs::write(fixture.path("orders/day-1.5.csv"), "a\n").unwrap();
        assert!(create_like_0_1_0(&fixture, ID, &of_0_1_0));
        receipt(2, published)
    });
    assert!(matches!(committed, Ok(Committed::Existing(_))), "{committed:?}");
    assert_eq!(fixture.receipt().attempt.fence, 1);
    assert_eq!(
        fixture.visible_files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.5.csv"],
        "the new attempt has removed its files"
    );
}

/// Checks a queue that this version has served before the first worker of 0.1.0 is started. That worker creates its own
/// folder for receipts.
#[test]
fn a_worker_of_0_1_0_that_begins_later_is_found_out() {
    let fixture = CommitFixture::new();
    let sealed = fixture.seal(1, b"b\n", b"");
    fs::create_dir_all(fixture.path("orders/receipts")).unwrap();
    commit_like_0_1_0(&fixture, ID);
    let error = publish(sealed, 1).expect_err("another folder has receipts");
    assert_eq!(
        (error.class(), error.code()),
        (Class::Transient, Code::OutputUnwritable),
        "{error}"
    );
    assert_eq!(fixture.visible_files(), ["orders/receipts/day-1.json"]);
    // The next attempt moves the receipts.
    assert!(matches!(fixture.commit(2, b"b\n"), Ok(Committed::Existing(_))));
    is_moved(&fixture);
}

#[test]
fn of_two_receipts_that_exist_already_the_new_one_counts() {
    let fixture = CommitFixture::new();
    fixture.commit(2, b"b\n").unwrap();
    let own = fixture.receipt();
    fs::create_dir_all(fixture.path("orders/receipts")).unwrap();
    for id in [ID, "day-2"] {
        commit_like_0_1_0(&fixture, id);
    }
    fixture.seal(3, b"", b"");
    is_moved(&fixture);
    assert_eq!(fixture.receipt(), own);
    let mut names = fs::read_dir(fixture.path("_ingest/orders/receipts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect::<Vec<_>>();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!((&*names[0], &*names[2]), ("day-1.json", "day-2.json"));
    assert!(names[1].starts_with("day-1.json~"), "{names:?}");
}

/// Lets many workers of both versions create receipts while the folder of the receipts moves. At each moment, workers of
/// 0.1.0 must find their folder.
#[test]
fn workers_of_both_versions_that_begin_at_once_share_the_receipts() {
    for _ in 0..20 {
        let fixture = CommitFixture::new();
        fs::create_dir_all(fixture.path("orders/receipts")).unwrap();
        let (workers, ids) = (4, 8);
        let barrier = Barrier::new(2 * workers);
        let created = std::thread::scope(|scope| {
            let all = Vec::from_iter((0..2 * workers).map(|worker| {
                let (fixture, barrier) = (&fixture, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut created = Vec::new();
                    let storage = LocalStorage::new(fixture.path(""), None);
                    for id in (0..ids).map(|id| format!("day-{id}")) {
                        let is_mine = if worker % 2 == 0 {
                            create_like_0_1_0(fixture, &id, "{}")
                        } else {
                            loop {
                                let mut attempt =
                                    storage.begin(owner(&id, worker as u64), Format::Csv).unwrap();
                                attempt.output().write_all(id.as_bytes()).unwrap();
                                let committed = commit::publish(attempt.seal().unwrap(), &id, |published| {
                                    receipt(worker as u64, published)
                                });
                                match committed {
                                    Ok(committed) => break matches!(committed, Committed::New(_)),
                                    Err(error) if error.code() == Code::OutputDamaged => break false,
                                    Err(error) => assert_ne!(error.class(), Class::Permanent, "{error}"),
                                }
                            }
                        };
                        created.extend(is_mine.then_some(id));
                    }
                    created
                })
            }));
            let all = all.into_iter().map(|worker| worker.join().unwrap());
            all.flatten().collect::<Vec<_>>()
        });
        let mut once = created.clone();
        once.sort();
        once.dedup();
        assert_eq!((created.len(), once.len()), (ids, ids), "{created:?}");
        fixture.seal(1, b"", b"");
        is_moved(&fixture);
        assert_eq!(
            fs::read_dir(fixture.path("_ingest/orders/receipts"))
                .unwrap()
                .count(),
            ids
        );
    }
}

#[test]
fn rejects_of_0_1_0_are_found() {
    let fixture = CommitFixture::new();
    let place = fixture.path("rejects/orders");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("day-1.rejects.csv"), "r\n").unwrap();
    let has = |storage: &dyn Storage, bytes: &[u8]| {
        let uri = fixture.uri("rejects/orders/day-1.rejects.csv");
        storage
            .has_bytes("orders", FileRole::Rejects, &uri, &digest(bytes))
            .unwrap()
    };
    let storage = fixture.destination.storage();
    assert_eq!(has(storage, b"r\n"), Some(true));
    assert_eq!(has(storage, b"other\n"), Some(false));
    let elsewhere = LocalStorage::new(fixture.path(""), Some(fixture.path("bad")));
    assert_eq!(has(&elsewhere, b"r\n"), None);
}

#[test]
fn staged_files_of_0_1_0_are_reaped() {
    let fixture = CommitFixture::new();
    fixture.seal(1, b"", b"");
    let staged = [".staging", ".staging/fences", "rejects/.staging"].map(|folder| {
        fs::create_dir_all(fixture.path(folder)).unwrap();
        let path = fixture.path(folder).join("0123.output");
        fs::write(&path, "").unwrap();
        path
    });
    let storage = fixture.destination.storage();
    assert_eq!(storage.reap(Duration::from_secs(3_600), &[]).unwrap(), 0);
    assert_eq!(storage.reap(Duration::ZERO, &[]).unwrap(), 3);
    assert!(staged.iter().all(|path| !path.exists()));
}

#[test]
fn an_id_at_the_earlier_place_stays_the_id() {
    let fixture = CommitFixture::new();
    fs::create_dir_all(fixture.path("")).unwrap();
    fs::write(fixture.path(".output-id"), "known\n").unwrap();
    let storage = fixture.destination.storage();
    assert_eq!(storage.identity().unwrap(), "known");
    assert_eq!(fs::read(fixture.path("_ingest/output-id")).unwrap(), b"known\n");
}

/// Checks folders that somebody has replaced by links.
#[test]
fn links_to_folders_of_0_1_0_are_followed() {
    // The folder of the queue is a link.
    let fixture = CommitFixture::new();
    let elsewhere = fixture.folder.path().join("elsewhere/deep");
    fs::create_dir_all(elsewhere.join("receipts")).unwrap();
    fs::create_dir_all(fixture.path("")).unwrap();
    symlink(&elsewhere, fixture.path("orders")).unwrap();
    commit_like_0_1_0(&fixture, ID);
    assert!(matches!(fixture.commit(2, b"b\n"), Ok(Committed::Existing(_))));
    assert!(!create_like_0_1_0(&fixture, ID, "{}"));

    // The folder of the receipts is a link.
    let fixture = CommitFixture::new();
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir_all(fixture.path("orders")).unwrap();
    symlink(&elsewhere, fixture.path("orders/receipts")).unwrap();
    fixture.commit(2, b"b\n").unwrap();
    assert!(elsewhere.join("day-1.json").exists());
    assert!(!create_like_0_1_0(&fixture, ID, "{}"));
    // Another place that has receipts already is not replaced.
    fs::remove_file(fixture.path("orders/receipts")).unwrap();
    symlink(fixture.folder.path(), fixture.path("orders/receipts")).unwrap();
    let storage = fixture.destination.storage();
    let error = storage.begin(owner(ID, 3), Format::Csv).expect_err("two folders");
    assert_eq!(
        (error.class(), error.code()),
        (Class::Permanent, Code::OutputFolder),
        "{error}"
    );
}
