//! Tests how the program finds its queue server, and how it reports a server that it cannot use.

use crate::support::host::{CommandOutput, Host, component};
use crate::support::redis::{RedisServer, free_port};

#[test]
fn a_mistyped_file_is_no_empty_queue() {
    let host = Host::embedded();
    for words in [
        "queue list",
        "queue resume --queue q",
        "queue audit",
        "status one",
        "requests --queue q",
        "report one",
        "cancel one",
        "dead list",
        "plugin list",
        "plugin history --queue q",
        "plugin rollback --queue q",
        "plugin bind --queue q clean@0.1.0",
    ] {
        let said = host.run(words).refused(1);
        let why =
            "queue.db: there is no such file; `submit`, `run`, `queue pause` and `plugin push` make one";
        assert!(said.contains(why), "`{words}`: {said}");
        assert!(!host.path("queue.db").exists(), "`{words}`");
        // The program does not create the default file of the user, either.
        let mut command = host.command();
        command.env_remove("REDIS_URL").args(words.split(' '));
        assert_eq!(command.output().unwrap().status.code(), Some(1));
        assert!(!host.path(".local").exists(), "`{words}`");
    }
}

#[test]
fn a_queue_that_is_new_is_told() {
    let host = Host::embedded();
    let said = host.run("queue pause --queue q");
    assert!(said.stderr.starts_with("q is new on sqlite:"), "{}", said.stderr);
    assert_eq!(host.run("queue pause --queue q").stderr, "");
    let burst = |queue: &str| {
        let words = format!("run --queue {queue} --burst --plugin");
        host.run_with(&words, &[component("clean").to_str().unwrap()])
    };
    let new = "the server does not know this queue yet";
    host.write("in.csv", "a\n1\n");
    host.run("submit --queue orders --uri in.csv").ok();
    for (queue, is_new) in [("q", false), ("Q", true), ("ordesr", true)] {
        let said = burst(queue);
        let warned = said
            .stderr
            .lines()
            .any(|line| line.contains(" WARN ") && line.contains(new));
        assert_eq!(warned, is_new, "{}", said.stderr);
        let last = said.stderr.lines().last().unwrap_or_default();
        let near = match queue {
            "Q" => "Q: sqlite:|did not know this queue; near it: q",
            "ordesr" => "ordesr: sqlite:|did not know this queue; near it: orders",
            _ => "",
        };
        let [begin, end] = [near.split('|').next(), near.split('|').next_back()].map(Option::unwrap);
        assert!(last.starts_with(begin) && last.ends_with(end), "{}", said.stderr);
        assert_eq!(
            last.contains("did not know this queue;"),
            is_new,
            "{}",
            said.stderr
        );
        said.ok();
    }
}

#[test]
fn a_worker_that_cannot_write_takes_no_request() {
    let host = Host::embedded();
    host.write("in.csv", "a\n1\n");
    host.write("not-a-folder", "");
    host.run("submit --queue q --uri in.csv --id one").ok();
    let clean = component("clean");
    let words = "run --queue q --burst --allow-root . --output not-a-folder --plugin";
    let said = host.run_with(words, &[clean.to_str().unwrap()]).refused(1);
    assert!(said.contains("not-a-folder"), "{said}");
    assert_eq!(host.status("one")["state"], "ready");
    let said = host.run("run --queue q --burst --plugin clean").refused(2);
    assert!(
        said.contains("clean: a component is named by its path: No such file")
            && !said.contains("did you mean")
            && !said.contains("worker started"),
        "{said}"
    );
    let said = host
        .run_with(
            "run --queue receipts --burst --plugin",
            &[clean.to_str().unwrap()],
        )
        .refused(2);
    assert!(said.contains("receipts"), "{said}");
}

