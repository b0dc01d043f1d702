//! Documents of foreign producers.

use ingest_host::queue::{Queue, State};

use crate::bed::{Bed, Q, how};

pub(crate) async fn documents_become_requests(bed: Bed) {
    bed.push(r#"{"uri":"https://example.com/a.csv","id":"a","priority":-1}"#);
    bed.push(r#"{"uri":"https://example.com/b.csv","id":"b","delay_ms":3600000}"#);
    bed.push(r#"{"uri":"https://example.com/anon.tsv","delimiter":"\t"}"#);
    // As some editors write it.
    bed.push("\u{feff}{\"uri\":\"https://example.com/anon.tsv\",\"delimiter\":\"\\t\"}");
    // The same request once more is not another one.
    bed.push(r#"{"uri":"https://example.com/a.csv","id":"a"}"#);

    let (first, second) = (bed.claim().await, bed.claim().await);
    for claim in [&first, &second] {
        assert_eq!(claim.request.uri, "https://example.com/anon.tsv");
        assert_eq!(claim.request.input.delimiter, Some('\t'));
    }
    assert_ne!(first.ticket.id, second.ticket.id);
    assert_eq!(bed.claim().await.ticket.id, "a");
    bed.finds_nothing().await;
    assert_eq!(bed.state("b").await, State::Delayed);
    let counts = bed.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.invalid), (0, 0));
    assert_eq!(bed.queue().queues().await.unwrap(), [Q]);
    bed.audit_is_clean().await;
}

pub(crate) async fn an_invalid_document_is_kept(bed: Bed) {
    bed.push("not \"JSON\"");
    bed.push(r#"{"uri":"a.csv","priority":1000}"#);
    bed.push(b"{\"uri\":\"\xff\"}");
    bed.push(b"\xff\xfe{\0}\0");
    bed.finds_nothing().await;

    let invalid = bed.queue().invalid(Q, 10).await.unwrap();
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
    assert_eq!(bed.queue().invalid(Q, 1).await.unwrap(), invalid[..1]);
    let counts = bed.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.invalid), (0, 4));
}

pub(crate) async fn an_invalid_document_is_purged_by_its_key(bed: Bed) {
    let queue = bed.queue();
    // More than a search reads at once; the first two are the same.
    bed.push_all((0..300).map(|n: u32| format!("broken {}", n.max(1))));
    for _ in 0..3 {
        bed.finds_nothing().await;
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
    // Of two that are the same, one is left, whichever.
    assert_eq!(
        after.iter().map(|one| &one.document).collect::<Vec<_>>(),
        left[..297].iter().map(|one| &one.document).collect::<Vec<_>>()
    );
    assert_eq!(queue.counts(Q).await.unwrap().invalid, 297);
}

pub(crate) async fn a_huge_document_is_clipped(bed: Bed) {
    const LIMIT: usize = 64 * 1024;
    let padded = |id: &str, length: usize| {
        let document = format!(r#"{{"uri":"https://example.com/{id}.csv","id":"{id}"}}"#);
        format!("{document}{}", " ".repeat(length - document.len()))
    };
    bed.push(padded("huge", 8 * 1024 * 1024));
    bed.push(padded("over", LIMIT + 1));
    bed.push(padded("fits", LIMIT));
    bed.push(r#"{"uri":"https://example.com/good.csv","id":"good"}"#);
    assert_eq!(bed.claim().await.ticket.id, "fits");
    assert_eq!(bed.claim().await.ticket.id, "good");

    let invalid = bed.queue().invalid(Q, 10).await.unwrap();
    assert_eq!(invalid.len(), 2);
    for (one, id, length) in [(&invalid[1], "huge", 8_388_608), (&invalid[0], "over", LIMIT + 1)] {
        assert_eq!(one.document, padded(id, 1024));
        assert!(one.reason.contains(&length.to_string()), "{}", one.reason);
        assert!(one.reason.contains("65536"), "{}", one.reason);
    }
}

pub(crate) async fn a_step_reads_a_bounded_number_of_bytes(bed: Bed) {
    // A paused queue takes one step a claim.
    bed.push_all((0..50).map(|n| format!(r#"{{"uri":"{n}.csv"}}{}"#, " ".repeat(60_000))));
    bed.queue().set_paused(Q, true).await.unwrap();
    bed.finds_nothing().await;
    let counts = bed.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.ready), (32, 18));
}

pub(crate) async fn a_taken_id_is_a_conflict(bed: Bed) {
    bed.submit(&["a"]).await;
    bed.push(r#"{"uri":"https://example.com/other.csv","id":"a"}"#);
    assert_eq!(bed.claim().await.request.uri, "https://example.com/a.csv");
    bed.finds_nothing().await;
    let invalid = bed.queue().invalid(Q, 10).await.unwrap();
    assert_eq!(invalid.len(), 1);
    assert!(
        invalid[0].reason.contains("another content"),
        "{}",
        invalid[0].reason
    );
}

pub(crate) async fn a_long_list_does_not_stall_claims(bed: Bed) {
    bed.push_all((0..5_000).map(|n| format!(r#"{{"uri":"{n}.csv","id":"r{n}"}}"#)));
    assert_eq!(bed.claim().await.ticket.id, "r0");
    let counts = bed.queue().counts(Q).await.unwrap();
    assert!(counts.intake >= 4_800, "{counts:?}");
    assert_eq!(counts.intake + counts.ready + counts.leased, 5_000);
}

pub(crate) async fn a_busy_queue_imports(bed: Bed) {
    let ids: Vec<String> = (0..20).map(|n| format!("r{n}")).collect();
    bed.submit(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    bed.push_all((0..500).map(|n| format!(r#"{{"uri":"{n}.csv","id":"in{n}","priority":1}}"#)));
    let mut claimed = Vec::new();
    for _ in 0..10 {
        claimed.push(bed.claim().await.ticket.id);
    }
    assert_eq!(bed.queue().counts(Q).await.unwrap().intake, 0);
    // No later than the second claim, the import has its say in what comes first.
    assert!(claimed[1..].iter().all(|id| id.starts_with("in")), "{claimed:?}");
}

pub(crate) async fn invalid_documents_do_not_hide_valid_ones(bed: Bed) {
    bed.push_all((0..250).map(|n| format!("broken {n}")));
    bed.push(r#"{"uri":"https://example.com/a.csv","id":"a"}"#);
    assert_eq!(bed.claim().await.ticket.id, "a");
    assert_eq!(bed.queue().counts(Q).await.unwrap().invalid, 250);
}

pub(crate) async fn a_paused_queue_imports_slowly(bed: Bed) {
    bed.push_all((0..1_000).map(|n| format!(r#"{{"uri":"{n}.csv"}}"#)));
    bed.queue().set_paused(Q, true).await.unwrap();
    bed.finds_nothing().await;
    let counts = bed.queue().counts(Q).await.unwrap();
    assert_eq!((counts.intake, counts.ready), (900, 100));
}

/// Workers that read the same documents at the same time import each of them once, and none for another.
#[tokio::test]
async fn importers_on_redis_do_not_step_on_each_other() {
    let bed = Bed::redis().await;
    bed.push_all((0..3_000).map(|n| format!(r#"{{"uri":"{n}.csv","id":"r{n}"}}"#)));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let server = bed.another().await;
        workers.spawn(async move {
            let queue: &dyn Queue = &*server.queue;
            let mut claimed = 0;
            while queue.claim(Q, &how()).await.unwrap().is_some() {
                claimed += 1;
            }
            claimed
        });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<usize>(), 3_000);
    bed.audit_is_clean().await;
}
