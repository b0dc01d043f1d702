//! A stretch of CSV (8 KiB) goes in; the positions of its delimiters and line ends come out. One pass finds all
//! positions, so that the fields of each record can be looked up. A record that cannot be looked up, such as a record
//! with a quote, is left to the scanner.

use crate::format::csv::{BLOCK, Marks, Scanner};

/// The number of bytes that are indexed at once. They hold many records, and both the bytes and their positions still
/// fit into the processor's fastest cache.
const STRETCH: usize = 8 << 10;

/// The index of a stretch.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// The positions of delimiters, quotes, CR and LF. The first `count` entries are in use; the rest is free.
    places: Vec<u32>,
    count: usize,
    /// The indices in `places` of all positions that are not delimiters.
    others: Vec<u32>,
    /// The index of the next entry of `places`. The field `other` is the index of the next entry of `others`.
    place: usize,
    other: usize,
}

impl Index {
    /// Clears the index. Must be called before records of another text are looked up.
    pub(super) fn clear(&mut self) {
        self.others.clear();
        self.other = 0;
    }

    /// Returns the ends of the fields of the record that begins at `start`. Records must be looked up in the order of
    /// the text. `raw` must hold whole records, and must stay the same until [`Index::clear`] is called.
    ///
    /// Returns `None` if the record has a quote, has no line end, or is longer than a stretch. The scanner has to find
    /// such a record.
    #[inline]
    pub(super) fn ends(&mut self, scanner: &Scanner, raw: &[u8], start: usize) -> Option<&[u32]> {
        self.pass(start);
        if self.other == self.others.len() {
            self.fill(scanner, raw, start);
        }
        let other = *self.others.get(self.other)?;
        let ends = &self.places[self.place..=other as usize];
        let is_quote = raw[*ends.last()? as usize] == scanner.dialect().quote;
        (!is_quote).then_some(ends)
    }

    /// Skips the positions before `start`.
    #[inline]
    fn pass(&mut self, start: usize) {
        // This loop usually skips one line end. After a record with quotes, it skips all quotes and line ends of that
        // record.
        while let Some(&other) = self.others.get(self.other)
            && (self.places[other as usize] as usize) < start
        {
            self.place = other as usize + 1;
            self.other += 1;
        }
        while self.place < self.count && (self.places[self.place] as usize) < start {
            self.place += 1;
        }
    }

    /// Indexes the stretch that begins at `start`, which must be the start of a record.
    fn fill(&mut self, scanner: &Scanner, raw: &[u8], start: usize) {
        (self.place, self.other) = (0, 0);
        self.others.clear();
        self.places.resize(STRETCH + 2 * BLOCK, 0);
        let (mut count, mut at) = (0, start);
        while at < raw.len().min(start + STRETCH) {
            let Marks { delimiters, others } = scanner.marks(raw, at);
            let all = delimiters | others;
            let mut left = others;
            while left != 0 {
                let below = all & !(u64::MAX << left.trailing_zeros());
                self.others.push(count as u32 + below.count_ones());
                left &= left - 1;
            }
            count += note(all, at, &mut self.places[count..]);
            at += BLOCK;
        }
        self.count = count;
    }
}

/// Writes the positions of the set bits to the front of `places`, and returns the number of these bits. Writes eight
/// positions at a time: if the loop ended after the last bit, the processor would often mispredict its end.
#[inline]
fn note(mut bits: u64, at: usize, places: &mut [u32]) -> usize {
    let count = bits.count_ones() as usize;
    for eight in places.as_chunks_mut::<8>().0.iter_mut().take(count.div_ceil(8)) {
        for place in eight {
            *place = at as u32 + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
        }
    }
    count
}
