//! Tests real workers on servers that are emptied, changed by other clients, closed to the worker, or full. A worker
//! must report the fault once, must not retry in a busy loop, and must end no claims of other workers. It must continue
//! as soon as it can.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::host::{Host, Worker, component, wait_for};
use crate::support::http::Files;
use crate::support::redis::RedisServer;
use crate::test_server::{Q, TestServer, how};

/// A server, files, and an operator. The operator has all rights on the server, even if the rights of other users
/// change.
struct FaultsFixture {
    redis: RedisServer,
    operator: redis::Connection,
    host: Host,
    files: Files,
}

impl FaultsFixture {
    fn new() -> Self {
        let redis = RedisServer::start();
        let host = Host::on(&redis.url());
        let files = Files::serve();
        files.put("small.csv", "n\n1\n2\n");
        let operator = operator(&redis);
        let mut fixture = Self {
            redis,
            operator,
            host,
            files,
        };
        fixture.ask::<()>("ACL SETUSER operator on nopass ~* &* +@all");
        fixture
    }

    fn worker(&self, words: &str) -> Worker {
        let plugin = component("clean");
        self.host.worker(&format!(
            "--queue q --allow-host 127.0.0.1 --plugin {} {words}",
            plugin.display()
        ))
    }

    /// Runs a Redis command as the operator. In `line`, spaces separate the words of the command.
    #[track_caller]
    fn ask<T: redis::FromRedisValue>(&mut self, line: &str) -> T {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command
            .arg(words.collect::<Vec<_>>())
            .query(&mut self.operator)
            .unwrap()
    }

