//! Tests that one command submits many objects of a store: patterns and prefixes. A second submit adds only new objects and
//! new versions, and a worker reads the version that was listed.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::host::{CommandOutput, Host, component, path_of, wait_for};
use crate::support::inputs::objects::AZURE_KEY;
use crate::support::inputs::scripted_server::{answer, serve};
use crate::support::process::{KillOnDrop, is_own, peak_bytes};
use crate::support::s3::{FORBIDDEN, S3Server, environment};

const CSV: &str = "a,b\n1,2\n";

fn command(host: &Host, server: &S3Server, words: &str, more: &[&str]) -> std::process::Command {
    let mut command = host.command();
    command
        .args(words.split_whitespace())
        .args(more)
        .envs(environment(&server.endpoint()));
    command
}

fn run(host: &Host, server: &S3Server, words: &str, more: &[&str]) -> CommandOutput {
    CommandOutput::new(&command(host, server, words, more).output().unwrap())
}

fn submit(host: &Host, server: &S3Server, uris: &[&str]) -> CommandOutput {
    run(host, server, "submit --queue q --uri", uris)
}

fn requests(host: &Host) -> Vec<Value> {
    host.run("requests --queue q --limit 100000 --json").json()
}

/// Returns the inputs of the requests, in the order of their submit.
fn inputs(host: &Host) -> Vec<String> {
    let uri = |request: &Value| request["uri"].as_str().unwrap().to_owned();
    requests(host).iter().map(uri).collect()
}

fn work(host: &Host, server: &S3Server) -> String {
    let clean = component("clean").display().to_string();
    let run = run(
        host,
        server,
        "run --queue q --burst --burst-wait 0s --allow-bucket s3://lake --plugin",
        &[&clean],
    );
    run.stdout
}

#[test]
fn each_form_gives_one_request_an_object() {
    let (server, host) = (S3Server::start(), Host::embedded());
    for key in [
        "2017/10/b.csv.gz",
        "2017/10/a.csv.gz",
        "2017/10/x.txt",
        "2017/10/.hidden.csv.gz",
        "2017/10/deep/a.csv.gz",
        "2017/11/a.csv.gz",
        "2018/a.csv.gz",
        "out/q/a.csv",
        "out/_ingest/q/receipts/a.json",
    ] {
        server.put("lake", key, CSV);
    }
    let said = submit(&host, &server, &["s3://lake/2017/10/*.csv.gz"]).ok();
    assert_eq!(said, "2 requests: 2 new, 0 known\n");
    let lists = server.lists();
    assert_eq!(
        lists,
        ["/lake?list-type=2&prefix=2017%2F10%2F&delimiter=%2F"],
        "the folders below are not listed"
    );
    let said = submit(&host, &server, &["s3://lake/2017/"]).ok();
    assert_eq!(said, "5 requests: 3 new, 2 known\n");
    let said = submit(
        &host,
        &server,
        &["s3://lake/**/a.csv*", "s3://lake/2018/a.csv.gz"],
    )
    .ok();
    assert_eq!(
        said, "6 requests: 3 new, 3 known\n",
        "an object that is named by itself has a random id"
    );
    assert_eq!(
        inputs(&host),
        [
            "s3://lake/2017/10/a.csv.gz",
            "s3://lake/2017/10/b.csv.gz",
            "s3://lake/2017/10/deep/a.csv.gz",
            "s3://lake/2017/10/x.txt",
            "s3://lake/2017/11/a.csv.gz",
            "s3://lake/2018/a.csv.gz",
            "s3://lake/2018/a.csv.gz",
            "s3://lake/out/q/a.csv",
        ]
    );
    let said = submit(&host, &server, &["s3://lake/"]).ok();
    assert_eq!(said, "7 requests: 0 new, 7 known\n", "no outputs' own objects");
}

