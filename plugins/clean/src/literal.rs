//! Checks the texts between the directives of a format: a text and the directives beside it come in. If the text says
//! something about the time, an error goes out. The parser of values only checks that a value has the same text, so
//! what the text says would be lost.

use crate::time_format::Field;

/// The text between two directives, or between a directive and one end of the format. Each run of white space in the
/// text is one space.
pub(crate) struct Literal<'a> {
    pub(crate) text: &'a str,
    /// The field of the directive before the text, or `None` if no directive precedes it.
    pub(crate) previous: Option<Field>,
    /// The field of the directive after the text, or `None` if no directive follows it.
    pub(crate) next: Option<Field>,
    /// True if the format reads an hour or a whole time (`%s`).
    pub(crate) has_hour: bool,
}

/// A position beside a directive. Certain words at this position say no more than the directive itself.
#[derive(Clone, Copy)]
enum Place {
    Before(&'static [Field]),
    Behind(&'static [Field]),
}

const HOUR: &[Field] = &[Field::Hour, Field::Hour12];
const CLOCK: &[Field] = &[
    Field::Hour,
    Field::Hour12,
    Field::Half,
    Field::Minute,
    Field::Second,
    Field::Nanosecond,
];
const DATE: &[Field] = &[
    Field::Year,
    Field::Month,
    Field::Day,
    Field::DayOfYear,
    Field::WeekYear,
    Field::Week,
    Field::Weekday,
    Field::Unix,
];
const SECOND: &[Field] = &[Field::Second, Field::Nanosecond, Field::Unix];

/// The words that a format may contain, in lower case, with their allowed positions. The README lists them.
const WORDS: &[(Place, &[&str])] = &[
    (
        Place::Before(HOUR),
        &[
            "t", "at", "um", "à", "a", "las", "às", "alle", "ore", "kl", "klo", "om", "time",
        ],
    ),
    (
        Place::Before(DATE),
        &[
            "at", "on", "of", "the", "de", "del", "den", "le", "el", "vom", "date", "day",
        ],
    ),
    (Place::Before(&[Field::Week]), &["w", "kw", "week"]),
    (Place::Before(&[Field::Offset]), &["utc", "gmt"]),
    (Place::Behind(&[Field::Year]), &["年", "년", "г"]),
    (Place::Behind(&[Field::Month]), &["月", "월"]),
    (
        Place::Behind(&[Field::Day]),
        &["st", "nd", "rd", "th", "日", "号", "號", "일"],
    ),
    (
        Place::Behind(CLOCK),
        &[
            "h", "hr", "hrs", "hs", "hour", "hours", "heures", "uhr", "uur", "o", "clock", "時", "时", "点",
            "點", "시",
        ],
    ),
    (
        Place::Behind(&[Field::Minute]),
        &["m", "min", "mins", "minute", "minutes", "分", "분"],
    ),
    (
        Place::Behind(SECOND),
        &["s", "sec", "secs", "second", "seconds", "秒", "초"],
    ),
];

/// The words for the halves of the day, without dots.
const HALVES: &[&str] = &["am", "pm", "午前", "午後", "上午", "下午", "오전", "오후"];

/// Returns true if the character can be a part of a word.
fn is_letter(character: char) -> bool {
    character.is_alphabetic() || character == '.'
}

/// Returns true if the character is the sign of a number. A hyphen does not count as a sign here: see [`is_dash`].
fn is_sign(character: char) -> bool {
    matches!(
        character,
        '+' | '±'
            | '\u{2212}'
            | '\u{207a}'
            | '\u{207b}'
            | '\u{fb29}'
            | '\u{fe62}'
            | '\u{fe63}'
            | '\u{ff0b}'
            | '\u{ff0d}'
    )
}

/// Returns true if the character is a hyphen or a dash. A dash usually separates the parts of a time. If digits follow
/// a dash in the same text, the dash is a sign.
fn is_dash(character: char) -> bool {
    matches!(character, '-' | '\u{2010}'..='\u{2015}')
}

/// Returns true if the character is punctuation or white space, which says nothing about the time.
fn is_mark(character: char) -> bool {
    let is_wide = matches!(character, '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}' | '\u{ff1b}');
    let is_punctuation =
        matches!(character, '\u{a0}'..='\u{bf}' | '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{3020}');
    character.is_ascii_punctuation()
        || character.is_whitespace()
        || is_punctuation
        || is_wide
        || character == '\u{feff}'
}

impl Literal<'_> {
    /// Checks that the text says nothing about the time.
    ///
    /// # Errors
    /// Returns a sentence that says what meaning would be lost, and what to write instead.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut at = 0;
        while let Some(first) = self.text[at..].chars().next() {
            let rest = &self.text[at..];
            let length = if first.is_alphabetic() {
                let word = leading(rest, is_letter);
                self.check_word(at, word)?;
                word.len()
            } else if first.is_numeric() {
                let digits = leading(rest, char::is_numeric);
                self.check_digits(at, digits)?;
                digits.len()
            } else {
                self.check_mark(at, first)?;
                first.len_utf8()
            };
            at += length;
        }
        Ok(())
    }

