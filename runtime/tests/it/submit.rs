//! Tests `submit`. Its messages say where the request went, and what to do if the id is taken. A request that can only
//! become a dead letter is refused.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use ingest_host::fetch::check_fetchable;
use ingest_host::queue::{Backend, ClaimOptions, OutputId};

use crate::support::host::{CommandOutput, Host, component};
use crate::support::redis::RedisServer;

on_both_queues! {
    a_queue_that_is_new_is_told
    what_no_worker_can_fetch_is_refused
    a_used_id_that_is_being_cancelled_says_so
    a_used_id_says_what_differs
}

fn note(host: &Host, said: &CommandOutput) -> String {
    let line = said.stderr.lines().next().expect("a note");
    line.replace(host.folder.path().to_str().unwrap(), "DIR")
}

#[test]
fn it_says_which_queue_it_wrote_to() {
    let host = Host::embedded();
    host.write("a.csv", "a\n1\n");
    let said = host.run("submit --queue q --uri a.csv --id one");
    assert_eq!(note(&host, &said), "queue: q on SQLite file DIR/queue.db");
    assert_eq!(said.ok(), "one  submitted (ready)\n");
    // No server is named.
    let mut command = host.command();
    command.env_remove("REDIS_URL");
    let output = command
        .args("submit --queue q --uri a.csv --json".split(' '))
        .output();
    let said = CommandOutput::new(&output.unwrap());
    assert_eq!(
        note(&host, &said),
        "queue: q on SQLite file DIR/.local/share/ingest-host/queue.db; set REDIS_URL for Redis"
    );
    assert_eq!(said.json()[0]["state"], "ready");

    let redis = RedisServer::start();
    let host = Host::on(&redis.url());
    host.write("a.csv", "a\n1\n");
    let said = host.run("submit --queue q --uri a.csv --id one");
    let url = redis.url();
    assert_eq!(
        note(&host, &said),
        format!("queue: q on {}", url.trim_end_matches('/'))
    );
    said.ok();
}

fn a_queue_that_is_new_is_told(host: &Host) {
    host.write("a.csv", "a\n1\n");
    let clean = component("clean");
    host.run_with("plugin push", &[clean.to_str().unwrap()]).ok();
    let said = host.run("submit --queue alarm-feed --uri a.csv --id one");
    assert!(said.stderr.contains("\nalarm-feed is new on "), "{}", said.stderr);
    assert!(!said.stderr.contains("near it"), "{}", said.stderr);
    let said = host.run("submit --queue alarm-feed --uri a.csv --id two");
    assert!(!said.stderr.contains("is new"), "{}", said.stderr);
    for queue in ["alarm-fed", "Alarm-Feed", "alarmfeed", "alram-feed"] {
        for words in [
            format!("submit --queue {queue} --uri a.csv"),
            format!("plugin bind --queue {queue} clean@0.1.0"),
            format!("queue pause --queue {queue}"),
        ] {
            let said = host.run(&words);
            let is_told = said
                .stderr
                .lines()
                .any(|line| line.starts_with(&format!("{queue} is new on ")) && line.contains("; near it: "));
            // The queue is new only for the first command, which creates it.
            assert_eq!(is_told, words.starts_with("submit"), "{words}: {}", said.stderr);
            said.ok();
        }
    }
    let said = host.run("plugin bind --queue orders clean@0.1.0");
    assert!(said.stderr.starts_with("orders is new on "), "{}", said.stderr);
    let said = host.run("plugin bind --queue order clean@0.1.0");
    assert!(
        said.stderr.trim_end().ends_with("; near it: orders"),
        "{}",
        said.stderr
    );
    let said = host.run("plugin bind --queue order clean@0.1.0");
    assert_eq!(said.stderr, "");
}

/// Checks that `--wait` says why the request waits. Without this message, the command would be silent forever if no
/// worker runs.
#[test]
fn a_wait_says_what_it_waits_for() {
    let host = Host::embedded();
    host.write("a.csv", "a\n1\n");
    for (pause, why) in [
        (false, "waits: no worker has claimed it, and q has no plugin"),
        (true, "waits: q is paused: `ingest-host queue resume --queue q`"),
    ] {
        if pause {
            host.run("queue pause --queue q").ok();
        }
        let id = if pause { "two" } else { "one" };
        let mut command = host.command();
        let words = format!("submit --queue q --uri a.csv --wait --id {id}");
        let mut waiting = command
            .args(words.split(' '))
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(waiting.stderr.take().unwrap());
        let line = said
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains("waits: "));
        waiting.kill().unwrap();
        waiting.wait().unwrap();
        assert!(line.as_ref().is_some_and(|line| line.contains(why)), "{line:?}");
    }
    // For a cancelled request, the command prints no reason, and exits with the code of a failure.
    host.run("cancel one").ok();
    let said = host.run("submit --queue q --uri a.csv --wait --id one");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stdout.ends_with("one  cancelled\n"), "{}", said.stdout);
}