#[test]
fn a_second_submit_adds_what_is_new_and_each_version_is_read_once() {
    let (server, host) = (S3Server::start(), Host::embedded());
    server.put("lake", "in/a.csv", CSV);
    server.put("lake", "in/b.csv", CSV);
    submit(&host, &server, &["s3://lake/in/"]).ok();
    assert!(work(&host, &server).starts_with("2 done"));
    server.put("lake", "in/b.csv", "a,b\n3,4\n");
    server.put("lake", "in/c.csv", CSV);
    let said = submit(&host, &server, &["s3://lake/in/*.csv"]).ok();
    assert_eq!(said, "3 requests: 2 new, 1 known\n");
    // The object is replaced before the worker reads it.
    server.put("lake", "in/c.csv", "a,b\n5,6\n");
    assert!(work(&host, &server).starts_with("1 done, 1 dead"));
    let dead: Vec<_> = requests(&host)
        .into_iter()
        .filter(|request| request["state"] == "dead")
        .collect();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&dead[0]["uri"], &dead[0]["code"]),
        (&"s3://lake/in/c.csv".into(), &"input-replaced".into())
    );
    let said = submit(&host, &server, &["s3://lake/in/*.csv"]).ok();
    assert_eq!(said, "3 requests: 1 new, 2 known\n");
    assert!(work(&host, &server).starts_with("1 done"));
    // After their removal from the queue, the receipts show that these versions were read.
    for request in requests(&host) {
        if request["state"] == "done" {
            host.end_long_ago(request["id"].as_str().unwrap());
        }
    }
    work(&host, &server);
    let reads = server.requests().len();
    let said = submit(&host, &server, &["s3://lake/in/*.csv"]).ok();
    assert_eq!(said, "3 requests: 3 new, 0 known\n");
    assert!(work(&host, &server).starts_with("3 done"));
    assert_eq!(server.requests().len(), reads, "no object is read again");
}

#[test]
fn odd_keys_are_read_exactly() {
    let (server, host) = (S3Server::start(), Host::embedded());
    let keys = [
        "in/a*b.csv",
        "in/aXb.csv",
        "in/a?b.csv",
        "in/[ab].csv",
        "in/100%.csv",
        "in/t=00%3A00.csv",
        "in/%2A.csv",
        "in/größe 日本.csv",
        "in/a b+c&d.csv",
        "in/a#b;c@d:e.csv",
    ];
    for (index, key) in keys.iter().enumerate() {
        server.put("lake", key, format!("a,b\n{index},\n"));
    }
    submit(&host, &server, &["s3://lake/in/"]).ok();
    let said = work(&host, &server);
    assert!(said.starts_with("10 done, 0 dead"), "{said}");
    for request in requests(&host) {
        let status = host.status(request["id"].as_str().unwrap());
        let output = path_of(&status["receipt"]["outputs"][0]["uri"]);
        let text = std::fs::read_to_string(output).unwrap();
        let index: usize = text
            .lines()
            .nth(1)
            .unwrap()
            .trim_end_matches(',')
            .parse()
            .unwrap();
        let uri = request["uri"].as_str().unwrap();
        let key = uri.strip_prefix("s3://lake/").unwrap();
        let key = percent_encoding::percent_decode_str(key).decode_utf8().unwrap();
        assert_eq!(key, keys[index], "{uri}");
    }
    // A star in the pattern that stands for itself.
    let said = submit(&host, &server, &["s3://lake/in/a%2A*.csv"]).ok();
    assert_eq!(said, "1 requests: 0 new, 1 known\n");
}

#[test]
fn a_list_that_cannot_be_had_is_explained() {
    let (server, host) = (S3Server::start(), Host::embedded());
    server.put("lake", "a.txt", CSV);
    server.create_bucket(FORBIDDEN);
    for (uri, what) in [
        (
            "s3://lake/*.csv",
            "s3://lake/*.csv: no object matches this pattern: check the bucket and the pattern [input-missing]",
        ),
        (
            "s3://lake/none/",
            "s3://lake/none/: no object is below this prefix: check the bucket and the prefix [input-missing]",
        ),
        (
            "s3://none/a/*",
            "s3://none/a/: there is no bucket none at this store; the store answered 404 Not Found, NoSuchBucket",
        ),
        (
            "s3://forbidden/",
            "s3://forbidden/: the credentials may not list the objects: they need s3:ListBucket on the bucket; the store \
             answered 403 Forbidden, AccessDenied",
        ),
        ("s3://lake/*?versionId=1", "a pattern takes no parameters"),
    ] {
        let said = submit(&host, &server, &[uri]);
        assert!(
            said.code != Some(0) && said.stderr.contains(what),
            "{}",
            said.stderr
        );
    }
    let mut with_wrong_key = command(&host, &server, "submit --queue q --uri s3://lake/", &[]);
    with_wrong_key.env("AWS_SECRET_ACCESS_KEY", "wr0ng");
    let said = CommandOutput::new(&with_wrong_key.output().unwrap());
    assert!(
        said.stderr.contains("does not accept the credentials"),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains("wr0ng"), "{}", said.stderr);
}

