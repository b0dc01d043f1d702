//! Of several attempts at a request, whatever becomes of each, one counts and the others leave nothing.

use super::*;

#[test]
fn the_same_work_is_done_once() {
    let place = Place::new();
    let Committed::New(first) = place.commit(1, b"a\n").unwrap() else {
        panic!("there was no receipt");
    };
    for fence in [1, 2] {
        assert_eq!(
            place.commit(fence, b"a\n").unwrap(),
            Committed::Existing(first.clone())
        );
    }
    assert_eq!(place.files(), ["orders/day-1.csv", "orders/receipts/day-1.json"]);
}

#[test]
fn other_work_under_a_used_id_is_a_conflict_and_changes_nothing() {
    let place = Place::new();
    place.commit(1, b"a\n").unwrap();
    let before = place.receipt();
    let error = publish_other(place.seal(b"b\n", b""), 2).expect_err("a conflict");
    assert_eq!((error.stage(), error.class()), (Stage::Commit, Class::Permanent));
    let (theirs, ours) = (digest(b"a\n").sha256, digest(b"b\n").sha256);
    let text = format!("its output is {theirs}, here it is {ours}");
    assert!(
        error
            .to_string()
            .contains("is a receipt for other work; its time of submission is"),
        "{error}"
    );
    assert!(error.to_string().ends_with(&text), "{error}");
    assert_eq!(place.files(), ["orders/day-1.csv", "orders/receipts/day-1.json"]);
    assert_eq!(fs::read(place.path("orders/day-1.csv")).unwrap(), b"a\n");
    assert_eq!(place.receipt(), before);
}

#[test]
fn what_a_dead_attempt_left_is_not_replaced() {
    let place = Place::new();
    place.seal(b"", b"");
    fs::write(place.path("orders/day-1.csv"), "dead").unwrap();
    let committed = place.commit(5, b"a\n").unwrap();
    assert!(matches!(committed, Committed::New(_)), "{committed:?}");
    assert_eq!(place.receipt().outputs[0].uri, place.uri("orders/day-1~5.csv"));
    assert_eq!(fs::read(place.path("orders/day-1~5.csv")).unwrap(), b"a\n");
    assert_eq!(fs::read(place.path("orders/day-1.csv")).unwrap(), b"dead");

    // With the same bytes it is as good as our own.
    let place = Place::new();
    place.seal(b"", b"");
    fs::write(place.path("orders/day-1.csv"), "a\n").unwrap();
    place.commit(5, b"a\n").unwrap();
    assert_eq!(place.files(), ["orders/day-1.csv", "orders/receipts/day-1.json"]);

    // A folder or a link in the way is as bad as other bytes.
    let place = Place::new();
    place.seal(b"", b"");
    fs::create_dir(place.path("orders/day-1.csv")).unwrap();
    fs::write(place.path("orders/day-1~5.csv"), "dead too").unwrap();
    let error = place.commit(5, b"a\n").expect_err("no name is free");
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
    let place = Place::new();
    let Committed::New(first) = place.commit(1, b"before the swap\n").unwrap() else {
        panic!("there was no receipt");
    };
    assert_eq!(
        place.commit(2, b"after the swap\n").unwrap(),
        Committed::Existing(first)
    );
    assert_eq!(place.files(), ["orders/day-1.csv", "orders/receipts/day-1.json"]);
}

#[test]
fn a_zombie_that_publishes_late_damages_nothing() {
    let place = Place::new();
    // The zombie gets as far as the output's name before the winner comes, and no further.
    let zombie = place.seal(b"zombie\n", b"zombie's rejects\n");
    fs::write(place.path("orders/day-1.csv"), "zombie\n").unwrap();
    let winner = place.seal(b"winner\n", b"");
    publish(winner, 2).unwrap();
    let receipt = place.receipt();
    assert_eq!(receipt.outputs[0].uri, place.uri("orders/day-1~2.csv"));

    assert_eq!(publish(zombie, 1).unwrap(), Committed::Existing(receipt.clone()));
    assert_eq!(place.receipt(), receipt);
    assert_eq!(fs::read(place.path("orders/day-1~2.csv")).unwrap(), b"winner\n");
    // Its rejects were published in vain and are taken back.
    assert_eq!(
        place.files(),
        [
            "orders/day-1.csv",
            "orders/day-1~2.csv",
            "orders/receipts/day-1.json"
        ]
    );
}

