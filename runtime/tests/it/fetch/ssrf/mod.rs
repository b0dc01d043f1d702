//! Tests that no queued URI makes the host connect to an address that the producer must not reach. The tests cover
//! spellings of addresses, answers of name servers, and redirects.

mod addresses;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use ingest_host::error::{Class, Error};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::stop::Stop;

use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::inputs::served_file::{Action, ServedFile};
use crate::support::inputs::{limits, read};
use addresses::{ELSEWHERE, METADATA, THIS_MACHINE};

/// A listener on all addresses of this machine. A connection to the listener is a leak.
struct LeakDetector {
    listener: TcpListener,
    port: u16,
}

impl LeakDetector {
    fn set() -> Self {
        // The address `[::]` includes IPv4. If the machine has no IPv6, IPv4 alone is enough.
        let listener = TcpListener::bind("[::]:0")
            .or_else(|_| TcpListener::bind("0.0.0.0:0"))
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// Checks that no client has connected. The kernel completes a connection before the listener accepts it, so the
    /// check misses none.
    #[track_caller]
    fn assert_untouched(&self, by: &str) {
        let caught = self.listener.accept().map(|(_, peer)| peer);
        let error = caught.expect_err(by);
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{by}: {error}");
    }
}

/// A name service for tests, with a list of answers for each name. It returns the answers in order, and repeats the
/// last one forever.
#[derive(Clone, Default)]
struct FakeDns {
    answers: Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeDns {
    fn with(self, name: &str, answers: &[&[&str]]) -> Self {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
        self
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn access(&self, allowed: &[&str]) -> Access {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        let names = self.clone();
        Access::new(&allowed, &[]).unwrap().looking_up(move |name| {
            names.asked.lock().unwrap().push(name.to_owned());
            let mut answers = names.answers.lock().unwrap();
            // The system's resolver also ignores the final dot of a name, which stands for the DNS root.
            let answers = answers
                .get_mut(name.trim_end_matches('.'))
                .ok_or(io::ErrorKind::NotFound)?;
            Ok(if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            })
        })
    }
}

fn this_machine() -> FakeDns {
    FakeDns::default().with("localhost", &[&["127.0.0.1", "::1"]])
}

async fn open(access: Access, uri: &str) -> Result<Source, Error> {
    Fetcher::new(access, &limits())
        .open(uri, RequestedBy::Queued, &Stop::default())
        .await
}

async fn refused(access: Access, uri: &str) -> Error {
    open(access, uri)
        .await
        .err()
        .unwrap_or_else(|| panic!("{uri} was opened"))
}

fn url_of(address: &str) -> String {
    match address.parse().unwrap() {
        IpAddr::V4(address) => format!("http://{address}/"),
        IpAddr::V6(_) => format!("http://[{address}]/"),
    }
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_gets_through() {
    let trap = LeakDetector::set();
    let port = trap.port.to_string();
    let here = THIS_MACHINE
        .iter()
        .map(|spelling| spelling.replace("PORT", &port));
    let elsewhere = ELSEWHERE.iter().map(|address| url_of(address));
    for uri in here.chain(elsewhere).chain(METADATA.map(str::to_owned)) {
        // A URI that begins with white space counts as a path.
        let wanted = if uri.starts_with(' ') {
            "only with --allow-root"
        } else {
            "only with --allow-host "
        };
        let error = refused(this_machine().access(&[]), &uri).await;
        assert_eq!(error.class(), Class::Permanent, "{uri}: {}", error.report());
        // A URL without `//` before the host is refused before the address is looked at.
        let is_refused = |why| error.to_string().contains(why);
        assert!(
            is_refused(wanted) || is_refused("a URL is written http://HOST/PATH"),
            "{uri}: {error}"
        );
        trap.assert_untouched(&uri);
    }
}

/// Checks URIs without a host, URIs that seem to name another host, and URIs that are not HTTP.
#[tokio::test]
async fn no_trick_with_a_uri_gets_through() {
    let trap = LeakDetector::set();
    for (uri, why) in [
        ("http://example.com@127.0.0.1:PORT/", "user name or password"),
        ("http://example.com:80@127.0.0.1:PORT/", "user name or password"),
        ("http://example.com%00@127.0.0.1:PORT/", "user name or password"),
        ("http://127.0.0.1:PORT@example.com/", "user name or password"),
        ("http://@127.0.0.1:PORT/", "only with --allow-host"),
        ("http://example.com\\@127.0.0.1:PORT/", "cannot find the host"),
        ("http://example.com#@127.0.0.1:PORT/", "cannot find the host"),
        ("http://127.0.0.1.example.com:PORT/", "cannot find the host"),
        ("http://[fe80::1%25lo]:PORT/", "not a valid URL"),
        ("http://[::1%lo]:PORT/", "not a valid URL"),
        ("http://[::1:PORT/", "not a valid URL"),
        ("http://127.0.0.1:80:PORT/", "not a valid URL"),
        ("http://127.0.0.256:PORT/", "not a valid URL"),
        ("http://0x17f000001:PORT/", "not a valid URL"),
        ("http://127.0.0.1%00.example.com:PORT/", "not a valid URL"),
        ("http://127.0.0.1 .example.com:PORT/", "not a valid URL"),
        ("gopher://127.0.0.1:PORT/_", "is not supported"),
        ("ftp://127.0.0.1:PORT/a.csv", "is not supported"),
        ("ws://127.0.0.1:PORT/", "is not supported"),
        ("dict://127.0.0.1:PORT/d", "is not supported"),
        ("ldap://127.0.0.1:PORT/", "is not supported"),
        ("jar:http://127.0.0.1:PORT/!/a", "is not supported"),
        ("view-source:http://127.0.0.1:PORT/", "is not supported"),
        ("data:text/csv,a", "is not supported"),
        ("unix:/run/docker.sock", "is not supported"),
        ("file://127.0.0.1/etc/passwd", "another machine"),
        ("file://localhost/etc/passwd", "only with --allow-root"),
        ("//127.0.0.1:PORT/", "only with --allow-root"),
        ("\\\\127.0.0.1:PORT\\a.csv", "only with --allow-root"),
        ("127.0.0.1:PORT/a.csv", "only with --allow-root"),
    ] {
        let uri = uri.replace("PORT", &trap.port.to_string());
        let report = refused(this_machine().access(&[]), &uri).await.report();
        assert!(report.contains(why), "{uri}: {report}");
        trap.assert_untouched(&uri);
    }
}

#[tokio::test]
async fn a_name_of_a_forbidden_address_gets_nowhere() {
    let trap = LeakDetector::set();
    let uri = format!("http://files.example:{}/a.csv", trap.port);
    for address in ELSEWHERE
        .into_iter()
        .chain(["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"])
    {
        let names = FakeDns::default().with("files.example", &[&[address]]);
        let error = refused(names.access(&[]), &uri).await;
        assert_eq!(error.class(), Class::Permanent, "{address}: {}", error.report());
        let canonical: IpAddr = address.parse().unwrap();
        let why = format!("files.example has the address {canonical}, which is not public");
        assert!(error.to_string().contains(&why), "{error}");
        trap.assert_untouched(address);
    }
}

/// Checks that the host connects only to the allowed addresses of a name. 127.0.0.2 stands for a public address.
#[tokio::test]
async fn of_a_names_addresses_the_forbidden_ones_are_left_out() {
    let trap = LeakDetector::set();
    let names = FakeDns::default().with("files.example", &[&["127.0.0.1", "::1", "127.0.0.2", "10.0.0.1"]]);
    let uri = format!("http://files.example:{}/a.csv", trap.port);
    // Only the leak detector listens at 127.0.0.2. It shows to which address a client connected.
    let opening = open(names.access(&["127.0.0.2"]), &uri);
    let peer = tokio::select! {
        _ = opening => panic!("the trap answers nobody"),
        peer = touched(&trap) => peer,
    };
    assert_eq!(peer, Ipv4Addr::new(127, 0, 0, 2));
    trap.assert_untouched("the other addresses");
}

/// Accepts a connection, and returns the address of this machine to which the client connected.
async fn touched(trap: &LeakDetector) -> IpAddr {
    let listener = tokio::net::TcpListener::from_std(trap.listener.try_clone().unwrap()).unwrap();
    let (connection, _) = listener.accept().await.unwrap();
    connection.local_addr().unwrap().ip().to_canonical()
}

/// Checks a name that first has an allowed address and later a forbidden one. The host connects to exactly the address
/// that it has checked. For each new connection, it looks the name up and checks the address again.
#[tokio::test]
async fn a_name_that_changes_its_address_gets_nowhere_with_it() {
    let bytes = b"id\n1\n2\n3\n";
    // The server listens at 127.0.0.1, which is allowed here. The name's later address is forbidden.
    let server = ServedFile::new(bytes, Some("\"a\"")).serve(vec![
        Action::Cut(4),
        Action::Send(answer("200 OK", "", b"stolen")),
    ]);
    let port = server.address.port();
    let names = FakeDns::default().with("files.example", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let uri = format!("http://files.example:{port}/a.csv");
    let source = open(names.access(&["127.0.0.1"]), &uri).await.unwrap();
    assert_eq!(names.asked(), ["files.example"], "one look-up for one connection");
    let error = read(source).await.expect_err("the rest is elsewhere by now");
    assert!(
        error
            .report()
            .contains("files.example has the address 127.0.0.2, which is not public"),
        "{}",
        error.report()
    );
    assert_eq!(names.asked().len(), 2);
    assert_eq!(server.requests().len(), 1, "the second address was connected to");
}

/// Starts a server that redirects each request to one target.
fn sending_to(status: &str, target: &str) -> ScriptedServer {
    serve(vec![answer(status, &format!("Location: {target}\r\n"), b""); 12])
}

#[tokio::test]
async fn no_redirect_leads_to_a_forbidden_address() {
    let trap = LeakDetector::set();
    let port = trap.port.to_string();
    let targets = [
        "http://127.0.0.1:PORT/",
        "http://localhost:PORT/",
        "http://2130706433:PORT/",
        "http://0x7f.1:PORT/",
        "http://[::1]:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://example.com@127.0.0.1:PORT/",
        "https://127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "//[::1]:PORT/",
        "/\\127.0.0.1:PORT/",
        "\\\\127.0.0.1:PORT\\",
        "http:\\\\127.0.0.1:PORT\\",
        "hTTp:////127.0.0.1:PORT",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://metadata.google.internal/",
    ];
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        for target in targets {
            let server = sending_to(status, &target.replace("PORT", &port));
            let allowed = server.address.to_string();
            let names = this_machine().with("metadata.google.internal", &[&["169.254.169.254"]]);
            let error = refused(names.access(&[&allowed]), &format!("http://{allowed}/a.csv")).await;
            assert_eq!(error.class(), Class::Permanent, "{target}: {}", error.report());
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("fetch http://{allowed}/a.csv redirected: http")),
                "{target}: {text}"
            );
            assert!(text.contains("only with --allow-host "), "{target}: {text}");
            trap.assert_untouched(target);
        }
    }
}

#[tokio::test]
async fn what_is_no_redirect_to_http_is_not_followed() {
    let trap = LeakDetector::set();
    let here = format!("http://127.0.0.1:{}/", trap.port);
    for (status, location, why) in [
        ("300 Multiple Choices", here.as_str(), "answered 300"),
        ("304 Not Modified", &here, "answered 304"),
        ("305 Use Proxy", &here, "answered 305"),
        ("306 Switch Proxy", &here, "answered 306"),
        ("201 Created", &here, "answered 201"),
        ("302 Found", "file:///etc/passwd", "not HTTP but file:"),
        ("302 Found", "FILE:/etc/passwd", "not HTTP but file:"),
        ("302 Found", "ftp://127.0.0.1/a.csv", "not HTTP but ftp:"),
        ("302 Found", "gopher://127.0.0.1/", "not HTTP but gopher:"),
        ("302 Found", "data:text/csv,a", "not HTTP but data:"),
        ("302 Found", "javascript:1", "not HTTP but javascript:"),
        ("302 Found", "http://", "an invalid location"),
        ("302 Found", "http://[::1", "an invalid location"),
        ("302 Found", "///127.0.0.1/", "an invalid location"),
    ] {
        let server = sending_to(status, location);
        let allowed = server.address.to_string();
        let error = refused(
            this_machine().access(&[&allowed]),
            &format!("http://{allowed}/a.csv"),
        )
        .await;
        assert_eq!(
            error.class(),
            Class::Permanent,
            "{status} {location}: {}",
            error.report()
        );
        assert!(
            error.report().contains(why),
            "{status} {location}: {}",
            error.report()
        );
        assert_eq!(server.requests().len(), 1, "{status} {location}");
        trap.assert_untouched(location);
    }
}

#[tokio::test]
async fn each_hop_of_a_chain_is_checked_and_a_chain_has_an_end() {
    let trap = LeakDetector::set();
    let last = sending_to("307 Temporary", &format!("http://127.0.0.1:{}/", trap.port));
    let middle = sending_to("302 Found", &format!("http://{}/b", last.address));
    let first = sending_to("301 Moved", &format!("http://{}/c", middle.address));
    let hops = [&first, &middle, &last].map(|server| server.address.to_string());
    let allowed: Vec<_> = hops.iter().map(String::as_str).collect();
    let error = refused(
        this_machine().access(&allowed),
        &format!("http://{}/a.csv", hops[0]),
    )
    .await;
    assert!(
        error.to_string().contains("only with --allow-host 127.0.0.1"),
        "{error}"
    );
    assert_eq!(
        [first, middle, last].map(|server| server.requests().len()),
        [1, 1, 1]
    );
    trap.assert_untouched("the end of the chain");

    let around = sending_to("302 Found", "/a.csv");
    let allowed = around.address.to_string();
    let error = refused(
        this_machine().access(&[&allowed]),
        &format!("http://{allowed}/a.csv"),
    )
    .await;
    assert!(error.to_string().contains("more than 10 redirects"), "{error}");
    assert_eq!(around.requests().len(), 11);
}

/// Checks that a rule for a name and a port allows no other port, no subdomain, and not the numeric address.
#[tokio::test]
async fn the_operators_list_opens_what_it_names_and_no_more() {
    let trap = LeakDetector::set();
    let server = serve(vec![answer("200 OK", "", b"a\n"); 2]);
    let port = server.address.port();
    let names = this_machine()
        .with("files.intranet", &[&["127.0.0.1"]])
        .with("sub.files.intranet", &[&["127.0.0.1"]]);
    let rule = format!("files.intranet:{port}");
    for uri in [
        format!("http://files.intranet:{}/", trap.port),
        format!("http://sub.files.intranet:{}/", trap.port),
        format!("http://127.0.0.1:{}/", trap.port),
        format!("http://localhost:{}/", trap.port),
    ] {
        let error = refused(names.access(&[&rule]), &uri).await;
        assert!(error.to_string().contains("--allow-host"), "{uri}: {error}");
        trap.assert_untouched(&uri);
    }
    open(
        names.access(&[&rule]),
        &format!("http://FILES.intranet.:{port}/a.csv"),
    )
    .await
    .unwrap();
    open(
        names.access(&["127.0.0.0/8"]),
        &format!("http://files.intranet:{port}/a.csv"),
    )
    .await
    .unwrap();
    assert_eq!(server.requests().len(), 2);
}
