//! The fields of a batch: the host's bytes and offsets come in, the fields of each record go out. The whole batch is
//! checked at once, so reading a field does not check its text again.

use std::ops::Range;

use crate::bindings::exports::ingest::plugin::transform::Batch;
use crate::refusal::Refusal;

/// A checked batch. Each field ends at or after its start, lies within `bytes`, and is valid UTF-8. Only
/// [`Arena::check`] creates an `Arena`.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    bytes: &'a [u8],
    starts: &'a [u32],
    ends: &'a [u32],
    width: usize,
}

/// The fields of one record of a checked arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    /// The offset of the first field.
    start: u32,
    /// The offset of the end of each field. The next field begins one byte after this end.
    ends: &'a [u32],
}

impl<'a> Arena<'a> {
    /// Checks a batch whose records have `width` fields each.
    pub(crate) fn check(batch: &'a Batch, width: usize) -> Result<Self, Refusal> {
        let (bytes, starts, ends) = (&batch.bytes[..], &batch.starts[..], &batch.ends[..]);
        if starts.len().checked_mul(width) != Some(ends.len()) {
            let (found, rows) = (ends.len(), starts.len());
            return Err(broken(format!(
                "has {found} fields where {rows} rows of {width} are expected"
            )));
        }
        let arena = Self {
            bytes,
            starts,
            ends,
            width,
        };
        if width > 0 && !arena.is_ordered() {
            return Err(broken("has a field that ends before its begin or outside"));
        }
        if !is_ascii(bytes) {
            arena.check_utf8()?;
        }
        Ok(arena)
    }

    /// Returns true if each field ends at or after its start and within the bytes. Within a record, the ends must
    /// increase. From one record to the next, they may decrease. So the function uses vector instructions to count all
    /// ends that are not greater than the end before them. It compares this count with the number of such ends at the
    /// borders between records.
    fn is_ordered(&self) -> bool {
        let mut between = 0;
        let mut is_fine = true;
        let mut before = u32::MAX;
        for (ends, &start) in self.ends.chunks_exact(self.width).zip(self.starts) {
            let (first, last) = (ends[0], ends[self.width - 1]);
            is_fine &= start <= first;
            is_fine &= last as usize <= self.bytes.len();
            between += u32::from(first <= before);
            before = last;
        }
        // The loop also counts the border before the first record.
        is_fine && between == descents(self.ends) + u32::from(!self.ends.is_empty())
    }

    #[cold]
    fn check_utf8(&self) -> Result<(), Refusal> {
        let text = str::from_utf8(self.bytes).ok();
        for fields in self.records() {
            for field in 0..self.width {
                let span = fields.span(field);
                let is_text = match text {
                    Some(text) => text.is_char_boundary(span.start) && text.is_char_boundary(span.end),
                    None => str::from_utf8(&self.bytes[span]).is_ok(),
                };
                if !is_text {
                    return Err(broken("has a field that is not UTF-8"));
                }
            }
        }
        Ok(())
    }

    /// Returns the number of records.
    pub(crate) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Returns the records in order.
    #[inline]
    pub(crate) fn records(&self) -> impl Iterator<Item = Fields<'a>> {
        let (bytes, width) = (self.bytes, self.width);
        let mut rest = self.ends;
        // A plugin may read no columns, and `chunks_exact` would panic for a width of 0.
        self.starts.iter().map(move |&start| {
            let (ends, others) = rest.split_at(width);
            rest = others;
            Fields { bytes, start, ends }
        })
    }
}

impl<'a> Fields<'a> {
    /// Returns the field with the index `field` among the columns that the plugin reads.
    #[inline]
    #[expect(
        unsafe_code,
        reason = "most of a record's cost is ten or twenty calls of this"
    )]
    pub(crate) fn get(&self, field: u32) -> &'a str {
        // SAFETY: `Arena::check` has made sure that each field ends at or after its start, lies within `bytes` and is
        // UTF-8. Nothing can write to `bytes` or `ends` while they are borrowed.
        unsafe { str::from_utf8_unchecked(self.bytes.get_unchecked(self.span(field as usize))) }
    }

    /// For a batch of JSONL, returns true if the field is a string. For CSV, the result has no meaning.
    #[inline]
    pub(crate) fn is_string(&self, field: u32) -> bool {
        let end = self.ends[field as usize] as usize;
        self.bytes.get(end) == Some(&b'"')
    }

    #[inline]
    fn span(&self, field: usize) -> Range<usize> {
        let end = self.ends[field];
        let begin = if field == 0 {
            self.start
        } else {
            self.ends[field - 1] + 1
        };
        begin as usize..end as usize
    }
}

fn broken(what: impl std::fmt::Display) -> Refusal {
    Refusal::new(format!("the host's batch {what}"))
}

// The next two functions are plain loops without an early exit, so the compiler turns them into vector instructions.
// The attribute `target_feature` permits these instructions without a compiler flag. Every host that runs components
// supports them.

#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn is_ascii(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    let mut seen = [0; 64];
    for chunk in chunks {
        for (seen, byte) in seen.iter_mut().zip(chunk) {
            *seen |= byte;
        }
    }
    seen.is_ascii() && rest.is_ascii()
}

