//! Reads a published object from its beginning to its end: a key goes in, the object's bytes come out.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use object_store::path::Path;

use super::client::Client;
use crate::error::{Code, Error, Result, Stage};

/// The number of bytes that one call to the store returns.
const RANGE_BYTES: u64 = 4 << 20;

/// A reader of an object. It asks for one range after the other, so it holds at most [`RANGE_BYTES`] in memory.
#[derive(Debug)]
pub(super) struct ObjectReader {
    client: Client,
    key: Path,
    /// The entity tag of the object when it was opened. Each range must be one of the same object.
    etag: Option<String>,
    bytes: u64,
    /// The position of the next range.
    at: u64,
    range: Bytes,
}

impl ObjectReader {
    /// Opens an object. Returns `None` if there is no such object.
    ///
    /// # Errors
    /// Fails with stage commit if the store fails.
    pub(super) fn open(client: &Client, key: Path) -> Result<Option<Self>> {
        let facts = client.facts(&key)?;
        Ok(facts.map(|facts| Self {
            client: client.clone(),
            key,
            etag: facts.etag,
            bytes: facts.bytes,
            at: 0,
            range: Bytes::new(),
        }))
    }

    fn fill(&mut self) -> Result<()> {
        let end = self.bytes.min(self.at + RANGE_BYTES);
        let range = self
            .client
            .read_range(&self.key, self.at..end, self.etag.as_deref())?;
        if range.len() as u64 != end - self.at {
            let what = format!("{}: has changed while it was read", self.client.uri(&self.key));
            return Err(Error::transient(Stage::Commit, Code::OutputUnwritable, what));
        }
        (self.at, self.range) = (end, range);
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.range.is_empty() && self.at < self.bytes {
            self.fill().map_err(Error::into_io)?;
        }
        let count = buffer.len().min(self.range.len());
        self.range.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