    fn check_word(&self, at: usize, word: &str) -> Result<(), String> {
        let (before, behind) = (&self.text[..at], &self.text[at + word.len()..]);
        let plain = word.replace('.', "").to_lowercase();
        let is_by =
            |fields: &[Field], field: Option<Field>| field.is_some_and(|field| fields.contains(&field));
        // Zeros such as `00:00` stand for a time of day that the format does not read.
        let is_midnight = |fields: &[Field], text: &str| CLOCK.contains(&fields[0]) && text.contains('0');
        let is_there = |place| match place {
            Place::Before(fields) => is_by(fields, self.next) || is_midnight(fields, behind),
            Place::Behind(fields) => is_by(fields, self.previous) || is_midnight(fields, before),
        };
        let is_known = |(place, words): &(Place, &[&str])| words.contains(&&*plain) && is_there(*place);
        let is_half = HALVES.iter().any(|half| plain.ends_with(half));
        // Words before a colon at the beginning of a format are a label, as in `Date: %F`. But if the format reads a
        // time of day, such a word could be the name of a time zone.
        let is_label =
            self.previous.is_none() && !self.has_hour && behind.trim_end().ends_with(':') && !is_half;
        if is_label || WORDS.iter().any(is_known) {
            return Ok(());
        }
        if is_half {
            return Err(format!(
                "has {word:?} as a text, and would lose the half of the day: write %p, which reads AM, PM, \
                 a.m. and p.m., with %I for the hour"
            ));
        }
        Err(format!(
            "has {word:?} as a text, and would lose what it says: write %z for a zone (it reads Z, UTC, GMT and offsets; \
             values with other zones cannot be read), %p for AM and PM, %b or %a for the name of a month or a weekday. \
             Words that may stand in a format are T and \"at\" before the hour, h, min, s and Uhr behind their numbers, \
             and a few more, which clean's README lists"
        ))
    }

    fn check_digits(&self, at: usize, digits: &str) -> Result<(), String> {
        let (before, behind) = (&self.text[..at], &self.text[at + digits.len()..]);
        let is_before_year = behind.is_empty() && self.next == Some(Field::Year);
        if is_before_year {
            return Err(format!(
                "has {digits:?} directly before the year, and would lose it: write %Y for a year of four digits"
            ));
        }
        let is_beside = before.is_empty() && self.previous.is_some()
            || behind.is_empty() && self.next.is_some_and(|next| next != Field::Offset);
        // Zeros after a time of day could be an offset.
        let is_apart = before.ends_with(' ') && (self.has_hour || before.contains('0'));
        if is_beside || is_apart || digits.contains(|digit| digit != '0') {
            return Err(format!(
                "has the digits {digits:?} as a text, and would lose them: write the directives that read them, such as \
                 %Y, %H:%M:%S or %f; only zeros may stand for themselves, such as :00 or .000 behind a time"
            ));
        }
        Ok(())
    }

    fn check_mark(&self, at: usize, mark: char) -> Result<(), String> {
        let (before, behind) = (&self.text[..at], &self.text[at + mark.len_utf8()..]);
        let number = behind.trim_start();
        let has_digits = number.starts_with(char::is_numeric);
        if is_sign(mark) || is_dash(mark) && has_digits {
            let digits = leading(number, |character| character.is_numeric() || character == ':');
            return Err(format!(
                "has \"{mark}{digits}\" as a text, and would lose an offset: write %z, which reads +02, +0200, +02:00 and \
                 Z, or %H:%M:%S for a time of day"
            ));
        }
        // Directly after a directive, a dash is a separator.
        let is_separator = before.is_empty() && self.previous.is_some();
        let is_signed = matches!(self.next, Some(Field::Year | Field::WeekYear | Field::Unix));
        if is_dash(mark) && behind.is_empty() && is_signed && !is_separator {
            return Err(format!(
                "has \"{mark}\" directly before a number, and would lose its sign: %s reads one itself, and a year has none"
            ));
        }
        if !is_mark(mark) {
            return Err(format!(
                "has \"{mark}\" as a text, which may say something of the time: marks that may stand in a format are \
                 those of punctuation"
            ));
        }
        Ok(())
    }
}

/// Returns the longest prefix of the text in which `is_part` is true for each character.
fn leading(text: &str, is_part: impl Fn(char) -> bool) -> &str {
    let end = text.find(|character| !is_part(character));
    &text[..end.unwrap_or(text.len())]
}
