//! Tests the stores of the config file: each bucket has the store that lists it, a queue uses only its own stores, and the
//! file never has a secret.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::documents;
use crate::support::host::{CommandOutput, Host, component, wait_for};
use crate::support::inputs::scripted_server::{answer, serve};
use crate::support::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

const CSV: &str = "a,b\n1,2\n";
const OTHER_KEY: &str = "AKIAOTHER";

/// Writes a config file in which `clean` is the plugin of all queues, and the files with the secrets.
fn configure(host: &Host, text: &str) {
    let clean = component("clean").display().to_string();
    host.write("key-id", ACCESS_KEY);
    host.write("other-key-id", format!("{OTHER_KEY}\n"));
    host.write("secret", format!("{SECRET_KEY}\r\n"));
    host.write("ingest-host.toml", format!("plugin = '{clean}'\n{text}"));
}

/// Returns the table of a store whose secrets are in files.
fn store(name: &str, server: &S3Server, key_id: &str, more: &str) -> String {
    let endpoint = server.endpoint();
    format!(
        "[stores.{name}]\nkind = 's3'\nendpoint = '{endpoint}'\naccess-key-id-file = '{key_id}'\n\
         secret-access-key-file = 'secret'\n{more}\n"
    )
}

fn run(host: &Host, words: &str) -> CommandOutput {
    host.run(&format!("{words} --config-file ingest-host.toml"))
}

fn burst(host: &Host) -> CommandOutput {
    let said = run(host, "run --burst --burst-wait 0s");
    assert!(said.stderr.contains("worker stopped"), "{}", said.stderr);
    assert!(!said.stderr.contains(SECRET_KEY), "{}", said.stderr);
    said
}

