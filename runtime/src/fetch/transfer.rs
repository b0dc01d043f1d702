//! Transfers the body of an answer. A task puts the bytes from the network into a bounded channel, and a blocking
//! reader takes them out. If the transfer breaks off, the task requests the rest.

use std::fmt::Display;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use data_encoding::HEXLOWER;
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tracing::Instrument;
use url::Url;

use super::checksums::{Algorithm, Checksums};
use super::http::{Http, Resource};
use super::min_rate::{MinRate, WaitTime};
use super::range_request::{ContentRange, FileVersion, RangeRequest, number};
use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::location::redact;
use crate::stop::Stop;

/// The longest requested wait (`Retry-After`) after which a transfer is still resumed. A longer wait ends the attempt.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// The pause after a short piece of a long answer. Many servers send an answer in pieces of a few KiB. Without the pause,
/// each piece would wake this program, which costs more than to read the piece.
const GATHER: Duration = Duration::from_millis(1);

/// The resource that was opened. It is requested again if the transfer breaks off.
#[derive(Clone)]
pub(super) struct Requested {
    pub(super) http: Arc<Http>,
    pub(super) resource: Resource,
}

/// Starts to fetch the body of `response`, which contains the whole file. `url` is the URL after all redirects. `total`
/// is the announced length of the file.
pub(super) fn start(
    requested: Requested,
    url: &Url,
    (version, total): (Option<FileVersion>, Option<u64>),
    response: Response,
    stop: &Stop,
) -> Body {
    begin(
        requested,
        url,
        version,
        total,
        AnswerPart::first(response, total),
        stop,
    )
}

/// Starts to fetch the body of `response`, which contains the rest of a version of a file, or a part of this rest.
pub(super) fn start_rest(
    requested: Requested,
    url: &Url,
    rest: RangeRequest<'_>,
    span: ContentRange,
    response: Response,
    stop: &Stop,
) -> Body {
    let part = AnswerPart::rest(response, rest.from, span.end);
    let version = Some(rest.version.clone());
    begin(requested, url, version, Some(span.total), part, stop)
}

fn begin(
    requested: Requested,
    url: &Url,
    version: Option<FileVersion>,
    total: Option<u64>,
    part: AnswerPart,
    stop: &Stop,
) -> Body {
    let limits = &requested.http.limits;
    let (sender, pieces) = mpsc::channel(limits.fetch_chunks);
    let waiting = Arc::new(WaitTime::default());
    let name = redact(url.as_str());
    let mut min_rate = MinRate::new(limits.http_rate_min, limits.http_rate_window);
    min_rate.begin(Duration::ZERO, part.start);
    let transfer = Transfer {
        name: name.clone(),
        version,
        received: part.start,
        total,
        min_rate,
        resumes: 0,
        in_vain: 0,
        waiting: Arc::clone(&waiting),
        requested,
    };
    tokio::spawn(transfer.run(part, sender, stop.clone()).in_current_span());
    Body {
        pieces,
        piece: Bytes::new(),
        ended: false,
        waiting,
        name,
        stop: stop.clone(),
    }
}

/// Returns the length of the body that an answer announces.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(headers.get(CONTENT_LENGTH)?.as_bytes())
}

enum BodyPiece {
    Bytes(Bytes),
    /// The body is complete. If the channel closes without this value and without an error, the transfer was cut off.
    End,
}

type Sender = mpsc::Sender<Result<BodyPiece>>;

/// The task that receives a body from the network.
struct Transfer {
    requested: Requested,
    name: String,
    /// The version of the file, or `None` if the transfer cannot be resumed.
    version: Option<FileVersion>,
    received: u64,
    /// The length of the whole file, or `None` until the length is known.
    total: Option<u64>,
    min_rate: MinRate,
    resumes: u32,
    /// The number of consecutive resumes after which no byte arrived.
    in_vain: u32,
    waiting: Arc<WaitTime>,
}

/// One answer with the whole file or a part of it.
struct AnswerPart {
    response: Response,
    start: u64,
    /// The position in the file at which the answer ends, if the answer states it.
    end: Option<u64>,
    /// True if the answer has a transfer coding. If it has one, only the transfer coding determines the end, whatever
    /// length the answer announces.
    is_coded: bool,
    /// The announced digests of this part, and the digest of the bytes that were received so far.
    checks: Option<(Checksums, Sha256)>,
}

impl AnswerPart {
    /// Creates the part for an answer that begins with the first byte of the file. The digests in its headers cover the
    /// whole file, and the reader of the file checks them.
    fn first(response: Response, end: Option<u64>) -> Self {
        Self {
            is_coded: response.headers().contains_key(TRANSFER_ENCODING),
            response,
            start: 0,
            end,
            checks: None,
        }
    }

