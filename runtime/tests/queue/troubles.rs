//! Servers that are emptied, written to by others, closed to the worker or full, while real workers work: they say so
//! once, do not run in circles, end no claim of others, and go on when they can.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::bed::{Bed, Q, how};
use crate::support::host::{Host, Worker, component, wait_for};
use crate::support::http::Files;
use crate::support::redis::RedisServer;

/// A server, files, and somebody who may do anything on the server whatever becomes of the others.
struct Scene {
    redis: RedisServer,
    operator: redis::Connection,
    host: Host,
    files: Files,
}

impl Scene {
    fn new() -> Self {
        let redis = RedisServer::start();
        let host = Host::on(&redis.url());
        let files = Files::serve();
        files.put("small.csv", "n\n1\n2\n");
        let operator = operator(&redis);
        let mut scene = Self {
            redis,
            operator,
            host,
            files,
        };
        scene.ask::<()>("ACL SETUSER operator on nopass ~* &* +@all");
        scene
    }

    fn worker(&self, words: &str) -> Worker {
        let plugin = component("clean");
        self.host.worker(&format!(
            "--queue q --allow-host 127.0.0.1 --plugin {} {words}",
            plugin.display()
        ))
    }

    /// Runs a command whose words are separated by spaces.
    #[track_caller]
    fn ask<T: redis::FromRedisValue>(&mut self, line: &str) -> T {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command
            .arg(words.collect::<Vec<_>>())
            .query(&mut self.operator)
            .unwrap()
    }

    /// Submits a request, as the operator.
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

    /// Submits a request whose input waits for [`Files::let_go`], and waits until a worker has it.
    fn submit_held(&mut self, id: &str) {
        let url = self.files.hold(&format!("{id}.csv"), "n\n1\n2\n");
        self.submit(id, &url);
        wait_for("the held request to be leased", || self.lease_of(id));
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

    /// How many scripts the server was asked for, granted or not.
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

    /// Looks while a worker tries again and again: each look finds a few tries more, where a busy loop would make hundreds.
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

    /// All that was submitted is done, at the first attempt.
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
        assert_eq!(self.host.run("queue audit").ok(), "q  clean\n");
    }
}

/// Waits until the worker's log has a line with each of these texts, in whatever order they come.
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

/// What the worker complained of; its log may hold a few lines for each attempt that ended, but not one for each try.
#[track_caller]
fn complaints(worker: Worker) -> Vec<String> {
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
    loud
}

