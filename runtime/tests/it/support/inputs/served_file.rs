//! A file on an HTTP server that answers range requests as RFC 9110 specifies. A test can replace single answers with
//! wrong ones.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::scripted_server::{ScriptedServer, answer};

/// A file, and how a server sends it.
#[derive(Clone)]
pub(crate) struct ServedFile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: Option<&'static str>,
    /// How a client recognizes the end of the body in a response with the whole file.
    pub(crate) framing: Framing,
    /// Additional header lines.
    pub(crate) headers: String,
}

/// How a client recognizes the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// The end of the connection ends the body.
    Close,
}

/// A function that creates a response from the bytes of the file and the first requested offset.
pub(crate) type CustomAnswer = fn(&[u8], usize) -> Vec<u8>;

/// The server's response to one request.
#[derive(Clone)]
pub(crate) enum Action {
    /// The server sends the correct response.
    Serve,
    /// The server sends at most this many bytes of the correct body. Then it closes the connection.
    Cut(usize),
    /// The server sends at most this many bytes of the correct body. Then it sends nothing more and keeps the
    /// connection open.
    Stall(usize),
    /// The server sends this many bytes of the correct body at once. Then it pauses before each further byte.
    Trickle(usize, Duration),
    /// The server sends the correct head, pauses, and sends the body.
    Late(Duration),
    /// The server sends the correct response for another file.
    ServeOther(ServedFile),
    /// The server sends these bytes. Then it closes the connection.
    Send(Vec<u8>),
    /// The server sends the response that the function returns.
    Custom(CustomAnswer),
}

impl ServedFile {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>, etag: Option<&'static str>) -> Self {
        Self {
            bytes: bytes.into(),
            etag,
            framing: Framing::Length,
            headers: String::new(),
        }
    }

    pub(crate) fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    pub(crate) fn with(mut self, header: &str) -> Self {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }

    /// Starts a server with this file. The actions apply to the first requests, in order. All later requests get the
    /// correct response.
    pub(crate) fn serve(self, actions: Vec<Action>) -> ScriptedServer {
        let mut actions = actions.into_iter();
        let mut silent = Vec::new();
        ScriptedServer::start(move |request, connection| {
            match actions.next().unwrap_or(Action::Serve) {
                Action::Serve => self.answer(request).send(&connection, usize::MAX),
                Action::Cut(bytes) => self.answer(request).send(&connection, bytes),
                Action::ServeOther(other) => other.answer(request).send(&connection, usize::MAX),
                Action::Send(bytes) => write(&connection, &bytes),
                Action::Custom(make) => {
                    write(&connection, &make(&self.bytes, range_start(request).unwrap_or(0)))
                }
                Action::Trickle(bytes, pause) => {
                    let answer = self.answer(request);
                    answer.send(&connection, bytes) && answer.trickle(&connection, bytes, pause)
                }
                Action::Late(pause) => {
                    let answer = self.answer(request);
                    answer.send(&connection, 0) && {
                        std::thread::sleep(pause);
                        write(&connection, answer.body)
                    }
                }
                Action::Stall(bytes) => {
                    self.answer(request).send(&connection, bytes);
                    return silent.push(connection);
                }
            };
            // If the client has already closed the connection, this call fails.
            let _ = connection.shutdown(Shutdown::Both);
        })
    }

    fn answer(&self, request: &str) -> Answer<'_> {
        let header = |name: &str| {
            let line = request.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let total = self.bytes.len();
        let from = range_start(request);
        let current = header("if-range:").is_none_or(|etag| Some(etag.as_str()) == self.etag);
        let etag = self
            .etag
            .map(|etag| format!("ETag: {etag}\r\n"))
            .unwrap_or_default();
        let common = format!("{etag}{}Connection: close\r\n", self.headers);
        match from.filter(|_| current) {
            Some(from) if from >= total => Answer {
                head: format!(
                    "HTTP/1.1 416 Range Not Satisfiable\r\n{common}Content-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n"
                ),
                body: &[],
                framing: Framing::Length,
            },
            Some(from) => Answer {
                head: format!(
                    "HTTP/1.1 206 Partial Content\r\n{common}Content-Range: bytes {from}-{}/{total}\r\nContent-Length: {}\r\n\r\n",
                    total - 1,
                    total - from,
                ),
                body: &self.bytes[from..],
                framing: Framing::Length,
            },
            None => {
                let framing = match self.framing {
                    Framing::Length => format!("Content-Length: {total}\r\n"),
                    Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
                    Framing::Close => String::new(),
                };
                Answer {
                    head: format!("HTTP/1.1 200 OK\r\n{common}{framing}\r\n"),
                    body: &self.bytes,
                    framing: self.framing,
                }
            }
        }
    }
}

/// Returns the first offset of a range request, or `None` if the request is for the whole file.
fn range_start(request: &str) -> Option<usize> {
    let range = request
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="))?;
    range.trim().trim_end_matches('-').parse().ok()
}

struct Answer<'a> {
    head: String,
    body: &'a [u8],
    framing: Framing,
}

impl Answer<'_> {
    /// Sends the head and at most `bytes` bytes of the body. Returns false if the client has closed the connection.
    fn send(&self, connection: &TcpStream, bytes: usize) -> bool {
        let body = &self.body[..bytes.min(self.body.len())];
        let end = bytes >= self.body.len();
        write(connection, self.head.as_bytes())
            && match self.framing {
                Framing::Length | Framing::Close => write(connection, body),
                Framing::Chunked => {
                    let chunks = body.chunks(1_000).all(|chunk| write(connection, &chunked(chunk)));
                    chunks && (!end || write(connection, b"0\r\n\r\n"))
                }
            }
    }

    fn trickle(&self, connection: &TcpStream, from: usize, pause: Duration) -> bool {
        self.body[from..].iter().all(|byte| {
            std::thread::sleep(pause);
            write(connection, &[*byte])
        })
    }
}

fn chunked(chunk: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()
}

/// Writes all bytes. Returns false if the client has closed the connection, for example because it has read enough.
fn write(mut connection: &TcpStream, bytes: &[u8]) -> bool {
    connection.write_all(bytes).is_ok()
}

/// Returns an action that sends a 206 response with these headers. If the headers contain no `ETag`, the tag `"a"` is
/// added.
pub(crate) fn partial(headers: &str, body: &[u8]) -> Action {
    match headers.contains("ETag:") {
        true => untagged_partial(headers, body),
        false => untagged_partial(&format!("ETag: \"a\"\r\n{headers}"), body),
    }
}

/// Returns an action that sends a 206 response with exactly these headers.
pub(crate) fn untagged_partial(headers: &str, body: &[u8]) -> Action {
    Action::Send(answer("206 Partial Content", headers, body))
}