    fn rest(response: Response, start: u64, end: u64) -> Self {
        let checksums = Checksums::of_part(response.headers());
        Self {
            is_coded: response.headers().contains_key(TRANSFER_ENCODING),
            response,
            start,
            end: Some(end),
            checks: (!checksums.is_empty()).then(|| (checksums, Sha256::new())),
        }
    }
}

impl Transfer {
    /// Runs the transfer until the body has ended, the reader is dropped or a stop is requested.
    async fn run(mut self, part: AnswerPart, sender: Sender, stop: Stop) {
        let pump = async {
            let end = self.pump(part, &sender).await.map(|()| BodyPiece::End);
            // This call fails if the reader was dropped. Such a reader needs no end.
            let _ = sender.send(end).await;
        };
        tokio::select! {
            () = pump => {}
            () = sender.closed() => {}
            () = stop.requested() => {}
        }
    }

    async fn pump(&mut self, mut part: AnswerPart, sender: &Sender) -> Result<()> {
        while let Some(broken) = self.pass_on(&mut part, sender).await? {
            part = self.resume(broken).await?;
        }
        Ok(())
    }

    /// Passes on the bytes of an answer. If bytes of the file are missing at the end of the answer, returns the error
    /// that a resume must repair. Otherwise returns `None`.
    ///
    /// # Errors
    /// Fails if a resume cannot repair the error.
    async fn pass_on(&mut self, part: &mut AnswerPart, sender: &Sender) -> Result<Option<Error>> {
        loop {
            let is_begun = self.received > part.start;
            let limits = self.limits();
            let idle = if is_begun {
                limits.http_idle
            } else {
                limits.http_first_byte.max(limits.http_idle)
            };
            let chunk = match tokio::time::timeout(idle, part.response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => {
                    self.verify(part)?;
                    return Ok(self.ended(part));
                }
                // All bytes have arrived, and only the end of the answer is missing.
                _ if self.total == Some(self.received) && !part.is_coded => {
                    return self.verify(part).map(|()| None);
                }
                Ok(Err(error)) => {
                    let what = format!("the transfer broke off after {} bytes", self.received);
                    return Ok(Some(self.failed(what).because(error.without_url())));
                }
                Err(_) => {
                    let (idle, received) = (idle.as_secs_f32(), self.received);
                    let mut what = format!("nothing came for {idle} s after {received} bytes");
                    if !is_begun {
                        what.push_str("; for a slow server raise --limit first-byte-time");
                    }
                    return Ok(Some(self.failed(what)));
                }
            };
            if !is_begun {
                // The wait for the first byte does not count towards the rate.
                self.min_rate.begin(self.waiting.so_far(), self.received);
            }
            self.count(part, chunk.len())?;
            if let Some((_, sha256)) = &mut part.checks {
                sha256.update(&chunk);
            }
            let is_short = chunk.len() < self.limits().fetch_chunk_bytes;
            self.send(chunk, sender).await?;
            // A short answer is passed on as fast as it comes.
            if is_short && self.is_long(part) {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Returns whether an answer has brought many bytes and has not ended.
    fn is_long(&self, part: &AnswerPart) -> bool {
        let bytes = self.received - part.start;
        bytes >= self.limits().fetch_chunk_bytes as u64 && part.end != Some(self.received)
    }

    fn count(&mut self, part: &AnswerPart, bytes: usize) -> Result<()> {
        self.received += bytes as u64;
        if bytes > 0 {
            self.in_vain = 0;
        }
        if let Some(end) = part.end.filter(|&end| self.received > end) {
            return Err(self.failed(format!("announced {} bytes and sent more", end - part.start)));
        }
        let waited = self.waiting.so_far();
        self.min_rate.check(waited, self.received).map_err(|slow| {
            let (bytes, waited) = (slow.bytes, slow.waited.as_secs_f32());
            let min = self.limits().http_rate_min;
            self.failed(format!(
                "too slow: {bytes} bytes came in {waited:.1} s, and {min} a second is the least; {} bytes in all",
                self.received
            ))
        })
    }

    /// Compares the content of a complete part with the digest that its answer announced.
    fn verify(&self, part: &mut AnswerPart) -> Result<()> {
        match part.checks.take().filter(|_| part.end == Some(self.received)) {
            Some((checksums, sha256)) => checksums
                .check(Algorithm::Sha256, &HEXLOWER.encode(&sha256.finalize()))
                .map_err(|why| self.failed(why)),
            None => Ok(()),
        }
    }

    async fn send(&self, mut chunk: Bytes, sender: &Sender) -> Result<()> {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(self.limits().fetch_chunk_bytes));
            let sent = sender.send(Ok(BodyPiece::Bytes(piece))).await;
            sent.map_err(|_| self.failed("nobody reads it any more"))?;
        }
        Ok(())
    }

    /// Returns the error for an answer that has ended too early, or `None` if no bytes are missing.
    fn ended(&self, part: &AnswerPart) -> Option<Error> {
        let received = self.received;
        match (part.end, self.total) {
            (Some(end), _) if received < end => {
                let (announced, sent) = (end - part.start, received - part.start);
                Some(self.failed(format!("announced {announced} bytes and sent {sent}")))
            }
            (_, Some(total)) if received < total => {
                Some(self.failed(format!("the answer ended after {received} of {total} bytes")))
            }
            _ => None,
        }
    }

    /// Requests the rest of a transfer that broke off.
    ///
    /// # Errors
    /// All errors are transient, because the next attempt starts from zero or from a checkpoint. That attempt also
    /// finds out what is wrong with the file.
    async fn resume(&mut self, mut broken: Error) -> Result<AnswerPart> {
        let Some(version) = self.version.clone() else {
            return Err(broken);
        };
        let rest = RangeRequest {
            version: &version,
            from: self.received,
            total: self.total,
        };
        loop {
            let Limits {
                http_resumes,
                http_resumes_in_vain,
                ..
            } = *self.limits();
            if self.resumes == http_resumes || self.in_vain == http_resumes_in_vain {
                let what = format!(
                    "the transfer broke off after {} bytes, resumed {} times",
                    rest.from, self.resumes
                );
                return Err(self.failed(what).because(broken));
            }
            self.resumes += 1;
            self.in_vain += 1;
            tokio::time::sleep(self.pause().max(broken.retry_after().unwrap_or_default())).await;
            tracing::info!(
                           uri = self.name,
                           from = rest.from,
                           error = broken.report(),
            code = %broken.code(),
                           "resuming a transfer"
                       );
            match self
                .requested
                .http
                .follow(&self.requested.resource, Some(rest))
                .await
            {
                Ok((url, response)) => {
                    self.min_rate.begin(self.waiting.so_far(), self.received);
                    return self.resume_with(rest, &url, response);
                }
                Err(error) if error.retry_after().is_some_and(|wait| wait > RETRY_AFTER_MAX) => {
                    let wait = error.retry_after();
                    return Err(self.not_resumed(rest.from).because(error).retrying_after(wait));
                }
                Err(error) if error.class() == Class::Transient => broken = error,
                Err(error) => return Err(self.not_resumed(rest.from).because(error)),
            }
        }
    }

    fn resume_with(&mut self, rest: RangeRequest<'_>, url: &Url, response: Response) -> Result<AnswerPart> {
        let span = rest
            .check(url, response.status(), response.headers())
            .map_err(|why| self.not_resumed(rest.from).because(why))?;
        self.total = Some(span.total);
        Ok(AnswerPart::rest(response, rest.from, span.end))
    }

    /// Returns the pause before a resume. The pause doubles with each consecutive resume that brings no bytes. A part
    /// of it is random, so that many clients of one server do not all resume at the same time.
    fn pause(&self) -> Duration {
        let doubled = self.limits().http_resume_pause * (1 << (self.in_vain - 1).min(10));
        doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    fn not_resumed(&self, from: u64) -> Error {
        self.failed(format!(
            "the transfer broke off after {from} bytes and could not be resumed"
        ))
    }

    fn failed(&self, what: impl Display) -> Error {
        Error::transient(
            Stage::Fetch,
            Code::TransferBroken,
            format!("{}: {what}", self.name),
        )
    }

    fn limits(&self) -> &Limits {
        &self.requested.http.limits
    }
}

/// The reader of a body. Reading blocks, so this reader must not be used within an async task.
pub(super) struct Body {
    pieces: mpsc::Receiver<Result<BodyPiece>>,
    piece: Bytes,
    ended: bool,
    waiting: Arc<WaitTime>,
    name: String,
    stop: Stop,
}

impl Body {
    fn next(&mut self) -> Option<Result<BodyPiece>> {
        match self.pieces.try_recv() {
            Ok(piece) => Some(piece),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
            Err(mpsc::error::TryRecvError::Empty) => self.waiting.during(|| self.pieces.blocking_recv()),
        }
    }

    fn cut_off(&self) -> Error {
        let what = format!("{}: the transfer was cut off", self.name);
        self.stop
            .check()
            .err()
            .unwrap_or_else(|| Error::transient(Stage::Fetch, Code::TransferBroken, what))
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.next() {
                Some(Ok(BodyPiece::Bytes(piece))) => self.piece = piece,
                Some(Ok(BodyPiece::End)) => self.ended = true,
                Some(Err(error)) => return Err(error.into_io()),
                None => return Err(self.cut_off().into_io()),
            }
        }
        let taken = out.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut out[..taken]);
        Ok(taken)
    }
}
