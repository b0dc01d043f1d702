//! Transfers the body of an answer. A task puts the bytes from the network into a bounded channel, and a blocking
//! reader takes them out. If the transfer breaks off, the task requests the rest. The task fetches a large object in
//! several ranges at a time.

use std::fmt::Display;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Buf, Bytes};
use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use tokio::sync::mpsc;
use tracing::Instrument;
use url::Url;

use super::answer_part::{AnswerPart, Broken};
use super::http::{Http, Resource};
use super::min_rate::{MinRate, ReaderWaitTime};
use super::range_request::{ContentRange, FileVersion, RangeRequest, number};
use super::ranges_ahead::{RangedObject, RangesAhead, ReadAheadMemory};
use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::location::redact;
use crate::stop::Stop;

/// The longest requested wait (`Retry-After`) after which a transfer is still resumed. A longer wait ends the attempt.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

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
        AnswerPart::first(&redact(url.as_str()), response, total),
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
    let part = AnswerPart::rest(&redact(url.as_str()), response, rest.from, span.end);
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
    let waiting = Arc::new(ReaderWaitTime::default());
    let name = redact(url.as_str());
    let mut min_rate = MinRate::new(limits.http_rate_min, limits.http_rate_window);
    min_rate.begin(Duration::ZERO, part.start());
    let rest = total.map(|total| total.saturating_sub(part.start()));
    let read_ahead = ReadAheadMemory::new(&requested.resource, version.is_some(), rest, limits);
    let transfer = Transfer {
        name: name.clone(),
        version,
        received: part.start(),
        total,
        read_ahead: read_ahead.clone(),
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
        read_ahead,
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
    waiting: Arc<ReaderWaitTime>,
    read_ahead: ReadAheadMemory,
}

/// The result of passing on an answer.
enum PassedOn {
    /// All bytes of the file were passed on.
    ToEnd,
    /// The bytes up to the first of these ranges were passed on, and the rest of the answer is not needed.
    ToRanges(RangesAhead),
    /// Bytes are missing at the end of the answer. A resume must repair this error.
    Broken(Error),
}