#[test]
fn of_many_attempts_exactly_one_creates_the_receipt() {
    for same in [true, false] {
        let place = Place::new();
        let barrier = Barrier::new(8);
        let results: Vec<_> = std::thread::scope(|scope| {
            let attempts: Vec<_> = (1..=8)
                .map(|fence: u64| {
                    let (place, barrier) = (&place, &barrier);
                    scope.spawn(move || {
                        let output = if same {
                            "same\n".to_owned()
                        } else {
                            format!("{fence}\n")
                        };
                        let sealed = place.seal(output.as_bytes(), output.as_bytes());
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
        let existing = results
            .iter()
            .filter(|result| matches!(result, Ok(Committed::Existing(_))))
            .count();
        assert_eq!((created, existing), (1, if same { 7 } else { 0 }), "{results:?}");
        // What the receipt names is there, and nothing else is.
        let receipt = place.receipt();
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
        assert_eq!(place.files().len(), 3, "{:?}", place.files());
    }
}

/// Makes it impossible to create a receipt.
fn spoil_receipt(place: &Place) {
    let staged = place
        .files()
        .into_iter()
        .find(|file| file.ends_with(".output"))
        .unwrap();
    fs::create_dir(place.path(&staged).with_extension("receipt")).unwrap();
}

#[test]
fn without_a_receipt_what_was_published_is_taken_back() {
    let place = Place::new();
    let sealed = place.seal(b"a\n", b"r\n");
    spoil_receipt(&place);
    let error = publish(sealed, 1).expect_err("no receipt");
    assert!(
        error.to_string().ends_with(".receipt: cannot be written"),
        "{error}"
    );
    assert_eq!(place.files(), [""; 0]);

    // What was there before is not this attempt's to remove.
    fs::write(place.path("orders/day-1.csv"), "a\n").unwrap();
    let sealed = place.seal(b"a\n", b"");
    spoil_receipt(&place);
    publish(sealed, 2).expect_err("no receipt");
    assert_eq!(place.files(), ["orders/day-1.csv"]);
}

#[test]
fn what_another_attempt_names_or_may_name_is_not_taken_back() {
    // The other has its receipt when this one fails.
    let place = Place::new();
    let sealed = place.seal(b"a\n", b"");
    spoil_receipt(&place);
    let failed = sealed.publish(ID, 1, Format::Csv, |published| {
        place.commit(2, b"a\n").unwrap();
        receipt(1, published)
    });
    failed.expect_err("no receipt");
    assert_eq!(place.files(), ["orders/day-1.csv", "orders/receipts/day-1.json"]);

    // The other has taken the file for its own and is about to create its receipt.
    let place = Place::new();
    let sealed = place.seal(b"a\n", b"");
    spoil_receipt(&place);
    let (placed, other_placed) = (Barrier::new(2), Barrier::new(2));
    let failed = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            placed.wait();
            let other = place.seal(b"a\n", b"").publish(ID, 2, Format::Csv, |published| {
                other_placed.wait();
                failed.wait();
                receipt(2, published)
            });
            assert!(matches!(other, Ok(Committed::New(_))), "{other:?}");
        });
        let result = sealed.publish(ID, 1, Format::Csv, |published| {
            placed.wait();
            other_placed.wait();
            receipt(1, published)
        });
        failed.wait();
        result.expect_err("no receipt");
    });
    assert_eq!(place.files(), ["orders/day-1.csv", "orders/receipts/day-1.json"]);
}

#[test]
fn without_a_queue_a_conflict_does_not_blame_the_time() {
    let place = Place::new();
    let commit = |fence: u64, output: &[u8]| {
        let mut staging = place.destination.stage(None).unwrap();
        staging.output().write_all(output).unwrap();
        staging.seal().unwrap().publish(ID, 0, Format::Csv, |published| {
            let mut receipt = receipt(0, published);
            receipt.request.queue = None;
            receipt.request.submitted_at = format!("2026-02-01T00:00:0{fence}Z");
            receipt
        })
    };
    commit(1, b"a\n").unwrap();
    let error = commit(2, b"b\n").expect_err("a conflict").to_string();
    assert!(error.contains("for other work; its output is"), "{error}");
}

#[test]
fn a_receipt_that_cannot_be_read_is_a_conflict() {
    let place = Place::new();
    place.seal(b"", b"");
    fs::write(place.path("orders/receipts/day-1.json"), "{}").unwrap();
    let error: Error = place.commit(1, b"a\n").expect_err("a conflict");
    assert_eq!(error.class(), Class::Permanent);
    assert!(
        error
            .to_string()
            .ends_with("orders/receipts/day-1.json: is not a receipt"),
        "{error}"
    );
}