#[test]
fn each_mistake_in_a_store_is_reported_with_its_position() {
    let host = Host::embedded();
    let s3 = "[stores.a]\nkind = 's3'\nbuckets = ['b']\n";
    let azure = "[stores.a]\nkind = 'az'\nbuckets = ['b']\naccount = 'acc'\n";
    for (file, expected) in [
        (
            "[stores.a]\nbuckets = ['b']".into(),
            "1:9: `kind` is missing: write kind = \"s3\", \"gs\" or \"az\"",
        ),
        (
            "[stores.a]\nkind = 's3a'".into(),
            "2:8: `kind`: expected \"s3\", \"gs\" or \"az\"",
        ),
        ("[stores.a]\nkind = 's3'".into(), "1:9: `buckets` is missing"),
        (
            "[stores.a]\nkind = 'az'\nbuckets = ['b']".into(),
            "1:9: `account` is missing",
        ),
        (
            "stores = ['a']".into(),
            "1:10: `stores`: expected a table for each store, as in [stores.NAME], found a list",
        ),
        (
            "[stores.'a b']\nkind = 's3'".into(),
            "1:9: the name of a store has 1 to 64 ASCII letters",
        ),
        (
            "[stores]\na = 1".into(),
            "2:5: expected a table with the settings of a store, found a whole number",
        ),
        (
            format!("{s3}regoin = 'x'"),
            "4:1: unknown key \"regoin\", did you mean `region`?",
        ),
        (
            format!("{s3}path_style = true"),
            "4:1: unknown key \"path_style\", did you mean `path-style`?",
        ),
        (
            format!("{s3}account = 'x'"),
            "4:1: `account` is no setting of a store of the kind s3",
        ),
        (
            format!("{s3}path-style = 'yes'"),
            "4:14: `path-style`: expected true or false, found a string",
        ),
        (
            format!("{s3}region = 'a/b'"),
            "4:10: `region`: has letters, digits, - and _ only",
        ),
        (
            format!("{s3}endpoint = 'http://k:s3cr3t@h'"),
            "4:12: `endpoint`: is not the URL of a server",
        ),
        (
            "[stores.a]\nkind = 's3'\nbuckets = ['s3://b']".into(),
            "3:12: `buckets`: expected the name of a bucket",
        ),
        (
            "[stores.a]\nkind = 's3'\nbuckets = ['b/x/']".into(),
            "3:12: `buckets`: expected the name of a bucket only",
        ),
        (
            "[stores.a]\nkind = 's3'\nbuckets = []".into(),
            "3:11: `buckets`: is empty",
        ),
        (
            "[stores.a]\nkind = 's3'\nbuckets = 'b'".into(),
            "3:11: `buckets`: expected a list, as in buckets = [\"lake\"]",
        ),
        (
            format!("{s3}secret-access-key = 's3cr3t'"),
            "4:1: `secret-access-key`: a secret must not be in this file: name the variable or the file that has it with \
             `secret-access-key-variable` or `secret-access-key-file`",
        ),
        (
            format!("{s3}aws_session_token = 's3cr3t'"),
            "4:1: `aws_session_token`: a secret must not be in this file",
        ),
        (
            format!("{azure}connection-string = 's3cr3t'"),
            "5:1: `connection-string`: a secret must not be in this file",
        ),
        (
            format!("{azure}sas-token = 's3cr3t'"),
            "with `sas-token-variable` or `sas-token-file`",
        ),
        (
            format!("{s3}secret-access-key-variable = 's3cr3t/x+y'"),
            "4:30: `secret-access-key-variable`: is not the name of a variable, which has letters, digits and _ only; a secret \
             must not be in this file",
        ),
        (
            format!("{s3}access-key-id-variable = 'X'"),
            "4:1: `access-key-id-variable` has no effect without `secret-access-key-variable`",
        ),
        (
            format!("{s3}role-arn = 'x'"),
            "4:1: `role-arn` has no effect without `web-identity-token-file`",
        ),
        (
            format!("{s3}unsigned = true\nprofile = 'x'"),
            "`unsigned` cannot be used with `profile`: a store has one kind of credentials",
        ),
        (
            format!("{azure}sas-token-variable = 'X'\nsas-token-file = 'x'"),
            "`sas-token-file` cannot be used with `sas-token-variable`",
        ),
        (
            format!("{s3}[queues.q]\nstores = ['b', 'aa']"),
            "5:1: `stores`: there is no table [stores.aa], did you mean \"a\"?",
        ),
        (
            format!("{s3}[queues.q]\nstores = 'a'"),
            "5:10: `stores`: expected a list of strings, as in stores = [\"NAME\"], found a string",
        ),
        (
            format!("{s3}[queues.q]\nstore = ['a']"),
            "5:1: unknown key \"store\", did you mean `stores`?",
        ),
        (
            format!("{s3}secret-access-key-variable = 's3cr3t'\naccess-key-id-variable = 'X'"),
            "ingest-host.toml:5:1: `access-key-id-variable`: this variable is not set, or is empty",
        ),
        (
            format!("{s3}secret-access-key-file = 'none'\naccess-key-id-file = 'none'"),
            "ingest-host.toml:5:1: `access-key-id-file`: this file cannot be read: entity not found",
        ),
        (
            format!("{s3}[stores.b]\nkind = 's3'\nbuckets = ['x', 'b']\n[queues.q]"),
            "the stores a and b both list the bucket s3://b: let one of them list it, or name the stores",
        ),
        (
            format!("{s3}unsigned = true\n[queues.q]\nstores = []\nallow-bucket = ['s3://b/in/']"),
            "queue q: s3://b: the store a lists this bucket, and `stores` of the queue does not name it",
        ),
        (
            format!("{s3}unsigned = true\n[queues.q]\nstores = ['a']\noutput = 's3://c/out'"),
            "queue q: s3://c: no store in `stores` of the queue lists this bucket",
        ),
        // A table with a mistake is there.
        (
            "[queues.q]\nstores = ['a']\n[stores.a]\nbuckets = ['b']".into(),
            "error: ingest-host.toml:3:9: `kind` is missing: write kind = \"s3\", \"gs\" or \"az\"\n",
        ),
    ] {
        host.write("ingest-host.toml", &file);
        let said = run(&host, "config check").refused(2);
        assert!(!said.contains("there is no table [stores.a]"), "{said}");
        assert!(said.contains(expected), "{file}\n{said}");
        assert!(!said.contains("s3cr3t"), "{said}");
        let document = run(&host, "config check --json").stdout;
        assert!(
            document.contains("\"valid\": false") || document.contains("\"valid\":false"),
            "{document}"
        );
        assert!(!document.contains("s3cr3t"), "{document}");
    }
}

