//! Defines the readers of an input, before and after decompression. [`RawBody`] passes on the raw bytes: it counts and
//! digests them, and compares their digest with announced digests. [`LimitedReader`] passes on the plain bytes, and
//! checks their limits. At their end, it stores the digest of the raw bytes for other code, unless that code computes
//! the digest itself.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use data_encoding::HEXLOWER;
use md5::{Digest as _, Md5};
use parking_lot::Mutex;

use super::checksums::{Algorithm, Checksums, Crc};
use super::decompress::{CompressedBytes, DecompressedReader};
use super::source::InputBounds;
use crate::digest::{Digest, Digesting, Midstate};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::stop::Stop;

/// A reader of the fetched bytes before decompression. It digests the bytes, and checks for a stop before each read.
pub(super) struct RawBody {
    inner: Box<dyn Read + Send>,
    name: String,
    bounds: InputBounds,
    bytes: u64,
    /// The digest of the bytes so far. `None` at the end of the input, or if other code computes the digest.
    digesting: Option<Digesting>,
    checksums: Checksums,
    md5: Option<Md5>,
    crcs: Vec<Crc>,
    sha256: Option<String>,
    /// The digest of all bytes, and the digests of other algorithms that the server has announced. `None` before the end
    /// of the input.
    came: Option<(Digest, Vec<(Algorithm, String)>)>,
    ended: bool,
    stop: Stop,
}

impl RawBody {
    pub(super) fn new(
        inner: Box<dyn Read + Send>,
        name: &str,
        bounds: InputBounds,
        digesting: Digesting,
        stop: Stop,
    ) -> Self {
        Self {
            inner,
            name: name.to_owned(),
            bounds,
            bytes: digesting.bytes(),
            digesting: Some(digesting),
            checksums: Checksums::default(),
            md5: None,
            crcs: Vec::new(),
            sha256: None,
            came: None,
            ended: false,
            stop,
        }
    }

    /// Sets the digests that the bytes must have: the digests that the server has announced, and the SHA-256 in the
    /// request.
    pub(super) fn expecting(mut self, checksums: Checksums, sha256: Option<String>) -> Self {
        self.md5 = checksums.has(Algorithm::Md5).then(Md5::new);
        self.crcs = checksums.crcs();
        self.checksums = checksums;
        self.sha256 = sha256;
        self
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        if let Some(digesting) = &mut self.digesting {
            digesting.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        for crc in &mut self.crcs {
            crc.update(bytes);
        }
        if self.bytes > self.bounds.raw_bytes_max {
            return Err(self.bounds.too_long(&self.name, self.bytes));
        }
        Ok(())
    }

    /// Ends the input. Returns the digest of its bytes, or `None` if other code computes the digest.
    ///
    /// # Errors
    /// Fails at each call if a digest differs. The announced digests are compared first, because a retry can help after
    /// a damaged transfer.
    fn end(&mut self) -> Result<Option<Digest>> {
        self.ended = true;
        if let Some(digesting) = self.digesting.take() {
            let md5 = self
                .md5
                .take()
                .map(|md5| (Algorithm::Md5, HEXLOWER.encode(&md5.finalize())));
            let crcs = self.crcs.drain(..).map(|crc| (crc.algorithm, crc.finish()));
            self.came = Some((digesting.finish(), md5.into_iter().chain(crcs).collect()));
        }
        let Some((digest, others)) = &self.came else {
            return Ok(None);
        };
        let announced = self.checksums.check(Algorithm::Sha256, &digest.sha256);
        let mut others = others.iter();
        let announced = announced
            .and_then(|()| others.try_for_each(|(algorithm, came)| self.checksums.check(*algorithm, came)));
        announced.map_err(|why| {
            Error::transient(
                Stage::Fetch,
                Code::ChecksumMismatch,
                format!("{}: {why}", self.name),
            )
        })?;
        if let Some(wanted) = &self.sha256
            && *wanted != digest.sha256
        {
            let (name, is) = (&self.name, &digest.sha256);
            let what = format!("{name}: has the SHA-256 {is}, and the request asks for {wanted}");
            return Err(Error::permanent(Stage::Fetch, Code::DigestMismatch, what));
        }
        Ok(Some(digest.clone()))
    }
}

impl Read for RawBody {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.stop.check().map_err(Error::into_io)?;
        loop {
            match self.inner.read(out) {
                Ok(read) => {
                    let passed = if read == 0 {
                        self.end().map(drop)
                    } else {
                        self.pass(&out[..read])
                    };
                    return passed.map(|()| read).map_err(Error::into_io);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("{}: cannot be read", self.name);
                    return Err(Error::from_io(
                        error,
                        Stage::Fetch,
                        Class::Transient,
                        Code::InputUnreadable,
                        what,
                    )
                    .into_io());
                }
            }
        }
    }
}

/// A reader of the raw bytes. A decoder shares it with the code that needs the digest at the end. They never use the
/// reader at the same time.
#[derive(Clone)]
pub(super) struct SharedRawBody(Arc<Mutex<RawBody>>);

impl SharedRawBody {
    pub(super) fn new(raw: RawBody) -> Self {
        Self(Arc::new(Mutex::new(raw)))
    }