/// URIs that no worker can fetch, each with the reason.
const UNFETCHABLE: [(&str, &str); 13] = [
    ("no.csv", "no.csv: there is no such file"),
    (
        "/no/such/folder/a.csv",
        "/no/such/folder/a.csv: there is no such file",
    ),
    ("a.csv/b.csv", "a.csv/b.csv: there is no such file"),
    (
        "file:///no/such.csv",
        "file:///no/such.csv: there is no such file",
    ),
    (".", "is a folder, not a file"),
    ("/dev/null", "/dev/null: is not a regular file"),
    (
        "ftp://h/a.csv",
        "ftp://h/a.csv: ftp: is not supported, only http:, https:, file:, s3:, gs: and az:",
    ),
    ("s3a://bucket/a.csv", "s3a: is not supported"),
    ("s3://bucket", "names no object"),
    ("htpp://h/a.csv", "htpp: is not supported"),
    ("nfs:a.csv", "a file of that name is written ./NAME"),
    ("file:a.csv", "takes an absolute path"),
    ("file://server/a.csv", "names a file on another machine"),
];

fn what_no_worker_can_fetch_is_refused(host: &Host) {
    host.write("a.csv", "a\n1\n");
    host.write("b:c.csv", "a\n1\n");
    for (uri, why) in UNFETCHABLE {
        let said = host
            .run(&format!("submit --queue q --uri a.csv {uri}"))
            .refused(1);
        assert!(said.starts_with("error: ") && said.contains(why), "{uri}: {said}");
        assert!(
            said.contains("; --no-check submits it all the same [") && said.ends_with("]\n"),
            "{uri}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // No request was submitted, not even for the URI that could be fetched.
    let queues = host.run("queue list --json");
    assert!(queues.code == Some(1) || queues.ok().is_empty());
    for (id, uri) in [
        ("a", "a.csv"),
        ("b", "./b:c.csv"),
        ("c", "http://127.0.0.1:9/a.csv"),
    ] {
        host.run(&format!("submit --queue q --id {id} --uri {uri}")).ok();
    }
    for (index, (uri, _)) in UNFETCHABLE.into_iter().enumerate() {
        let said = host.run(&format!("submit --queue q --no-check --id n{index} --uri {uri}"));
        assert_eq!(said.ok(), format!("n{index}  submitted (ready)\n"));
    }
}

/// Checks that a missing file is accepted if workers run on other machines, because these machines can have the file.
#[test]
fn a_path_is_no_matter_where_workers_are_elsewhere() {
    for (uri, why) in UNFETCHABLE {
        let elsewhere = check_fetchable(uri, false);
        let here = check_fetchable(uri, true);
        let is_of_files = why.contains("no such file") || why.contains("folder") || why.contains("regular");
        assert_eq!(elsewhere.is_ok(), is_of_files, "{uri}");
        assert!(here.is_err(), "{uri}");
    }
}

fn a_used_id_says_what_differs(host: &Host) {
    for name in ["a.csv", "b.csv"] {
        host.write(name, "a\n1\n");
    }
    let path = |name: &str| host.path(name).display().to_string();
    host.run("submit --queue q --uri a.csv --id one --delimiter ;")
        .ok();
    let submit = |more: &str| host.run(&format!("submit --queue q --id one {more}"));
    for (more, differences) in [
        (
            "--uri a.csv",
            r#"the delimiter was ";" and is not given"#.to_owned(),
        ),
        (
            "--uri b.csv --delimiter ;",
            format!("the URI was {} and is {}", path("a.csv"), path("b.csv")),
        ),
        (
            "--uri a.csv --delimiter | --no-header",
            r#"the delimiter was ";" and is "|"; the header was not given and is false"#.to_owned(),
        ),
    ] {
        let said = submit(more).refused(1);
        let why = format!(
            "error: request one: queue q has this id for another request (ready): {differences}: choose another --id [request-conflict]"
        );
        assert!(said.lines().any(|line| line == why), "{more}: {said}\nnot {why}");
    }
    assert_eq!(
        submit("--uri a.csv --delimiter ;").ok(),
        "one  was there before (ready)\n"
    );
    host.run("cancel one").ok();
    let said = submit("--uri a.csv --delimiter ;").ok();
    assert_eq!(
        said,
        "one  was there before (cancelled): choose another --id to have it done\n"
    );
    assert!(
        submit("--uri a.csv")
            .refused(1)
            .contains("another request (cancelled): the delimiter")
    );

    let said = host.run("dead retry one").refused(1);
    assert!(
        said.contains("one: is cancelled, not dead: submit it under another --id"),
        "{said}"
    );
    let said = host.run("cancel one").refused(1);
    assert!(said.contains("one: is cancelled already"), "{said}");
    let said = host.run("status two --queue q").refused(1);
    assert!(
        said.contains("`ingest-host requests --queue q` lists those that are"),
        "{said}"
    );

    host.run("submit --queue q --uri a.csv --id done").ok();
    let said = host.run("dead show done").refused(1);
    assert!(
        said.contains("done: is ready, not dead: `ingest-host cancel done` withdraws it"),
        "{said}"
    );
    let clean = component("clean").display().to_string();
    host.run(&format!("run --queue q --burst --allow-root . --plugin {clean}"))
        .ok();
    let said = host.run("submit --queue q --uri a.csv --id done").ok();
    assert_eq!(
        said,
        "done  was there before (done): `ingest-host status done` shows its output, `ingest-host replay done` processes its \
         rejects again; choose another --id to have it done again\n"
    );
    let said = host.run("cancel done").refused(1);
    assert!(
        said.contains("done: is done already: its output stays; `ingest-host status done` shows it"),
        "{said}"
    );
    let said = host.run("dead retry done").refused(1);
    assert!(
        said.contains("done: is done, not dead: `ingest-host replay done` processes its rejects again"),
        "{said}"
    );
    let said = host.run("dead purge done").refused(1);
    assert!(
        said.contains("done: is done, not dead: workers remove it after"),
        "{said}"
    );
    let said = host.run("dead show done").refused(1);
    assert!(
        said.contains("done: is done, not dead: `ingest-host status done` shows it"),
        "{said}"
    );
    let status = host.run("status done").ok();
    let receipt = format!(
        "receipt  file://{}",
        host.path("out/_ingest/q/receipts/done.json").display()
    );
    assert!(status.lines().any(|line| line == receipt), "{status}");

    host.run("submit --queue q --no-check --uri no.csv --id dies")
        .ok();
    host.run(&format!("run --queue q --burst --allow-root . --plugin {clean}"))
        .refused(1);
    let said = host
        .run("submit --queue q --no-check --uri no.csv --id dies")
        .ok();
    assert_eq!(
        said,
        "dies  was there before (dead): `ingest-host dead retry dies` tries it again\n"
    );
    // If the options differ from the options of the dead request, the submit is refused. The error says how to change
    // the dead request, and how to remove it.
    let differs = "submit --queue q --no-check --uri no.csv --id dies --delimiter ;";
    let said = host.run(differs).refused(1);
    let way_on = ": choose another --id, give these options to `ingest-host dead retry dies`, or remove the dead one first: \
                  `ingest-host dead purge dies` [request-conflict]\n";
    assert!(said.ends_with(way_on), "{said}");
    let said = host.run("cancel dies").refused(1);
    assert!(
        said.contains("dies: is dead already: `ingest-host dead purge dies` removes it"),
        "{said}"
    );
    host.run("dead purge dies").ok();
    assert_eq!(host.run(differs).ok(), "dies  submitted (ready)\n");
}

fn a_used_id_that_is_being_cancelled_says_so(host: &Host) {
    host.write("a.csv", "a\n1\n");
    host.run("submit --queue q --uri a.csv --id one").ok();
    let losing = async {
        let server = Backend::connect(&host.url).await.unwrap();
        let options = ClaimOptions {
            worker: "lost".into(),
            nonce: "lost".into(),
            lease: Duration::from_secs(60),
            lost_max: 3,
            needs_binding: false,
            output: OutputId {
                id: "elsewhere".into(),
                uri: "file:///elsewhere".into(),
            },
            move_output: false,
        };
        assert_eq!(server.queue.claim_some("q", &options, 1).await.unwrap().len(), 1);
    };
    tokio::runtime::Runtime::new().unwrap().block_on(losing);
    host.run("cancel one");
    let said = host.run("submit --queue q --uri a.csv --id one").ok();
    assert_eq!(
        said,
        "one  was there before (cancelling): choose another --id to have it done\n"
    );
    let said = host
        .run("submit --queue q --uri a.csv --id one --json")
        .json()
        .remove(0);
    assert_eq!(
        (&said["state"], &said["ending"]),
        (&"leased".into(), &"cancelling".into())
    );
}

#[test]
fn what_cannot_be_a_path_is_refused() {
    let host = Host::embedded();
    std::os::unix::fs::symlink("loop", host.path("loop")).unwrap();
    for uri in ["file:///tmp/a.csv%00", &"a".repeat(300), "loop"] {
        let said = host.run(&format!("submit --queue q --uri {uri}")).refused(1);
        assert!(said.contains("cannot be the path of a file"), "{said}");
    }
}