    /// Submits a request as the operator.
    fn submit(&self, id: &str, uri: &str) {
        let url = self.redis.url().replace("redis://", "redis://operator:any@");
        let mut submit = self.host.command();
        submit
            .env("REDIS_URL", url)
            .args(["submit", "--queue", "q", "--id", id, "--uri", uri]);
        let output = submit.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn submit_small(&self, ids: &[&str]) {
        for id in ids {
            self.submit(id, &format!("{}/small.csv", self.files.url));
        }
    }

    /// Submits a request whose input waits for [`Files::let_go`], and waits until a worker has claimed it.
    fn submit_held(&mut self, id: &str) {
        let url = self.files.hold(&format!("{id}.csv"), "n\n1\n2\n");
        self.submit(id, &url);
        wait_for("the held request to be leased", || self.lease_of(id));
        // A renewed lease shows that the worker has the answer to its claim, so a fault cannot take the answer away.
        wait_for("the lease to be renewed", || {
            let is_renewed: bool = self.ask(&format!("HEXISTS ingest:{{q}}:request:{id} progress"));
            is_renewed.then_some(())
        });
    }

    fn lease_of(&mut self, id: &str) -> Option<u64> {
        self.ask(&format!("ZSCORE ingest:{{q}}:leased {id}"))
    }

    fn is_done(&mut self, id: &str) -> bool {
        self.ask::<Option<u64>>(&format!("ZSCORE ingest:{{q}}:done {id}"))
            .is_some()
    }

    #[track_caller]
    fn wait_until_done(&mut self, ids: &[&str]) {
        for id in ids {
            wait_for(&format!("{id} to be done"), || self.is_done(id).then_some(()));
        }
    }

    /// Returns the number of script calls that the server has received, including calls that it has denied.
    fn scripts(&mut self) -> u64 {
        let info: String = self.ask("INFO commandstats");
        let evalsha = info.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
        let Some(evalsha) = evalsha else { return 0 };
        let fields: HashMap<_, _> = evalsha
            .trim_end()
            .split([':', ','])
            .filter_map(|field| field.split_once('='))
            .collect();
        ["calls", "rejected_calls"]
            .iter()
            .map(|field| fields[field].parse::<u64>().unwrap())
            .sum()
    }

    /// Watches a worker that keeps retrying. Each check may find only a few more retries. A busy loop would cause
    /// hundreds.
    #[track_caller]
    fn assert_patient(&mut self) {
        let start = self.scripts();
        for tries in 1..=4 {
            let now = wait_for("another try", || {
                let now = self.scripts();
                (now >= start + tries).then_some(now)
            });
            assert!(now <= start + tries + 10, "{} tries at once", now - start);
        }
    }

    /// Checks that each of these requests is done after its first attempt.
    #[track_caller]
    fn assert_all_done(&self, ids: &[&str]) {
        for id in ids {
            let status = self.host.status(id);
            assert_eq!(status["state"], "done", "{status}");
            assert_eq!(
                (&status["attempts"], &status["lost"]),
                (&json!(1), &json!(0)),
                "{status}"
            );
        }
        let counts = self.host.run("queue list --json").json().remove(0);
        assert_eq!(counts["done"], ids.len(), "{counts}");
        assert_eq!(self.host.run("queue audit").ok(), "q  no findings\n");
    }
}

/// Waits until the worker has logged a line with each of these texts, in any order.
#[track_caller]
fn wait_for_logs(worker: &mut Worker, texts: &[&str]) {
    for text in texts {
        worker.wait_for_any_log(&[text]);
    }
}

fn operator(redis: &RedisServer) -> redis::Connection {
    redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap()
}

/// Stops the worker, and returns its warnings and errors. Exactly one of them must contain `text`. The log may have a
/// few lines for each attempt that ended, but not a line for each retry.
#[track_caller]
fn told_once(worker: Worker, text: &str) -> Vec<String> {
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let loud: Vec<_> = lines
        .filter(|line| line["level"] == "WARN" || line["level"] == "ERROR")
        .filter(|line| line["message"] != "the queue's server may lose requests")
        .map(|line| line.to_string())
        .collect();
    assert!(loud.len() <= 12, "{loud:#?}");
    assert_eq!(count(&loud, text), 1, "{text:?} in {loud:#?}");
    loud
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_server_emptied_under_load_is_told_once_and_work_goes_on() {
    let mut fixture = FaultsFixture::new();
    let mut worker = fixture.worker("--concurrency 4");
    fixture.submit_held("held");
    let url = format!("{}/small.csv", fixture.files.url);
    let many = vec![url.as_str(); 400].join(" ");
    fixture.host.run(&format!("submit --queue q --uri {many}")).ok();
    wait_for("some to be done", || {
        let done: u64 = fixture.ask("ZCARD ingest:{q}:done");
        (done >= 20).then_some(())
    });
    fixture.ask::<()>("FLUSHALL");
    wait_for_logs(
        &mut worker,
        &[
            "has lost data",
            "request held: the queue's server has lost it",
            "stopped without a commit",
        ],
    );

    // Another request gets the same id as the interrupted request. Data of the old request must not affect it.
    fixture.files.let_go("held.csv");
    fixture.files.put("other.csv", "n\n1\n2\n3\n");
    fixture.submit("held", &format!("{}/other.csv", fixture.files.url));
    fixture.submit_small(&["a", "b"]);
    fixture.wait_until_done(&["held", "a", "b"]);
    assert_eq!(fixture.host.status("held")["receipt"]["records"]["read"], 3);
    fixture.assert_all_done(&["held", "a", "b"]);
    told_once(worker, "has lost data");
}

/// Checks that after a server was emptied, a reused binding number means the new plugin and not the old one.
#[test]
fn a_binding_made_after_a_loss_is_the_one_in_force() {
    let mut fixture = FaultsFixture::new();
    let clean = component("clean");
    let bind = |fixture: &FaultsFixture, config: &str| {
        fixture
            .host
            .run_with("plugin push", &[clean.to_str().unwrap()])
            .ok();
        fixture
            .host
            .run_with("plugin bind --queue q clean@0.1.0 --config", &[config])
            .ok();
    };
    bind(
        &fixture,
        r#"{"columns":{"n":{"type":"integer","range":{"min":2}}}}"#,
    );
    let mut worker = fixture.host.worker("--queue q --allow-host 127.0.0.1");
    fixture.submit_small(&["before"]);
    fixture.wait_until_done(&["before"]);
    let rejected =
        |fixture: &FaultsFixture, id: &str| fixture.host.status(id)["receipt"]["records"]["rejected"].clone();
    assert_eq!(rejected(&fixture, "before"), 1);

    fixture.ask::<()>("FLUSHALL");
    bind(&fixture, "{}");
    fixture.submit_small(&["after"]);
    wait_for_logs(&mut worker, &["has lost data"]);
    fixture.wait_until_done(&["after"]);
    assert_eq!(fixture.host.status("after")["receipt"]["binding"], 1);
    assert_eq!(rejected(&fixture, "after"), 0);
    told_once(worker, "has lost data");
}

#[test]
fn a_server_restarted_empty_is_told_once_and_work_goes_on() {
    let mut fixture = FaultsFixture::new();
    fixture.submit_small(&["before"]);
    let mut worker = fixture.worker("");
    fixture.wait_until_done(&["before"]);
    fixture.submit_held("held");
    fixture.redis.restart();
    fixture.operator = operator(&fixture.redis);
    fixture.ask::<()>("ACL SETUSER operator on nopass ~* &* +@all");
    wait_for_logs(
        &mut worker,
        &[
            "has lost data",
            "request held: the queue's server has lost it",
            "stopped without a commit",
        ],
    );
    assert!(!fixture.host.path("out/q/held.csv").exists());
    fixture.files.let_go("held.csv");
    fixture.submit_small(&["held", "a"]);
    fixture.wait_until_done(&["held", "a"]);
    fixture.assert_all_done(&["held", "a"]);
    told_once(worker, "has lost data");
}

#[test]
fn a_key_of_another_type_is_named_and_work_goes_on_without_it() {
    let mut fixture = FaultsFixture::new();
    let mut worker = fixture.worker("");
    fixture.submit_held("held");
    fixture.ask::<()>("SET ingest:{q}:ready oops");
    wait_for_logs(
        &mut worker,
        &["ingest:{q}:ready holds a string where the queue keeps a sorted set"],
    );
    fixture.assert_patient();
    // The worker does not need the damaged key to end the request that it has, so this request becomes done.
    fixture.files.let_go("held.csv");
    fixture.wait_until_done(&["held"]);

    fixture.ask::<()>("DEL ingest:{q}:ready");
    fixture.submit_small(&["a", "b"]);
    wait_for_logs(&mut worker, &["does it again"]);
    fixture.wait_until_done(&["a", "b"]);
    fixture.assert_all_done(&["held", "a", "b"]);
    told_once(worker, "cannot claim");
}

/// Denies a command to the worker's user, and later allows it again. Checks that no request is lost, and that no lost
/// lease is counted.
fn a_denied_command(command: &str) {
    let mut fixture = FaultsFixture::new();
    let mut worker = fixture.worker("--concurrency 2");
    fixture.submit_held("held");
    fixture.ask::<()>(&format!("ACL SETUSER default -{command}"));
    fixture.operator = redis::Client::open(fixture.redis.url().replace("redis://", "redis://operator:any@"))
        .unwrap()
        .get_connection()
        .unwrap();
    fixture.submit_small(&["a", "b", "c"]);
    wait_for_logs(&mut worker, &["cannot claim, trying again", "extend its ACL"]);
    fixture.assert_patient();
    fixture.files.let_go("held.csv");
    wait_for_logs(&mut worker, &["cannot end a claim, trying again"]);
    assert!(!fixture.is_done("held"));

    fixture.ask::<()>("ACL SETUSER default +@all");
    fixture.wait_until_done(&["held", "a", "b", "c"]);
    fixture.assert_all_done(&["held", "a", "b", "c"]);
    told_once(worker, "cannot claim");
}

#[test]
fn a_denied_script_is_waited_for() {
    a_denied_command("evalsha");
}

#[test]
fn a_denied_move_leaves_each_request_where_it_is() {
    a_denied_command("zadd");
}

/// Checks that a claim fails if the server denies it a command that reads a request. The claim must not treat the
/// request as one whose data the server has lost, which would make it a dead letter.
#[tokio::test]
async fn a_denied_look_is_not_taken_for_a_loss() {
    let server = TestServer::redis().await;
    server.submit(&["expired", "ready"]).await;
    server.claim_briefly().await;
    let mut connection = server.redis_connection();
    let mut set_user = |change: &str| {
        let mut set = redis::cmd("ACL");
        set.arg(&["SETUSER", "default", change]);
        set.query::<()>(&mut connection).unwrap();
    };
    for command in ["hexists", "hmget", "hget"] {
        set_user(&format!("-{command}"));
        let error = server
            .queue()
            .claim(Q, &how())
            .await
            .expect_err("a denied command");
        assert!(error.report().contains("extend its ACL"), "{}", error.report());
        set_user(&format!("+{command}"));
        assert_eq!(server.queue().counts(Q).await.unwrap().dead, 0, "{command}");
    }
    let claims = server.queue().claim_some(Q, &how(), 2).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.lost).collect::<Vec<_>>(), [1, 0]);
    server.audit_is_clean().await;
}

