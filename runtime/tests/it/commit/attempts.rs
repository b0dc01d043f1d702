//! Tests that exactly one of several attempts at a request counts, however the attempts end. Every other attempt
//! removes the files that it has published, if it can.

use ingest_host::error::Code;
use ingest_host::storage::Concluded;

use super::*;

#[test]
fn the_same_work_is_done_once() {
    let fixture = CommitFixture::new();
    let Committed::New(first) = fixture.commit(1, b"a\n").unwrap() else {
        panic!("there was no receipt");
    };
    for fence in [1, 2] {
        assert_eq!(
            fixture.commit(fence, b"a\n").unwrap(),
            Committed::Existing(first.clone())
        );
    }
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
}

#[test]
fn other_work_under_a_used_id_is_a_conflict_and_changes_nothing() {
    let fixture = CommitFixture::new();
    fixture.commit(1, b"a\n").unwrap();
    let before = fixture.receipt();
    let error = publish_other(fixture.seal(2, b"b\n", b""), 2).expect_err("a conflict");
    assert_eq!((error.stage(), error.class()), (Stage::Commit, Class::Permanent));
    let why = "day-1.json: is a receipt for other work: its output has other bytes: choose another --id, or another --output";
    assert!(error.to_string().ends_with(why), "{error}");
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
    assert_eq!(fs::read(fixture.path("orders/day-1.csv")).unwrap(), b"a\n");
    assert_eq!(fixture.receipt(), before);
}

#[test]
fn what_a_dead_attempt_left_is_not_replaced() {
    let fixture = CommitFixture::new();
    fixture.seal(1, b"", b"");
    fs::write(fixture.path("orders/day-1.csv"), "dead").unwrap();
    let committed = fixture.commit(5, b"a\n").unwrap();
    assert!(matches!(committed, Committed::New(_)), "{committed:?}");
    assert_eq!(
        fixture.receipt().outputs[0].uri,
        fixture.uri("orders/day-1~5.csv")
    );
    assert_eq!(fs::read(fixture.path("orders/day-1~5.csv")).unwrap(), b"a\n");
    assert_eq!(fs::read(fixture.path("orders/day-1.csv")).unwrap(), b"dead");

    // If a file with the same bytes exists, it counts as the attempt's own output.
    let fixture = CommitFixture::new();
    fixture.seal(1, b"", b"");
    fs::write(fixture.path("orders/day-1.csv"), "a\n").unwrap();
    fixture.commit(5, b"a\n").unwrap();
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );

    // A folder or a link with the output's name is treated like a file with other bytes.
    let fixture = CommitFixture::new();
    fixture.seal(1, b"", b"");
    fs::create_dir(fixture.path("orders/day-1.csv")).unwrap();
    fs::write(fixture.path("orders/day-1~5.csv"), "dead too").unwrap();
    let error = fixture.commit(5, b"a\n").expect_err("no name is free");
    assert_eq!(error.class(), Class::Transient);
    assert!(
        error
            .to_string()
            .ends_with("orders/day-1~5.csv: is there already, with other bytes"),
        "{error}"
    );
}

#[test]
fn a_request_is_done_once_even_if_its_plugin_was_swapped_in_between() {
    let fixture = CommitFixture::new();
    let Committed::New(first) = fixture.commit(1, b"before the swap\n").unwrap() else {
        panic!("there was no receipt");
    };
    assert_eq!(
        fixture.commit(2, b"after the swap\n").unwrap(),
        Committed::Existing(first)
    );
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
}

#[test]
fn a_zombie_that_publishes_late_damages_nothing() {
    let fixture = CommitFixture::new();
    // Before the winner starts, the zombie has published only its output.
    let zombie = fixture.seal(1, b"zombie\n", b"zombie's rejects\n");
    fs::write(fixture.path("orders/day-1.csv"), "zombie\n").unwrap();
    let winner = fixture.seal(2, b"winner\n", b"");
    publish(winner, 2).unwrap();
    let receipt = fixture.receipt();
    assert_eq!(receipt.outputs[0].uri, fixture.uri("orders/day-1~2.csv"));

    assert_eq!(publish(zombie, 1).unwrap(), Committed::Existing(receipt.clone()));
    assert_eq!(fixture.receipt(), receipt);
    assert_eq!(fs::read(fixture.path("orders/day-1~2.csv")).unwrap(), b"winner\n");
    // The zombie found the receipt before it could publish its rejects.
    assert_eq!(
        fixture.files(),
        [
            "_ingest/orders/receipts/day-1.json",
            "orders/day-1.csv",
            "orders/day-1~2.csv"
        ]
    );
}

