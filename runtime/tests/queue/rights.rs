//! Tests the Redis rights in docs/security.md. They must be enough for each role, and must not allow more than the
//! document says.

use redis::{Connection, RedisResult, Value};

use crate::support::host::{Host, component};
use crate::support::redis::RedisServer;
use crate::test_server::Q;

/// A server with the users that docs/security.md defines for the queue [`Q`]. Each user has the password `secret`.
struct RestrictedRedis(RedisServer);

impl RestrictedRedis {
    fn start() -> Self {
        let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");
        let page = std::fs::read_to_string(page).unwrap();
        let lines: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("ACL SETUSER "))
            .collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        let guarded = Self(redis);
        for line in lines {
            let line = line.replace(">PASSWORD", ">secret").replace("QUEUE", Q);
            guarded.ask("default", &line).unwrap();
        }
        guarded
    }

    fn url(&self, user: &str) -> String {
        match user {
            "default" => self.0.url(),
            user => self
                .0
                .url()
                .replace("redis://", &format!("redis://{user}:secret@")),
        }
    }

    /// Runs a Redis command as a user. The words of the command are separated by spaces.
    fn ask(&self, user: &str, words: &str) -> RedisResult<Value> {
        let mut connection: Connection = redis::Client::open(self.url(user)).unwrap().get_connection()?;
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query(&mut connection)
    }

    #[track_caller]
    fn assert_denied(&self, user: &str, commands: &[&str]) {
        for command in commands {
            let command = command.replace("{Q}", &format!("{{{Q}}}"));
            let error = self.ask(user, &command).expect_err(&command);
            assert_eq!(error.code(), Some("NOPERM"), "{command}: {error}");
        }
    }
}

