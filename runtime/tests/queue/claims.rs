//! Tests the path of a request from its submit to its claim.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ingest_host::format::Format;
use ingest_host::queue::{
    Cancelled, Claim, ClaimOptions, Ending, Next, OtherOutput, Progress, State, Submitted,
};
use ingest_host::request::{
    BlankRows, Character, DialectFrom, DuplicateColumns, InputOptions, LongRows, ShortRows,
};

use crate::test_server::{PATIENCE, Q, TestServer, assert_lost, eventually, how, output, request};

pub(crate) async fn submitting_twice_does_nothing_more(server: TestServer) {
    let queue = server.queue();
    let mut other = request("a");
    other.uri = "https://example.com/other.csv".into();
    let mut urgent = request("a");
    urgent.priority = 9;

    let answers = queue
        .submit(
            Q,
            &[request("a"), request("b"), request("a"), other.clone(), urgent],
        )
        .await
        .unwrap();
    assert_eq!(
        answers,
        [
            Submitted::Created,
            Submitted::Created,
            Submitted::Existing(State::Ready),
            Submitted::Conflict,
            Submitted::Existing(State::Ready),
        ]
    );

    let claim = server.claim().await;
    assert_eq!((claim.ticket.id.as_str(), claim.request.priority), ("a", 0));
    queue.settle(&claim.ticket, "{}").await.unwrap();
    let answers = queue.submit(Q, &[request("a"), other]).await.unwrap();
    assert_eq!(answers, [Submitted::Existing(State::Done), Submitted::Conflict]);
    assert_eq!(queue.submit(Q, &[]).await.unwrap(), []);
    server.audit_is_clean().await;
}