#[test]
fn a_full_server_keeps_leases_and_lets_work_end() {
    let mut fixture = FaultsFixture::new();
    let url = fixture.files.hold("held.csv", "n\n1\n2\n");
    fixture.submit("held", &url);
    fixture.host.push(&format!(
        r#"{{"id":"late","uri":"{}/small.csv"}}"#,
        fixture.files.url
    ));
    fixture.ask::<()>("CONFIG SET maxmemory 1");
    let mut worker = fixture.worker("");
    wait_for_logs(
        &mut worker,
        &[
            "\"claimed\"",
            "cannot claim, trying again",
            "raise its `maxmemory`",
        ],
    );
    let said = fixture
        .host
        .run(&format!("submit --queue q --uri {url} --id refused"))
        .refused(1);
    assert!(said.contains("raise its `maxmemory`"), "{said}");
    fixture.assert_patient();
    for _ in 0..2 {
        let before = fixture.lease_of("held");
        wait_for("the lease to be renewed", || {
            (fixture.lease_of("held") > before).then_some(())
        });
    }
    fixture.files.let_go("held.csv");
    fixture.wait_until_done(&["held"]);

    fixture.ask::<()>("CONFIG SET maxmemory 0");
    fixture.wait_until_done(&["late"]);
    fixture.assert_all_done(&["held", "late"]);
    let loud = told_once(worker, "cannot claim");
    assert_eq!(count(&loud, "cannot renew"), 0, "{loud:#?}");
}

/// Removes the queue's file while a worker has it open.
#[test]
fn a_removed_file_is_told_once_and_a_new_one_is_used() {
    let (host, files) = (Host::embedded(), Files::serve());
    let url = files.put("small.csv", "n\n1\n2\n");
    let plugin = component("clean");
    let mut worker = host.worker(&format!(
        "--queue q --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    ));
    host.run(&format!("submit --queue q --uri {url} --id before"))
        .ok();
    host.wait_for_state("before", "done");
    for name in ["queue.db", "queue.db-wal", "queue.db-shm"] {
        std::fs::remove_file(host.path(name)).unwrap();
    }
    host.run(&format!("submit --queue q --uri {url} --id after")).ok();
    wait_for_logs(&mut worker, &["the queue's file was removed or replaced"]);
    host.wait_for_state("after", "done");
    assert_eq!(host.run("status before").code, Some(1));
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
    told_once(worker, "removed or replaced");
}