impl Transfer {
    /// Runs the transfer until the body has ended, the reader is dropped or a stop is requested.
    async fn run(mut self, part: AnswerPart, sender: Sender, stop: Stop) {
        let pump = async {
            let end = self.pump(part, &sender).await.map(|()| BodyPiece::End);
            self.read_ahead.release();
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
        loop {
            let broken = match self.pass_on(&mut part, sender).await? {
                PassedOn::ToEnd => return Ok(()),
                PassedOn::Broken(error) => error,
                PassedOn::ToRanges(ranges) => {
                    drop(part);
                    match self.pass_on_ranges(ranges, sender).await? {
                        None => return Ok(()),
                        Some(broken) => broken,
                    }
                }
            };
            part = self.resume(broken).await?;
        }
    }

    /// Passes on the bytes of an answer.
    ///
    /// # Errors
    /// Fails if a resume cannot repair the error.
    async fn pass_on(&mut self, part: &mut AnswerPart, sender: &Sender) -> Result<PassedOn> {
        let mut ranges: Option<RangesAhead> = None;
        let mut gives_ranges = true;
        loop {
            let is_begun = part.is_begun();
            let mut chunk = match part.next(self.limits()).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    return Ok(match self.total {
                        Some(total) if self.received < total => {
                            let what = format!("the answer ended after {} of {total} bytes", self.received);
                            PassedOn::Broken(self.failed(what))
                        }
                        _ => PassedOn::ToEnd,
                    });
                }
                Err(Broken::Repairable(error)) => return Ok(PassedOn::Broken(error)),
                Err(Broken::Final(error)) => return Err(error),
            };
            if !is_begun {
                // The wait for the first byte does not count towards the rate.
                self.min_rate.begin(self.waiting.so_far(), self.received);
            }
            let mut behind = Bytes::new();
            let mut waiting_bytes = 0;
            if let Some(ranges) = &ranges {
                let wanted = usize::try_from(ranges.start() - self.received).unwrap_or(usize::MAX);
                behind = chunk.split_off(wanted.min(chunk.len()));
                waiting_bytes = ranges.waiting_bytes();
            }
            self.count(chunk.len(), waiting_bytes)?;
            self.send(chunk, sender).await?;
            match ranges.take() {
                Some(mut ahead) if ahead.start() == self.received => {
                    gives_ranges = ahead.begins().await;
                    // The wait for the first bytes does not count towards the rate.
                    let waiting_bytes = if gives_ranges { ahead.waiting_bytes() } else { 0 };
                    self.min_rate
                        .begin(self.waiting.so_far(), self.received + waiting_bytes);
                    if gives_ranges {
                        return Ok(PassedOn::ToRanges(ahead));
                    }
                    drop(ahead);
                    self.count(behind.len(), 0)?;
                    self.send(behind, sender).await?;
                }
                None if gives_ranges && part.is_long(self.limits()) => ranges = self.read_ahead(),
                begun => ranges = begun,
            }
        }
    }

    /// Begins to fetch the ranges of a large object that follow the next range. Returns `None` without a permit, and near
    /// the end of the object.
    fn read_ahead(&mut self) -> Option<RangesAhead> {
        let (Some(version), Some(total)) = (&self.version, self.total) else {
            return None;
        };
        let range = self.limits().fetch_range_bytes as u64;
        if total - self.received <= range {
            return None;
        }
        if !self.read_ahead.take() {
            return None;
        }
        let object = RangedObject {
            requested: self.requested.clone(),
            version: version.clone(),
            total,
            name: self.name.clone(),
            waiting: AtomicU64::new(0),
        };
        let memory = self.read_ahead.clone();
        Some(RangesAhead::begin(object, self.received + range, memory))
    }

    /// Passes on the bytes of ranges. If bytes of a range are missing, returns the error that a resume must repair.
    ///
    /// # Errors
    /// Fails if a resume cannot repair the error.
    async fn pass_on_ranges(&mut self, mut ranges: RangesAhead, sender: &Sender) -> Result<Option<Error>> {
        while let Some(mut range) = ranges.next() {
            let mut is_begun = false;
            while let Some(piece) = range.next().await {
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(Broken::Repairable(error)) => return Ok(Some(error)),
                    Err(Broken::Final(error)) => return Err(error),
                };
                let waiting_bytes = ranges.waiting_bytes();
                if !std::mem::replace(&mut is_begun, true) {
                    let arrived = self.received + piece.len() as u64 + waiting_bytes;
                    self.min_rate.begin(self.waiting.so_far(), arrived);
                }
                self.count(piece.len(), waiting_bytes)?;
                self.send(piece, sender).await?;
            }
            if self.received < ranges.start() {
                return Ok(Some(self.failed("the transfer of a range was cut off")));
            }
            // Each range is a request of its own, so an object of many ranges may break off more often than one answer.
            self.resumes = self.resumes.saturating_sub(1);
        }
        Ok(None)
    }

    /// Counts bytes that are passed on. `waiting_bytes` bytes of ranges have arrived, too, and wait for their turn.
    fn count(&mut self, bytes: usize, waiting_bytes: u64) -> Result<()> {
        self.received += bytes as u64;
        if bytes > 0 {
            self.in_vain = 0;
        }
        let (waited, arrived) = (self.waiting.so_far(), self.received + waiting_bytes);
        self.min_rate.check(waited, arrived).map_err(|slow| {
            let (bytes, waited) = (slow.bytes, slow.waited.as_secs_f32());
            let min = self.limits().http_rate_min;
            self.failed(format!(
                "too slow: {bytes} bytes in {waited:.1} s, the minimum is {min} bytes/s; {} bytes in all",
                self.received
            ))
        })
    }

    async fn send(&self, mut chunk: Bytes, sender: &Sender) -> Result<()> {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(self.limits().fetch_chunk_bytes));
            let sent = sender.send(Ok(BodyPiece::Bytes(piece))).await;
            sent.map_err(|_| self.failed("nobody reads it any more"))?;
        }
        Ok(())
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
            end: None,
            total: self.total,
        };
        loop {
            if let Some(wait) = broken.retry_after().filter(|&wait| wait > RETRY_AFTER_MAX) {
                let error = self.not_resumed(rest.from).because(broken);
                return Err(error.retrying_after(Some(wait)));
            }
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
        Ok(AnswerPart::rest(&self.name, response, rest.from, span.end))
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
        transfer_error(&self.name, what)
    }

    fn limits(&self) -> &Limits {
        &self.requested.http.limits
    }
}

/// Returns the error of a transfer that broke off. `name` is the URL without secrets.
pub(super) fn transfer_error(name: &str, what: impl Display) -> Error {
    Error::transient(Stage::Fetch, Code::TransferBroken, format!("{name}: {what}"))
}

/// The reader of a body. Reading blocks, so this reader must not be used within an async task.
pub(super) struct Body {
    pieces: mpsc::Receiver<Result<BodyPiece>>,
    piece: Bytes,
    ended: bool,
    waiting: Arc<ReaderWaitTime>,
    read_ahead: ReadAheadMemory,
    name: String,
    stop: Stop,
}

impl Body {
    /// Returns the memory with which the transfer reads ahead.
    pub(super) fn read_ahead_memory(&self) -> &ReadAheadMemory {
        &self.read_ahead
    }

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

impl Drop for Body {
    fn drop(&mut self) {
        self.read_ahead.release();
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
