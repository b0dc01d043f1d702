//! The cells of one column go in; their profile comes out.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::civil::Date;
use rapidhash::v3::rapidhash_v3;

use super::distinct::Distinct;
use crate::format::clip_data;
use crate::format::jsonl::{is_integer, is_number};
use crate::receipt::{ColumnQuality, Inferred};

/// The maximum length of a text that is kept as a whole, in bytes. A longer text is clipped, so that a column needs
/// little memory even if its cells are long.
const KEPT_BYTES: usize = 64;

/// The maximum number of digits with which every integer is exact as a 64-bit float.
const EXACT_DIGITS: usize = 15;

/// The maximum number of recent values that are remembered for all columns together. [`RECENT_MAX`] is the maximum for
/// one column.
const RECENT: usize = 1 << 16;
const RECENT_MAX: usize = 1 << 8;

/// The profile of a column.
#[derive(Debug, Clone)]
pub(super) struct ColumnProfile {
    filled: u64,
    distinct: Distinct,
    /// The hashes of recent values. The first bits of a hash give its index, and 0 stands for no value. If a recent
    /// value occurs again, only `filled` changes.
    recent: Box<[u64]>,
    /// The profile of the filled cells, or `None` if no cell is filled.
    cells: Option<FilledCells>,
}

/// The part of a column's profile that only filled cells have.
#[derive(Debug, Clone)]
struct FilledCells {
    inferred: Inferred,
    /// The first and the last text in byte order.
    texts: [Vec<u8>; 2],
    /// The smallest and the largest number, if all cells are numbers.
    numbers: Option<[ParsedNumber; 2]>,
    /// The lengths of the shortest and the longest text, in characters.
    characters: [u64; 2],
}

/// A number, and the text from which it was parsed.
#[derive(Debug, Clone)]
struct ParsedNumber<Text = Vec<u8>> {
    value: f64,
    text: Text,
}

impl ColumnProfile {
    /// Returns an empty profile for one column of an output that has `columns` columns.
    pub(super) fn one_of(columns: usize) -> Self {
        Self {
            filled: 0,
            distinct: Distinct::one_of(columns),
            recent: vec![0; (RECENT / columns.max(1)).clamp(1, RECENT_MAX)].into(),
            cells: None,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.filled += 1;
        let hash = rapidhash_v3(text);
        let place = (u128::from(hash) * self.recent.len() as u128) >> 64;
        let recent = &mut self.recent[place as usize];
        if *recent == hash {
            return;
        }
        *recent = hash;
        self.distinct.add(hash);
        match &mut self.cells {
            Some(cells) => cells.add(text),
            None => self.cells = Some(FilledCells::of(text)),
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.filled += other.filled;
        self.distinct.merge(&other.distinct);
        match (&mut self.cells, other.cells) {
            (Some(cells), Some(others)) => cells.merge(others),
            (None, others) => self.cells = others,
            (Some(_), None) => {}
        }
    }

    pub(super) fn quality(self, name: String) -> ColumnQuality {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (filled, cells) = (self.filled, self.cells.as_ref());
        let [min, max] = [0, 1].map(|end| {
            let cells = cells?;
            let numbers = cells.numbers.as_ref();
            Some(text(
                numbers.map_or(&cells.texts[end], |numbers| &numbers[end].text),
            ))
        });
        let [min_length, max_length] = [0, 1].map(|end| cells.map(|cells| cells.characters[end]));
        ColumnQuality {
            name,
            inferred: cells.map(|cells| cells.inferred),
            filled,
            distinct: self.distinct.count().min(filled),
            min,
            max,
            min_length,
            max_length,
        }
    }
}

impl FilledCells {
    fn of(text: &[u8]) -> Self {
        let inferred = infer(text);
        let kept = clipped(text).into_owned();
        let characters = characters(text);
        let number = ParsedNumber::of(inferred, text);
        Self {
            inferred,
            numbers: number.map(|number| [number.owned(), number.owned()]),
            texts: [kept.clone(), kept],
            characters: [characters, characters],
        }
    }

    fn add(&mut self, text: &[u8]) {
        let kept = clipped(text);
        let [first, last] = &mut self.texts;
        if *kept < *first.as_slice() {
            *first = kept.into_owned();
        } else if *kept > *last.as_slice() {
            *last = kept.into_owned();
        }
        self.add_length(characters(text));
        if self.inferred != Inferred::Text {
            let inferred = infer(text);
            self.inferred = self.inferred.join(inferred);
            self.add_number(ParsedNumber::of(inferred, text));
        }
    }

    fn merge(&mut self, other: Self) {
        let ([first, last], [others_first, others_last]) = (&mut self.texts, other.texts);
        if others_first < *first {
            *first = others_first;
        }
        if others_last > *last {
            *last = others_last;
        }
        other
            .characters
            .into_iter()
            .for_each(|length| self.add_length(length));
        self.inferred = self.inferred.join(other.inferred);
        match &other.numbers {
            Some(numbers) => numbers
                .iter()
                .for_each(|number| self.add_number(Some(number.borrowed()))),
            None => self.numbers = None,
        }
    }

    fn add_length(&mut self, characters: u64) {
        let [shortest, longest] = &mut self.characters;
        *shortest = characters.min(*shortest);
        *longest = characters.max(*longest);
    }

    fn add_number(&mut self, number: Option<ParsedNumber<&[u8]>>) {
        let (Some(number), Some([min, max])) = (number, &mut self.numbers) else {
            self.numbers = None;
            return;
        };
        if number.cmp(&min.borrowed()).is_lt() {
            *min = number.owned();
        }
        if number.cmp(&max.borrowed()).is_gt() {
            *max = number.owned();
        }
    }
}

impl<'a> ParsedNumber<&'a [u8]> {
    fn of(inferred: Inferred, text: &'a [u8]) -> Option<Self> {
        if !matches!(inferred, Inferred::Integer | Inferred::Number) {
            return None;
        }
        let value = match text {
            // This is exact, and faster than parsing a float.
            [b'0'..=b'9', ..] if inferred == Inferred::Integer && text.len() <= EXACT_DIGITS => {
                let add = |value, digit: &u8| 10.0 * value + f64::from(digit - b'0');
                text.iter().fold(0.0, add)
            }
            _ => std::str::from_utf8(text).ok()?.parse().ok()?,
        };
        Some(Self { value, text })
    }

    /// Compares two numbers. If their floats are equal, compares integers digit by digit, and other numbers by their
    /// texts. So the number that is kept does not depend on the order in which the numbers are added.
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.text, other.text);
        self.value.total_cmp(&other.value).then_with(|| {
            if !is_integer(own) || !is_integer(others) {
                return own.cmp(others);
            }
            let by_size = (own.len(), own).cmp(&(others.len(), others));
            if own.starts_with(b"-") {
                by_size.reverse()
            } else {
                by_size
            }
        })
    }

