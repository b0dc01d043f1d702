//! Tests retries and purges of all dead requests and documents at once, while other clients change them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ingest_host::queue::DeadLetterOutcome::{Done, Gone};
use ingest_host::queue::{ListPosition, Next, State, Submitted};
use ingest_host::request::{InputOptions, StoredInput};
use serde_json::{Value, json};

use crate::support::host::{CommandOutput, Host};
use crate::support::process::send_signal;
use crate::test_server::{PATIENCE, Q, TestServer, eventually, how, request};

const MANY: usize = 500;

/// Submits a request for each of these ids, and makes it dead.
async fn kill(server: &TestServer, ids: &[String]) {
    let requests: Vec<_> = ids.iter().map(|id| request(id)).collect();
    server.queue().submit(Q, &requests).await.unwrap();
    let mut killed = 0;
    while killed < ids.len() {
        let claims = server.queue().claim_some(Q, &how(), 64).await.unwrap();
        assert!(!claims.is_empty());
        for claim in &claims {
            server
                .queue()
                .fail(&claim.ticket, "404", Next::Dead)
                .await
                .unwrap();
        }
        killed += claims.len();
    }
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("r{n:04}")).collect()
}

/// A script that runs in a loop on a Redis server until this value is dropped.
struct BackgroundScript {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BackgroundScript {
    fn start(server: &TestServer, script: &str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut connection, over) = (server.redis_connection(), Arc::clone(&is_over));
        let script = script.replace("{Q}", &format!("ingest:{{{Q}}}"));
        let thread = std::thread::spawn(move || {
            let script = redis::Script::new(&script);
            while !over.load(Ordering::Relaxed) {
                script.invoke::<()>(&mut connection).unwrap();
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for BackgroundScript {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// As soon as a retried request becomes ready, makes it dead again. Counts these deaths for each request.
fn kill_again(server: &TestServer) -> Option<BackgroundScript> {
    if server.is_redis() {
        let script = "
            local time = redis.call('TIME')
            for _, id in ipairs(redis.call('ZRANGE', '{Q}:ready', 0, -1)) do
              redis.call('ZREM', '{Q}:ready', id)
              redis.call('HSET', '{Q}:request:' .. id, 'error', 'again')
              redis.call('ZADD', '{Q}:dead', time[1] * 1000 + math.floor(time[2] / 1000), id)
              redis.call('HINCRBY', 'retried', id, 1)
            end";
        return Some(BackgroundScript::start(server, script));
    }
    server.database(|db| {
        db.execute_batch(
            "CREATE TABLE retried (id TEXT PRIMARY KEY, times INTEGER NOT NULL);
             CREATE TRIGGER again AFTER UPDATE OF state ON request WHEN old.state = 'dead' AND new.state = 'ready' BEGIN
                 INSERT INTO retried VALUES (new.id, 1) ON CONFLICT DO UPDATE SET times = times + 1;
                 UPDATE request SET state = 'dead', error = 'again', at_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)
                     WHERE sequence = new.sequence;
             END",
        )
        .unwrap();
    });
    None
}

/// Runs a command that must end even if other clients add work all the time.
#[track_caller]
pub(crate) fn run_to_its_end(server: &TestServer, words: &str) -> CommandOutput {
    let host = Host::on(&server.url);
    let mut command = host.command();
    command
        .args(words.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + 3 * PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("`{words}` does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    CommandOutput::new(&child.wait_with_output().unwrap())
}

/// Returns the number of retries of each request.
fn retried(server: &TestServer) -> BTreeMap<String, u64> {
    if server.is_redis() {
        let mut connection = server.redis_connection();
        return redis::cmd("HGETALL")
            .arg("retried")
            .query(&mut connection)
            .unwrap();
    }
    let mut found = BTreeMap::new();
    server.database(|db| {
        let mut all = db.prepare("SELECT id, times FROM retried").unwrap();
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        found = rows.collect::<rusqlite::Result<_>>().unwrap();
    });
    found
}

pub(crate) async fn a_retry_of_all_takes_each_once(server: TestServer) {
    let dead = ids(MANY);
    kill(&server, &dead).await;
    let meddler = kill_again(&server);
    let said = run_to_its_end(&server, &format!("dead retry --all --queue {Q}"));
    let mut told: Vec<_> = said.stdout.lines().map(str::to_owned).collect();
    told.sort_unstable();
    let expected: Vec<_> = dead.iter().map(|id| format!("{id}  ready")).collect();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(told, expected);
    let note = format!("{Q}: {MANY} of {MANY} retried");
    assert!(said.stderr.starts_with(&note), "{}", said.stderr);
    // On Redis, a retried request dies a little later. So the last ones can die after the command has counted the dead
    // requests.
    if !server.is_redis() {
        let note = format!("; {MANY} have died since and are left\n");
        assert!(said.stderr.ends_with(&note), "{}", said.stderr);
    }
    server.wait_for_dead(MANY as u64).await;
    drop(meddler);
    let times = retried(&server);
    assert_eq!(times, dead.into_iter().map(|id| (id, 1)).collect());
    server.audit_is_clean().await;
}

pub(crate) async fn a_purge_of_all_leaves_what_dies_later(server: TestServer) {
    kill(&server, &ids(MANY)).await;
    // In SQLite, a trigger adds a new dead request for each removed request. On Redis, a script adds new dead requests
    // all the time.
    let meddler = if server.is_redis() {
        let script = "
            local time = redis.call('TIME')
            local number = redis.call('INCR', 'number')
            redis.call('HSET', '{Q}:request:late' .. number, 'error', 'late')
            redis.call('ZADD', '{Q}:dead', time[1] * 1000 + math.floor(time[2] / 1000), 'late' .. number)";
        Some(BackgroundScript::start(&server, script))
    } else {
        server.database(|db| {
            db.execute_batch(
                "CREATE TRIGGER late AFTER DELETE ON request WHEN old.state = 'dead' BEGIN
                     INSERT INTO request (queue, id, uri, input, digest, priority, submitted_ms, state, at_ms, error)
                     VALUES (old.queue, 'late' || old.id, 'x', '{}', '', 0, 0, 'dead',
                         CAST(unixepoch('subsec') * 1000 AS INTEGER), 'late');
                 END",
            )
            .unwrap();
        });
        None
    };
    let said = run_to_its_end(&server, &format!("dead purge --all --queue {Q}"));
    drop(meddler);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let removed: BTreeSet<_> = said.stdout.lines().map(str::to_owned).collect();
    for id in ids(MANY) {
        assert!(removed.contains(&format!("{id}  removed")), "{id}");
        assert_eq!(server.queue().status(Q, &id).await.unwrap(), None);
    }
    // On Redis, some of the new dead requests can be there before the command lists the dead requests. The command
    // removes them, too.
    assert_eq!(said.stdout.lines().count(), removed.len());
    assert!(server.is_redis() || removed.len() == MANY);
    assert!(
        said.stderr.contains("have died since and are left"),
        "{}",
        said.stderr
    );
}

pub(crate) async fn a_purge_of_documents_leaves_what_comes_later(server: TestServer) {
    server.push_all((0..MANY).map(|n| format!("broken {n}")));
    while server.queue().counts(Q).await.unwrap().intake > 0 {
        server.finds_nothing().await;
    }
    let before: BTreeSet<String> = server
        .queue()
        .invalid(Q, MANY)
        .await
        .unwrap()
        .into_iter()
        .map(|one| format!("document:{}  removed", one.key))
        .collect();
    assert_eq!(before.len(), MANY);
    let meddler = if server.is_redis() {
        let script = "
            local time = redis.call('TIME')
            local at_ms = time[1] * 1000 + math.floor(time[2] / 1000)
            local document = 'late ' .. redis.call('INCR', 'number')
            redis.call('LPUSH', '{Q}:invalid', cjson.encode({ document = document, reason = 'late', at_ms = at_ms }))";
        Some(BackgroundScript::start(&server, script))
    } else {
        server.database(|db| {
            db.execute_batch(
                "CREATE TRIGGER late AFTER DELETE ON invalid BEGIN
                     INSERT INTO invalid (queue, document, reason, at_ms)
                     VALUES (old.queue, 'late', 'late', CAST(unixepoch('subsec') * 1000 AS INTEGER) + 1);
                 END",
            )
            .unwrap();
        });
        None
    };
    // While new documents arrive, the test purges the oldest document by its key, and a document that does not exist.
    let oldest = server
        .queue()
        .invalid(Q, usize::MAX)
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(oldest.document, "broken 0");
    assert!(server.queue().purge_invalid(Q, &oldest.key).await.unwrap());
    assert!(!server.queue().purge_invalid(Q, "no such key").await.unwrap());
    let said = run_to_its_end(&server, &format!("dead purge --documents --queue {Q}"));
    drop(meddler);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let removed: BTreeSet<_> = said.stdout.lines().map(str::to_owned).collect();
    assert_eq!(removed.len(), said.stdout.lines().count());
    let gone = format!("document:{}  removed", oldest.key);
    assert_eq!(before.difference(&removed).collect::<Vec<_>>(), [&gone]);
    assert!(
        said.stderr.contains("have come since and are left"),
        "{}",
        said.stderr
    );
    let left = server.queue().invalid(Q, usize::MAX).await.unwrap();
    assert!(!left.is_empty() && left.iter().all(|one| one.document.starts_with("late")));
}

pub(crate) async fn a_death_that_is_over_is_skipped(server: TestServer) {
    let queue = server.queue();
    kill(&server, &ids(5)).await;
    let deaths: Vec<ListPosition> = queue
        .after(Q, State::Dead, &ListPosition::default(), 100)
        .await
        .unwrap()
        .into_iter()
        .map(|listed| listed.place)
        .collect();
    let place = |id: &str| deaths.iter().find(|place| place.id == id).unwrap().clone();
    assert_eq!(deaths.len(), 5);
    // Another client purges one request, retries a second one, and makes a third one die again.
    assert!(queue.purge_dead(Q, "r0000").await.unwrap());
    assert!(queue.retry_dead(Q, "r0001").await.unwrap());
    server.end_at("r0002", 1_000);
    let places = ["r0000", "r0001", "r0002", "r0003"].map(place);
    let answers = queue.retry_deaths(Q, &places).await.unwrap();
    assert_eq!(answers, [Gone, Gone, Gone, Done]);
    assert_eq!(server.state("r0002").await, State::Dead);
    let places = ["r0001", "r0002", "r0003", "r0004"].map(place);
    let answers = queue.purge_deaths(Q, &places).await.unwrap();
    assert_eq!(answers, [Gone, Gone, Gone, Done]);
    // A client repeats a call if it gets no answer. The repeated call must not change anything.
    assert_eq!(queue.purge_deaths(Q, &places[3..]).await.unwrap(), [Gone]);
    let counts = queue.counts(Q).await.unwrap();
    assert_eq!((counts.ready, counts.dead), (2, 1));
    server.audit_is_clean().await;
}

pub(crate) async fn a_list_by_time_has_each_once(server: TestServer) {
    let all = ids(100);
    kill(&server, &all).await;
    // Most of the requests died at the same time. The others died later and follow in the order of time.
    for id in &all[..90] {
        server.end_at(id, 1_000);
    }
    server.end_at(&all[99], 2_000);
    for limit in [1, 7, 100, 1_000] {
        let (mut found, mut last) = (Vec::new(), ListPosition::default());
        loop {
            let page = server.queue().after(Q, State::Dead, &last, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some(end) = page.last() else { break };
            last = end.place.clone();
            found.extend(page);
        }
        assert_eq!(found.len(), 100, "{limit}");
        assert!(found.is_sorted_by(|a, b| a.place < b.place));
        assert!(found.iter().all(|listed| listed.attempts == 1));
        let ids: Vec<_> = found.iter().map(|listed| listed.place.id.clone()).collect();
        assert_eq!(ids[..90], all[..90]);
        assert_eq!(ids[90], all[99]);
    }
    let none = server
        .queue()
        .after(Q, State::Delayed, &ListPosition::default(), 10)
        .await
        .unwrap();
    assert!(none.is_empty());
    assert!(server.queue().now_ms().await.unwrap() > 1_600_000_000_000);
}

/// Interrupts a retry in the middle. The retry is blocked there, because the test does not read its output.
pub(crate) async fn an_interrupted_retry_leaves_whole_steps(server: TestServer) {
    let all: Vec<_> = (0..1_500).map(|n| format!("{}{n:04}", "r".repeat(120))).collect();
    kill(&server, &all).await;
    let host = Host::on(&server.url);
    let mut command = host.command();
    command
        .args(["dead", "retry", "--all", "--queue", Q])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::with_capacity(1, child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.ends_with("  ready\n"), "{first}");
    send_signal(child.id(), "TERM");
    assert!(!child.wait().unwrap().success());
    let counts = server.queue().counts(Q).await.unwrap();
    assert_eq!(counts.ready + counts.dead, 1_500);
    assert!(
        counts.ready >= 100 && counts.ready.is_multiple_of(100) && counts.dead > 0,
        "{counts:?}"
    );
    server.audit_is_clean().await;
    // A second retry does the rest.
    let said = host.run(&format!("dead retry --all --queue {Q}")).ok();
    assert_eq!(said.lines().count() as u64, counts.dead);
}

/// Checks that `submit --wait` with several requests reports the end of each request, in whatever state the others end.
pub(crate) async fn a_wait_for_several_tells_of_each(server: TestServer) {
    let mut command = Host::on(&server.url).command();
    command
        .current_dir("/")
        .args([
            "submit",
            "--no-check",
            "--wait",
            "--queue",
            Q,
            "--uri",
            "a.csv",
            "b.csv",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let waiting = command.spawn().unwrap();
    let submitted = eventually("both to be there", || async {
        let ready = server.queue().requests(Q, State::Ready, 10).await.unwrap();
        (ready.len() == 2).then_some(ready)
    })
    .await;
    let [first, second] = &submitted[..] else {
        panic!("{submitted:?}")
    };
    server.forget(&first.id);
    server.queue().cancel(Q, &second.id).await.unwrap();
    let output = waiting.wait_with_output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    let gone = format!("request {}: is not in {Q} any more", first.id);
    assert!(stderr.contains(&gone), "{stderr}");
    assert!(
        stdout.contains(&format!("{}  cancelled\n", second.id)),
        "{stdout}"
    );
}

/// Checks a retry of all dead requests: it names the requests whose data is missing or has the wrong type, and retries
/// the others.
#[tokio::test]
async fn what_cannot_be_retried_is_named() {
    let server = TestServer::redis().await;
    kill(&server, &ids(4)).await;
    server.redis_command("DEL request:r0001");
    server.redis_command("DEL request:r0002");
    server.redis_command("RPUSH request:r0002 x");
    let said = run_to_its_end(&server, &format!("dead retry --all --queue {Q}"));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert_eq!(said.stdout, "r0000  ready\nr0003  ready\n");
    let note = "2 of 4 retried; 2 not possible: the server has lost what they were (r0001, r0002)";
    assert!(said.stderr.contains(note), "{}", said.stderr);
    let said = run_to_its_end(&server, &format!("dead purge --all --queue {Q}"));
    assert_eq!(said.stderr, format!("{Q}: 2 of 2 removed\n"));
    server.audit_is_clean().await;
}

/// Checks that strange entries do not prevent the removal of other documents. Such entries are foreign, or come from a
/// server whose clock was set back.
#[tokio::test]
async fn a_strange_entry_among_the_documents_holds_up_nobody() {
    let server = TestServer::redis().await;
    server.queue().submit(Q, &[request("a")]).await.unwrap();
    let mut connection = server.redis_connection();
    let mut push = redis::cmd("RPUSH");
    push.arg(format!("ingest:{{{Q}}}:invalid"));
    let later = server.queue().now_ms().await.unwrap() + 3_600_000;
    for n in 0..150 {
        push.arg(format!(r#"{{"document":"d{n}","reason":"r","at_ms":1}}"#));
    }
    push.arg("by hand")
        .arg(format!(r#"{{"document":"later","reason":"r","at_ms":{later}}}"#));
    push.exec(&mut connection).unwrap();
    let said = run_to_its_end(&server, &format!("dead list --queue {Q} --json"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("by hand"), "{}", said.stdout);
    let said = run_to_its_end(&server, &format!("dead purge --documents --queue {Q}"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(said.stdout.lines().count(), 151, "{}", said.stdout);
    assert_eq!(
        said.stderr,
        format!("{Q}: 151 documents removed; 1 have come since and are left\n")
    );
    assert_eq!(server.queue().invalid(Q, 10).await.unwrap()[0].document, "later");
}

pub(crate) async fn a_retry_can_change_the_input_options(server: TestServer) {
    let queue = server.queue();
    let options = |document: &str| serde_json::from_str::<InputOptions>(document).unwrap();
    let mut submitted = request("a");
    submitted.input = options(r#"{"delimiter":",","trim":true}"#);
    let mut other = request("b");
    other.input = submitted.input.clone();
    queue.submit(Q, &[submitted.clone(), other]).await.unwrap();
    let before = StoredInput {
        options: submitted.input.clone(),
        ..StoredInput::default()
    };
    let changed = before.read_with(options(r#"{"delimiter":";"}"#));
    // A request that is not dead keeps its options.
    assert!(!queue.retry_dead_with(Q, "a", Some(&changed)).await.unwrap());
    assert_eq!(server.status("a").await.submitted_input, None);
    for _ in 0..2 {
        let claim = server.claim().await;
        assert_eq!(
            (&claim.request.input, &claim.request.submitted_input),
            (&submitted.input, &None)
        );
        queue.fail(&claim.ticket, "no columns", Next::Dead).await.unwrap();
    }

    assert!(queue.retry_dead_with(Q, "a", Some(&changed)).await.unwrap());
    let status = server.status("a").await;
    assert_eq!(
        (status.state, status.attempts, status.error),
        (State::Ready, 0, None)
    );
    assert_eq!(
        Value::Object(status.input),
        json!({"delimiter": ";", "trim": true})
    );
    assert_eq!(
        status.submitted_input.map(Value::Object),
        Some(json!({"delimiter": ",", "trim": true}))
    );
    // For its producer, it is the same request as before.
    let again = queue.submit(Q, &[submitted.clone()]).await.unwrap();
    assert_eq!(again, [Submitted::Existing(State::Ready)]);
    let claim = server.claim().await;
    assert_eq!(claim.request.input, options(r#"{"delimiter":";","trim":true}"#));
    assert_eq!(claim.request.submitted_input, Some(submitted.input.clone()));

    // A later retry without options leaves them as they are, and no other request has changed.
    queue.fail(&claim.ticket, "no columns", Next::Dead).await.unwrap();
    assert!(queue.retry_dead(Q, "a").await.unwrap());
    assert_eq!(server.claim().await.request.input, claim.request.input);
    assert!(queue.retry_dead(Q, "b").await.unwrap());
    assert_eq!(server.claim().await.request.input, submitted.input);
    server.audit_is_clean().await;
}
