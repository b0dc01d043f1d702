//! Tests a SQLite file of an older version. A command that only reads does not change the file, so workers of that
//! version can still use it. A command that writes upgrades the whole file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest_host::error::Class;
use ingest_host::queue::{
    Backend, Binding, Counts, GroupPage, Invalid, ListedBinding, Next, Progress, State, Status, Step, Ticket,
};

use crate::support::sqlite::{take_back_to_version, version_of};
use crate::test_server::{Q, how, request};

const LATEST: usize = 3;

/// A queue with a request in each state, and the ticket of the leased request.
struct FilledQueue {
    folder: tempfile::TempDir,
    url: String,
    held: Ticket,
}

impl FilledQueue {
    fn file(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }
}

async fn claim(server: &Backend, id: &str) -> Ticket {
    server.queue.submit(Q, &[request(id)]).await.unwrap();
    let claim = server.queue.claim(Q, &how()).await.unwrap().unwrap();
    assert_eq!(claim.ticket.id, id);
    claim.ticket
}

async fn fill() -> FilledQueue {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("queue.db").display());
    let server = Backend::connect(&url).await.unwrap();
    let queue = &server.queue;
    let held = claim(&server, "held").await;
    let progress = Progress {
        bytes: 7,
        records: 2,
        rejects: 1,
        checkpoint: 0,
    };
    queue
        .renew(&held, Duration::from_secs(600), progress)
        .await
        .unwrap();
    let done = claim(&server, "done").await;
    queue.settle(&done, r#"{"records":{"read":3}}"#).await.unwrap();
    let dead = claim(&server, "dead").await;
    queue.fail(&dead, "no good", Next::Dead).await.unwrap();
    let retried = claim(&server, "retried").await;
    let later = Next::Retry(Duration::from_secs(3_600));
    queue.fail(&retried, "busy", later).await.unwrap();
    let asked = claim(&server, "asked").await;
    queue
        .renew(&asked, Duration::from_secs(600), Progress::default())
        .await
        .unwrap();
    queue.cancel(Q, "asked").await.unwrap();
    let mut delayed = request("delayed");
    delayed.delay_ms = 3_600_000;
    queue
        .submit(Q, &[delayed, request("cancelled"), request("ready")])
        .await
        .unwrap();
    queue.cancel(Q, "cancelled").await.unwrap();
    let binding = Binding {
        number: 0,
        steps: vec![Step {
            sha256: "aa".into(),
            name: "clean".into(),
            version: "1.2.0".into(),
            config: "{}".into(),
            data: Default::default(),
        }],
        limits: ingest_host::config::LimitOverrides::new(),
        gate: ingest_host::gate::Gate::default(),
        input: ingest_host::request::InputOptions::default(),
        bound_ms: 1,
        rollback_of: None,
    };
    server.registry.bind(Q, &binding, None).await.unwrap();
    FilledQueue { folder, url, held }
}

/// All data of a queue that a reader can see.
#[derive(Debug, PartialEq)]
struct View {
    requests: Vec<Status>,
    counts: Counts,
    invalid: Vec<Invalid>,
    bindings: Vec<ListedBinding>,
    audit: Vec<String>,
}

async fn view(server: &Backend) -> View {
    let mut requests = Vec::new();
    for state in State::ALL {
        let found = server.queue.requests(Q, state, 10).await.unwrap();
        assert!(!found.is_empty(), "no request is {}", state.name());
        for status in found {
            assert_eq!(
                server.queue.status(Q, &status.id).await.unwrap().as_ref(),
                Some(&status)
            );
            requests.push(status);
        }
    }
    View {
        requests,
        counts: server.queue.counts(Q).await.unwrap(),
        invalid: server.queue.invalid(Q, 10).await.unwrap(),
        bindings: server.registry.bindings(Q).await.unwrap(),
        audit: server.queue.audit(Q).await.unwrap(),
    }
}

#[tokio::test]
async fn a_look_at_an_older_file_leaves_it_as_it_is() {
    for version in 1..LATEST {
        let filled = fill().await;
        let latest = view(&Backend::connect(&filled.url).await.unwrap()).await;
        take_back_to_version(&filled.file(), version);

        let reader = Backend::connect_to_read(&filled.url).await.unwrap();
        let seen = view(&reader).await;
        assert_eq!(seen.audit, Vec::<String>::new());
        assert_eq!(seen, latest, "version {version}");
        let refused = reader.queue.submit(Q, &[request("new")]).await;
        assert_eq!(refused.expect_err("it only reads").class(), Class::Permanent);
        drop(reader);
        assert_eq!(version_of(&filled.file()), version);
    }
}