#[test]
fn of_many_attempts_exactly_one_creates_the_receipt() {
    for same in [true, false] {
        let fixture = CommitFixture::new();
        let barrier = Barrier::new(8);
        let results: Vec<_> = std::thread::scope(|scope| {
            let attempts: Vec<_> = (1..=8)
                .map(|fence: u64| {
                    let (fixture, barrier) = (&fixture, &barrier);
                    scope.spawn(move || {
                        let output = if same {
                            "same\n".to_owned()
                        } else {
                            format!("{fence}\n")
                        };
                        let sealed = fixture.seal(fence, output.as_bytes(), output.as_bytes());
                        barrier.wait();
                        if same {
                            publish(sealed, fence)
                        } else {
                            publish_other(sealed, fence)
                        }
                    })
                })
                .collect();
            attempts
                .into_iter()
                .map(|attempt| attempt.join().unwrap())
                .collect()
        });
        let created = results
            .iter()
            .filter(|result| matches!(result, Ok(Committed::New(_))))
            .count();
        assert_eq!(created, 1, "{results:?}");
        // The other attempts found the receipt, or learned that another attempt had taken over. An attempt at another
        // request with the same id gets a conflict.
        let gave_way = |result: &Result<Committed>| match result {
            Ok(Committed::New(_)) => true,
            Ok(Committed::Existing(_)) => same,
            Err(error) => error.class() == Class::LeaseLost || !same && error.class() == Class::Permanent,
        };
        assert!(results.iter().all(gave_way), "{results:?}");
        // No files exist except the receipt and the files that it names.
        let receipt = fixture.receipt();
        let named = [
            receipt.outputs[0].uri.clone(),
            receipt.rejects.uri.clone().unwrap(),
        ];
        let paths = named.map(|uri| PathBuf::from(uri.strip_prefix("file://").unwrap()));
        assert_eq!(
            digest(&fs::read(&paths[0]).unwrap()).sha256,
            receipt.outputs[0].sha256
        );
        assert_eq!(
            Some(digest(&fs::read(&paths[1]).unwrap()).sha256),
            receipt.rejects.sha256
        );
        let mut files = fixture.files();
        files.retain(|file| !file.ends_with(".lock"));
        assert_eq!(files.len(), 3, "{files:?}");
    }
}

/// Makes the creation of a receipt fail.
fn spoil_receipt(fixture: &CommitFixture) {
    fs::remove_dir_all(fixture.path("_ingest/orders/receipts")).unwrap();
}

#[test]
fn without_a_receipt_what_was_published_is_taken_back() {
    let fixture = CommitFixture::new();
    let fail = |sealed: Box<dyn SealedAttempt>| {
        let failed = commit::publish(sealed, ID, |published| {
            assert!(fixture.path("orders/day-1.csv").exists(), "it is published");
            spoil_receipt(&fixture);
            receipt(1, published)
        });
        failed.expect_err("no receipt")
    };
    let error = fail(fixture.seal(1, b"a\n", b"r\n"));
    assert!(
        error.to_string().ends_with("day-1.json: cannot be published"),
        "{error}"
    );
    assert!(!error.leaves_output());
    assert_eq!(fixture.visible_files(), [""; 0]);

    // The attempt must not remove this file, because it existed before the attempt.
    fs::write(fixture.path("orders/day-1.csv"), "a\n").unwrap();
    fail(fixture.seal(2, b"a\n", b""));
    assert_eq!(fixture.visible_files(), ["orders/day-1.csv"]);
}

