//! Tests how a claim ends.

use std::time::Duration;

use ingest_host::queue::{Ending, Failure, Next, Progress, State, Ticket};

use crate::test_server::{Q, TestServer, assert_lost, eventually, how};

pub(crate) async fn a_settle_is_final(server: TestServer) {
    server.submit(&["a"]).await;
    let claim = server.claim().await;
    assert_eq!(server.state("a").await, State::Leased);
    server
        .queue()
        .settle(&claim.ticket, r#"{"receipt":1}"#)
        .await
        .unwrap();
    server
        .queue()
        .settle(&claim.ticket, r#"{"receipt":2}"#)
        .await
        .unwrap();
    assert_lost(server.queue().release(&claim.ticket).await);
    assert_lost(server.queue().fail(&claim.ticket, "no", Next::Dead).await);

    let status = server.status("a").await;
    assert_eq!(
        (status.state, status.attempts, status.error),
        (State::Done, 1, None)
    );
    let receipt = serde_json::to_value(status.receipt).unwrap();
    assert_eq!(receipt, serde_json::json!({ "receipt": 1 }));
    server.finds_nothing().await;
    server.audit_is_clean().await;
}

pub(crate) async fn only_the_holder_ends_a_claim(server: TestServer) {
    server.submit(&["a"]).await;
    let ticket = server.claim().await.ticket;
    let strangers = [
        Ticket {
            nonce: "another".into(),
            ..ticket.clone()
        },
        Ticket {
            fence: ticket.fence + 1,
            ..ticket.clone()
        },
        Ticket {
            id: "b".into(),
            ..ticket.clone()
        },
        Ticket {
            queue: "other".into(),
            ..ticket.clone()
        },
    ];
    for stranger in strangers {
        assert_lost(
            server
                .queue()
                .renew(&stranger, Duration::ZERO, Progress::default())
                .await,
        );
        assert_lost(server.queue().settle(&stranger, "{}").await);
        assert_lost(server.queue().fail(&stranger, "no", Next::Dead).await);
        assert_lost(server.queue().release(&stranger).await);
    }
    server.queue().settle(&ticket, "{}").await.unwrap();
}

pub(crate) async fn a_failed_request_comes_back(server: TestServer) {
    server.submit(&["a"]).await;
    let claim = server.claim().await;
    let retry = Next::Retry(Duration::from_secs(3600));
    let failed = server.queue().fail(&claim.ticket, "connection reset", retry);
    failed.await.unwrap();
    let status = server.status("a").await;
    assert_eq!((status.state, status.attempts), (State::Delayed, 1));
    assert_eq!(status.error.as_deref(), Some("connection reset"));
    let due_in_ms = status.due_ms.unwrap() - server.queue().now_ms().await.unwrap();
    assert!((3_590_000..=3_600_000).contains(&due_in_ms), "{due_in_ms}");
    server.finds_nothing().await;

    server.submit(&["b"]).await;
    let claim = server.claim().await;
    let retry = Next::Retry(Duration::from_millis(30));
    let failed = server.queue().fail(&claim.ticket, "connection reset", retry);
    failed.await.unwrap();
    let again = eventually("the backoff is over", || async {
        server.queue().claim(Q, &how()).await.unwrap()
    })
    .await;
    assert_eq!((again.ticket.id.as_str(), again.attempt, again.lost), ("b", 2, 0));
    assert_eq!(server.status("b").await.due_ms, None);
    // Only the waits after a failure are added up.
    assert_eq!(again.waited, Duration::from_millis(30));
    server.queue().release(&again.ticket).await.unwrap();
    let again = server.claim().await;
    let retry = Next::RetryContested(Duration::from_millis(12));
    server
        .queue()
        .fail(&again.ticket, "disk full", retry)
        .await
        .unwrap();
    let again = eventually("the backoff is over", || async {
        server.queue().claim(Q, &how()).await.unwrap()
    })
    .await;
    assert_eq!(again.waited, Duration::from_millis(42));
    server.queue().settle(&again.ticket, "{}").await.unwrap();
    assert_eq!(server.status("b").await.error, None);
    server.audit_is_clean().await;
}

pub(crate) async fn a_dead_letter_is_retried_or_purged(server: TestServer) {
    let queue = server.queue();
    server.submit(&["a"]).await;
    assert!(!queue.retry_dead(Q, "a").await.unwrap());
    assert!(!queue.purge_dead(Q, "a").await.unwrap());
    let claim = server.claim().await;
    queue.fail(&claim.ticket, "404", Next::Dead).await.unwrap();
    assert_eq!(server.status("a").await.error.as_deref(), Some("404"));
    server.finds_nothing().await;

    assert!(queue.retry_dead(Q, "a").await.unwrap());
    assert!(!queue.retry_dead(Q, "a").await.unwrap());
    let status = server.status("a").await;
    assert_eq!(
        (status.state, status.attempts, status.error),
        (State::Ready, 0, None)
    );
    let claim = server.claim().await;
    assert_eq!(claim.attempt, 1);
    let retry = Next::Retry(Duration::from_millis(5));
    queue.fail(&claim.ticket, "busy", retry).await.unwrap();
    let claim = eventually("the backoff is over", || async {
        queue.claim(Q, &how()).await.unwrap()
    })
    .await;
    assert_eq!((claim.attempt, claim.waited), (2, Duration::from_millis(5)));
    queue.fail(&claim.ticket, "busy", Next::Dead).await.unwrap();
    assert!(queue.retry_dead(Q, "a").await.unwrap());
    let claim = server.claim().await;
    assert_eq!((claim.attempt, claim.waited), (1, Duration::ZERO));
    queue.fail(&claim.ticket, "404 again", Next::Dead).await.unwrap();

    assert!(queue.purge_dead(Q, "a").await.unwrap());
    assert!(!queue.purge_dead(Q, "a").await.unwrap());
    assert_eq!(queue.status(Q, "a").await.unwrap(), None);
    assert_lost(queue.fail(&claim.ticket, "404 again", Next::Dead).await);
    server.audit_is_clean().await;
}

pub(crate) async fn hosts_that_have_answered_are_remembered(server: TestServer) {
    let queue = server.queue();
    let hosts: Vec<String> = (0..10_000).map(|number| format!("host-{number}:80")).collect();
    assert!(!queue.was_reached(&hosts[0]).await.unwrap());
    queue.note_reached(&hosts[..2]).await.unwrap();
    queue.note_reached(&hosts[..1]).await.unwrap();
    for (host, is_known) in [
        ("host-0:80", true),
        ("host-1:80", true),
        ("host-0:81", false),
        ("host-0", false),
    ] {
        assert_eq!(queue.was_reached(host).await.unwrap(), is_known, "{host}");
    }
    // If there are too many hosts, the server forgets those that were noted first.
    let after = queue.now_ms().await.unwrap();
    while queue.now_ms().await.unwrap() <= after {}
    queue.note_reached(&hosts[1..]).await.unwrap();
    queue.note_reached(&["late:80".into()]).await.unwrap();
    assert!(!queue.was_reached("host-0:80").await.unwrap());
    assert!(queue.was_reached("late:80").await.unwrap());
    assert!(
        server
            .another()
            .await
            .queue
            .was_reached("host-9999:80")
            .await
            .unwrap()
    );
}

pub(crate) async fn a_dead_letter_has_the_report_of_its_own_attempt(server: TestServer) {
    let queue = server.queue();
    server.submit(&["a"]).await;
    let fail = async |next, report| {
        let claim = server.claim().await;
        let failure = Failure {
            error: "refused",
            code: Some("gate-exceeded"),
            report,
        };
        for _ in 0..2 {
            queue.fail_with(&claim.ticket, failure, next).await.unwrap();
        }
        server.status("a").await.report
    };
    let uri = "file:///out/_ingest/q/quarantine/a.json";
    assert_eq!(fail(Next::Dead, Some(uri)).await.as_deref(), Some(uri));
    let listed = queue.requests(Q, State::Dead, 9).await.unwrap();
    assert_eq!(listed[0].report.as_deref(), Some(uri));
    assert_eq!(listed[0].code.as_deref(), Some("gate-exceeded"));
    assert!(queue.retry_dead(Q, "a").await.unwrap());
    assert_eq!(server.status("a").await.report, None);
    assert_eq!(server.status("a").await.code, None);
    // A request has a report only while it is dead. When it dies again, it has the new report or none.
    assert_eq!(fail(Next::Retry(Duration::ZERO), Some(uri)).await, None);
    assert_eq!(server.status("a").await.code.as_deref(), Some("gate-exceeded"));
    assert_eq!(fail(Next::Dead, None).await, None);
    server.audit_is_clean().await;
}

pub(crate) async fn a_code_is_never_that_of_another_error(server: TestServer) {
    server.submit(&["a"]).await;
    let queue = server.queue();
    let failure = |error, code| Failure {
        error,
        code,
        report: None,
    };
    let coded = failure("503", Some("http-status"));
    let claim = server.claim().await;
    queue
        .fail_with(&claim.ticket, coded, Next::Retry(Duration::ZERO))
        .await
        .unwrap();
    let code = async || server.status("a").await.code;
    assert_eq!(code().await.as_deref(), Some("http-status"));
    // A worker of version 0.1.0 stores only the error's text, so the earlier code must disappear.
    let claim = server.claim().await;
    assert_eq!(code().await.as_deref(), Some("http-status"));
    queue
        .fail(&claim.ticket, "busy", Next::Retry(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(code().await, None);
    // The next claim, which only ends the request, contains the code.
    let claim = server.claim().await;
    let disk = failure("disk", Some("output-unwritable"));
    queue
        .fail_with(&claim.ticket, disk, Next::Conclude(Duration::ZERO))
        .await
        .unwrap();
    let claim = server.claim().await;
    assert_eq!(claim.ending, Some(Ending::Dead("disk".into())));
    assert_eq!(claim.ending_code.as_deref(), Some("output-unwritable"));
    queue.settle(&claim.ticket, "{}").await.unwrap();
    assert_eq!(code().await, None);
    server.audit_is_clean().await;
}

pub(crate) async fn a_release_does_not_count(server: TestServer) {
    server.submit(&["a", "b"]).await;
    for _ in 0..5 {
        let claim = server.claim().await;
        assert_eq!((claim.ticket.id.as_str(), claim.attempt, claim.lost), ("a", 1, 0));
        server.queue().release(&claim.ticket).await.unwrap();
    }
    let status = server.status("a").await;
    assert_eq!((status.state, status.attempts, status.lost), (State::Ready, 0, 0));
    server.audit_is_clean().await;
}

pub(crate) async fn each_end_may_be_asked_again(server: TestServer) {
    let queue = server.queue();
    for next in [
        Next::Retry(Duration::ZERO),
        Next::Retry(Duration::from_secs(60)),
        Next::Dead,
        Next::Cancelled,
    ] {
        let id = format!("{next:?}")
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>();
        server.submit(&[&id]).await;
        let claim = server.claim().await;
        queue.fail(&claim.ticket, "once", next).await.unwrap();
        let after = server.status(&id).await;
        queue.fail(&claim.ticket, "twice", next).await.unwrap();
        assert_eq!(server.status(&id).await, after);
        // The cancel prevents the next claim from getting this request.
        queue.cancel(Q, &id).await.unwrap();
    }
    server.submit(&["released"]).await;
    let claim = server.claim().await;
    queue.release(&claim.ticket).await.unwrap();
    queue.release(&claim.ticket).await.unwrap();
    assert_eq!(server.status("released").await.attempts, 0);
    // When another worker has claimed the request, the old claim is lost.
    server.claim().await;
    assert_lost(queue.release(&claim.ticket).await);
    server.audit_is_clean().await;
}