/// Checks that an operator can run every command of the program.
#[test]
fn an_operators_rights_are_enough() {
    let server = RestrictedRedis::start();
    let host = Host::on(&server.url("operator"));
    host.write("in.csv", "n\n1\n");
    server
        .ask("operator", &format!("RPUSH ingest:{{{Q}}}:in no-request"))
        .unwrap();
    let clean = component("clean");
    host.run_with("plugin push", &[clean.to_str().unwrap()]).ok();
    host.run(&format!("plugin bind --queue {Q} clean@0.1.0 --data any=in.csv"))
        .ok();
    for (id, file) in [("one", "in.csv"), ("two", "none.csv"), ("three", "in.csv")] {
        host.run(&format!("submit --no-check --queue {Q} --uri {file} --id {id}"))
            .ok();
    }
    host.run("cancel three").ok();
    let said = host.run(&format!("run --queue {Q} --burst --strict --allow-root ."));
    assert!(
        said.stdout.starts_with("1 done, 1 dead"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    for words in [
        "queue audit",
        "queue list",
        "queue pause --queue QUEUE",
        "queue resume --queue QUEUE",
        "requests --queue QUEUE",
        "dead list",
        "dead retry two",
        "dead purge --documents --queue QUEUE",
        "plugin list",
        "plugin history --queue QUEUE",
    ] {
        let said = host.run(&words.replace("QUEUE", Q));
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{words}");
    }
    server.assert_denied(
        "operator",
        &[
            "FLUSHALL",
            "KEYS *",
            "CONFIG SET dir /",
            "GET other",
            "ACL LIST",
            "SHUTDOWN",
        ],
    );
}

/// Returns a server, and the host of an operator who has pushed a plugin and bound the queue to it. So a producer and a
/// worker can begin.
fn at_work() -> (RestrictedRedis, Host) {
    let server = RestrictedRedis::start();
    let operator = Host::on(&server.url("operator"));
    let clean = component("clean");
    operator.run_with("plugin push", &[clean.to_str().unwrap()]).ok();
    operator.write("data.csv", "n\n1\n");
    operator
        .run(&format!(
            "plugin bind --queue {Q} clean@0.1.0 --data any=data.csv"
        ))
        .ok();
    (server, operator)
}

#[test]
fn a_worker_and_a_producer_need_no_more() {
    let (server, operator) = at_work();
    let worker = Host::on(&server.url("worker"));
    let input = worker.write("in.csv", "n\n1\n");
    for (id, uri) in [("one", input.to_str().unwrap()), ("two", "/none.csv")] {
        let document = format!(r#"{{"id":"{id}","uri":"{uri}","group":"g"}}"#);
        server
            .ask("producer", &format!("RPUSH ingest:{{{Q}}}:in {document}"))
            .unwrap();
    }
    server
        .ask("producer", &format!("RPUSH ingest:{{{Q}}}:in nonsense"))
        .unwrap();
    server
        .ask("producer", &format!("RPUSH ingest:{{{Q}}}:wake 1"))
        .unwrap();
    let said = worker.run(&format!("run --queue {Q} --burst --allow-root . --lease 5"));
    assert!(
        said.stdout.starts_with("1 done, 1 dead, 0 retried"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert!(
        said.stderr.contains("`appendfsync` could not be checked"),
        "{}",
        said.stderr
    );
    assert_eq!(operator.status("one")["state"], "done");
    for words in [
        "ZADD ingest:reached 1 a:80",
        "ZREMRANGEBYRANK ingest:reached 0 -10001",
        "ZSCORE ingest:reached a:80",
    ] {
        server.ask("worker", words).unwrap();
    }
    // The worker can remove the request, and takes it out of the list of its group.
    server
        .ask("operator", &format!("ZADD ingest:{{{Q}}}:done 1 one"))
        .unwrap();
    worker
        .run(&format!("run --queue {Q} --burst --allow-root ."))
        .ok();
    let sum = operator.run("status --group g").ok();
    assert!(
        sum.contains("requests 1: 0 waiting, 0 running, 0 done, 1 dead"),
        "{sum}"
    );
    let dead = operator.run("dead list").ok();
    assert!(dead.contains("two") && dead.contains("nonsense"), "{dead}");
}

#[test]
fn a_producer_can_add_to_its_list_and_nothing_else() {
    let (server, operator) = at_work();
    operator
        .run(&format!("submit --queue {Q} --uri http://a.example/b --id one"))
        .ok();
    server.assert_denied(
        "producer",
        &[
            "LRANGE ingest:{Q}:in 0 -1",
            "LPOP ingest:{Q}:in",
            "DEL ingest:{Q}:in",
            "LPUSH ingest:{Q}:in a",
            "RPUSH ingest:{other}:in a",
            "RPUSH ingest:{Q}:invalid a",
            "HGETALL ingest:{Q}:request:one",
            "ZRANGE ingest:{Q}:ready 0 -1",
            "ZADD ingest:{Q}:ready 0 one",
            "SET ingest:{Q}:binding 1",
            "SMEMBERS ingest:queues",
            "EVAL return{} 0",
            "SCRIPT LOAD return{}",
            "PUBLISH a b",
            "INFO",
            "CONFIG GET *",
            "KEYS *",
            "FLUSHALL",
        ],
    );
    let report = Host::on(&server.url("producer"))
        .run(&format!("requests --queue {Q}"))
        .refused(1);
    assert!(report.contains("extend its ACL"), "{report}");
}

#[test]
fn a_worker_can_neither_choose_its_plugin_nor_touch_another_queue() {
    let (server, _operator) = at_work();
    server.assert_denied(
        "worker",
        &[
            "SET ingest:{Q}:binding 1",
            "HSET ingest:{Q}:bindings 1 {}",
            "SET ingest:{Q}:paused 1",
            "SET ingest:component:0 a",
            "SET ingest:data:0 a",
            "HSET ingest:components 0 a",
            "RPUSH ingest:{other}:in a",
            "HGETALL ingest:{other}:request:one",
            "EVAL return{} 0",
            "CONFIG GET *",
            "KEYS *",
            "FLUSHALL",
            "SCRIPT FLUSH",
        ],
    );
    let host = Host::on(&server.url("worker"));
    for words in [
        "plugin bind --queue QUEUE clean@0.1.0",
        "queue pause --queue QUEUE",
    ] {
        let report = host.run(&words.replace("QUEUE", Q)).refused(1);
        assert!(report.contains("extend its ACL"), "{words}: {report}");
    }
    let clean = component("clean");
    let report = host
        .run_with("plugin push", &[clean.to_str().unwrap()])
        .refused(1);
    assert!(report.contains("extend its ACL"), "{report}");
}
