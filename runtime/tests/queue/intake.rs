//! Tests documents of external producers.

use ingest_host::queue::{Invalid, Queue, State};

use crate::test_server::{Q, TestServer, how};

pub(crate) async fn documents_become_requests(server: TestServer) {
    server.push(r#"{"uri":"https://example.com/a.csv","id":"a","priority":-1}"#);
    server.push(r#"{"uri":"https://example.com/b.csv","id":"b","delay_ms":3600000}"#);
    server.push(r#"{"uri":"https://example.com/anon.tsv","delimiter":"\t"}"#);
    // A document with a list of one input is the same request as the document without the list.
    server.push(r#"{"inputs":[{"uri":"https://example.com/a.csv"}],"id":"a"}"#);
    // Some editors begin a file with a byte order mark.
    server.push("\u{feff}{\"uri\":\"https://example.com/anon.tsv\",\"delimiter\":\"\\t\"}");
    // If the same request is pushed again, no new request is created.
    server.push(r#"{"uri":"https://example.com/a.csv","id":"a"}"#);

    let (first, second) = (server.claim().await, server.claim().await);
    for claim in [&first, &second] {
        assert_eq!(claim.request.uri, "https://example.com/anon.tsv");
        assert_eq!(claim.request.input.delimiter, Some('\t'));
    }
    assert_ne!(first.ticket.id, second.ticket.id);
    assert_eq!(server.claim().await.ticket.id, "a");
    server.finds_nothing().await;
    assert_eq!(server.state("b").await, State::Delayed);
    let counts = server.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.invalid), (0, 0));
    assert_eq!(server.queue().queues().await.unwrap(), [Q]);
    server.audit_is_clean().await;
}

pub(crate) async fn an_invalid_document_is_kept(server: TestServer) {
    server.push("not \"JSON\"");
    server.push(r#"{"uri":"a.csv","priority":1000}"#);
    server.push(b"{\"uri\":\"\xff\"}");
    server.push(b"\xff\xfe{\0}\0");
    server.finds_nothing().await;

    let invalid = server.queue().invalid(Q, 10).await.unwrap();
    let documents: Vec<_> = invalid.iter().map(|one| one.document.as_str()).collect();
    assert_eq!(
        documents,
        [
            "\u{fffd}\u{fffd}{\0}\0",
            "{\"uri\":\"\u{fffd}\"}",
            r#"{"uri":"a.csv","priority":1000}"#,
            "not \"JSON\""
        ]
    );
    for (one, why) in invalid
        .iter()
        .zip(["is UTF-16: save it as UTF-8", "not UTF-8", "priority 1000"])
    {
        assert!(one.reason.contains(why), "{}", one.reason);
    }
    assert!(invalid.iter().all(|one| one.at_ms > 1_600_000_000_000));
    let is_invalid = |one: &Invalid| one.code.as_deref() == Some("request-invalid");
    assert!(invalid.iter().all(is_invalid), "{invalid:?}");
    assert_eq!(server.queue().invalid(Q, 1).await.unwrap(), invalid[..1]);
    let counts = server.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.invalid), (0, 4));
}

pub(crate) async fn an_invalid_document_is_purged_by_its_key(server: TestServer) {
    let queue = server.queue();
    // There are more documents than a search reads at once. The first two documents are equal.
    server.push_all((0..300).map(|n: u32| format!("broken {}", n.max(1))));
    for _ in 0..3 {
        server.finds_nothing().await;
    }
    let before = queue.invalid(Q, 1_000).await.unwrap();
    assert_eq!(before.len(), 300);
    let (oldest, middle, newest) = (&before[299], &before[150], &before[0]);
    for gone in [oldest, middle, newest] {
        assert!(queue.purge_invalid(Q, &gone.key).await.unwrap(), "{gone:?}");
    }
    for none in [&middle.key, "", "0", "broken 7"] {
        assert!(!queue.purge_invalid(Q, none).await.unwrap(), "{none}");
    }
    assert!(!queue.purge_invalid("other", &before[1].key).await.unwrap());

    let after: Vec<_> = queue.invalid(Q, 1_000).await.unwrap();
    let left: Vec<_> = before
        .iter()
        .filter(|one| ![middle, newest].contains(one))
        .collect();
    // Of the two equal documents, one is left. It does not matter which of them is left.
    assert_eq!(
        after.iter().map(|one| &one.document).collect::<Vec<_>>(),
        left[..297].iter().map(|one| &one.document).collect::<Vec<_>>()
    );
    assert_eq!(queue.counts(Q).await.unwrap().invalid, 297);
}

pub(crate) async fn a_huge_document_is_clipped(server: TestServer) {
    const LIMIT: usize = 64 * 1024;
    let padded = |id: &str, length: usize| {
        let document = format!(r#"{{"uri":"https://example.com/{id}.csv","id":"{id}"}}"#);
        format!("{document}{}", " ".repeat(length - document.len()))
    };
    server.push(padded("huge", 8 * 1024 * 1024));
    server.push(padded("over", LIMIT + 1));
    server.push(padded("fits", LIMIT));
    server.push(r#"{"uri":"https://example.com/good.csv","id":"good"}"#);
    assert_eq!(server.claim().await.ticket.id, "fits");
    assert_eq!(server.claim().await.ticket.id, "good");

    let invalid = server.queue().invalid(Q, 10).await.unwrap();
    assert_eq!(invalid.len(), 2);
    for (one, id, length) in [(&invalid[1], "huge", 8_388_608), (&invalid[0], "over", LIMIT + 1)] {
        assert_eq!(one.document, padded(id, 1024));
        assert!(one.reason.contains(&length.to_string()), "{}", one.reason);
        assert!(one.reason.contains("65536"), "{}", one.reason);
    }
}

pub(crate) async fn a_step_reads_a_bounded_number_of_bytes(server: TestServer) {
    // While the queue is paused, each claim takes only one import step, whose size is bounded.
    server.push_all((0..50).map(|n| format!(r#"{{"uri":"{n}.csv"}}{}"#, " ".repeat(60_000))));
    server.queue().set_paused(Q, true).await.unwrap();
    server.finds_nothing().await;
    let counts = server.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.ready), (32, 18));
}

pub(crate) async fn a_taken_id_is_a_conflict(server: TestServer) {
    server.submit(&["a"]).await;
    server.push(r#"{"uri":"https://example.com/other.csv","id":"a"}"#);
    assert_eq!(server.claim().await.request.uri, "https://example.com/a.csv");
    server.finds_nothing().await;
    let invalid = server.queue().invalid(Q, 10).await.unwrap();
    assert_eq!(invalid.len(), 1);
    assert!(
        invalid[0].reason.contains("another content"),
        "{}",
        invalid[0].reason
    );
    assert_eq!(invalid[0].code.as_deref(), Some("request-conflict"));
}

/// Checks that an invalid document has the code of the rule that it violates.
pub(crate) async fn an_invalid_document_has_the_code_of_its_reason(server: TestServer) {
    for document in [
        r#"{"uri":"a.csv","id":".."}"#,
        r#"{"uri":"a.csv","encoding":"utf-17"}"#,
        r#"{"inputs":[{"uri":"a.csv"},{"uri":"b.csv"}]}"#,
    ] {
        server.push(document);
    }
    server.finds_nothing().await;
    let invalid = server.queue().invalid(Q, 10).await.unwrap();
    let codes: Vec<_> = invalid.iter().rev().map(|one| one.code.as_deref()).collect();
    let wanted = ["name-invalid", "options-invalid", "request-invalid"].map(Some);
    assert_eq!(codes, wanted);
}

pub(crate) async fn a_long_list_does_not_stall_claims(server: TestServer) {
    server.push_all((0..5_000).map(|n| format!(r#"{{"uri":"{n}.csv","id":"r{n}"}}"#)));
    assert_eq!(server.claim().await.ticket.id, "r0");
    let counts = server.queue().counts(Q).await.unwrap();
    assert!(counts.intake >= 4_800, "{counts:?}");
    assert_eq!(counts.intake + counts.ready + counts.leased, 5_000);
}

pub(crate) async fn a_busy_queue_imports(server: TestServer) {
    let ids: Vec<String> = (0..20).map(|n| format!("r{n}")).collect();
    server
        .submit(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    server.push_all((0..500).map(|n| format!(r#"{{"uri":"{n}.csv","id":"in{n}","priority":1}}"#)));
    let mut claimed = Vec::new();
    for _ in 0..10 {
        claimed.push(server.claim().await.ticket.id);
    }
    assert_eq!(server.queue().counts(Q).await.unwrap().intake, 0);
    // From the second claim on, the imported requests take part in the order by priority.
    assert!(claimed[1..].iter().all(|id| id.starts_with("in")), "{claimed:?}");
}

pub(crate) async fn invalid_documents_do_not_hide_valid_ones(server: TestServer) {
    server.push_all((0..250).map(|n| format!("broken {n}")));
    server.push(r#"{"uri":"https://example.com/a.csv","id":"a"}"#);
    assert_eq!(server.claim().await.ticket.id, "a");
    assert_eq!(server.queue().counts(Q).await.unwrap().invalid, 250);
}

pub(crate) async fn a_paused_queue_imports_slowly(server: TestServer) {
    server.push_all((0..1_000).map(|n| format!(r#"{{"uri":"{n}.csv"}}"#)));
    server.queue().set_paused(Q, true).await.unwrap();
    server.finds_nothing().await;
    let counts = server.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.ready), (900, 100));
}

/// Checks that each document is imported exactly once, even if several workers read the same documents at the same
/// time.
#[tokio::test]
async fn importers_on_redis_do_not_step_on_each_other() {
    let server = TestServer::redis().await;
    server.push_all((0..3_000).map(|n| format!(r#"{{"uri":"{n}.csv","id":"r{n}"}}"#)));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let other = server.another().await;
        workers.spawn(async move {
            let queue: &dyn Queue = &*other.queue;
            let mut claimed = 0;
            while queue.claim(Q, &how()).await.unwrap().is_some() {
                claimed += 1;
            }
            claimed
        });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<usize>(), 3_000);
    server.audit_is_clean().await;
}