    /// Returns the cause of an error of a decoder. If the server has announced a digest, reads the rest of the input to
    /// find out whether the transfer has damaged the data. If so, the returned error is transient, because another
    /// attempt can succeed.
    pub(super) fn explain(&self, error: Error) -> Error {
        let mut raw = self.0.lock();
        if (error.stage(), error.class()) != (Stage::Decompress, Class::Permanent) || raw.checksums.is_empty()
        {
            return error;
        }
        match io::copy(&mut *raw, &mut io::sink()) {
            Ok(_) => error,
            Err(other) => Error::from_io(
                other,
                Stage::Fetch,
                Class::Transient,
                Code::InputUnreadable,
                "cannot be read",
            ),
        }
    }

    /// Returns the state of the digest. Returns `None` after the end of the input, and after a call of `detach_digest`
    /// that returned the digest.
    pub(super) fn midstate(&self) -> Option<Midstate> {
        self.0.lock().digesting.as_ref().map(Digesting::midstate)
    }

    /// Returns whether the end of the input was reached.
    pub(super) fn has_ended(&self) -> bool {
        self.0.lock().ended
    }

    /// Moves the digest of the bytes so far to the caller, which must complete it. Returns `None` at the end of the
    /// input. Also returns `None` if the digest must be compared with an expected digest, because this comparison must
    /// come before a decoder reports damaged data.
    pub(super) fn detach_digest(&self) -> Option<Digesting> {
        let mut raw = self.0.lock();
        let is_checked = raw.sha256.is_some() || !raw.checksums.is_empty();
        raw.digesting.take_if(|_| !is_checked)
    }

    /// Returns whether the end of the input was reached after this number of bytes.
    pub(super) fn has_ended_after(&self, bytes: u64) -> bool {
        let raw = self.0.lock();
        raw.ended && raw.bytes == bytes
    }

    fn digest(&self) -> Option<Digest> {
        let mut raw = self.0.lock();
        raw.came.is_some().then(|| raw.end().ok()).flatten().flatten()
    }
}

impl Read for SharedRawBody {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read(out)
    }
}

/// A reader of the plain bytes. The reader fails if the plain bytes exceed a limit.
pub(super) struct LimitedReader {
    inner: Box<dyn Read + Send>,
    taken: Option<CompressedBytes>,
    name: String,
    bytes: u64,
    bounds: InputBounds,
    raw: SharedRawBody,
    digest: Arc<OnceLock<Digest>>,
}

impl LimitedReader {
    /// Creates a reader. `bytes` is the number of plain bytes of the input before the reader's first byte.
    pub(super) fn new(
        unpacked: DecompressedReader,
        name: String,
        bytes: u64,
        bounds: InputBounds,
        raw: SharedRawBody,
        digest: Arc<OnceLock<Digest>>,
    ) -> Self {
        Self {
            inner: unpacked.plain,
            taken: unpacked.taken,
            name,
            bytes,
            bounds,
            raw,
            digest,
        }
    }

    fn check(&self) -> Result<()> {
        let (name, bytes, bounds) = (&self.name, self.bytes, self.bounds);
        let refused = |code, what| Err(Error::permanent(Stage::Decompress, code, what));
        if bytes > bounds.plain_bytes_max {
            let max = bounds.plain_bytes_max;
            return refused(
                Code::InputTooLarge,
                format!("{name}: has more than {max} bytes, the limit of an input"),
            );
        }
        let Some(taken) = self.taken.as_ref().map(CompressedBytes::bytes) else {
            return Ok(());
        };
        if bytes > bounds.ratio_from_bytes && bytes > taken.saturating_mul(bounds.ratio_max) {
            let (max, from) = (bounds.ratio_max, bounds.ratio_from_bytes);
            return refused(
                Code::CompressionLimit,
                format!(
                    "{name}: decompresses {taken} bytes to {bytes}, more than {max} to 1, the limit of an input of more than {from} \
                     bytes: if this is intended, decompress it before you submit it"
                ),
            );
        }
        Ok(())
    }
}

impl Read for LimitedReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out).map_err(|error| {
            let what = format!("{}: cannot be read", self.name);
            let error = Error::from_io(
                error,
                Stage::Decompress,
                Class::Permanent,
                Code::CompressionCorrupt,
                what,
            );
            self.raw.explain(error).into_io()
        })?;
        self.bytes += read as u64;
        self.check().map_err(Error::into_io)?;
        if read == 0
            && !out.is_empty()
            && let Some(digest) = self.raw.digest()
        {
            self.digest.get_or_init(|| digest);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_does_not_hold_is_an_error_however_often_the_end_is_read() {
        let bounds = InputBounds::NONE;
        let wrong_md5 = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
        let headers = wrong_md5.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let announced = Checksums::of_file(&headers.into_iter().collect());
        for (checksums, sha256) in [(announced, None), (Checksums::default(), Some("00".repeat(32)))] {
            let raw = RawBody::new(
                Box::new(&b"a"[..]),
                "a.csv",
                bounds,
                Digesting::default(),
                Stop::default(),
            );
            let mut raw = SharedRawBody::new(raw.expecting(checksums, sha256));
            let mut out = [0; 8];
            assert_eq!(raw.read(&mut out).unwrap(), 1);
            for _ in 0..3 {
                raw.read(&mut out).expect_err("it is not what it must be");
                assert_eq!(raw.digest(), None);
            }
        }
    }
}