/// A file of the latest version can come from a program that knows neither groups nor reports of checkpoints.
#[tokio::test]
async fn a_file_without_groups_gets_them() {
    let filled = fill().await;
    let latest = view(&Backend::connect(&filled.url).await.unwrap()).await;
    let without = rusqlite::Connection::open(filled.file()).unwrap();
    without
        .execute_batch(
            "DROP INDEX request_group; ALTER TABLE request DROP COLUMN group_name;
             ALTER TABLE request DROP COLUMN checkpoint",
        )
        .unwrap();
    drop(without);
    let reader = Backend::connect_to_read(&filled.url).await.unwrap();
    assert_eq!(view(&reader).await, latest);
    assert_eq!(
        reader.queue.group(Q, "g", 0, 10).await.unwrap(),
        GroupPage::default()
    );
    drop(reader);
    let server = Backend::connect(&filled.url).await.unwrap();
    assert_eq!(view(&server).await, latest);
    let mut grouped = request("grouped");
    grouped.group = Some("g".into());
    server.queue.submit(Q, &[grouped]).await.unwrap();
    let page = server.queue.group(Q, "g", 0, 10).await.unwrap();
    assert_eq!(page.requests.len(), 1);
    // The index exists, so a list of the group does not scan the queue.
    let db = rusqlite::Connection::open(filled.file()).unwrap();
    let plan = "EXPLAIN QUERY PLAN SELECT * FROM request
        WHERE queue = 'q' AND group_name = 'g' AND sequence > 1 ORDER BY sequence LIMIT 1";
    let plan: String = db.query_row(plan, [], |row| row.get("detail")).unwrap();
    assert!(
        plan.contains("USING INDEX request_group (queue=? AND group_name=? AND sequence>?)"),
        "{plan}"
    );
}

#[tokio::test]
async fn an_upgrade_takes_the_requests_of_every_state_along() {
    for version in 1..LATEST {
        let filled = fill().await;
        let latest = view(&Backend::connect(&filled.url).await.unwrap()).await;
        take_back_to_version(&filled.file(), version);
        // A worker of the older version has the file open, and renews its lease with its own SQL statement.
        let theirs = rusqlite::Connection::open(filled.file()).unwrap();
        let renew = "UPDATE request SET at_ms = at_ms + 1 WHERE id = 'held' AND state = 'leased'";
        let mut renew = theirs.prepare(renew).unwrap();
        assert_eq!(renew.execute([]).unwrap(), 1);

        let server = Backend::connect(&filled.url).await.unwrap();
        assert_eq!(version_of(&filled.file()), LATEST);
        assert_eq!(renew.execute([]).unwrap(), 1);
        drop(renew);
        theirs
            .execute("UPDATE request SET at_ms = at_ms - 2 WHERE id = 'held'", [])
            .unwrap();
        assert_eq!(view(&server).await, latest, "version {version}");
        goes_on(&server, &filled.held).await;
    }
}

/// Brings each request to its end.
async fn goes_on(server: &Backend, held: &Ticket) {
    let queue = &server.queue;
    let ready = queue.claim(Q, &how()).await.unwrap().unwrap();
    assert_eq!((&*ready.ticket.id, ready.attempt), ("ready", 1));
    assert_eq!(
        (ready.waited, ready.life_ms),
        (Duration::ZERO, ready.request.submitted_ms)
    );
    let wait = Next::Retry(Duration::from_secs(3_600));
    queue.fail(&ready.ticket, "busy", wait).await.unwrap();
    queue.settle(held, r#"{"records":{"read":1}}"#).await.unwrap();
    assert!(queue.retry_dead(Q, "dead").await.unwrap());
    let dead = queue.claim(Q, &how()).await.unwrap().unwrap();
    assert_eq!((&*dead.ticket.id, dead.attempt), ("dead", 1));
    queue.release(&dead.ticket).await.unwrap();
    for id in ["delayed", "retried"] {
        queue.cancel(Q, id).await.unwrap();
        let status = queue.status(Q, id).await.unwrap().unwrap();
        assert_eq!(status.state, State::Cancelled, "{id}");
    }
    queue.note_reached(&["a:80".into()]).await.unwrap();
    assert!(queue.was_reached("a:80").await.unwrap());
    assert_eq!(queue.audit(Q).await.unwrap(), Vec::<String>::new());
}

async fn refused(url: &str) -> String {
    let error = Backend::connect_to_read(url)
        .await
        .err()
        .expect("nothing to read");
    assert_eq!(error.class(), Class::Permanent);
    error.report()
}

#[tokio::test]
async fn a_look_makes_no_queue() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    let url = format!("sqlite:{}", file.display());
    assert!(refused(&url).await.contains("cannot be used"));
    assert!(!file.exists());
    std::fs::write(&file, "").unwrap();
    assert!(refused(&url).await.contains("has no queue yet"));
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    let newer = |path: &Path| {
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch("CREATE TABLE request (id TEXT); PRAGMA user_version = 99")
            .unwrap();
    };
    newer(&file);
    assert!(
        refused(&url)
            .await
            .contains("has version 99, this program knows up to")
    );
}
