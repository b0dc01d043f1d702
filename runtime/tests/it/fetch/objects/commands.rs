//! Tests the commands with objects: the example of docs/storage.md, and a worker that may read one bucket.

use serde_json::Value;

use crate::support::documents;
use crate::support::host::{CommandOutput, Host, component};
use crate::support::inputs::CSV;
use crate::support::s3::{ACCESS_KEY, S3Server, SECRET_KEY, environment};

fn host() -> Host {
    let host = Host::embedded();
    for plugin in ["alarms", "clean"] {
        std::fs::copy(component(plugin), host.path(&format!("{plugin}.wasm"))).unwrap();
    }
    host
}

#[test]
fn the_example_of_the_document_runs() {
    let (server, host) = (S3Server::start(), host());
    let mut alarms = Vec::new();
    alarm_feed::write_alarms(&mut alarms, 7, 2, 0).unwrap();
    server.put("lake", "2017/10/alarms.csv", alarms);
    let script = documents::block("sh", "AWS_ENDPOINT_URL=http://127.0.0.1:9000");
    let script = script
        .replace("http://127.0.0.1:9000", &server.endpoint())
        .replace("AKIAEXAMPLE", ACCESS_KEY)
        .replace(
            "AWS_SECRET_ACCESS_KEY=example",
            &format!("AWS_SECRET_ACCESS_KEY={SECRET_KEY}"),
        );
    let said = host.bash(&script).ok();
    assert!(
        said.contains("2 records: ") && said.contains("1 done, 0 dead"),
        "{said}"
    );
    assert!(
        server
            .keys("lake")
            .iter()
            .any(|key| key.starts_with("clean/bigdatastudy/"))
    );
    let requests = host.run("requests --queue bigdatastudy --json").ok();
    assert!(!requests.contains("AWS_SECRET"), "{requests}");
}

#[test]
fn a_worker_reads_the_allowed_bucket_and_no_other() {
    let (server, host) = (S3Server::start(), host());
    server.put("lake", "in/a.csv", CSV);
    server.put("other", "a.csv", CSV);
    let with_keys = |words: &str| {
        let mut command = host.command();
        command
            .args(words.split_whitespace())
            .envs(environment(&server.endpoint()));
        CommandOutput::new(&command.output().unwrap())
    };
    for (id, uri) in [("mine", "s3://lake/in/a.csv"), ("theirs", "s3://other/a.csv")] {
        host.run(&format!("submit --queue q --id {id} --uri {uri}")).ok();
    }
    let run = "run --queue q --plugin clean.wasm --burst --allow-bucket s3://lake/in/";
    let said = with_keys(run);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(!said.stderr.contains(SECRET_KEY), "{}", said.stderr);
    let mine = host.status("mine");
    assert_eq!(mine["state"], "done", "{mine}");
    assert_eq!(
        mine["receipt"]["inputs"][0]["uri"], "s3://lake/in/a.csv",
        "{mine}"
    );
    let theirs = host.status("theirs");
    assert_eq!(
        (&theirs["state"], &theirs["code"]),
        (&Value::from("dead"), &Value::from("bucket-refused")),
        "{theirs}"
    );
    assert_eq!(server.requests(), ["/lake/in/a.csv"]);
}

#[test]
fn mistakes_are_refused_before_anything_runs() {
    let host = host();
    for (words, what) in [
        (
            "submit --queue q --uri s3://lake",
            "names no object: write s3://lake/KEY",
        ),
        (
            "submit --queue q --uri s3://k:s3cr3t@lake/a.csv",
            "user name or password",
        ),
        ("submit --queue q --uri s3a://lake/a.csv", "write s3://BUCKET/KEY"),
        ("submit --queue q --uri gs://lake/a.csv#1", "written %23"),
    ] {
        let said = host.run(words);
        assert!(
            said.code != Some(0) && said.stderr.contains(what),
            "{}",
            said.stderr
        );
        assert!(!said.stderr.contains("s3cr3t"), "{}", said.stderr);
    }
    for (words, what) in [
        ("--allow-bucket lake", "--allow-bucket lake: write s3://BUCKET"),
        ("--allow-bucket s3://lake/in", "a prefix ends with a slash"),
        (
            "--allow-bucket az://lake",
            "no account of Azure: set AZURE_STORAGE_ACCOUNT_NAME",
        ),
    ] {
        let said = host.run(&format!("run --queue q --burst --plugin clean.wasm {words}"));
        assert!(
            said.code != Some(0) && said.stderr.contains(what),
            "{}",
            said.stderr
        );
    }
}