/// Returns the number of offsets that are not greater than the offset before them.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn descents(ends: &[u32]) -> u32 {
    let next = ends.get(1..).unwrap_or_default();
    let (chunks, rest) = ends[..next.len()].as_chunks::<32>();
    let (next_chunks, next_rest) = next.as_chunks::<32>();
    let mut counts = [0; 32];
    for (chunk, next) in chunks.iter().zip(next_chunks) {
        for ((count, end), next) in counts.iter_mut().zip(chunk).zip(next) {
            *count += u32::from(next <= end);
        }
    }
    let rest = rest
        .iter()
        .zip(next_rest)
        .map(|(end, next)| u32::from(next <= end));
    counts.iter().sum::<u32>() + rest.sum::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn batch(bytes: &[u8], starts: &[u32], ends: &[u32]) -> Batch {
        let (bytes, starts, ends) = (bytes.to_vec(), starts.to_vec(), ends.to_vec());
        Batch { bytes, starts, ends }
    }

    fn read(batch: &Batch, width: usize) -> Result<Vec<Vec<String>>, String> {
        let arena = Arena::check(batch, width).map_err(String::from)?;
        let fields = |fields: Fields<'_>| (0..width).map(|at| fields.get(at as u32).to_owned()).collect();
        Ok(arena.records().map(fields).collect())
    }

    #[test]
    fn fields_stand_between_start_and_ends() {
        let bytes = "a,ñ\n,bc\n".as_bytes();
        let rows = batch(bytes, &[0, 5], &[1, 4, 5, 8]);
        assert_eq!(read(&rows, 2).unwrap(), [["a", "ñ"], ["", "bc"]]);
    }

    #[test]
    fn records_stand_in_any_order_and_what_is_around_them_means_nothing() {
        let bytes = b"\xffcd,e\xffa,\xff";
        let rows = batch(bytes, &[6, 1, 1], &[7, 8, 3, 5, 3, 5]);
        assert_eq!(read(&rows, 2).unwrap(), [["a", ""], ["cd", "e"], ["cd", "e"]]);
    }

    #[test]
    fn records_of_which_nothing_is_read_are_records() {
        assert_eq!(read(&batch(b"", &[0, 9, 0], &[]), 0).unwrap().len(), 3);
        assert!(read(&batch(b"", &[], &[]), 4).unwrap().is_empty());
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_column_of_another_input_reads_nothing_of_the_next_record() {
        let batch = batch(b"a,b", &[0, 2], &[1, 3]);
        let arena = Arena::check(&batch, 1).unwrap();
        let _ = arena.records().next().unwrap().get(1);
    }

    #[test]
    fn a_batch_that_breaks_a_promise_is_refused() {
        let outside = "has a field that ends before its begin or outside";
        let no_text = "has a field that is not UTF-8";
        let cases: [(Batch, &str); 8] = [
            (
                batch(b"ab", &[0], &[1]),
                "has 1 fields where 1 rows of 2 are expected",
            ),
            (batch(b"ab", &[0], &[2, 1]), outside),
            (batch(b"ab", &[0], &[1, 1]), outside),
            (batch(b"ab", &[0], &[1, 3]), outside),
            (batch(b"abcd", &[2], &[1, 3]), outside),
            (batch(b"abcd", &[2, 0], &[2, 3, 1, 0]), outside),
            (batch("é".as_bytes(), &[0], &[0, 2]), no_text),
            (batch(b"a,\xff", &[0], &[1, 3]), no_text),
        ];
        for (batch, fault) in cases {
            assert_eq!(read(&batch, 2).unwrap_err(), format!("the host's batch {fault}"));
        }
    }

    proptest! {
        /// `Arena::check` refuses a batch if a field ends before its start, lies outside the bytes or is not valid
        /// UTF-8. It accepts every other batch with three ends per record.
        #[test]
        fn what_is_accepted_are_texts(
            bytes in vec(prop_oneof![8 => 0..=127_u8, 1 => any::<u8>()], 0..200),
            records in vec((0..190_u32, [0..12_u32, 0..12, 0..12]), 0..15),
            any_end in proptest::option::of((any::<prop::sample::Index>(), 0..210_u32)),
        ) {
            let starts: Vec<_> = records.iter().map(|record| record.0).collect();
            let mut ends = Vec::new();
            for &(start, lens) in &records {
                let mut at = start;
                for len in lens {
                    ends.push(at + len);
                    at += len + 1;
                }
            }
            if let Some((at, end)) = any_end && !ends.is_empty() {
                let at = at.index(ends.len());
                ends[at] = end;
            }
            let field = |row: usize, field: usize| {
                let end = ends[3 * row + field];
                let begin = if field == 0 { starts[row] } else { ends[3 * row + field - 1] + 1 };
                let field = bytes.get(begin as usize..end as usize)?;
                String::from_utf8(field.to_vec()).ok()
            };
            let record = |row| (0..3).map(|at| field(row, at)).collect::<Option<Vec<_>>>();
            let texts: Option<Vec<_>> = (0..records.len()).map(record).collect();
            prop_assert_eq!(read(&batch(&bytes, &starts, &ends), 3).ok(), texts);
        }

        #[test]
        fn one_high_byte_anywhere_is_seen(len in 1..300_usize, at in any::<prop::sample::Index>()) {
            let mut bytes = vec![b'a'; len];
            prop_assert!(is_ascii(&bytes));
            bytes[at.index(len)] = 0x80;
            prop_assert!(!is_ascii(&bytes));
        }
    }
}