    fn owned(&self) -> ParsedNumber {
        ParsedNumber {
            value: self.value,
            text: clipped(self.text).into_owned(),
        }
    }
}

impl ParsedNumber {
    fn borrowed(&self) -> ParsedNumber<&[u8]> {
        ParsedNumber {
            value: self.value,
            text: &self.text,
        }
    }
}

/// Returns the narrowest type of a text.
fn infer(text: &[u8]) -> Inferred {
    if is_integer(text) {
        return Inferred::Integer;
    }
    if matches!(text, b"true" | b"false") {
        return Inferred::Boolean;
    }
    if !matches!(text, [b'-' | b'0'..=b'9', ..]) {
        return Inferred::Text;
    }
    if let [_, _, _, _, b'-', _, _, b'-', ..] = text {
        return infer_time(text);
    }
    if is_number(text) {
        Inferred::Number
    } else {
        Inferred::Text
    }
}

/// Returns the narrowest type of a text that can be a date or a time in ISO 8601. The check is written by hand, because
/// a full parse took as long as all other work on a profile.
fn infer_time(text: &[u8]) -> Inferred {
    let Some((date, time)) = text.split_at_checked("2017-10-23".len()) else {
        return Inferred::Text;
    };
    let parts = (digits(&date[..4]), digits(&date[5..7]), digits(&date[8..]));
    let is_date = match parts {
        (Some(year), Some(month), Some(day)) => Date::new(year, month as i8, day as i8).is_ok(),
        _ => false,
    };
    match time {
        [] if is_date => Inferred::Date,
        [b'T' | b' ', time @ ..] if is_date && is_time(time) => Inferred::Timestamp,
        _ => Inferred::Text,
    }
}

/// Returns whether a text is a time of day in the form `hh:mm:ss[.fraction][zone]`.
fn is_time(text: &[u8]) -> bool {
    let &[h1, h2, b':', m1, m2, b':', s1, s2, ref rest @ ..] = text else {
        return false;
    };
    let zone = match rest {
        [b'.', fraction @ ..] => {
            let end = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if end == 0 {
                return false;
            }
            &fraction[end..]
        }
        _ => rest,
    };
    let is_below = |digits_of: [u8; 2], bound| digits(&digits_of).is_some_and(|value| value < bound);
    let is_zone = match *zone {
        [] | [b'Z'] => true,
        [b'+' | b'-', h1, h2] => is_below([h1, h2], 24),
        [b'+' | b'-', h1, h2, m1, m2] | [b'+' | b'-', h1, h2, b':', m1, m2] => {
            is_below([h1, h2], 24) && is_below([m1, m2], 60)
        }
        _ => false,
    };
    is_zone && is_below([h1, h2], 24) && is_below([m1, m2], 60) && is_below([s1, s2], 60)
}

/// Returns the number that `text` stands for, or `None` if a byte is not a digit. `text` must have at most four bytes.
fn digits(text: &[u8]) -> Option<i16> {
    text.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| 10 * value + i16::from(byte - b'0'))
    })
}

/// Returns the text, or its beginning if it has more than [`KEPT_BYTES`] bytes.
fn clipped(text: &[u8]) -> Cow<'_, [u8]> {
    if text.len() <= KEPT_BYTES {
        return text.into();
    }
    clip_data(text).into_bytes().into()
}

fn characters(text: &[u8]) -> u64 {
    text.iter()
        .filter(|byte| **byte & 0b1100_0000 != 0b1000_0000)
        .count() as u64
}