#[test]
fn config_check_shows_stores_without_secrets() {
    let host = Host::embedded();
    host.write(
        "ingest-host.toml",
        "[stores.lake]\nkind = 's3'\nbuckets = ['lake', 'raw']\naccess-key-id-variable = 'LAKE_ID'\n\
         secret-access-key-variable = 'LAKE_SECRET'\npath-style = true\n[stores.blobs]\nkind = 'az'\nbuckets = ['c']\n\
         account = 'acc'\n[queues.q]\nstores = ['lake']\n[queues.r]\n",
    );
    let check = |more: &[&str]| {
        let mut command = host.command();
        command
            .args(["config", "check", "--config-file", "ingest-host.toml"])
            .args(more)
            .envs([
                ("LAKE_ID", "AKIAX"),
                ("LAKE_SECRET", "s3cr3t"),
                ("AWS_REGION", "eu-west-1"),
            ]);
        let said = CommandOutput::new(&command.output().unwrap()).ok();
        assert!(!said.contains("s3cr3t") && !said.contains("AKIAX"), "{said}");
        said
    };
    let document: Value = serde_json::from_str(&check(&["--json"])).unwrap();
    let lake = &document["stores"]["lake"];
    assert_eq!(
        lake["buckets"],
        json!({"value": ["lake", "raw"], "from": "ingest-host.toml:3"})
    );
    assert_eq!(
        lake["region"],
        json!({"value": "eu-west-1", "from": "AWS_REGION"})
    );
    assert_eq!(
        lake["secret-access-key-variable"],
        json!({"value": "LAKE_SECRET", "from": "ingest-host.toml:5"})
    );
    assert_eq!(lake["path-style"]["value"], true);
    assert!(lake.get("credentials").is_none());
    let blobs = &document["stores"]["blobs"];
    assert_eq!(blobs["credentials"]["from"], "environment");
    assert_eq!(
        document["queues"]["q"]["stores"],
        json!({"value": ["lake"], "from": "ingest-host.toml:12"})
    );
    assert_eq!(
        document["queues"]["r"]["stores"],
        json!({"value": null, "from": "default"})
    );
    let table = check(&[]);
    assert!(
        table.contains("store lake") && table.contains("LAKE_SECRET"),
        "{table}"
    );
}

