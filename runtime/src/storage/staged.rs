//! Buffers, counts and digests the bytes of an attempt on their way to a backend.

use std::io::{self, Write};

use crate::digest::{Digest, Digesting, Midstate, update_both};
use crate::error::{Error, Result};

/// The size of a buffer. A call that passes at least as many bytes writes them to the sink without the buffer.
pub(super) const BUFFER_BYTES: usize = 64 << 10;

/// A writer of an attempt's bytes. Each [`io::Error`] wraps an error of this crate, which [`Error::from_io`] extracts.
/// After an error, the writer must not be used any more.
pub trait StagedWriter: Write {
    /// Returns the number of bytes that were written, including bytes in the buffer.
    fn bytes(&self) -> u64;

    /// Appends `bytes`. Also adds the bytes in `others` to the digest in `others`. If `bytes` fills at least a buffer,
    /// both digests are computed together, which takes less time.
    ///
    /// # Errors
    /// Fails with stage commit. The error is transient if there is no space, and permanent if a retry cannot help.
    fn write_beside(&mut self, bytes: &[u8], others: (&mut Digesting, &[u8])) -> Result<()>;

    /// Appends bytes.
    ///
    /// # Errors
    /// Fails as [`StagedWriter::write_beside`] does.
    fn take(&mut self, bytes: &[u8]) -> Result<()>;
}

/// The place to which a [`Staged`] writer writes its bytes, such as a file.
pub(super) trait ByteSink {
    /// Writes bytes. `end` is the number of all bytes that were written so far, including `bytes`.
    fn write(&mut self, bytes: &[u8], end: u64) -> Result<()>;
}

/// Buffers, counts and digests bytes on their way to a sink.
#[derive(Debug)]
pub(super) struct Staged<S> {
    pub(super) sink: S,
    buffer: Vec<u8>,
    digesting: Digesting,
}

impl<S: ByteSink> Staged<S> {
    pub(super) fn new(sink: S) -> Self {
        Self {
            sink,
            // The buffer grows on demand, because most small requests have far less output than a full buffer.
            buffer: Vec::new(),
            digesting: Digesting::default(),
        }
    }

    /// Continues after the bytes that the sink has already. `digesting` is the digest of these bytes.
    pub(super) fn resume(sink: S, digesting: Digesting) -> Self {
        Self {
            digesting,
            ..Self::new(sink)
        }
    }

    /// Writes the buffer to the sink.
    pub(super) fn write_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.digesting.update(&buffer);
        let written = self.write_digested(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    /// Writes the buffer to the sink. Returns the state of the digest after all bytes so far.
    pub(super) fn flush_to_sink(&mut self) -> Result<Midstate> {
        self.write_buffer()?;
        Ok(self.digesting.midstate())
    }

    /// Writes the buffer to the sink, and returns the sink with the digest of all bytes.
    pub(super) fn finish(mut self) -> Result<(Digest, S)> {
        self.write_buffer()?;
        Ok((self.digesting.finish(), self.sink))
    }

    fn write_digested(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write(bytes, self.digesting.bytes())
    }
}

impl<S: ByteSink> StagedWriter for Staged<S> {
    fn bytes(&self) -> u64 {
        self.digesting.bytes() + self.buffer.len() as u64
    }

    fn write_beside(&mut self, bytes: &[u8], (digesting, others): (&mut Digesting, &[u8])) -> Result<()> {
        if bytes.len() < BUFFER_BYTES {
            digesting.update(others);
            return self.take(bytes);
        }
        self.write_buffer()?;
        update_both((&mut self.digesting, bytes), (digesting, others));
        self.write_digested(bytes)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.write_buffer()?;
        }
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.digesting.update(bytes);
        self.write_digested(bytes)
    }
}

impl<S: ByteSink> Write for Staged<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).map_err(Error::into_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_buffer().map_err(Error::into_io)
    }
}
