//! HTTP servers for tests: one that follows the HTTP standard, and several that send exactly the given bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// A server that sends exactly the given bytes, and records the head of each request.
pub(crate) struct ScriptedServer {
    pub(crate) address: SocketAddr,
    pub(crate) sent: Arc<Notify>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedServer {
    /// Returns the URI of a CSV file on the server.
    pub(crate) fn uri(&self) -> String {
        format!("http://{}/a.csv", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Starts a server that, on each connection, sends `at_once`, pauses, sends `later` and closes the connection.
    pub(crate) fn pausing(at_once: Vec<u8>, pause: std::time::Duration, later: Vec<u8>) -> Self {
        Self::start(move |_, mut connection| {
            connection.write_all(&at_once).unwrap();
            std::thread::sleep(pause);
            // A client that does not wait closes the connection, and then this write fails.
            let _ = connection.write_all(&later);
        })
    }

    /// Starts a server that answers each request with these bytes.
    pub(crate) fn sending(bytes: &[u8]) -> Self {
        let answer = answer("200 OK", "", bytes);
        Self::start(move |_, mut connection| {
            let answer = answer.clone();
            // A client that has read enough closes the connection, and then this write fails.
            std::thread::spawn(move || drop(connection.write_all(&answer)));
        })
    }

    pub(super) fn start(mut respond: impl FnMut(&str, TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            sent: Arc::default(),
            requests: Arc::default(),
        };
        let (requests, sent) = (Arc::clone(&server.requests), Arc::clone(&server.sent));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                let head = BufReader::new(&connection)
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty());
                let head = head.collect::<Vec<_>>().join("\n");
                requests.lock().unwrap().push(head.clone());
                respond(&head, connection);
                sent.notify_one();
            }
        });
        server
    }
}

/// Starts a server that sends the next item of `answers` on each connection, and closes the connection.
pub(crate) fn serve(answers: Vec<Vec<u8>>) -> ScriptedServer {
    let mut answers = answers.into_iter();
    ScriptedServer::start(move |_, mut connection| {
        // A client that has read enough closes the connection, and then this write fails.
        let _ = connection.write_all(&answers.next().unwrap_or_default());
    })
}

/// Starts a server that sends the first answer and keeps the connection open. When the next request arrives, the server
/// closes this connection. It sends the second answer on a new connection.
pub(crate) fn gone_after(first: Vec<u8>, next: Vec<u8>, how: Hangup) -> ScriptedServer {
    let mut first = Some(first);
    ScriptedServer::start(move |_, mut connection| match first.take() {
        Some(first) => {
            connection.write_all(&first).unwrap();
            match how {
                Hangup::Close => drop(connection.read(&mut [0; 1_024])),
                Hangup::Reset => drop(connection.peek(&mut [0])),
                Hangup::Silence => unreachable!("it is to be gone"),
            }
        }
        None => drop(connection.write_all(&next)),
    })
}

/// Starts a server that sends these bytes on each connection, and then sends nothing and keeps the connection open.
pub(crate) fn silent_after(bytes: Vec<u8>) -> ScriptedServer {
    let mut open = Vec::new();
    ScriptedServer::start(move |_, mut connection| {
        connection.write_all(&bytes).unwrap();
        open.push(connection);
    })
}

/// A request for a range of an object, and the true answer to it.
pub(crate) struct RangeAnswer {
    /// The number of requests for ranges before this one.
    pub(crate) number: usize,
    pub(crate) range: Range<usize>,
    /// The status line and the headers, each of which ends with a line feed. The empty line at the end is not part of
    /// it.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Starts a server with one object. `change` may change the answer to each request for a range. The server sends the
/// answer and keeps the connection open, so it is silent after a body that is shorter than announced.
pub(crate) fn object(
    bytes: Vec<u8>,
    mut change: impl FnMut(&mut RangeAnswer) + Send + 'static,
) -> ScriptedServer {
    let (mut open, mut number) = (Vec::new(), 0);
    ScriptedServer::start(move |head, connection| {
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let range = range.map(|range| {
            let (first, last) = range.split_once('-').unwrap();
            let end = last.parse::<usize>().map_or(bytes.len(), |last| last + 1);
            first.parse().unwrap()..end
        });
        let answer = match range {
            None => RangeAnswer {
                number,
                range: 0..bytes.len(),
                head: format!(
                    "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {}\r\n",
                    bytes.len()
                ),
                body: bytes.clone(),
            },
            Some(range) => {
                let mut answer = RangeAnswer {
                    number,
                    range: range.clone(),
                    head: RangeAnswer::head(&range, bytes.len()),
                    body: bytes[range].to_vec(),
                };
                number += 1;
                change(&mut answer);
                answer
            }
        };
        open.push(connection.try_clone().unwrap());
        // A client that has read enough closes the connection, and then this write fails.
        std::thread::spawn(move || {
            let mut connection = connection;
            let _ = connection
                .write_all(&[answer.head.as_bytes(), b"Connection: close\r\n\r\n", &answer.body].concat());
        });
    })
}

impl RangeAnswer {
    /// Returns the status line and the headers of an answer with a range of an object of `total` bytes.
    pub(crate) fn head(range: &Range<usize>, total: usize) -> String {
        let (first, last, length) = (range.start, range.end - 1, range.len());
        format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"v1\"\r\nContent-Range: bytes {first}-{last}/{total}\r\n\
             Content-Length: {length}\r\n"
        )
    }
}

/// What a server does instead of answering a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hangup {
    /// The server reads the data that arrives, and closes the connection.
    Close,
    /// The server closes the connection while bytes are unread, which resets the connection.
    Reset,
    /// The server keeps the connection open and sends nothing.
    Silence,
}

/// Starts a server that treats each connection as `how` says, so no TLS handshake succeeds. Returns the server's
/// address.
pub(crate) fn hang_up(how: Hangup) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            match how {
                Hangup::Close => {
                    let mut sent = [0; 16_384];
                    let _ = connection.read(&mut sent);
                }
                // The call returns when data has arrived, and leaves the data unread.
                Hangup::Reset => drop(connection.peek(&mut [0])),
                Hangup::Silence => open.push(connection),
            }
        }
    });
    address
}

/// Starts a server that sends a body of `bytes` bytes in HTTP chunks.
pub(crate) fn long_body(bytes: usize) -> ScriptedServer {
    ScriptedServer::start(move |_, mut connection| {
        connection
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        let chunk = [&b"100000\r\n"[..], &[b'x'; 0x10_0000], b"\r\n"].concat();
        for _ in 0..bytes / 0x10_0000 {
            connection.write_all(&chunk).unwrap();
        }
        connection.write_all(b"0\r\n\r\n").unwrap();
    })
}

/// Returns a complete response. The server closes the connection after it.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Starts a server with this router, and returns its address.
pub(crate) async fn serve_forever(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