#[test]
fn a_list_that_breaks_off_is_continued_by_the_next_submit() {
    let (server, host) = (S3Server::start(), Host::embedded());
    for n in 0..25 {
        server.put("lake", &format!("in/{n:02}.csv"), CSV);
    }
    server.list_in_pages(10, Some(1));
    let said = submit(&host, &server, &["s3://lake/in/"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.stdout, "10 requests: 10 new, 0 known, 1 not submitted\n");
    assert!(
        said.stderr.contains("s3://lake/in/: the store is busy") && said.stderr.contains("submit it again"),
        "{}",
        said.stderr
    );
    server.list_in_pages(10, None);
    // A busy store is asked again.
    server.be_busy(2);
    let said = submit(&host, &server, &["s3://lake/in/"]).ok();
    assert_eq!(said, "25 requests: 15 new, 10 known\n");
}

#[test]
fn half_a_page_is_not_taken_for_the_last() {
    let page = |next: &str, keys: &[&str]| {
        let objects = keys
            .iter()
            .map(|key| format!("<Contents><Key>{key}</Key><Size>8</Size></Contents>"));
        format!(
            "<ListBucketResult>{next}{}</ListBucketResult>",
            objects.collect::<String>()
        )
    };
    let first = page(
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
        &["a.csv", "b.csv"],
    );
    let last = page("<IsTruncated>false</IsTruncated>", &["c.csv", "d.csv"]);
    let half = &last[..last.len() - 60];
    let whole = |page: &str| answer("200 OK", "", page.as_bytes());
    // Only the text shows that the first one is cut off. The second one has a length.
    let cut = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{half}").into_bytes();
    let short = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{half}", last.len()).into_bytes();
    let mut answers = vec![whole(&first), cut.clone(), short.clone(), cut.clone(), short, cut];
    answers.extend([whole(&first), whole(&last)]);
    let (server, host) = (serve(answers), Host::embedded());
    let submit = || {
        let mut command = host.command();
        command
            .args(["submit", "--queue", "q", "--uri", "s3://lake/*"])
            .env("AWS_ENDPOINT_URL_S3", format!("http://{}", server.address))
            .env("AWS_SKIP_SIGNATURE", "true");
        CommandOutput::new(&command.output().unwrap())
    };
    let said = submit();
    assert_eq!(
        said.stdout, "2 requests: 2 new, 0 known, 1 not submitted\n",
        "{}",
        said.stderr
    );
    assert!(
        said.stderr
            .contains("list of its objects cannot be read: it is cut off"),
        "{}",
        said.stderr
    );
    assert_eq!(submit().ok(), "4 requests: 2 new, 2 known\n");
}

/// The memory of a submit must not grow with the number of objects.
#[test]
fn the_memory_of_a_list_does_not_grow() {
    if !is_own() {
        return;
    }
    const PAGES: usize = 60;
    let page = |number: usize| {
        let objects: String = (0..1_000)
            .map(|n| format!("<Contents><Key>{number:03}/{n:0>200}.csv</Key><Size>1</Size><ETag>\"e\"</ETag></Contents>"))
            .collect();
        let next = match number < PAGES {
            true => format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{number}</NextContinuationToken>"
            ),
            false => "<IsTruncated>false</IsTruncated>".to_owned(),
        };
        let xml = format!("<ListBucketResult>{next}{objects}</ListBucketResult>");
        answer("200 OK", "", xml.as_bytes())
    };
    let peak_of = |first: usize| {
        let (server, host) = (serve((first..=PAGES).map(page).collect()), Host::embedded());
        let child = host
            .command()
            .args(["submit", "--queue", "q", "--uri", "s3://lake/", "-"])
            .env("AWS_ENDPOINT_URL_S3", format!("http://{}", server.address))
            .env("AWS_SKIP_SIGNATURE", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut child = KillOnDrop(child.unwrap());
        // The child reads the list of URIs on standard input after the list of objects.
        wait_for("the list of objects to be read", || {
            (server.requests().len() == PAGES + 1 - first).then_some(())
        });
        let mut stdin = child.stdin.take().unwrap();
        for n in 0..5_000 {
            writeln!(stdin, "https://h.example/{n}.csv").unwrap();
        }
        let peak = peak_bytes(child.id());
        drop(stdin);
        assert!(child.wait().unwrap().success());
        assert_eq!(server.requests().len(), PAGES + 1 - first);
        peak
    };
    let (few, many) = (peak_of(PAGES - 9), peak_of(1));
    // Kept objects would take 50,000 times 400 bytes or more.
    assert!(many < few + (10 << 20), "{few} bytes, then {many}");
}

#[test]
fn google_is_listed_with_generations() {
    let page = |token: &str, objects: &str| {
        let xml = format!("<ListBucketResult>{token}{objects}</ListBucketResult>");
        answer("200 OK", "Content-Type: application/xml\r\n", xml.as_bytes())
    };
    let object = |key: &str, generation: u32| {
        format!(
            "<Contents><Key>{key}</Key><Generation>{generation}</Generation><Size>8</Size><ETag>\"e{generation}\"</ETag></Contents>"
        )
    };
    let marker =
        "<Contents><Key>in/</Key><Generation>1</Generation><Size>0</Size><ETag>\"m\"</ETag></Contents>";
    let first = page(
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t+1/=</NextContinuationToken>",
        &format!("{marker}{}", object("in/a b.csv", 1)),
    );
    let last = page("<IsTruncated>false</IsTruncated>", &object("in//c.csv", 2));
    let again = page("<IsTruncated>false</IsTruncated>", &object("in/a b.csv", 3));
    let server = serve(vec![first, last, again]);
    let host = Host::embedded();
    let submit = || {
        let mut command = host.command();
        command
            .args(["submit", "--queue", "q", "--uri", "gs://lake/in/"])
            .env("STORAGE_EMULATOR_HOST", format!("http://{}", server.address));
        CommandOutput::new(&command.output().unwrap()).ok()
    };
    assert_eq!(submit(), "2 requests: 2 new, 0 known\n");
    assert_eq!(inputs(&host), ["gs://lake/in/a%20b.csv", "gs://lake/in//c.csv"]);
    assert_eq!(
        submit(),
        "1 requests: 1 new, 0 known\n",
        "a new generation is a new input"
    );
    let asked: Vec<_> = server
        .requests()
        .iter()
        .map(|head| head.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        asked[..2],
        [
            "GET /lake?list-type=2&prefix=in%2F HTTP/1.1",
            "GET /lake?list-type=2&prefix=in%2F&continuation-token=t%2B1%2F%3D HTTP/1.1"
        ]
    );
    assert!(
        server
            .requests()
            .iter()
            .all(|head| !head.contains("accept-encoding: gzip"))
    );
}

#[test]
fn azure_is_listed_with_a_signature() {
    let first = "<EnumerationResults><Blobs><Blob><Name>in/d</Name><Properties><Content-Length>0</Content-Length><ResourceType>\
                 directory</ResourceType></Properties></Blob><BlobPrefix><Name>in/e/</Name></BlobPrefix><Blob><Name>in/a.csv</Name>\
                 <Properties><Etag>0x8D1</Etag><Content-Length>8</Content-Length></Properties></Blob></Blobs><NextMarker>m!1</NextMarker>\
                 </EnumerationResults>";
    let last = "<EnumerationResults><Blobs><Blob><Name>in/b.csv</Name><Properties><Etag>0x8D2</Etag><Content-Length>8</Content-Length>\
                </Properties></Blob></Blobs><NextMarker /></EnumerationResults>";
    let refused = "<Error><Code>AuthorizationPermissionMismatch</Code><Message>No.</Message></Error>";
    let server = serve(vec![
        answer("200 OK", "", first.as_bytes()),
        answer("200 OK", "", last.as_bytes()),
        answer("200 OK", "ETag: \"0x8D1\"\r\n", CSV.as_bytes()),
        answer("200 OK", "ETag: \"0x8D9\"\r\n", CSV.as_bytes()),
        answer("403 Forbidden", "", refused.as_bytes()),
    ]);
    let host = Host::embedded();
    let run = |words: &str, more: &[&str]| {
        let mut command = host.command();
        command
            .args(words.split_whitespace())
            .args(more)
            .env("AZURE_STORAGE_ACCOUNT_NAME", "acc")
            .env("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
            .env("AZURE_STORAGE_ENDPOINT", format!("http://{}/acc", server.address));
        CommandOutput::new(&command.output().unwrap())
    };
    let said = run("submit --queue q --uri az://lake/in/*.csv", &[]).ok();
    assert_eq!(said, "2 requests: 2 new, 0 known\n");
    // The list has tags without quotes, and answers have them with quotes.
    let clean = component("clean").display().to_string();
    let said = run(
        "run --queue q --burst --burst-wait 0s --concurrency 1 --allow-bucket az://lake --plugin",
        &[&clean],
    );
    assert!(
        said.stdout.starts_with("1 done, 1 dead"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    let said = run("submit --queue q --uri az://lake/", &[]);
    assert!(
        said.stderr
            .contains("may not list the objects: they need Storage Blob Data Reader"),
        "{}",
        said.stderr
    );
    let requests = server.requests();
    for (request, line) in [
        (
            0,
            "GET /acc/lake?restype=container&comp=list&prefix=in%2F&delimiter=%2F HTTP/1.1",
        ),
        (
            1,
            "GET /acc/lake?restype=container&comp=list&prefix=in%2F&delimiter=%2F&marker=m%211 HTTP/1.1",
        ),
    ] {
        assert!(requests[request].starts_with(line), "{}", requests[request]);
        assert!(requests[request].contains("authorization: SharedKey acc:"));
    }
}
