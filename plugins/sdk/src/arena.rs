//! The fields of a batch: the host's bytes and offsets come in and are checked, all at once; the fields of
//! one record after the other come out, and reading one takes no check of its text again.

use crate::bindings::exports::ingest::plugin::transform::Batch;
use crate::refusal::Refusal;

/// A batch that is as the interface promises, whatever the host has sent: offsets never decrease and
/// stay within `bytes`, and between any two of them there is valid UTF-8. Only [`Arena::check`] makes one.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
    rows: usize,
    width: usize,
}

/// The fields of one record, in an arena that was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    /// Where the first field begins: 0, or where the record before ends.
    begin: u32,
    /// Where each field ends.
    ends: &'a [u32],
}

impl<'a> Arena<'a> {
    /// Checks a batch of records with `width` fields each.
    pub(crate) fn check(batch: &'a Batch, width: usize) -> Result<Self, Refusal> {
        let rows = batch.rows as usize;
        let (bytes, ends) = (&batch.bytes[..], &batch.ends[..]);
        if rows.checked_mul(width) != Some(ends.len()) {
            let found = ends.len();
            return Err(broken(format!(
                "has {found} fields where {rows} rows of {width} are expected"
            )));
        }
        let is_within = ends.last().is_none_or(|&last| last as usize <= bytes.len());
        if !is_within || !is_ascending(ends) {
            return Err(broken("has a field that ends before its begin or outside"));
        }
        if !is_ascii(bytes) {
            let text =
                std::str::from_utf8(bytes).map_err(|error| broken(format!("is not UTF-8: {error}")))?;
            if !ends.iter().all(|&end| text.is_char_boundary(end as usize)) {
                return Err(broken("has a field that ends within a character"));
            }
        }
        Ok(Self {
            bytes,
            ends,
            rows,
            width,
        })
    }

    /// The records, in their order.
    #[inline]
    pub(crate) fn records(&self) -> impl Iterator<Item = Fields<'a>> {
        let (bytes, width) = (self.bytes, self.width);
        let (mut begin, mut rest) = (0, self.ends);
        // Not `chunks_exact`: a plugin may read no column at all.
        (0..self.rows).map(move |_| {
            let (ends, others) = rest.split_at(width);
            let fields = Fields { bytes, begin, ends };
            begin = ends.last().copied().unwrap_or(begin);
            rest = others;
            fields
        })
    }
}

impl<'a> Fields<'a> {
    /// The field that the plugin reads as the `field`-th.
    #[inline]
    #[allow(
        unsafe_code,
        reason = "what a record costs is mostly this, ten or twenty times"
    )]
    pub(crate) fn get(&self, field: u32) -> &'a str {
        let field = field as usize;
        let end = self.ends[field];
        let begin = if field == 0 {
            self.begin
        } else {
            self.ends[field - 1]
        };
        // SAFETY: `begin` and `end` are neighbours among the arena's offsets, or 0 and the first. The
        // arena has checked that these never decrease, that they stay within `bytes`, and that the bytes
        // between two of them are UTF-8. Nothing can write to either list while it is borrowed.
        unsafe { str::from_utf8_unchecked(self.bytes.get_unchecked(begin as usize..end as usize)) }
    }
}

fn broken(what: impl std::fmt::Display) -> Refusal {
    Refusal::new(format!("the host's batch {what}"))
}

// Plain loops without a way out in the middle, which the compiler turns into vector instructions. Any
// host that runs components has these, so a plugin needs no compiler flag for them.

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

#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn is_ascending(ends: &[u32]) -> bool {
    let next = ends.get(1..).unwrap_or_default();
    let descents = ends.iter().zip(next).map(|(end, next)| u32::from(next < end));
    descents.fold(0, |any, descent| any | descent) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn batch(rows: u32, bytes: &[u8], ends: &[u32]) -> Batch {
        let (bytes, ends) = (bytes.to_vec(), ends.to_vec());
        Batch { rows, bytes, ends }
    }

    fn read(batch: &Batch, width: usize) -> Result<Vec<Vec<String>>, String> {
        let arena = Arena::check(batch, width).map_err(String::from)?;
        let fields = |fields: Fields<'_>| (0..width).map(|at| fields.get(at as u32).to_owned()).collect();
        Ok(arena.records().map(fields).collect())
    }

    #[test]
    fn fields_stand_between_the_ends() {
        let batch = batch(2, "añbc".as_bytes(), &[1, 3, 3, 5]);
        assert_eq!(read(&batch, 2).unwrap(), [["a", "ñ"], ["", "bc"]]);
    }

    #[test]
    fn records_of_which_nothing_is_read_are_records() {
        assert_eq!(read(&batch(3, b"", &[]), 0).unwrap().len(), 3);
        assert!(read(&batch(0, b"", &[]), 4).unwrap().is_empty());
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_column_of_another_input_reads_nothing_of_the_next_record() {
        let batch = batch(2, b"ab", &[1, 2]);
        let arena = Arena::check(&batch, 1).unwrap();
        let _ = arena.records().next().unwrap().get(1);
    }

    #[test]
    fn a_batch_that_breaks_a_promise_is_refused() {
        let cases: [(Batch, &str); 6] = [
            (
                batch(1, b"ab", &[1]),
                "has 1 fields where 1 rows of 2 are expected",
            ),
            (
                batch(u32::MAX, b"", &[]),
                "has 0 fields where 4294967295 rows of 2 are expected",
            ),
            (
                batch(1, b"ab", &[2, 1]),
                "has a field that ends before its begin or outside",
            ),
            (
                batch(1, b"ab", &[1, 3]),
                "has a field that ends before its begin or outside",
            ),
            (
                batch(1, "é".as_bytes(), &[1, 2]),
                "has a field that ends within a character",
            ),
            (
                batch(1, b"a\xff", &[1, 2]),
                "is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1",
            ),
        ];
        for (batch, fault) in cases {
            assert_eq!(read(&batch, 2).unwrap_err(), format!("the host's batch {fault}"));
        }
    }

    proptest! {
        /// Whatever comes, it is refused exactly if some field is no text.
        #[test]
        fn what_is_accepted_are_texts(
            bytes in vec(prop_oneof![8 => 0..=127_u8, 1 => any::<u8>()], 0..200),
            mut ends in vec(0..210_u32, 0..40),
            is_sorted in any::<bool>(),
        ) {
            if is_sorted {
                ends.sort_unstable();
            }
            let batch = batch(ends.len() as u32, &bytes, &ends);
            let mut begin = 0;
            let texts: Option<Vec<_>> = ends.iter().map(|&end| {
                let field = bytes.get(begin as usize..end as usize)?;
                begin = end;
                Some(vec![String::from_utf8(field.to_vec()).ok()?])
            }).collect();
            let texts = texts.filter(|_| std::str::from_utf8(&bytes).is_ok());
            prop_assert_eq!(read(&batch, 1).ok(), texts);
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
