//! Tests `report` and `plugin inspect`. If no queue has the id that `report` is given, the error also says how to
//! report an `ingest`.

use crate::support::host::{Host, component};
use crate::support::redis::free_port;

/// Checks the hint for the ids of `ingest`: no queue knows these ids.
#[test]
fn a_report_that_no_queue_has_is_looked_for_in_a_receipt() {
    let host = Host::embedded();
    let hint = |id: &str| {
        format!("; of an `ingest`, name the receipt: `ingest-host report out/_ingest/receipts/{id}.json`")
    };
    // In the first round the host has no queue, in the second round it has one. Each case has its own error code.
    for code in ["queue-unknown", "request-unknown"] {
        for words in ["report a-1", "report a-1.json"] {
            let said = host.run(words).refused(1);
            let end = format!("{} [{code}]\n", hint("a-1"));
            assert!(said.ends_with(&end), "`{words}`: {said}");
        }
        host.write("a.csv", "a\n1\n");
        host.run("submit --queue q --uri a.csv --id one").ok();
    }
    let clean = component("clean").display().to_string();
    host.run(&format!("ingest a.csv --plugin {clean} --id a-1")).ok();
    let said = host.run("report out/_ingest/receipts/a-1.json").ok();
    assert!(said.contains("1 record: 1 kept"), "{said}");
}

/// Checks that the program does not report an unknown id if the server is unreachable.
#[test]
fn a_report_without_a_server_says_nothing_of_receipts() {
    let host = Host::on(&format!("redis://127.0.0.1:{}/", free_port()));
    let said = host.run("report a-1").refused(1);
    assert!(
        said.contains("cannot be reached") && !said.contains("receipt"),
        "{said}"
    );
    let host = Host::embedded();
    host.write("queue.db", "no database ".repeat(400));
    let said = host.run("report a-1").refused(1);
    assert!(
        said.contains("is not a SQLite file") && !said.contains("receipt"),
        "{said}"
    );
}

#[test]
fn inspect_shows_what_a_component_is() {
    let host = Host::embedded();
    let said = host
        .run_with("plugin inspect", &[component("hostile").to_str().unwrap()])
        .ok();
    assert!(said.starts_with("hostile "), "{said}");
    assert_eq!(
        said.contains("wasi:io"),
        said.contains("(wasi: is inert here"),
        "{said}"
    );
    assert!(
        said.contains("ingest:plugin@0.2.0") && said.contains("ingest:plugin/host@0.2.0"),
        "{said}"
    );
}
