//! Tests that what a request may reach and use belongs to its queue, although one worker serves several queues.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::support::host::{CommandOutput, Host, component, path_of};
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::s3::{S3Server, environment};

on_both_queues! {
    a_queue_reaches_only_its_own_folders_and_hosts
    credentials_are_those_of_the_queue
    a_queue_reads_only_its_own_buckets_and_has_its_own_store
    outputs_gates_limits_and_input_options_are_those_of_the_queue
    each_queue_can_have_its_own_plugin
    the_command_line_holds_for_all_queues
}

const CSV: &str = "a,b\n1,2\n";

/// Writes a config file. The plugin `clean` is the default for all queues.
fn configure(host: &Host, queues: &str) {
    let clean = component("clean").display().to_string();
    host.write("ingest-host.toml", format!("plugin = '{clean}'\n{queues}"));
}

/// Runs one worker for all queues of the file until nothing is left.
fn burst(host: &Host, more: &str) -> String {
    let said = host.run(&format!(
        "run --config-file ingest-host.toml --burst --burst-wait 0s {more}"
    ));
    assert!(said.stderr.contains("worker stopped"), "{}", said.stderr);
    said.stdout
}

fn redirect_to(target: &str) -> Vec<u8> {
    answer("302 Found", &format!("Location: {target}\r\n"), b"")
}

fn csv_answers() -> Vec<Vec<u8>> {
    vec![answer("200 OK", "", CSV.as_bytes()); 8]
}

fn header(server: &ScriptedServer, path: &str, name: &str) -> Vec<Option<String>> {
    let heads = server.requests().into_iter();
    let heads = heads.filter(|head| head.starts_with(&format!("GET {path} ")));
    heads
        .map(|head| {
            let mut lines = head.lines().map(str::to_owned);
            lines.find_map(|line| Some(line.strip_prefix(&format!("{name}: "))?.to_owned()))
        })
        .collect()
}

fn a_queue_reaches_only_its_own_folders_and_hosts(host: &Host) {
    for folder in ["x", "y"] {
        fs::create_dir(host.path(folder)).unwrap();
        host.write(&format!("{folder}/in.csv"), CSV);
    }
    let [x, y] = ["x", "y"].map(|name| host.path(name).canonicalize().unwrap().display().to_string());
    symlink(host.path("y/in.csv"), host.path("x/link.csv")).unwrap();
    symlink(host.path("y"), host.path("x/folder")).unwrap();
    let of_b = serve(csv_answers());
    let (b, port) = (of_b.address, of_b.address.port());
    let of_a = serve(vec![
        redirect_to(&format!("http://{b}/in.csv")),
        redirect_to(&format!("http://127.1:{port}/in.csv")),
        redirect_to(&format!("//{b}/in.csv")),
        redirect_to(&format!("file://{y}/in.csv")),
        answer("200 OK", "", CSV.as_bytes()),
    ]);
    let a = of_a.address;
    configure(
        host,
        &format!(
            "[queues.a]\nallow-root = ['{x}']\nallow-host = ['{a}']\noutput = 'out-a'\n\
             [queues.b]\nallow-root = ['{y}']\nallow-host = ['{b}']\noutput = 'out-b'\n"
        ),
    );
    // The requests of both queues run side by side in one worker, and those of `b` come first, so that its files and
    // connections are open when `a` asks for them.
    let allowed_b = [
        format!("{y}/in.csv"),
        format!("file://{y}/in.csv"),
        format!("http://{b}/in.csv"),
    ];
    for (index, uri) in allowed_b.iter().enumerate() {
        host.submit("b", &format!("b{index}"), uri);
    }
    burst(host, "");
    let redirects: Vec<_> = (0..4).map(|_| format!("http://{a}/in.csv")).collect();
    let spellings = [
        format!("{y}/in.csv"),
        format!("file://{y}/in.csv"),
        format!("file://localhost{y}/in.csv"),
        format!("file:{y}/in.csv"),
        format!("{x}/../y/in.csv"),
        format!("file://{x}/../y/in.csv"),
        format!("file://{x}/%2e%2e/y/in.csv"),
        format!("{x}//..//y/in.csv"),
        format!("{x}/link.csv"),
        format!("{x}/folder/in.csv"),
        format!("{x}/./folder/../../y/in.csv"),
        format!("/proc/self/root{y}/in.csv"),
        format!("http://{b}/in.csv"),
        format!("HTTP://{b}/in.csv"),
        format!("http://127.1:{port}/in.csv"),
        format!("http://2130706433:{port}/in.csv"),
        format!("http://0x7f000001:{port}/in.csv"),
        format!("http://0177.0.0.1:{port}/in.csv"),
        format!("http://[::ffff:127.0.0.1]:{port}/in.csv"),
        format!("http://localhost:{port}/in.csv"),
    ];
    let before = of_b.requests().len();
    let refused: Vec<_> = redirects.into_iter().chain(spellings).collect();
    for (index, uri) in refused.iter().enumerate() {
        host.submit("a", &format!("a{index}"), uri);
        burst(host, "");
        let status = host.status(&format!("a{index}"));
        assert_eq!(status["state"], "dead", "{uri}: {status}");
        let code = status["code"].as_str().unwrap();
        let codes = [
            "path-refused",
            "address-refused",
            "http-redirect",
            "address-invalid",
            "not-a-file",
        ];
        assert!(codes.contains(&code), "{uri}: {status}");
    }
    assert_eq!(
        of_b.requests().len(),
        before,
        "no request of `a` has reached the host of `b`"
    );
    // What belongs to `a` itself is still there for it, and what belongs to `b` for `b`.
    host.submit("a", "file", &format!("{x}/in.csv"));
    host.submit("a", "http", &format!("http://{a}/in.csv"));
    host.submit("b", "again", &format!("http://{b}/in.csv"));
    burst(host, "");
    assert_eq!(of_a.requests().len(), 5, "each redirect was followed to its end");
    for (id, output) in [
        ("file", "out-a"),
        ("http", "out-a"),
        ("again", "out-b"),
        ("b0", "out-b"),
        ("b2", "out-b"),
    ] {
        let status = host.status(id);
        assert_eq!(status["state"], "done", "{id}: {status}");
        let path = path_of(&status["receipt"]["outputs"][0]["uri"]);
        assert!(
            path.starts_with(host.path(output).canonicalize().unwrap()),
            "{path:?}"
        );
    }
}