#[test]
fn what_another_attempt_names_is_not_taken_back() {
    let fixture = CommitFixture::new();
    let failed = commit::publish(fixture.seal(1, b"a\n", b""), ID, |published| {
        // A later attempt finds the name taken, takes over and writes its receipt. Then the earlier attempt
        // continues.
        fixture.commit(2, b"a\n").unwrap();
        receipt(1, published)
    });
    assert_eq!(failed.expect_err("taken over").class(), Class::LeaseLost);
    assert_eq!(fixture.receipt().attempt.fence, 2);
    assert_eq!(
        fixture.files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
}

#[test]
fn an_attempt_that_is_taken_over_from_cannot_commit_at_any_step() {
    let contested = |fence| Owner {
        is_contested: true,
        ..owner(ID, fence)
    };
    let commit_other = |fixture: &CommitFixture| {
        let other = fixture.seal_as(contested(2), b"other\n", b"other's rejects\n");
        assert!(matches!(publish(other, 2), Ok(Committed::New(_))));
    };
    let check = |fixture: &CommitFixture| {
        assert_eq!(fixture.receipt().attempt.fence, 2);
        assert_eq!(fs::read(fixture.path("orders/day-1.csv")).unwrap(), b"other\n");
        let files = [
            "_ingest/orders/receipts/day-1.json",
            "_ingest/orders/rejects/day-1.rejects.csv",
            "orders/day-1.csv",
        ];
        assert_eq!(fixture.files(), files);
    };
    // The first attempt is sealed, but not published, when the second attempt commits.
    let fixture = CommitFixture::new();
    let first = fixture.seal(1, b"first\n", b"");
    commit_other(&fixture);
    assert!(matches!(publish(first, 1), Ok(Committed::Existing(_))));
    check(&fixture);

    // The first attempt has published when the second attempt commits. The second attempt removes the published files.
    let fixture = CommitFixture::new();
    let first = fixture.seal(1, b"first\n", b"first's rejects\n");
    let failed = commit::publish(first, ID, |published| {
        commit_other(&fixture);
        receipt(1, published)
    });
    assert_eq!(failed.expect_err("taken over").class(), Class::LeaseLost);
    check(&fixture);
}

#[test]
fn a_request_that_was_ended_is_not_committed_until_its_next_life() {
    let end = |fixture: &CommitFixture| {
        let ended = fixture.destination.storage().conclude(ended(5, "cancelled"));
        assert_eq!(ended.unwrap(), Concluded::Ended);
    };
    let late = |life_ms| Owner {
        life_ms,
        ..owner(ID, 1)
    };
    // The earlier life is ended at one of two times: before the late attempt publishes its files, or after that but
    // before the attempt creates its receipt.
    let fixture = CommitFixture::new();
    let sealed = fixture.seal_as(late(5), b"late\n", b"");
    end(&fixture);
    publish(sealed, 1).expect_err("it was ended");
    assert_eq!(fixture.visible_files(), [""; 0]);
    let failed = commit::publish(fixture.seal_as(late(5), b"late\n", b""), ID, |_| {
        unreachable!("never published")
    });
    assert_eq!(failed.expect_err("it was ended").class(), Class::Permanent);

    let fixture = CommitFixture::new();
    let failed = commit::publish(fixture.seal_as(late(5), b"late\n", b""), ID, |published| {
        end(&fixture);
        receipt(1, published)
    });
    assert_eq!(failed.expect_err("it was ended").class(), Class::LeaseLost);
    assert_eq!(fixture.visible_files(), [""; 0]);
    end(&fixture);

    // The next life is not affected if the earlier life is ended again.
    let sealed = fixture.seal_as(late(6), b"again\n", b"");
    end(&fixture);
    let committed = commit::publish(sealed, ID, |published| {
        end(&fixture);
        receipt(1, published)
    });
    assert!(matches!(committed, Ok(Committed::New(_))), "{committed:?}");
    assert_eq!(
        fixture.visible_files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
    let concluded = fixture.destination.storage().conclude(ended(6, "dead"));
    assert_eq!(concluded.unwrap(), Concluded::Committed(fixture.receipt().into()));
}

#[test]
fn a_folder_that_was_moved_keeps_what_its_receipts_name() {
    let fixture = CommitFixture::new();
    let died = Owner {
        is_contested: true,
        ..owner(ID, 1)
    };
    publish(fixture.seal_as(died, b"a\n", b"r\n"), 1).unwrap();
    // If the process crashes after the commit, but before it removes the staged names, each file also has its staged
    // name.
    let staging = fixture.path("_ingest/orders/staging");
    for file in ["orders/day-1.csv", "_ingest/orders/rejects/day-1.rejects.csv"] {
        let what = if file.ends_with(".rejects.csv") {
            "rejects"
        } else {
            "output"
        };
        let name = format!("{}.1.{}.{what}", key_of("orders", ID), "0".repeat(32));
        fs::hard_link(fixture.path(file), staging.join(name)).unwrap();
    }
    let moved = fixture.folder.path().canonicalize().unwrap().join("moved");
    fs::rename(fixture.path(""), &moved).unwrap();
    let destination = Destination::new(moved.to_str().unwrap(), None).unwrap();
    let concluded = destination.storage().conclude(ended(1, "dead"));
    assert!(matches!(concluded, Ok(Concluded::Committed(_))), "{concluded:?}");
    for file in [
        "_ingest/orders/receipts/day-1.json",
        "_ingest/orders/rejects/day-1.rejects.csv",
        "orders/day-1.csv",
    ] {
        assert!(moved.join(file).exists(), "{file}");
    }
    // At the new path of the folder, too, the request counts as done.
    let mut staging = destination.storage().begin(owner(ID, 2), Format::Csv).unwrap();
    staging.output().write_all(b"a\n").unwrap();
    staging.rejects().unwrap().write_all(b"r\n").unwrap();
    let again = publish_other(staging.seal().unwrap(), 2);
    assert!(matches!(again, Ok(Committed::Existing(_))), "{again:?}");
}

/// Returns the key of a request. The names of its staged files begin with this key.
fn key_of(queue: &str, id: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("{queue}\n{id}"));
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_cannot_be_taken_back_is_told_and_the_next_attempt_removes_it() {
    let fixture = CommitFixture::new();
    let lock_path = fixture
        .path("_ingest/orders/fences")
        .join(format!("{}.lock", key_of("orders", ID)));
    let mut held = None;
    let failed = commit::publish(fixture.seal(1, b"a\n", b""), ID, |published| {
        spoil_receipt(&fixture);
        // Another process holds the lock and does not release it.
        fs::create_dir_all(lock_path.parent().unwrap()).unwrap();
        let lock = fs::File::create(&lock_path).unwrap();
        lock.lock().unwrap();
        held = Some(lock);
        receipt(1, published)
    });
    assert!(failed.expect_err("no receipt").leaves_output());
    assert_eq!(fixture.visible_files(), ["orders/day-1.csv"]);
    drop(held);
    let successor = Owner {
        is_contested: true,
        ..owner(ID, 2)
    };
    publish(fixture.seal_as(successor, b"b\n", b""), 2).unwrap();
    assert_eq!(
        fixture.visible_files(),
        ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
    );
    assert_eq!(fs::read(fixture.path("orders/day-1.csv")).unwrap(), b"b\n");
}

#[test]
fn an_output_is_known_by_its_folders_whatever_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let identity = |rejects: Option<&str>| {
        let rejects = rejects.map(|rejects| format!("{}/{rejects}", out.display()));
        let destination = Destination::new(out.to_str().unwrap(), rejects.as_deref()).unwrap();
        destination.storage().identity()
    };
    let own = identity(None).unwrap();
    assert_eq!(identity(Some("rejects")).unwrap(), own);
    let elsewhere = identity(Some("../r1")).unwrap();
    assert!(elsewhere != own && identity(Some("../r1")).unwrap() == elsewhere);
    assert_ne!(identity(Some("../r2")).unwrap(), elsewhere);
    // A pipe in place of the file `_ingest/output-id` is an error. The program must not wait for input from it.
    let id = out.join("_ingest/output-id");
    fs::remove_file(&id).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &id, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(identity(None).expect_err("a pipe").stage(), Stage::Commit);
}

#[test]
fn what_a_process_that_died_has_published_goes_and_what_is_foreign_stays() {
    for dies_with_rejects in [false, true] {
        let fixture = CommitFixture::new();
        let rejects: &[u8] = if dies_with_rejects { b"dead\n" } else { b"" };
        let dying = fixture.seal(1, b"dead\n", rejects);
        let staging = fixture.path("_ingest/orders/staging");
        // The panic stands for a crash of the process, which would clean up nothing. A panic removes the staged files,
        // so `keep` and `restore` bring them back.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = commit::publish(dying, ID, |_| {
                keep(&staging);
                panic!("dies")
            });
        }));
        assert!(caught.is_err());
        assert!(restore(&staging) > 0, "the process left nothing in staging");
        assert!(fixture.path("orders/day-1.csv").exists());
        // The successor publishes other bytes under the usual name of the output.
        fixture.commit(2, b"successor\n").unwrap();
        assert_eq!(fixture.receipt().outputs[0].uri, fixture.uri("orders/day-1.csv"));
        assert_eq!(
            fs::read(fixture.path("orders/day-1.csv")).unwrap(),
            b"successor\n"
        );
        assert_eq!(
            fixture.visible_files(),
            ["_ingest/orders/receipts/day-1.json", "orders/day-1.csv"]
        );
    }
}

