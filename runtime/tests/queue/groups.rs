//! Tests that requests of a group are listed in the order in which they were submitted, whatever becomes of them.

use std::time::Duration;

use ingest_host::error::Code;
use ingest_host::queue::{GroupPage, Next, State, Submitted};
use ingest_host::request::NewRequest;

use crate::test_server::{Q, TestServer, request};

fn grouped(id: &str, group: &str) -> NewRequest {
    let mut request = request(id);
    request.group = Some(group.to_owned());
    request
}

/// Returns the ids of a group's requests, read with pages of this size.
async fn ids(server: &TestServer, group: &str, limit: usize) -> Vec<String> {
    let (mut after, mut ids) = (0, Vec::new());
    loop {
        let GroupPage { requests, next } = server.queue().group(Q, group, after, limit).await.unwrap();
        assert!(requests.len() <= limit);
        for status in requests {
            assert_eq!(status.group.as_deref(), Some(group));
            assert_eq!(server.status(&status.id).await, status);
            ids.push(status.id);
        }
        match next {
            Some(next) => after = next,
            None => return ids,
        }
    }
}

pub(crate) async fn a_group_is_listed_in_order_in_pages(server: TestServer) {
    let mut requests = Vec::new();
    for n in 0..30 {
        let mut request = grouped(&format!("r{n}"), if n % 3 == 0 { "other" } else { "one" });
        request.priority = n % 7;
        request.delay_ms = u64::from(n % 2 == 0) * 1_000_000;
        requests.push(request);
        requests.push(self::request(&format!("s{n}")));
    }
    server.queue().submit(Q, &requests).await.unwrap();
    let of = |group: &str| -> Vec<String> {
        let of_group = requests
            .iter()
            .filter(|request| request.group.as_deref() == Some(group));
        of_group.map(|request| request.id.clone()).collect()
    };
    for limit in [1, 3, 10, 20, 1_000] {
        assert_eq!(ids(&server, "one", limit).await, of("one"), "{limit}");
        assert_eq!(ids(&server, "other", limit).await, of("other"), "{limit}");
    }
    assert_eq!(ids(&server, "on", 10).await, Vec::<String>::new());
    let of_another_queue = server.queue().group("another", "one", 0, 10).await.unwrap();
    assert_eq!(of_another_queue, GroupPage::default());
    server.audit_is_clean().await;
}

pub(crate) async fn a_group_keeps_its_requests_until_they_are_removed(server: TestServer) {
    let queue = server.queue();
    let all = ["done", "dead", "purged", "cancelled", "lost", "ready"];
    let requests = all.map(|id| grouped(id, "g"));
    queue.submit(Q, &requests).await.unwrap();
    for id in all {
        let claim = match id {
            "ready" => break,
            "lost" => server.claim_briefly().await,
            _ => server.claim().await,
        };
        assert_eq!(
            (&*claim.ticket.id, claim.request.group.as_deref()),
            (id, Some("g"))
        );
        match id {
            "done" => queue.settle(&claim.ticket, "{}").await.unwrap(),
            "cancelled" => queue.fail(&claim.ticket, "", Next::Cancelled).await.unwrap(),
            "dead" | "purged" => queue.fail(&claim.ticket, "404", Next::Dead).await.unwrap(),
            _ => {}
        }
    }
    assert_eq!(ids(&server, "g", 2).await, all);
    // A second submit changes nothing, whatever its group is.
    for group in [Some("g"), Some("h"), None] {
        let mut again = request("done");
        again.group = group.map(str::to_owned);
        let answers = queue.submit(Q, &[again]).await.unwrap();
        assert_eq!(answers, [Submitted::Existing(State::Done)]);
    }
    assert_eq!(ids(&server, "g", 2).await, all);
    assert_eq!(ids(&server, "h", 2).await, Vec::<String>::new());
    assert!(queue.purge_dead(Q, "purged").await.unwrap());
    assert_eq!(queue.reap(Q, Duration::ZERO).await.unwrap().removed, 2);
    assert!(queue.retry_dead(Q, "dead").await.unwrap());
    assert_eq!(ids(&server, "g", 2).await, ["dead", "lost", "ready"]);
    // A removed id is new again, also in another group.
    queue.submit(Q, &[grouped("done", "h")]).await.unwrap();
    assert_eq!(ids(&server, "h", 2).await, ["done"]);
    server.audit_is_clean().await;
}

pub(crate) async fn a_document_can_name_a_group(server: TestServer) {
    server.push(r#"{"id":"a","uri":"https://example.com/a.csv","group":"g"}"#);
    server.push(r#"{"id":"b","uri":"https://example.com/b.csv"}"#);
    server.push(r#"{"id":"c","inputs":[{"uri":"https://example.com/c.csv","version":"\"x\""}],"group":"g"}"#);
    server.push(r#"{"id":"d","uri":"https://example.com/d.csv","group":".g"}"#);
    server.claim().await;
    assert_eq!(ids(&server, "g", 10).await, ["a", "c"]);
    assert_eq!(server.status("b").await.group, None);
    assert_eq!(server.status("c").await.input["version"], "\"x\"");
    let invalid = server.queue().invalid(Q, 10).await.unwrap();
    assert_eq!(invalid.len(), 1);
    assert!(
        invalid[0].reason.contains("group \".g\" must have"),
        "{}",
        invalid[0].reason
    );
}

pub(crate) async fn a_group_has_a_name(server: TestServer) {
    for name in ["", ".g", "a b", &"g".repeat(65)] {
        let refused = server.queue().submit(Q, &[grouped("a", name)]).await;
        assert_eq!(refused.expect_err(name).code(), Code::NameInvalid);
        let refused = server.queue().group(Q, name, 0, 1).await;
        assert_eq!(refused.expect_err(name).code(), Code::NameInvalid);
    }
}

pub(crate) async fn statuses_come_in_the_order_of_the_ids(server: TestServer) {
    let requests: Vec<_> = (0..600).map(|n| request(&format!("r{n}"))).collect();
    server.queue().submit(Q, &requests).await.unwrap();
    let ids: Vec<_> = (0..700).map(|n| format!("r{}", (n * 7) % 700)).collect();
    let found = server.queue().statuses(Q, &ids).await.unwrap();
    assert_eq!(found.len(), ids.len());
    for (id, status) in ids.iter().zip(found) {
        let number: usize = id[1..].parse().unwrap();
        assert_eq!(status.map(|status| status.id), (number < 600).then(|| id.clone()));
    }
    assert_eq!(server.queue().statuses(Q, &[]).await.unwrap(), []);
}
