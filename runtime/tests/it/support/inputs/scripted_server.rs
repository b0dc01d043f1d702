//! HTTP servers: one that behaves, and some that send exactly the bytes they are given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// A server that sends exactly the bytes it is given, and keeps the head of each request.
pub(crate) struct ScriptedServer {
    pub(crate) address: SocketAddr,
    pub(crate) sent: Arc<Notify>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedServer {
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Sends some bytes on each connection, the others after a pause, and closes it.
    pub(crate) fn pausing(at_once: Vec<u8>, pause: std::time::Duration, later: Vec<u8>) -> Self {
        Self::start(move |_, mut connection| {
            connection.write_all(&at_once).unwrap();
            std::thread::sleep(pause);
            // A client that does not wait is gone.
            let _ = connection.write_all(&later);
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

/// Sends one of the answers on each connection, in order, and closes it.
pub(crate) fn serve(answers: Vec<Vec<u8>>) -> ScriptedServer {
    let mut answers = answers.into_iter();
    ScriptedServer::start(move |_, mut connection| {
        // A client that has seen enough may be gone.
        let _ = connection.write_all(&answers.next().unwrap_or_default());
    })
}

/// Answers, keeps the connection open, and closes it when the next request has come; answers that one on a further connection.
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

/// Sends some bytes on each connection, then nothing more, and keeps it open.
pub(crate) fn silent_after(bytes: Vec<u8>) -> ScriptedServer {
    let mut open = Vec::new();
    ScriptedServer::start(move |_, mut connection| {
        connection.write_all(&bytes).unwrap();
        open.push(connection);
    })
}

/// How a server that takes connections ends them before it has said anything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hangup {
    /// Reads what comes, and closes.
    Close,
    /// Closes with bytes unread, which resets the connection.
    Reset,
    /// Not at all.
    Silence,
}

/// Takes connections and hangs up, so that no TLS comes about.
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
                // Something has come.
                Hangup::Reset => drop(connection.peek(&mut [0])),
                Hangup::Silence => open.push(connection),
            }
        }
    });
    address
}

/// Sends a body of so many bytes in chunks.
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

/// A whole answer that closes its connection.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A real server.
pub(crate) async fn serve_forever(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