/// Makes a second link to each file of a folder, so that the content survives when the file is removed.
fn keep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let kept = folder.with_extension("kept");
    fs::create_dir_all(&kept).unwrap();
    for file in entries.map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::hard_link(file.path(), kept.join(file.file_name())).unwrap();
    }
}

/// Brings back the files of a folder that [`keep`] has saved, and returns their number.
fn restore(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder.with_extension("kept")) else {
        return 0;
    };
    let mut files = 0;
    for file in entries.map(Result::unwrap) {
        fs::rename(file.path(), folder.join(file.file_name())).unwrap();
        files += 1;
    }
    fs::remove_dir(folder.with_extension("kept")).unwrap();
    files
}

#[test]
fn without_a_queue_a_conflict_does_not_blame_the_time() {
    let fixture = CommitFixture::new();
    let commit = |fence: u64, output: &[u8]| {
        let mut staging = fixture
            .destination
            .storage()
            .begin(Owner::default(), Format::Csv)
            .unwrap();
        staging.output().write_all(output).unwrap();
        commit::publish(staging.seal().unwrap(), ID, |published| {
            let mut receipt = receipt(0, published);
            receipt.request.queue = None;
            receipt.request.submitted_at = format!("2026-02-01T00:00:0{fence}Z");
            receipt
        })
    };
    commit(1, b"a\n").unwrap();
    let error = commit(2, b"b\n").expect_err("a conflict").to_string();
    assert!(
        error.contains("for other work: its output has other bytes"),
        "{error}"
    );
}

