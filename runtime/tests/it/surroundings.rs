//! Tests how the program reacts to a service manager, a shell and a file system. It continues, or it reports why it
//! cannot continue.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::host::{Host, component, wait_for};
use crate::support::process::{KillOnDrop, send_signal};

/// Submits `count` small inputs to the queue `q`.
fn submit(host: &Host, count: usize) {
    host.write("in.csv", "n\n1\n");
    let uris = "--uri in.csv ".repeat(count);
    host.run(&format!("submit --queue q {uris}")).ok();
}

fn words() -> String {
    let clean = component("clean").display().to_string();
    format!("--queue q --allow-root . --output out --plugin {clean}")
}

#[test]
fn a_worker_whose_log_nobody_reads_works_on_and_hears_signals() {
    let host = Host::embedded();
    // The log of these requests is larger than the buffer of a pipe.
    submit(&host, 500);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let worker = host
        .command()
        .arg("run")
        .args(words().split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::from(writer))
        .spawn();
    let mut worker = KillOnDrop(worker.unwrap());
    wait_for("all requests to be done", || {
        let done = host
            .run("requests --queue q --state done --limit 1000 --json")
            .json();
        (done.len() == 500).then_some(())
    });
    // When the log is read again, a line reports the number of missing lines. The pipe is full, so this read makes room.
    let mut log = vec![0; 16 << 10];
    reader.read_exact(&mut log).unwrap();
    send_signal(worker.id(), "TERM");
    reader.read_to_end(&mut log).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(worker.wait().unwrap().success(), "{log}");
    assert!(log.contains("lines of it were lost lines="), "{log}");
    assert!(log.contains("worker stopped"), "{log}");
}

#[test]
fn a_limit_on_the_size_of_files_fails_one_request_and_no_worker() {
    let host = Host::embedded();
    host.write("large.csv", format!("n\n{}", "12345678\n".repeat(800_000)));
    host.run("submit --queue q --uri large.csv --id large").ok();
    submit(&host, 1);
    // `ulimit -f` counts in units of 512 or 1,024 bytes. The initial memory of a plugin is a file in memory, and must fit.
    let said = host.bash(&format!(
        "ulimit -f 4000; ingest-host run --burst --retry-for 0s {}",
        words()
    ));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stdout.starts_with("1 done, 1 dead"), "{}", said.stdout);
    let status = host.status("large");
    assert_eq!(status["code"], "output-unwritable", "{status}");
}

#[test]
fn a_queue_that_is_named_twice_is_served_once() {
    let host = Host::embedded();
    submit(&host, 1);
    host.write("not.csv", "");
    host.run("submit --queue q --uri not.csv --id empty").ok();
    let said = host.run(&format!("run --burst --queue q {}", words()));
    let lists = said.stdout.matches("dead list").count();
    assert_eq!(lists, 1, "{}", said.stdout);
    let log = said.stderr;
    assert!(log.contains("queues=\"q\""), "{log}");
}

#[test]
fn a_pipe_in_place_of_a_watched_plugin_stops_nothing() {
    let host = Host::embedded();
    let plugin = host.path("p.wasm");
    std::fs::copy(component("clean"), &plugin).unwrap();
    submit(&host, 1);
    let mut worker = host.worker("--queue q --allow-root . --output out --plugin p.wasm --watch");
    worker.wait_for_log("\"done\"");
    std::fs::remove_file(&plugin).unwrap();
    host.bash("mkfifo p.wasm").ok();
    submit(&host, 1);
    let log = worker.wait_for_log("cannot be used");
    assert!(log.contains("is not a regular file"), "{log}");
    worker.wait_for_log("\"done\"");
    let (code, _) = worker.stop();
    assert_eq!(code, Some(0));
}

/// Checks that a user who can only read a queue leaves no files beside the queue's file. SQLite would create files
/// there that the owner of the queue cannot write.
#[test]
fn a_user_who_may_only_read_a_queue_leaves_no_files_beside_it() {
    let host = Host::embedded();
    submit(&host, 2);
    for (path, mode) in [("", 0o777), ("queue.db", 0o644)] {
        std::fs::set_permissions(host.path(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let program = host.path("ingest-host");
    std::fs::copy(env!("CARGO_BIN_EXE_ingest-host"), program).unwrap();
    // The superuser can write to a file with any mode.
    let said = host.bash(
        "if [ \"$(id -u)\" -eq 0 ]; then as='setpriv --reuid 65534 --clear-groups'; else chmod 0444 queue.db; fi
         $as ./ingest-host queue list --url sqlite:queue.db; chmod 0644 queue.db; ls",
    );
    let said = said.ok();
    assert!(said.contains("queue.db") && !said.contains("queue.db-"), "{said}");
    assert!(said.contains("q "), "{said}");
    submit(&host, 1);
}