fn count(complaints: &[String], text: &str) -> usize {
    complaints.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_server_emptied_under_load_is_told_once_and_work_goes_on() {
    let mut scene = Scene::new();
    let mut worker = scene.worker("--concurrency 4");
    scene.submit_held("held");
    let url = format!("{}/small.csv", scene.files.url);
    let many = vec![url.as_str(); 400].join(" ");
    scene.host.run(&format!("submit --queue q --uri {many}")).ok();
    wait_for("some to be done", || {
        let done: u64 = scene.ask("ZCARD ingest:{q}:done");
        (done >= 20).then_some(())
    });
    scene.ask::<()>("FLUSHALL");
    wait_for_logs(
        &mut worker,
        &[
            "has lost data",
            "request held: the queue's server has lost it",
            "stopped without a commit",
        ],
    );

    // Another request under the id of the one that was under way; what is left of that has no say in it.
    scene.files.let_go("held.csv");
    scene.files.put("other.csv", "n\n1\n2\n3\n");
    scene.submit("held", &format!("{}/other.csv", scene.files.url));
    scene.submit_small(&["a", "b"]);
    scene.wait_until_done(&["held", "a", "b"]);
    assert_eq!(scene.host.status("held")["receipt"]["records"]["read"], 3);
    scene.assert_all_done(&["held", "a", "b"]);
    let loud = complaints(worker);
    assert_eq!(count(&loud, "has lost data"), 1, "{loud:#?}");
}

/// An emptied server counts bindings anew, and the plugin that a number stood for is not taken for the one that it stands
/// for now.
#[test]
fn a_binding_made_after_a_loss_is_the_one_in_force() {
    let mut scene = Scene::new();
    let clean = component("clean");
    let bind = |scene: &Scene, config: &str| {
        scene
            .host
            .run_with("plugin push", &[clean.to_str().unwrap()])
            .ok();
        scene
            .host
            .run_with("plugin bind --queue q clean@0.1.0 --config", &[config])
            .ok();
    };
    bind(
        &scene,
        r#"{"columns":{"n":{"type":"integer","range":{"min":2}}}}"#,
    );
    let mut worker = scene.host.worker("--queue q --allow-host 127.0.0.1");
    scene.submit_small(&["before"]);
    scene.wait_until_done(&["before"]);
    let rejected = |scene: &Scene, id: &str| scene.host.status(id)["receipt"]["records"]["rejected"].clone();
    assert_eq!(rejected(&scene, "before"), 1);

    scene.ask::<()>("FLUSHALL");
    bind(&scene, "{}");
    scene.submit_small(&["after"]);
    wait_for_logs(&mut worker, &["has lost data"]);
    scene.wait_until_done(&["after"]);
    assert_eq!(scene.host.status("after")["receipt"]["binding"], 1);
    assert_eq!(rejected(&scene, "after"), 0);
    complaints(worker);
}

#[test]
fn a_server_restarted_empty_is_told_once_and_work_goes_on() {
    let mut scene = Scene::new();
    scene.submit_small(&["before"]);
    let mut worker = scene.worker("");
    scene.wait_until_done(&["before"]);
    scene.submit_held("held");
    scene.redis.restart();
    scene.operator = operator(&scene.redis);
    scene.ask::<()>("ACL SETUSER operator on nopass ~* &* +@all");
    wait_for_logs(
        &mut worker,
        &[
            "has lost data",
            "request held: the queue's server has lost it",
            "stopped without a commit",
        ],
    );
    assert!(!scene.host.path("out/q/held.csv").exists());
    scene.files.let_go("held.csv");
    scene.submit_small(&["held", "a"]);
    scene.wait_until_done(&["held", "a"]);
    scene.assert_all_done(&["held", "a"]);
    let loud = complaints(worker);
    assert_eq!(count(&loud, "has lost data"), 1, "{loud:#?}");
}

#[test]
fn a_key_of_another_type_is_named_and_work_goes_on_without_it() {
    let mut scene = Scene::new();
    let mut worker = scene.worker("");
    scene.submit_held("held");
    scene.ask::<()>("SET ingest:{q}:ready oops");
    wait_for_logs(
        &mut worker,
        &["ingest:{q}:ready holds a string where the queue keeps a sorted set"],
    );
    scene.assert_patient();
    // What does not need that key is done.
    scene.files.let_go("held.csv");
    scene.wait_until_done(&["held"]);

    scene.ask::<()>("DEL ingest:{q}:ready");
    scene.submit_small(&["a", "b"]);
    wait_for_logs(&mut worker, &["does it again"]);
    scene.wait_until_done(&["a", "b"]);
    scene.assert_all_done(&["held", "a", "b"]);
    let loud = complaints(worker);
    assert_eq!(count(&loud, "cannot claim"), 1, "{loud:#?}");
}

/// The worker's user may not run a command any more, then it may again: nothing is lost, nothing is counted.
fn a_denied_command(command: &str) {
    let mut scene = Scene::new();
    let mut worker = scene.worker("--concurrency 2");
    scene.submit_held("held");
    scene.ask::<()>(&format!("ACL SETUSER default -{command}"));
    scene.operator = redis::Client::open(scene.redis.url().replace("redis://", "redis://operator:any@"))
        .unwrap()
        .get_connection()
        .unwrap();
    scene.submit_small(&["a", "b", "c"]);
    wait_for_logs(&mut worker, &["cannot claim, trying again", "extend its ACL"]);
    scene.assert_patient();
    scene.files.let_go("held.csv");
    wait_for_logs(&mut worker, &["cannot end a claim, trying again"]);
    assert!(!scene.is_done("held"));

    scene.ask::<()>("ACL SETUSER default +@all");
    scene.wait_until_done(&["held", "a", "b", "c"]);
    scene.assert_all_done(&["held", "a", "b", "c"]);
    let loud = complaints(worker);
    assert_eq!(count(&loud, "cannot claim"), 1, "{loud:#?}");
}

#[test]
fn a_denied_script_is_waited_for() {
    a_denied_command("evalsha");
}

#[test]
fn a_denied_move_leaves_each_request_where_it_is() {
    a_denied_command("zadd");
}

/// A request is given up as lost only if the server says so, not if it says nothing.
#[tokio::test]
async fn a_denied_look_is_not_taken_for_a_loss() {
    let bed = Bed::redis().await;
    bed.submit(&["expired", "ready"]).await;
    bed.claim_briefly().await;
    let mut connection = bed.redis_connection();
    let mut set_user = |change: &str| {
        let mut set = redis::cmd("ACL");
        set.arg(&["SETUSER", "default", change]);
        set.query::<()>(&mut connection).unwrap();
    };
    for command in ["hexists", "hmget", "hget"] {
        set_user(&format!("-{command}"));
        let error = bed.queue().claim(Q, &how()).await.expect_err("a denied command");
        assert!(error.report().contains("extend its ACL"), "{}", error.report());
        set_user(&format!("+{command}"));
        assert_eq!(bed.queue().counts(Q).await.unwrap().dead, 0, "{command}");
    }
    let claims = bed.queue().claim_some(Q, &how(), 2).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.lost).collect::<Vec<_>>(), [1, 0]);
    bed.audit_is_clean().await;
}

#[test]
fn a_full_server_keeps_leases_and_lets_work_end() {
    let mut scene = Scene::new();
    let url = scene.files.hold("held.csv", "n\n1\n2\n");
    scene.submit("held", &url);
    scene.host.push(&format!(
        r#"{{"id":"late","uri":"{}/small.csv"}}"#,
        scene.files.url
    ));
    scene.ask::<()>("CONFIG SET maxmemory 1");
    let mut worker = scene.worker("");
    wait_for_logs(
        &mut worker,
        &[
            "\"claimed\"",
            "cannot claim, trying again",
            "raise its `maxmemory`",
        ],
    );
    let said = scene
        .host
        .run(&format!("submit --queue q --uri {url} --id refused"))
        .refused(1);
    assert!(said.contains("raise its `maxmemory`"), "{said}");
    scene.assert_patient();
    for _ in 0..2 {
        let before = scene.lease_of("held");
        wait_for("the lease to be renewed", || {
            (scene.lease_of("held") > before).then_some(())
        });
    }
    scene.files.let_go("held.csv");
    scene.wait_until_done(&["held"]);

    scene.ask::<()>("CONFIG SET maxmemory 0");
    scene.wait_until_done(&["late"]);
    scene.assert_all_done(&["held", "late"]);
    let loud = complaints(worker);
    assert_eq!(count(&loud, "cannot claim"), 1, "{loud:#?}");
    assert_eq!(count(&loud, "cannot renew"), 0, "{loud:#?}");
}

/// The same with a file: it is removed while a worker has it open.
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
    assert_eq!(host.run("queue audit").ok(), "q  clean\n");
    let loud = complaints(worker);
    assert_eq!(count(&loud, "removed or replaced"), 1, "{loud:#?}");
}