/// Checks that a request with the encoding Windows-1252 can be submitted again with ASCII. The first versions stored
/// ASCII as Windows-1252.
pub(crate) async fn what_was_windows_1252_is_submitted_again_as_ascii(server: TestServer) {
    let named = |encoding: &str| {
        let mut wanted = request("a");
        wanted.input.encoding = Some(encoding.into());
        [wanted]
    };
    let queue = server.queue();
    assert_eq!(
        queue.submit(Q, &named("windows-1252")).await.unwrap(),
        [Submitted::Created]
    );
    for _ in 0..2 {
        let again = queue.submit(Q, &named("us-ascii")).await.unwrap();
        assert_eq!(again, [Submitted::Existing(State::Ready)]);
    }
    server.push(r#"{"id":"a","uri":"https://example.com/a.csv","encoding":"ascii"}"#);
    server.claim().await;
    server.finds_nothing().await;
    assert_eq!(queue.counts(Q).await.unwrap().invalid, 0);
    for other in ["utf-8", "windows-1250"] {
        assert_eq!(
            queue.submit(Q, &named(other)).await.unwrap(),
            [Submitted::Conflict]
        );
    }
    // In the other direction, this is a conflict: a request with ASCII is not the same as a request with Windows-1252.
    let [mut ascii] = named("us-ascii");
    ascii.id = "b".into();
    queue.submit(Q, std::slice::from_ref(&ascii)).await.unwrap();
    ascii.input.encoding = Some("windows-1252".into());
    assert_eq!(queue.submit(Q, &[ascii]).await.unwrap(), [Submitted::Conflict]);
}

pub(crate) async fn a_bad_request_is_refused_whole(server: TestServer) {
    let error = server
        .queue()
        .submit(Q, &[request("good"), request("b:d")])
        .await
        .expect_err("a bad id");
    assert!(error.to_string().contains("b:d"), "{error}");
    assert_eq!(server.queue().status(Q, "good").await.unwrap(), None);
}

pub(crate) async fn a_long_submit_is_answered_in_order(server: TestServer) {
    server.submit(&["r600"]).await;
    let requests: Vec<_> = (0..700).map(|n| request(&format!("r{n}"))).collect();
    let answers = server.queue().submit(Q, &requests).await.unwrap();
    assert_eq!(answers.len(), 700);
    let existing: Vec<_> = (0..700).filter(|n| answers[*n] != Submitted::Created).collect();
    assert_eq!(existing, [600]);
}

pub(crate) async fn the_claim_carries_the_request(server: TestServer) {
    let mut wanted = request("a");
    wanted.uri = "s3://bucket/\u{e4}/\"quoted\".tsv?x=1&y=%20".into();
    wanted.priority = -100;
    wanted.group = Some("g".into());
    wanted.input = InputOptions {
        format: Some(Format::Csv),
        delimiter: Some('\t'),
        quote: Some(Character::Is('\'')),
        escape: Some(Character::Is('\\')),
        comment: Some(Character::None),
        trim: Some(true),
        header: Some(false),
        dialect: Some(DialectFrom::Auto),
        skip_lines: Some(3),
        skip_footer: Some(1),
        short_rows: Some(ShortRows::Fill),
        long_rows: Some(LongRows::TrailingEmpty),
        blank_rows: Some(BlankRows::Drop),
        duplicate_columns: Some(DuplicateColumns::Number),
        encoding: Some("windows-1252".into()),
        sha256: Some("0f".repeat(32)),
        version: Some("W/\"1\"".into()),
    };
    server
        .queue()
        .submit(Q, std::slice::from_ref(&wanted))
        .await
        .unwrap();

    let options = how();
    let claim = server.queue().claim(Q, &options).await.unwrap().unwrap();
    assert_eq!(claim.request.id, "a");
    assert_eq!(claim.request.queue, Q);
    assert_eq!(claim.request.uri, wanted.uri);
    assert_eq!(claim.request.priority, -100);
    assert_eq!(claim.request.group, wanted.group);
    assert_eq!(claim.request.input, wanted.input);
    assert!(
        claim.request.submitted_ms > 1_600_000_000_000,
        "{}",
        claim.request.submitted_ms
    );
    assert_eq!((claim.attempt, claim.lost, claim.binding), (1, 0, None));
    assert_eq!((claim.ticket.queue.as_str(), claim.ticket.id.as_str()), (Q, "a"));
    assert_eq!(claim.ticket.nonce, options.nonce);
}

/// Checks that an unreadable request is given to a worker, which ends it. Only a worker can see whether a lost attempt
/// has committed its output.
pub(crate) async fn an_unreadable_request_is_claimed_to_be_ended(server: TestServer) {
    server.submit(&["newest", "newer", "broken", "good"]).await;
    server.store_input("newest", r#"{"delimiter":";","skip_rowz":2}"#);
    server.store_input("newer", r#"{"format":"parquet"}"#);
    server.store_input("broken", "{");
    for (id, words) in [
        (
            "newest",
            &["`skip_rowz`", "update this worker", "dead retry newest"][..],
        ),
        ("newer", &["cannot read", "parquet"]),
        ("broken", &["cannot read", "EOF"]),
    ] {
        let options = how();
        let claim = server.queue().claim(Q, &options).await.unwrap().unwrap();
        assert_eq!(claim.ticket.id, id);
        let Some(Ending::Dead(why)) = &claim.ending else {
            panic!("{id} is to be attempted: {claim:?}");
        };
        for words in words {
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(claim.ending_code.as_deref(), Some("host-outdated"));
        assert_eq!(server.queue().claim(Q, &options).await.unwrap().unwrap(), claim);
        server.queue().fail(&claim.ticket, why, Next::Dead).await.unwrap();
    }
    let claim = server.claim().await;
    assert_eq!((claim.ticket.id.as_str(), claim.ending), ("good", None));
    // If the request was cancelled before the claim, the cancel decides how the request ends.
    server.submit(&["cancelled"]).await;
    server.store_input("cancelled", "{");
    server.claim_briefly().await;
    server.queue().cancel(Q, "cancelled").await.unwrap();
    let claim = server.claim().await;
    assert_eq!((claim.ending, claim.ending_code), (Some(Ending::Cancel), None));
    let status = server.status("newest").await;
    assert_eq!((status.state, status.attempts), (State::Dead, 1));
    // The status shows all stored options, including unknown ones.
    let stored = serde_json::Value::Object(status.input);
    assert_eq!(stored, serde_json::json!({ "delimiter": ";", "skip_rowz": 2 }));

    // A worker that can read the request runs it.
    server.store_input("newer", "{}");
    assert!(server.queue().retry_dead(Q, "newer").await.unwrap());
    assert_eq!(server.claim().await.ticket.id, "newer");
    server.audit_is_clean().await;
}

pub(crate) async fn priority_then_age_decides(server: TestServer) {
    let mut requests: Vec<_> = ["low", "old", "high", "new", "highest"]
        .iter()
        .map(|id| request(id))
        .collect();
    (requests[0].priority, requests[2].priority, requests[4].priority) = (-100, 99, 100);
    server.queue().submit(Q, &requests).await.unwrap();
    // A request that is retried keeps its place among the requests of its priority.
    let first = server.claim().await;
    server
        .queue()
        .fail(&first.ticket, "again", Next::Retry(Duration::ZERO))
        .await
        .unwrap();
    let mut fence = first.ticket.fence;
    for id in ["highest", "high", "old", "new", "low"] {
        let claim = server.claim().await;
        assert_eq!(claim.ticket.id, id);
        assert!(claim.ticket.fence > fence);
        fence = claim.ticket.fence;
    }
    server.finds_nothing().await;
}

pub(crate) async fn the_same_nonce_gives_the_same_claim(server: TestServer) {
    server.submit(&["a", "b"]).await;
    let options = how();
    let claim = server.queue().claim(Q, &options).await.unwrap().unwrap();
    let again = server.queue().claim(Q, &options).await.unwrap().unwrap();
    assert_eq!(again, claim);

    // As long as no other worker has claimed the request, the same nonce returns the same claim, even after its lease
    // has expired.
    server
        .queue()
        .renew(&claim.ticket, Duration::ZERO, Progress::default())
        .await
        .unwrap();
    let again = server.queue().claim(Q, &options).await.unwrap().unwrap();
    assert_eq!(again, claim);
    assert_eq!(server.claim().await.ticket.id, "b");

    // After the claim has ended, the same nonce returns a new claim.
    server.queue().release(&claim.ticket).await.unwrap();
    let next = server.queue().claim(Q, &options).await.unwrap().unwrap();
    assert!(next.ticket.fence > claim.ticket.fence);
    assert_lost(server.queue().settle(&claim.ticket, "{}").await);
    server.audit_is_clean().await;
}

pub(crate) async fn several_are_claimed_at_once(server: TestServer) {
    let ids: Vec<_> = (0..7).map(|n| format!("r{n}")).collect();
    server
        .submit(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let options = how();
    let claims = server.queue().claim_some(Q, &options, 5).await.unwrap();
    assert_eq!(ids_of(&claims), ["r0", "r1", "r2", "r3", "r4"]);
    assert_eq!(claims[0].ticket.nonce, options.nonce);
    let nonces: HashSet<_> = claims.iter().map(|claim| &claim.ticket.nonce).collect();
    let fences: Vec<_> = claims.iter().map(|claim| claim.ticket.fence).collect();
    assert_eq!((nonces.len(), fences.is_sorted_by(|a, b| a < b)), (5, true));
    server.audit_is_clean().await;

    // Each claim ends independently of the others.
    let queue = server.queue();
    queue.settle(&claims[1].ticket, "{}").await.unwrap();
    queue.release(&claims[3].ticket).await.unwrap();
    assert_lost(queue.settle(&claims[3].ticket, "{}").await);
    let stolen = ingest_host::queue::Ticket {
        nonce: claims[0].ticket.nonce.clone(),
        ..claims[2].ticket.clone()
    };
    assert_lost(queue.settle(&stolen, "{}").await);

    // If the queue has fewer requests than wanted, all of them are returned. The number of claims from one call is
    // bounded.
    let rest = queue.claim_some(Q, &how(), 5).await.unwrap();
    assert_eq!(ids_of(&rest), ["r3", "r5", "r6"]);
    assert_eq!(queue.claim_some(Q, &how(), 5).await.unwrap(), []);
    let many: Vec<_> = (0..100).map(|n| request(&format!("m{n}"))).collect();
    queue.submit(Q, &many).await.unwrap();
    let claims = queue.claim_some(Q, &how(), usize::MAX).await.unwrap();
    assert!((1..100).contains(&claims.len()), "{}", claims.len());
    server.audit_is_clean().await;
}

pub(crate) async fn the_same_nonce_gives_the_same_claims(server: TestServer) {
    server.submit(&["a", "b", "c", "d", "e"]).await;
    let options = how();
    let claims = server.queue().claim_some(Q, &options, 3).await.unwrap();
    let again = server.queue().claim_some(Q, &options, 3).await.unwrap();
    assert_eq!(again, claims);

    // The nonce returns only the claims that still exist, and renews their leases.
    server.queue().settle(&claims[1].ticket, "{}").await.unwrap();
    server
        .queue()
        .renew(&claims[2].ticket, Duration::ZERO, Progress::default())
        .await
        .unwrap();
    let again = server.queue().claim_some(Q, &options, 3).await.unwrap();
    assert_eq!(again, [claims[0].clone(), claims[2].clone()]);
    assert_eq!(server.claim().await.ticket.id, "d");

    // If another worker has taken over a request, its earlier claim is not returned.
    server
        .queue()
        .renew(&claims[0].ticket, Duration::ZERO, Progress::default())
        .await
        .unwrap();
    assert_eq!(server.claim().await.ticket.id, "a");
    let again = server.queue().claim_some(Q, &options, 3).await.unwrap();
    assert_eq!(again, claims[2..]);

    // When none of the nonce's claims exists any more, the nonce returns new claims.
    server.queue().release(&claims[2].ticket).await.unwrap();
    let next = server.queue().claim_some(Q, &options, 3).await.unwrap();
    assert_eq!(ids_of(&next), ["c", "e"]);
    assert_lost(server.queue().settle(&claims[2].ticket, "{}").await);
    server.audit_is_clean().await;
}

pub(crate) async fn a_request_that_lost_two_workers_is_claimed_alone(server: TestServer) {
    server.submit(&["a", "b", "c", "d"]).await;
    let claim = async || server.queue().claim_some(Q, &how(), 2).await.unwrap();
    for _ in 1..how().lost_max {
        let claims = claim().await;
        assert_eq!(
            ids_of(&claims),
            ["a", "b"],
            "what was lost once may come with others"
        );
        for claim in &claims {
            let no_time = server
                .queue()
                .renew(&claim.ticket, Duration::ZERO, Progress::default());
            no_time.await.unwrap();
        }
    }
    for expected in [&["a"][..], &["b"], &["c", "d"]] {
        assert_eq!(ids_of(&claim().await), expected);
    }
    server.audit_is_clean().await;
}

pub(crate) async fn an_unreadable_request_is_claimed_among_others(server: TestServer) {
    server.submit(&["a", "newer", "b"]).await;
    server.store_input("newer", r#"{"format":"parquet"}"#);
    let options = how();
    let claims = server.queue().claim_some(Q, &options, 3).await.unwrap();
    assert_eq!(ids_of(&claims), ["a", "newer", "b"]);
    let are_ended: Vec<_> = claims.iter().map(|claim| claim.ending.is_some()).collect();
    assert_eq!(are_ended, [false, true, false]);
    assert_eq!(server.queue().claim_some(Q, &options, 3).await.unwrap(), claims);
    server.audit_is_clean().await;
}

fn ids_of(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.ticket.id.as_str()).collect()
}

pub(crate) async fn a_delayed_request_waits(server: TestServer) {
    let (mut soon, mut late) = (request("soon"), request("late"));
    (soon.delay_ms, late.delay_ms) = (50, 3_600_000);
    server.queue().submit(Q, &[late, soon]).await.unwrap();
    assert_eq!(server.state("late").await, State::Delayed);
    let claim = eventually("the delay is over", || async {
        server.queue().claim(Q, &how()).await.unwrap()
    })
    .await;
    assert_eq!(claim.ticket.id, "soon");
    server.finds_nothing().await;
}

pub(crate) async fn a_lost_lease_goes_to_another(server: TestServer) {
    server.submit(&["a"]).await;
    let zombie = server.claim().await;
    server.finds_nothing().await;
    server
        .queue()
        .renew(&zombie.ticket, Duration::from_millis(50), Progress::default())
        .await
        .unwrap();
    let heir = eventually("the lease runs out", || async {
        server.queue().claim(Q, &how()).await.unwrap()
    })
    .await;
    assert_eq!((heir.ticket.id.as_str(), heir.attempt, heir.lost), ("a", 1, 1));

    let queue = server.queue();
    assert_lost(queue.renew(&zombie.ticket, PATIENCE, Progress::default()).await);
    assert_lost(queue.settle(&zombie.ticket, "{}").await);
    assert_lost(queue.fail(&zombie.ticket, "too late", Next::Dead).await);
    assert_lost(queue.release(&zombie.ticket).await);
    queue.settle(&heir.ticket, r#"{"by":"heir"}"#).await.unwrap();
    let receipt = serde_json::to_value(server.status("a").await.receipt).unwrap();
    assert_eq!(receipt["by"], "heir");
    server.audit_is_clean().await;
}

pub(crate) async fn the_third_loss_is_poison(server: TestServer) {
    server.submit(&["a"]).await;
    for lost in 0..3 {
        let claim = server.claim_briefly().await;
        assert_eq!((claim.attempt, claim.lost), (1, lost));
    }
    // A worker must end the request without an attempt, even if a fourth lease is lost.
    let why = "poison: 3 leases were lost, the last by worker worker-1";
    for is_lost in [true, false] {
        let claim = if is_lost {
            server.claim_briefly().await
        } else {
            server.claim().await
        };
        assert_eq!(claim.ending, Some(Ending::Dead(why.into())));
        assert_eq!(claim.ending_code.as_deref(), Some("poison"));
        assert_eq!((claim.attempt, claim.lost, claim.is_contested), (0, 3, true));
        assert_eq!(server.status("a").await.ending.as_deref(), Some("ending"));
        if !is_lost {
            server.queue().fail(&claim.ticket, why, Next::Dead).await.unwrap();
        }
    }
    let status = server.status("a").await;
    assert_eq!((status.state, status.attempts, status.lost), (State::Dead, 0, 3));
    assert_eq!((status.error.as_deref(), status.ending), (Some(why), None));
    assert_eq!(status.code.as_deref(), Some("poison"));

    assert!(server.queue().retry_dead(Q, "a").await.unwrap());
    let again = server.claim().await;
    assert_eq!(
        (again.attempt, again.lost, again.is_contested, again.ending),
        (1, 0, false, None)
    );
    assert!(again.life_ms > again.request.submitted_ms, "a new life");
    server.audit_is_clean().await;
}

pub(crate) async fn lost_leases_do_not_count_after_a_new_checkpoint(server: TestServer) {
    let lose_after = async |claim: &Claim, checkpoint: u64| {
        let progress = Progress {
            checkpoint,
            ..Progress::default()
        };
        let renewed = server
            .queue()
            .renew(&claim.ticket, Duration::ZERO, progress)
            .await;
        renewed.unwrap();
    };
    server.submit(&["a"]).await;
    for checkpoint in 1..=10 {
        let claim = server.claim().await;
        assert_eq!((claim.attempt, claim.lost), (1, u32::from(checkpoint > 1)));
        lose_after(&claim, checkpoint).await;
    }
    // These attempts do not get further.
    for (lost, checkpoint) in [(1, 10), (2, 7)] {
        let claim = server.claim().await;
        assert_eq!((claim.lost, &claim.ending), (lost, &None));
        lose_after(&claim, checkpoint).await;
    }
    let claim = server.claim().await;
    assert!(
        matches!(claim.ending, Some(Ending::Dead(_))),
        "{:?}",
        claim.ending
    );
    server
        .queue()
        .fail(&claim.ticket, "poison", Next::Dead)
        .await
        .unwrap();

    // A new life begins without checkpoints.
    assert!(server.queue().retry_dead(Q, "a").await.unwrap());
    server.claim_briefly().await;
    let claim = server.claim().await;
    assert_eq!(claim.lost, 1);
    lose_after(&claim, 1).await;
    assert_eq!(server.claim().await.lost, 1);
    server.audit_is_clean().await;
}

pub(crate) async fn a_request_of_a_lost_worker_stays_with_its_output(server: TestServer) {
    let elsewhere = |move_output| ClaimOptions {
        output: output("elsewhere"),
        move_output,
        ..how()
    };
    server.submit(&["lost", "released", "retried", "new"]).await;
    server.claim_briefly().await;
    let (released, retried) = (server.claim().await, server.claim().await);
    // The workers of these two claims have reported that they left no files.
    server.queue().release(&released.ticket).await.unwrap();
    server
        .queue()
        .fail(&retried.ticket, "reset", Next::Retry(Duration::ZERO))
        .await
        .unwrap();
    for wanted in ["released", "retried", "new"] {
        let claim = server.queue().claim(Q, &elsewhere(false)).await.unwrap().unwrap();
        assert_eq!((&*claim.request.id, claim.is_contested), (wanted, false));
        server.queue().settle(&claim.ticket, "{}").await.unwrap();
    }
    assert_eq!(server.queue().claim(Q, &elsewhere(false)).await.unwrap(), None);
    let waiting = server.queue().elsewhere(Q, &output("elsewhere")).await.unwrap();
    assert_eq!(
        waiting,
        [OtherOutput {
            uri: "file:///here".into(),
            requests: 1
        }]
    );
    assert_eq!(server.queue().elsewhere(Q, &output("here")).await.unwrap(), []);
    assert_eq!(
        server.status("lost").await.output.as_deref(),
        Some("file:///here")
    );

    let moved = server.queue().claim(Q, &elsewhere(true)).await.unwrap().unwrap();
    assert_eq!((&*moved.request.id, moved.is_contested), ("lost", true));
    assert_eq!(moved.moved_from.as_deref(), Some("file:///here"));
    server.queue().settle(&moved.ticket, "{}").await.unwrap();
    assert_eq!(server.status("lost").await.output, None);
    server.audit_is_clean().await;
}

pub(crate) async fn requests_of_another_output_do_not_hide_others(server: TestServer) {
    const ELSEWHERE: usize = 1_200;
    let ids: Vec<_> = (0..ELSEWHERE).map(|n| request(&format!("r{n}"))).collect();
    server.queue().submit(Q, &ids).await.unwrap();
    let mut tickets = Vec::new();
    while tickets.len() < ELSEWHERE {
        let claims = server.queue().claim_some(Q, &how(), 64).await.unwrap();
        tickets.extend(claims.into_iter().map(|claim| claim.ticket));
    }
    for ticket in &tickets {
        server
            .queue()
            .renew(ticket, Duration::ZERO, Progress::default())
            .await
            .unwrap();
    }
    server.submit(&["own"]).await;
    let options = ClaimOptions {
        output: output("elsewhere"),
        ..how()
    };
    // Each claim gives back at most a fixed number of lost requests to the queue.
    let claim = eventually("own", || async {
        server.queue().claim(Q, &options).await.unwrap()
    })
    .await;
    assert_eq!(claim.request.id, "own");
    eventually("all to be back", || async {
        assert_eq!(
            server
                .queue()
                .claim(
                    Q,
                    &ClaimOptions {
                        nonce: how().nonce,
                        ..options.clone()
                    }
                )
                .await
                .unwrap(),
            None
        );
        (server.queue().counts(Q).await.unwrap().ready == ELSEWHERE as u64).then_some(())
    })
    .await;
    server.submit(&["last"]).await;
    let next = ClaimOptions {
        nonce: how().nonce,
        ..options.clone()
    };
    assert_eq!(
        server.queue().claim(Q, &next).await.unwrap().unwrap().request.id,
        "last"
    );
    let waiting = server.queue().elsewhere(Q, &output("elsewhere")).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].requests, ELSEWHERE as u64);
}

pub(crate) async fn a_paused_queue_still_hands_out_requests_that_must_be_ended(server: TestServer) {
    server.submit(&["a", "b"]).await;
    server.claim_briefly().await;
    server.queue().set_paused(Q, true).await.unwrap();
    server.finds_nothing().await;
    assert_eq!(server.queue().cancel(Q, "a").await.unwrap(), Cancelled::Asked);
    let status = server.status("a").await;
    assert_eq!(
        (status.state, status.ending.as_deref()),
        (State::Ready, Some("cancelling"))
    );
    let waits_for = status.waits_for().unwrap();
    assert!(waits_for.contains("file:///here"), "{waits_for}");
    let claim = server.claim().await;
    assert_eq!((&*claim.request.id, &claim.ending), ("a", &Some(Ending::Cancel)));
    // The worker reports that it cannot check the attempt's files at present.
    server
        .queue()
        .fail(&claim.ticket, "disk", Next::Conclude(Duration::ZERO))
        .await
        .unwrap();
    let claim = server.claim().await;
    assert_eq!(claim.ending, Some(Ending::Cancel));
    server.queue().settle(&claim.ticket, "{}").await.unwrap();
    let status = server.status("a").await;
    assert_eq!((status.state, status.error), (State::Done, None));
    assert_eq!(
        status.note.as_deref(),
        Some("the cancel came too late: its output was committed")
    );
    server.finds_nothing().await;
    server.audit_is_clean().await;
}

pub(crate) async fn a_renewed_lease_is_kept(server: TestServer) {
    server.submit(&["a"]).await;
    let claim = server.claim_briefly().await;
    assert!(
        !server
            .queue()
            .renew(&claim.ticket, PATIENCE, Progress::default())
            .await
            .unwrap()
            .cancel
    );
    server.finds_nothing().await;
    server.queue().settle(&claim.ticket, "{}").await.unwrap();
    assert_lost(
        server
            .queue()
            .renew(&claim.ticket, PATIENCE, Progress::default())
            .await,
    );
}

pub(crate) async fn each_request_is_claimed_by_one(server: TestServer) {
    const REQUESTS: usize = 1_000;
    let requests: Vec<_> = (0..REQUESTS).map(|n| request(&format!("r{n}"))).collect();
    server.queue().submit(Q, &requests).await.unwrap();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let other = server.another().await;
        for _ in 0..4 {
            let queue = other.queue.clone();
            workers.spawn(async move {
                let mut claimed = Vec::new();
                while let Some(claim) = queue.claim(Q, &how()).await.unwrap() {
                    claimed.push((claim.ticket.id, claim.ticket.fence));
                }
                claimed
            });
        }
    }
    let claimed: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), REQUESTS);
    assert_eq!(
        claimed.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(),
        REQUESTS
    );
    assert_eq!(
        claimed
            .iter()
            .map(|(_, fence)| fence)
            .collect::<HashSet<_>>()
            .len(),
        REQUESTS
    );
    assert_eq!(server.queue().counts(Q).await.unwrap().leased, REQUESTS as u64);
    server.audit_is_clean().await;
}

pub(crate) async fn a_submit_wakes_a_waiting_worker(server: TestServer) {
    server.finds_nothing().await;
    let (other, requests) = (server.another().await, [request("a")]);
    server
        .is_woken_by(other.queue.submit(Q, &requests))
        .await
        .unwrap();
    assert_eq!(server.claim().await.ticket.id, "a");
}

pub(crate) async fn a_wait_ends(server: TestServer) {
    server.finds_nothing().await;
    server.queue().wait(Q, Duration::ZERO).await.unwrap();
    let started = Instant::now();
    server.queue().wait(Q, Duration::from_millis(60)).await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(50),
        "{:?}",
        started.elapsed()
    );
}