fn credentials_are_those_of_the_queue(host: &Host) {
    let server = serve(csv_answers());
    let address = server.address;
    for (queue, token) in [("a", "of-a"), ("b", "of-b")] {
        let credentials = format!(r#"{{"http://{address}": {{"authorization": "Bearer {token}"}}}}"#);
        host.write(&format!("{queue}.json"), credentials);
    }
    configure(
        host,
        "allow-host = ['127.0.0.1']\n[queues.a]\ncredentials = 'a.json'\n[queues.b]\ncredentials = 'b.json'\n[queues.c]\n",
    );
    for round in 0..2 {
        for queue in ["a", "b", "c"] {
            host.submit(
                queue,
                &format!("{queue}{round}"),
                &format!("http://{address}/{queue}.csv"),
            );
        }
    }
    burst(host, "");
    let tokens = |path| header(&server, path, "authorization");
    let is = |token: &str| vec![Some(format!("Bearer {token}")); 2];
    assert_eq!(tokens("/a.csv"), is("of-a"));
    assert_eq!(tokens("/b.csv"), is("of-b"));
    assert_eq!(tokens("/c.csv"), [None, None]);
}

fn a_queue_reads_only_its_own_buckets_and_has_its_own_store(host: &Host) {
    let server = S3Server::start();
    server.create_bucket("out");
    server.put("lake", "a/in.csv", CSV);
    server.put("lake", "b/in.csv", CSV);
    configure(
        host,
        "[queues.a]\nallow-bucket = ['s3://lake/a/']\noutput = 's3://out/of-a'\n\
         [queues.b]\nallow-bucket = ['s3://lake/b/']\n[queues.c]\noutput = 's3://out/of-c'\n",
    );
    let with_keys = |words: &str| {
        let mut command = host.command();
        command
            .args(words.split_whitespace())
            .args(["--config-file", "ingest-host.toml"])
            .envs(environment(&server.endpoint()));
        CommandOutput::new(&command.output().unwrap())
    };
    with_keys("config check").ok();
    for queue in ["a", "b", "c"] {
        for folder in ["a", "b"] {
            let uri = format!("s3://lake/{folder}/in.csv");
            host.submit(queue, &format!("{queue}-{folder}"), &uri);
        }
    }
    let said = with_keys("run --burst --burst-wait 0s");
    assert!(
        said.stdout.starts_with("2 done, 4 dead"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    let of_a = receipt(host, "a-a");
    assert_eq!(of_a["outputs"][0]["uri"], "s3://out/of-a/a/a-a.csv");
    assert_eq!(server.read("out", "of-a/a/a-a.csv").unwrap(), CSV.as_bytes());
    let of_b = path_of(&receipt(host, "b-b")["outputs"][0]["uri"]);
    assert!(
        of_b.starts_with(host.path("out").canonicalize().unwrap()),
        "{of_b:?}"
    );
    for id in ["a-b", "b-a", "c-a", "c-b"] {
        assert_eq!(host.status(id)["code"], "bucket-refused", "{id}");
    }
    let mut requests = server.requests();
    requests.retain(|request| request.starts_with("/lake/"));
    requests.sort();
    assert_eq!(requests, ["/lake/a/in.csv", "/lake/b/in.csv"]);
}

fn receipt(host: &Host, id: &str) -> Value {
    let status = host.status(id);
    assert_eq!(status["state"], "done", "{status}");
    status["receipt"].clone()
}

fn outputs_gates_limits_and_input_options_are_those_of_the_queue(host: &Host) {
    host.write("semicolons.csv", "a;b\n1;2\n3\n");
    host.write("pipes.csv", "a|b\n1|2\n3\n");
    configure(
        host,
        "allow-root = ['.']\nrejects = 'all-rejects'\n\
         [queues.strict]\ndelimiter = ';'\non-reject = 'fail'\noutput = 'out/strict'\n\
         [queues.lax]\ndelimiter = '|'\nformat = 'jsonl'\nprofile = true\noutput = 'out/lax'\nrejects = 'out/lax-rejects'\n\
         [queues.filling]\ndelimiter = ';'\nshort-rows = 'fill'\n\
         [queues.narrow]\ndelimiter = ';'\nlimits.columns = 1\n",
    );
    for (queue, file) in [
        ("strict", "semicolons.csv"),
        ("lax", "pipes.csv"),
        ("filling", "semicolons.csv"),
        ("narrow", "semicolons.csv"),
    ] {
        let uri = host.path(file).display().to_string();
        host.submit(queue, queue, &uri);
    }
    // A queue without a table has the worker's settings.
    host.submit("plain", "plain", &host.path("pipes.csv").display().to_string());
    burst(host, "--queue strict,lax,filling,narrow,plain");
    assert_eq!(host.status("strict")["code"], "gate-exceeded");
    assert_eq!(host.status("narrow")["code"], "header-invalid");
    let lax = receipt(host, "lax");
    let path = |uri: &Value| {
        path_of(uri)
            .strip_prefix(host.path("").canonicalize().unwrap())
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        path(&lax["outputs"][0]["uri"]).to_str(),
        Some("out/lax/lax/lax.jsonl")
    );
    assert!(path(&lax["rejects"]["uri"]).starts_with("out/lax-rejects"));
    assert!(lax["quality"].is_object(), "{lax}");
    let text = fs::read_to_string(path_of(&lax["outputs"][0]["uri"])).unwrap();
    assert_eq!(text, "{\"a\":\"1\",\"b\":\"2\"}\n");
    let filling = receipt(host, "filling");
    assert_eq!(filling["records"]["rejected"], 0);
    assert!(filling.get("quality").is_none_or(Value::is_null));
    assert!(path(&filling["outputs"][0]["uri"]).starts_with("out/filling"));
    let plain = receipt(host, "plain");
    assert_eq!(
        plain["records"]["read"], 2,
        "one column, because the delimiter is the default: {plain}"
    );
}

fn each_queue_can_have_its_own_plugin(host: &Host) {
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, 7, 10, 5).unwrap();
    host.write("alarms.csv", csv);
    let alarms = component("alarms").display().to_string();
    configure(
        host,
        &format!("allow-root = ['.']\n[queues.a]\nplugin = '{alarms}'\n[queues.b]\n"),
    );
    for queue in ["a", "b"] {
        host.submit(queue, queue, &host.path("alarms.csv").display().to_string());
    }
    burst(host, "");
    let plugin = |id| receipt(host, id)["steps"][0]["name"].clone();
    assert_eq!((plugin("a"), plugin("b")), ("alarms".into(), "clean".into()));
}

fn the_command_line_holds_for_all_queues(host: &Host) {
    host.write("in.csv", CSV);
    configure(
        host,
        "[queues.a]\noutput = 'out-a'\nallow-root = ['out']\n[queues.b]\noutput = 'out-b'\n",
    );
    fs::create_dir(host.path("out")).unwrap();
    for queue in ["a", "b"] {
        host.submit(queue, queue, &host.path("in.csv").display().to_string());
    }
    burst(host, "--output given --allow-root .");
    for queue in ["a", "b"] {
        let path = path_of(&receipt(host, queue)["outputs"][0]["uri"]);
        assert!(
            path.starts_with(host.path("given").canonicalize().unwrap()),
            "{path:?}"
        );
    }
    assert!(!host.path("out-a").exists() && !host.path("out-b").exists());
}
