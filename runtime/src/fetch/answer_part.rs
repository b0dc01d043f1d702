//! Receives one answer: its bytes come out piece by piece. Checks its length and its digest, and how long the server is
//! silent.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use reqwest::Response;
use reqwest::header::TRANSFER_ENCODING;
use sha2::{Digest, Sha256};

use super::checksums::{Algorithm, Checksums};
use super::transfer::transfer_error;
use crate::config::Limits;
use crate::error::{Code, Error, Stage};

/// The pause after a short piece of a long answer. Many servers send an answer in pieces of a few KiB. Without the pause,
/// each piece would wake this program, which costs more than reading it.
const GATHER: Duration = Duration::from_millis(1);

/// One answer with the whole file or a part of it.
pub(super) struct AnswerPart {
    /// The URL of the file, without secrets.
    name: String,
    response: Response,
    /// The position in the file of the first byte of the answer.
    start: u64,
    /// The position in the file of the next byte.
    received: u64,
    /// The position in the file at which the answer ends, if the answer states it.
    end: Option<u64>,
    /// True if the answer has a transfer coding. If it has one, only the transfer coding determines the end, whatever
    /// length the answer announces.
    is_coded: bool,
    /// The announced digests of this part, and the digest of the bytes that were received so far.
    checks: Option<(Checksums, Sha256)>,
    /// True if the last piece was short.
    is_in_short_pieces: bool,
}

/// The error that ended an answer.
pub(super) enum Broken {
    /// Bytes are missing, which another answer can contain.
    Repairable(Error),
    /// The answer contradicts itself.
    Final(Error),
}

impl AnswerPart {
    /// Creates the part for an answer that begins with the first byte of the file. The digests in its headers cover the
    /// whole file, and the reader of the file checks them.
    pub(super) fn first(name: &str, response: Response, end: Option<u64>) -> Self {
        Self::new(name, response, 0, end)
    }

    /// Creates the part for an answer with the bytes from `start` to `end`.
    pub(super) fn rest(name: &str, response: Response, start: u64, end: u64) -> Self {
        let checksums = Checksums::of_part(response.headers());
        Self {
            checks: (!checksums.is_empty()).then(|| (checksums, Sha256::new())),
            ..Self::new(name, response, start, Some(end))
        }
    }

    fn new(name: &str, response: Response, start: u64, end: Option<u64>) -> Self {
        Self {
            name: name.to_owned(),
            is_coded: response.headers().contains_key(TRANSFER_ENCODING),
            response,
            start,
            received: start,
            end,
            checks: None,
            is_in_short_pieces: false,
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Returns whether a byte of the answer has arrived.
    pub(super) fn is_begun(&self) -> bool {
        self.received > self.start
    }

    /// Returns whether the answer has brought many bytes and has not ended.
    pub(super) fn is_long(&self, limits: &Limits) -> bool {
        self.received - self.start >= limits.fetch_chunk_bytes as u64 && self.end != Some(self.received)
    }

    /// Waits for the next bytes. Returns `None` at the end of the answer, if the answer has no fault.
    pub(super) async fn next(&mut self, limits: &Limits) -> Result<Option<Bytes>, Broken> {
        // A short answer is passed on as fast as it comes.
        if self.is_in_short_pieces && self.is_long(limits) {
            tokio::time::sleep(GATHER).await;
        }
        let idle = if self.is_begun() {
            limits.http_idle
        } else {
            limits.http_first_byte.max(limits.http_idle)
        };
        match tokio::time::timeout(idle, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                self.is_in_short_pieces = chunk.len() < limits.fetch_chunk_bytes;
                self.count(&chunk)?;
                Ok(Some(chunk))
            }
            Ok(Ok(None)) => self.ended().map(|()| None),
            // All bytes have arrived, and only the end of the answer is missing.
            _ if self.end == Some(self.received) && !self.is_coded => self.verify().map(|()| None),
            Ok(Err(error)) => {
                let what = format!("the transfer broke off after {} bytes", self.received);
                Err(Broken::Repairable(self.failed(what).because(error.without_url())))
            }
            Err(_) => {
                let (idle, received) = (idle.as_secs_f32(), self.received);
                let mut what = format!("nothing came for {idle} s after {received} bytes");
                if !self.is_begun() {
                    what.push_str("; for a slow server raise --limit first-byte-time");
                }
                Err(Broken::Repairable(self.failed(what)))
            }
        }
    }

    fn count(&mut self, chunk: &Bytes) -> Result<(), Broken> {
        self.received += chunk.len() as u64;
        if let Some(end) = self.end.filter(|&end| self.received > end) {
            let what = format!("announced {} bytes and sent more", end - self.start);
            return Err(Broken::Final(self.failed(what)));
        }
        if let Some((_, sha256)) = &mut self.checks {
            sha256.update(chunk);
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<(), Broken> {
        if let Some(end) = self.end.filter(|&end| self.received < end) {
            let (announced, sent) = (end - self.start, self.received - self.start);
            let what = format!("announced {announced} bytes and sent {sent}");
            return Err(Broken::Repairable(self.failed(what)));
        }
        self.verify()
    }

    /// Compares the content of the complete part with the digest that its answer announced.
    fn verify(&mut self) -> Result<(), Broken> {
        let Some((checksums, sha256)) = self.checks.take() else {
            return Ok(());
        };
        let sha256 = HEXLOWER.encode(&sha256.finalize());
        let checked = checksums.check(Algorithm::Sha256, &sha256);
        checked.map_err(|why| {
            let what = format!("{}: {why}", self.name);
            Broken::Final(Error::transient(Stage::Fetch, Code::ChecksumMismatch, what))
        })
    }

    fn failed(&self, what: impl Display) -> Error {
        transfer_error(&self.name, what)
    }
}
