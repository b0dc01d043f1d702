//! A file behind an HTTP server that answers ranges as RFC 9110 says. A test can make single answers wrong.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::scripted_server::{ScriptedServer, answer};

/// A file on a server.
#[derive(Clone)]
pub(crate) struct ServedFile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: Option<&'static str>,
    /// The framing of a body with the whole file.
    pub(crate) framing: Framing,
    /// Further header lines.
    pub(crate) headers: String,
}

/// The way in which a client learns the end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// The end of the connection ends the body.
    Close,
}

/// A function that makes an answer from the file's bytes and the first requested byte.
pub(crate) type CustomAnswer = fn(&[u8], usize) -> Vec<u8>;

/// The server's answer to one request.
#[derive(Clone)]
pub(crate) enum Action {
    /// The right answer.
    Serve,
    /// The right answer up to this many bytes of its body. Then the connection is cut.
    Cut(usize),
    /// The right answer up to this many bytes of its body. Then nothing more is sent.
    Stall(usize),
    /// The right answer up to this many bytes of its body at once. Then one byte follows after each pause.
    Trickle(usize, Duration),
    /// The right head, and the body after a pause.
    Late(Duration),
    /// The right answer for another file.
    ServeOther(ServedFile),
    /// These bytes. Then the connection ends.
    Send(Vec<u8>),
    /// The result of a function.
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

    /// Serves the file. Each request gets the next of the actions, and further requests get the right answer.
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
            // The client may have closed the connection before.
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

/// Returns the first byte that a request asks for, if it asks for a range.
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
    /// Sends the head and at most this many bytes of the body. Returns false if the client is gone.
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

/// Returns false if the client is gone, as a client that has read enough may be.
fn write(mut connection: &TcpStream, bytes: &[u8]) -> bool {
    connection.write_all(bytes).is_ok()
}

/// Returns a 206 with these headers. It has the tag `"a"` if the headers have none.
pub(crate) fn partial(headers: &str, body: &[u8]) -> Action {
    match headers.contains("ETag:") {
        true => untagged_partial(headers, body),
        false => untagged_partial(&format!("ETag: \"a\"\r\n{headers}"), body),
    }
}

/// Returns a 206 with exactly these headers.
pub(crate) fn untagged_partial(headers: &str, body: &[u8]) -> Action {
    Action::Send(answer("206 Partial Content", headers, body))
}