#[test]
fn a_queue_reads_no_bucket_of_another_queues_store() {
    let (a, b) = (S3Server::start(), S3Server::with_key(OTHER_KEY));
    let redirecting = serve(vec![
        answer(
            "307 Temporary Redirect",
            &format!("Location: {}/vault/in.csv\r\n", b.endpoint()),
            b""
        );
        4
    ]);
    let host = Host::embedded();
    for (server, bucket) in [
        (&a, "lake"),
        (&a, "shared"),
        (&b, "vault"),
        (&b, "shared"),
        (&b, "lake"),
    ] {
        server.put(bucket, "in.csv", CSV);
    }
    let moved = redirecting.address;
    configure(
        &host,
        &format!(
            "{}{}[stores.moved]\nkind = 's3'\nendpoint = 'http://{moved}'\nunsigned = true\nbuckets = ['moved']\n\
             [queues.a]\nstores = ['a', 'moved']\nallow-bucket = ['s3://lake', 's3://shared', 's3://moved']\n\
             [queues.b]\nstores = ['b']\nallow-bucket = ['s3://vault', 's3://shared']\n",
            store("a", &a, "key-id", "buckets = ['lake', 'shared']"),
            store("b", &b, "other-key-id", "buckets = ['vault', 'shared']"),
        ),
    );
    // The requests of `b` come first, so that its store is open when `a` asks for it.
    for (index, uri) in ["s3://vault/in.csv", "s3://shared/in.csv"].iter().enumerate() {
        host.submit("b", &format!("b{index}"), uri);
    }
    host.submit("a", "own", "s3://lake/in.csv");
    host.submit("a", "shared", "s3://shared/in.csv");
    let said = burst(&host);
    assert!(
        said.stdout.starts_with("4 done, 0 dead"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert_eq!(a.requests().len(), 2);
    assert_eq!(b.requests().len(), 2);
    let endpoint = b.endpoint();
    let spellings = [
        "s3://vault/in.csv".to_owned(),
        "S3://vault/in.csv".to_owned(),
        "s3://vault/i%6e.csv".to_owned(),
        "s3://VAULT/in.csv".to_owned(),
        "s3://vault/in.csv?versionId=1".to_owned(),
        "s3://lake/../vault/in.csv".to_owned(),
        "s3://lake/%2e%2e/vault/in.csv".to_owned(),
        "s3://lake/..%2Fvault/in.csv".to_owned(),
        "s3://lake/\\..\\..\\vault\\in.csv".to_owned(),
        "s3://lake%2F..%2Fvault/in.csv".to_owned(),
        "s3://lake@vault/in.csv".to_owned(),
        "s3:vault/in.csv".to_owned(),
        "s3a://vault/in.csv".to_owned(),
        "gs://vault/in.csv".to_owned(),
        "az://vault/in.csv".to_owned(),
        "s3://lake/in.csv?endpoint=b".to_owned(),
        format!("{endpoint}/vault/in.csv"),
        "s3://moved/in.csv".to_owned(),
    ];
    for (index, uri) in spellings.iter().enumerate() {
        // Some of them are refused already when they are submitted.
        let id = format!("x{index}");
        let said = host.run_with("submit --no-check --queue a --uri", &[uri, "--id", &id]);
        if said.code == Some(0) {
            burst(&host);
            assert_eq!(host.status(&id)["state"], "dead", "{uri}");
        }
    }
    assert_eq!(
        b.requests().len(),
        2,
        "no request of `a` has reached the store of `b`"
    );
    assert_eq!(redirecting.requests().len(), 1);
    host.submit("b", "again", "s3://vault/in.csv");
    burst(&host);
    assert_eq!(host.status("again")["state"], "done");
}

#[test]
fn outputs_use_the_store_of_their_bucket_and_its_key() {
    let (a, b) = (S3Server::start(), S3Server::with_key(OTHER_KEY));
    let host = Host::embedded();
    a.put("input", "in.csv", CSV);
    a.create_bucket("plain");
    b.create_bucket("out");
    configure(
        &host,
        &format!(
            "{}{}[queues.a]\nallow-bucket = ['s3://input']\noutput = 's3://out/of-a'\n\
             [queues.b]\nallow-bucket = ['s3://input']\noutput = 's3://out/of-a/'\nstores = ['a', 'b']\n\
             [queues.c]\nallow-bucket = ['s3://input']\noutput = 's3://plain'\n",
            store("a", &a, "key-id", "buckets = ['input', 'plain']"),
            store("b", &b, "other-key-id", "kms-key = 'the-key'\nbuckets = ['out']"),
        ),
    );
    for queue in ["a", "b", "c"] {
        host.submit(queue, queue, "s3://input/in.csv");
    }
    let said = burst(&host);
    assert!(
        said.stdout.starts_with("3 done, 0 dead"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert_eq!(b.read("out", "of-a/a/a.csv").unwrap(), CSV.as_bytes());
    assert_eq!(a.read("plain", "c/c.csv").unwrap(), CSV.as_bytes());
    let encryption = b.encryption();
    assert!(
        !encryption.is_empty() && encryption.iter().all(|header| header == "aws:kms the-key"),
        "{encryption:?}"
    );
    assert!(a.encryption().is_empty());
}

#[test]
fn rejects_use_the_store_of_their_bucket_and_its_credentials() {
    let (a, b) = (S3Server::start(), S3Server::with_key(OTHER_KEY));
    let host = Host::embedded();
    a.put("input", "in.csv", "a,b\n1,2\n3\n4,5\n");
    a.create_bucket("out");
    b.create_bucket("refused");
    let stores = format!(
        "{}{}",
        store("a", &a, "key-id", "buckets = ['input', 'out']"),
        store("b", &b, "other-key-id", "buckets = ['refused']"),
    );
    let queue = "allow-bucket = ['s3://input']\noutput = 's3://out/of-a'\nrejects = 's3://refused/of-a'\n";
    configure(
        &host,
        &format!("{stores}[queues.a]\nstores = ['a', 'b']\n{queue}"),
    );
    host.submit("a", "a", "s3://input/in.csv");
    let said = burst(&host);
    let is_done = said.stdout.starts_with("1 done, 0 dead");
    assert!(is_done, "{}{}", said.stdout, said.stderr);
    assert_eq!(a.read("out", "of-a/a/a.csv").unwrap(), b"a,b\n1,2\n4,5\n");
    assert!(b.read("refused", "of-a/a/a.1.rejects.csv").is_some());

    // The rejects cannot be in a store that the queue may not use.
    configure(&host, &format!("{stores}[queues.a]\nstores = ['a']\n{queue}"));
    let said = run(&host, "config check").refused(2);
    let why = "queue a: --rejects: s3://refused: the store b lists this bucket, and `stores` of the queue does not name it";
    assert!(said.contains(why), "{said}");
}

#[test]
fn the_reaper_lists_each_output_once() {
    let (server, host) = (S3Server::start(), Host::embedded());
    server.create_bucket("out");
    let table = store("a", &server, "key-id", "buckets = ['out']");
    configure(
        &host,
        &format!(
            "{table}[queues.a]\noutput = 's3://out/one'\n[queues.b]\noutput = 's3://out/one/'\nstores = ['a']\nmin-records = 1\n\
             [queues.c]\noutput = 's3://out/last'\n"
        ),
    );
    let mut worker = host.worker("--config-file ingest-host.toml");
    worker.wait_for_log("worker started");
    let of = |output: &str| {
        let lists = server.lists();
        let is_first = |list: &&String| list.contains("delimiter") && list.contains(output);
        lists.iter().filter(is_first).count()
    };
    // The outputs have their turn in the order of the queues.
    wait_for("the last output's turn", || (of("last") > 0).then_some(()));
    assert_eq!(of("one"), 1, "{:?}", server.lists());
    worker.stop();
}

#[test]
fn a_bucket_that_no_store_lists_has_the_store_of_the_environment() {
    let (named, environment) = (S3Server::with_key(OTHER_KEY), S3Server::start());
    let host = Host::embedded();
    named.put("lake", "in.csv", CSV);
    environment.put("other", "in.csv", CSV);
    let table = store("lake", &named, "other-key-id", "buckets = ['lake']");
    configure(
        &host,
        &format!("{table}[queues.q]\nallow-bucket = ['s3://lake', 's3://other']\n"),
    );
    let with_keys = |words: &str| {
        let mut command = host.command();
        command
            .args(words.split_whitespace())
            .args(["--config-file", "ingest-host.toml"])
            .env("AWS_ENDPOINT_URL", environment.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        CommandOutput::new(&command.output().unwrap())
    };
    // A submit lists with the stores of the file, too.
    for uri in ["s3://lake/*.csv", "s3://other/"] {
        let said = with_keys(&format!("submit --queue q --uri {uri}")).ok();
        assert_eq!(said, "1 requests: 1 new, 0 known\n");
    }
    let said = with_keys("run --burst --burst-wait 0s");
    assert!(
        said.stdout.starts_with("2 done, 0 dead"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    assert_eq!((named.requests().len(), environment.requests().len()), (1, 1));
}

#[test]
fn a_reload_changes_stores_for_new_claims() {
    let (before, after) = (S3Server::start(), S3Server::with_key(OTHER_KEY));
    let host = Host::embedded();
    for server in [&before, &after] {
        server.put("lake", "in.csv", CSV);
    }
    let queue = "[queues.q]\nstores = ['lake']\nallow-bucket = ['s3://lake']\n";
    configure(
        &host,
        &format!(
            "{}{queue}",
            store("lake", &before, "key-id", "buckets = ['lake']")
        ),
    );
    let mut worker = host.worker("--config-file ingest-host.toml");
    worker.wait_for_log("worker started");
    host.submit("q", "first", "s3://lake/in.csv");
    host.wait_for_state("first", "done");
    let changed = format!(
        "{}{queue}",
        store("lake", &after, "other-key-id", "buckets = ['lake']")
    );
    // A store that cannot be used keeps the settings before it.
    configure(&host, &changed.replace("'secret'", "'none'"));
    worker.signal("HUP");
    let line = worker.wait_for_log("config file not reloaded");
    assert!(line.contains("secret-access-key-file"), "{line}");
    configure(&host, &changed);
    worker.signal("HUP");
    worker.wait_for_log("config file reloaded");
    host.submit("q", "second", "s3://lake/in.csv");
    host.wait_for_state("second", "done");
    assert_eq!((before.requests().len(), after.requests().len()), (1, 1));
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(SECRET_KEY) && Path::new(&host.path("secret")).exists());
}

#[test]
fn a_report_is_read_from_the_store_of_its_bucket() {
    let server = S3Server::start();
    server.create_bucket("out");
    let host = Host::embedded();
    host.write("in.csv", CSV);
    configure(
        &host,
        &format!(
            "{}[queues.q]\nallow-root = ['.']\noutput = 's3://out/x'\nmin-records = 5\n",
            store("lake", &server, "key-id", "buckets = ['out']")
        ),
    );
    host.submit("q", "few", &host.path("in.csv").display().to_string());
    burst(&host);
    assert_eq!(host.status("few")["code"], "gate-exceeded");
    for what in ["few", "s3://out/x/_ingest/q/quarantine/few.json"] {
        let report = run(&host, &format!("report --json {what}")).json().remove(0);
        assert_eq!(report["request"]["id"], "few", "{report}");
    }
}

#[test]
fn a_reload_reads_the_files_of_stores_again() {
    let server = S3Server::start();
    server.put("lake", "in.csv", CSV);
    let host = Host::embedded();
    let credentials = |key_id: &str| {
        let text = format!("[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {SECRET_KEY}\n");
        host.write("credentials", text);
    };
    credentials(OTHER_KEY);
    configure(
        &host,
        &format!(
            "[stores.lake]\nkind = 's3'\nbuckets = ['lake']\nendpoint = '{}'\ncredentials-file = 'credentials'\n\
             [queues.q]\nallow-bucket = ['s3://lake']\n",
            server.endpoint()
        ),
    );
    let mut worker = host.worker("--config-file ingest-host.toml");
    worker.wait_for_log("worker started");
    host.submit("q", "first", "s3://lake/in.csv");
    host.wait_for_state("first", "dead");
    credentials(ACCESS_KEY);
    worker.signal("HUP");
    worker.wait_for_log("config file reloaded");
    host.submit("q", "second", "s3://lake/in.csv");
    host.wait_for_state("second", "done");
}

#[test]
fn the_stores_of_the_document_are_valid() {
    let host = Host::embedded();
    host.write("ingest-host.toml", documents::block("toml", "[stores.lake]"));
    host.write("clean.wasm", std::fs::read(component("clean")).unwrap());
    host.write("lake-secret", SECRET_KEY);
    let mut command = host.command();
    command
        .args(["config", "check", "--config-file", "ingest-host.toml"])
        .envs([
            ("LAKE_KEY_ID", ACCESS_KEY),
            ("LAKE_SECRET", SECRET_KEY),
            ("PARTNER_KEY", "c2VjcmV0"),
        ]);
    CommandOutput::new(&command.output().unwrap()).ok();
}