#[test]
fn the_queue_is_found_as_the_environment_says() {
    let server = RedisServer::start();
    let host = Host::on(&server.url());
    host.run("submit --queue q --no-check --uri a.csv --id one").ok();
    let url = url::Url::parse(&server.url()).unwrap();

    let mut by_parts = host.command();
    by_parts
        .env_remove("REDIS_URL")
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", url.port().unwrap().to_string());
    let output = by_parts.args(["status", "one"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    host.write(".env", format!("REDIS_URL={}\n", server.url()));
    let output = host
        .command()
        .env_remove("REDIS_URL")
        .args(["status", "one"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    std::fs::remove_file(host.path(".env")).unwrap();
    let output = host
        .command()
        .env_remove("REDIS_URL")
        .args(["submit", "--queue", "q", "--no-check", "--uri", "a.csv"])
        .output();
    assert!(output.unwrap().status.success());
    assert!(
        host.path(".local/share/ingest-host/queue.db").exists(),
        "the embedded queue is the default"
    );
}

/// Checks that a mistyped address of a SQLite file makes neither a file nor a folder, and that a file of another kind is
/// named once.
#[test]
fn an_address_that_is_no_queue_is_told() {
    let host = Host::embedded();
    host.write("alarms.csv", format!("id\n{}", "1\n".repeat(10_000)));
    for url in ["no/q.db", "no/such/q.db"] {
        for words in [
            "submit --no-check --queue q --uri a.csv",
            "queue pause --queue q",
            "run --queue q --burst",
        ] {
            let said = host.run(&format!("--url sqlite:{url} {words}")).refused(1);
            assert!(
                said.contains(": there is no folder no") && said.contains("[queue-file]"),
                "{said}"
            );
            let mut command = host.command();
            command
                .env("REDIS_URL", format!("sqlite:{url}"))
                .args(words.split(' '));
            CommandOutput::new(&command.output().unwrap()).refused(1);
            assert!(!host.path("no").exists(), "`{words}`");
        }
    }
    host.run("--url sqlite:q.db submit --no-check --queue q --uri a.csv")
        .ok();
    host.run(&format!(
        "--url sqlite:{} queue list",
        host.path("q.db").display()
    ))
    .ok();
    for words in ["queue list", "queue pause --queue q"] {
        let said = host.run(&format!("--url sqlite:alarms.csv {words}")).refused(1);
        let told = "sqlite:alarms.csv: is not a SQLite file: name another one [queue-file]\n";
        assert!(said.ends_with(told), "{said}");
    }
    for path in ["/tmp/q.db", "q2.db", "./q"] {
        let said = host.run(&format!("--url {path} queue list")).refused(2);
        assert!(
            said.contains(&format!("is {path}, without a scheme: write sqlite:{path} [")),
            "{said}"
        );
    }
}

/// Checks that an error about a variable names the variable and, if the value is in `.env`, the file.
#[test]
fn an_error_names_the_variable_and_its_file() {
    let host = Host::embedded();
    let run = |variables: &[(&str, &str)], words: &str| {
        let mut command = host.command();
        command
            .env_remove("REDIS_URL")
            .envs(variables.iter().copied())
            .args(words.split(' '));
        CommandOutput::new(&command.output().unwrap()).refused(2)
    };
    let said = run(&[("QUEUE_NAME", "bigdatastudy, q1")], "run --burst");
    assert!(
        said.starts_with("error: QUEUE_NAME: queue \" q1\" must have"),
        "{said}"
    );
    let said = run(&[("QUEUE_NAME", "bigdatastudy, q1")], "config check");
    assert!(said.contains("QUEUE_NAME: queue \" q1\" must have"), "{said}");
    let said = run(&[("REDIS_HOST", "h"), ("REDIS_PORT", "x")], "queue list");
    assert!(
        said.contains("REDIS_PORT is not a port: write a number such as 6379 ["),
        "{said}"
    );
    let said = run(&[("REDIS_PORT", "1")], "queue list");
    assert!(
        said.starts_with("error: REDIS_PORT is set, and no REDIS_HOST"),
        "{said}"
    );
    host.write(".env", "REDIS_PORT=1\n");
    let said = run(&[], "queue list");
    assert!(
        said.starts_with("error: .env: REDIS_PORT is set, and no REDIS_HOST"),
        "{said}"
    );
    host.write(".env", "QUEUE_NAME='a, b'\n");
    let said = run(&[], "run --burst");
    assert!(
        said.starts_with("error: QUEUE_NAME in .env: queue \" b\" must have"),
        "{said}"
    );
}

/// Checks the program in the environment of a Kubernetes pod. If a Service is named `redis`, Kubernetes sets REDIS_PORT
/// to a URL. The program must not take this URL for the port of a server.
#[test]
fn a_service_of_kubernetes_is_no_server() {
    let server = RedisServer::start();
    let host = Host::on(&server.url());
    host.run("submit --queue q --no-check --uri a.csv --id one").ok();
    let in_a_pod = |words: &str| {
        let mut command = host.command();
        command
            .env_remove("REDIS_URL")
            .env("REDIS_PORT", "tcp://10.0.0.1:6379")
            .args(words.split(' '));
        CommandOutput::new(&command.output().unwrap())
    };
    // No server is named, so the program uses the user's default file.
    in_a_pod("submit --queue q --no-check --uri a.csv --id two").ok();
    assert!(in_a_pod("status two").ok().starts_with("two  ready"));
    assert!(host.path(".local/share/ingest-host/queue.db").exists());
    // If .env names a server, the program uses it, although REDIS_PORT is set.
    host.write(".env", format!("REDIS_URL={}\n", server.url()));
    assert!(in_a_pod("status one").ok().starts_with("one  ready"));
}

#[test]
fn a_password_and_an_address_are_taken_as_they_are_written() {
    let server = RedisServer::start_with(&["--bind", "127.0.0.1", "::1"]);
    let port = url::Url::parse(&server.url()).unwrap().port().unwrap();
    let host = Host::on(&server.url());
    host.run("submit --queue q --no-check --uri a.csv --id one").ok();
    let mut admin = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    for (password, in_file) in [
        ("%41", "%41"),
        ("a$b", "a$b"),
        ("a$HOME", "\"a$HOME\""),
        ("${HOME}", "'${HOME}'"),
        (r"a\b\n\\", r"a\b\n\\"),
        (r"a\b\n\\", r#""a\b\n\\" # quoted"#),
        ("a@b/c?d#e:f%", "a@b/c?d#e:f%"),
        ("pä ss", "'pä ss'"),
        ("#some", "#some"),
        ("", " # none"),
        ("", "\t#none"),
    ] {
        let set = redis::cmd("CONFIG")
            .arg("SET")
            .arg("requirepass")
            .arg(password)
            .to_owned();
        set.exec(&mut admin).unwrap();
        let mut by_parts = host.command();
        by_parts
            .env_remove("REDIS_URL")
            .env("REDIS_HOST", "::1")
            .env("REDIS_PORT", port.to_string())
            .env("REDIS_PASSWORD", password);
        let said = CommandOutput::new(&by_parts.args(["status", "one"]).output().unwrap()).ok();
        assert!(said.starts_with("one  ready"), "{said}");
        host.write(
            ".env",
            format!("REDIS_HOST=127.0.0.1\nREDIS_PORT={port}\nREDIS_PASSWORD={in_file}\n"),
        );
        let mut by_file = host.command();
        by_file.env_remove("REDIS_URL");
        let said = CommandOutput::new(&by_file.args(["status", "one"]).output().unwrap()).ok();
        assert!(said.starts_with("one  ready"), "{said}");
    }
}

#[test]
fn a_redis_cluster_is_named_at_the_start() {
    let bus = free_port().to_string();
    let server = RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let host = Host::on(&server.url());
    let clean = component("clean").display().to_string();
    let told = "the server is a node of a Redis Cluster, which is not supported: name a server without `cluster-enabled yes`";
    for words in [
        "queue list".to_owned(),
        "submit --queue q --no-check --uri a.csv".to_owned(),
        format!("run --queue q --plugin {clean}"),
        format!("run --queue q --burst --plugin {clean}"),
    ] {
        let said = host.run(&words).refused(1);
        assert!(
            said.contains(&format!("{}: {told}", server.url())),
            "{words}: {said}"
        );
        assert!(!said.contains("trying again"), "{words}: {said}");
    }
    // A user without permission for the INFO command gets the same message.
    let mut admin = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let words = "SETUSER ann on >pw ~* +@all -info";
    let set = redis::cmd("ACL")
        .arg(words.split(' ').collect::<Vec<_>>())
        .to_owned();
    set.exec(&mut admin).unwrap();
    let host = Host::on(&server.url().replace("redis://", "redis://ann:pw@"));
    let said = host.run("submit --queue q --no-check --uri a.csv").refused(1);
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_password_is_never_shown() {
    let server = RedisServer::start();
    let url = server.url().replace("redis://", "redis://:s3cret@");
    let host = Host::on(&url);
    let said = host.run("queue list");
    assert!(
        !said.stderr.contains("s3cret") && !said.stdout.contains("s3cret"),
        "{}",
        said.stderr
    );
    let host = Host::on("redis://:s3cret@127.0.0.1:1");
    let said = host.run("queue list").refused(1);
    assert!(!said.contains("s3cret"), "{said}");
}