/// Checks that a request waits for a newer worker if this program does not know the version of its receipt.
#[test]
fn a_receipt_of_a_newer_version_is_left_to_a_newer_worker() {
    let fixture = CommitFixture::new();
    fixture.seal(1, b"", b"");
    let path = fixture.path("_ingest/orders/receipts/day-1.json");
    fs::write(&path, r#"{"receipt":3,"all":"else"}"#).unwrap();
    let before = fixture.visible_files();
    let error: Error = fixture
        .commit(1, b"a\n")
        .expect_err("it is not known what was done");
    let report = error.report();
    assert_eq!(
        (error.class(), error.code()),
        (Class::Transient, Code::HostOutdated),
        "{report}"
    );
    for words in [
        "_ingest/orders/receipts/day-1.json: cannot be read",
        "version 3",
        "update this program",
    ] {
        assert!(report.contains(words), "{report}");
    }
    assert_eq!(fixture.visible_files(), before);
    let error = fixture
        .destination
        .storage()
        .committed("orders", ID, "2026-01-01T00:00:00Z")
        .expect_err("it cannot be read");
    assert_eq!(error.code(), Code::HostOutdated);
}

#[test]
fn a_receipt_that_cannot_be_read_is_a_conflict() {
    let fixture = CommitFixture::new();
    fixture.seal(1, b"", b"");
    fs::write(fixture.path("_ingest/orders/receipts/day-1.json"), "{}").unwrap();
    let error: Error = fixture.commit(1, b"a\n").expect_err("a conflict");
    assert_eq!(error.class(), Class::Permanent);
    assert!(
        error
            .to_string()
            .ends_with("_ingest/orders/receipts/day-1.json: is not a receipt"),
        "{error}"
    );
}
