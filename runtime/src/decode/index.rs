//! A stretch of CSV goes in; the positions of its delimiters and line ends, found in one pass, come out. Records are then looked
//! up rather than searched. The scanner finds records with a quote.

use crate::format::csv::{BLOCK, Marks, Scanner};

/// The bytes indexed at once: many records, and few enough that they and their positions stay in the fastest cache.
const STRETCH: usize = 8 << 10;

/// The index of a stretch.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// The positions of delimiters, quotes, CR and LF. The first `count` are in use, the rest is free.
    places: Vec<u32>,
    count: usize,
    /// The positions that are no delimiters, as indices into `places`.
    others: Vec<u32>,
    /// The next entries of `places` and `others`.
    place: usize,
    other: usize,
}

impl Index {
    /// Clears the index, before another text.
    pub(super) fn clear(&mut self) {
        self.others.clear();
        self.other = 0;
    }

    /// Returns the ends of the fields of the record that begins at `start`, after all records looked up before. Returns none if
    /// the scanner has to find the record: it has a quote or no line end, or is longer than a stretch. `raw` holds whole records
    /// and does not change between calls, until [`Index::clear`].
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

    /// Advances to the positions from `start` on.
    #[inline]
    fn pass(&mut self, start: usize) {
        // This usually skips one line end. In a record with quotes, it skips all line ends and quotes.
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

    /// Indexes the stretch that begins at `start`, where a record begins.
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

/// Writes the positions of the bits to the front of `places` and returns their number. Writes eight at a time, because the
/// processor mispredicts a loop that ends sooner.
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
