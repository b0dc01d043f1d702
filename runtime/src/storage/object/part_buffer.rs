//! Collects the first bytes of the next part of an upload: bytes go in; the payload of the part comes out.

use bytes::Bytes;
use object_store::PutPayload;

/// The maximum length of a chunk in bytes. A chunk of this length goes back to the kernel as soon as it is free: see the
/// thresholds in `main.rs`. If the chunks were shorter, the allocator would keep the memory of parts that have been
/// uploaded, and many concurrent uploads would need more memory than they reserve.
const CHUNK_BYTES: usize = 1 << 20;

/// The first bytes of a part, in chunks.
#[derive(Debug, Default)]
pub(super) struct PartBuffer {
    /// The chunks in their order. Only the last chunk can have room for more bytes.
    chunks: Vec<Vec<u8>>,
    len: usize,
}

impl PartBuffer {
    /// Returns a buffer with these bytes and no room for more.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self {
            chunks: Vec::from_iter((!bytes.is_empty()).then(|| bytes.to_vec())),
            len: bytes.len(),
        }
    }

    /// Returns the number of bytes so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of bytes for which there is room.
    pub(super) fn room(&self) -> usize {
        let of_chunk = |chunk: &Vec<u8>| chunk.capacity() - chunk.len();
        self.chunks.last().map_or(0, of_chunk)
    }

    /// Returns the length of the chunk that [`PartBuffer::enlarge`] should add for `more` bytes. The first chunks are
    /// short, because most parts of small outputs are short.
    pub(super) fn next_chunk(&self, more: usize) -> usize {
        more.max(self.len).min(CHUNK_BYTES)
    }

    /// Adds a chunk. The buffer must have no room.
    pub(super) fn enlarge(&mut self, chunk_bytes: usize) {
        self.chunks.push(Vec::with_capacity(chunk_bytes));
    }

    /// Appends bytes. There must be room for them.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.extend_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Appends a copy of the bytes to `out`.
    pub(super) fn copy_to(&self, out: &mut Vec<u8>) {
        for chunk in &self.chunks {
            out.extend_from_slice(chunk);
        }
    }

    /// Takes the bytes out of the buffer.
    pub(super) fn take(&mut self) -> PutPayload {
        let Self { chunks, .. } = std::mem::take(self);
        chunks.into_iter().map(Bytes::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_and_make_up_the_part() {
        let mut buffer = PartBuffer::of(b"ab");
        let mut expected = b"ab".to_vec();
        let mut lengths = Vec::new();
        for number in 0..3_200_000_u32 {
            if buffer.room() == 0 {
                lengths.push(buffer.next_chunk(1));
                buffer.enlarge(buffer.next_chunk(1));
            }
            buffer.append(&[number as u8]);
            expected.push(number as u8);
        }
        assert_eq!(lengths[..3], [2, 4, 8]);
        assert_eq!(lengths[lengths.len() - 2..], [CHUNK_BYTES; 2]);
        assert_eq!(buffer.len(), expected.len());
        let mut copy = Vec::new();
        buffer.copy_to(&mut copy);
        assert_eq!(copy, expected);
        let payload = buffer.take();
        assert!(buffer.is_empty() && buffer.room() == 0);
        assert_eq!(Bytes::from(payload), expected);
        assert_eq!(buffer.take().content_length(), 0);
    }
}
