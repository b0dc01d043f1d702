//! Parses formats of times: a text with the directives of `strftime` comes in, the parts to look for in a value go out.
//! A format is refused if no value could match it, or if a part of a value would have no use.

use crate::literal::Literal;
use crate::locale::{Locale, Names};

/// A part of a time, such as its year or its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Year,
    Month,
    Day,
    DayOfYear,
    /// The year to which an ISO 8601 week belongs.
    WeekYear,
    Week,
    /// The day of the week, from 1 for Monday.
    Weekday,
    Hour,
    /// The hour from 1 to 12, for use with `Half`.
    Hour12,
    /// The half of the day: 0 before noon, 1 after noon.
    Half,
    Minute,
    Second,
    Nanosecond,
    Offset,
    /// A whole time, in seconds since 1970-01-01 00:00:00 UTC.
    Unix,
}

impl Field {
    pub(crate) const COUNT: usize = Self::Unix as usize + 1;

    /// Returns the bit that stands for the field in a set of fields.
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Returns true for the parts of a time of day.
    fn is_clock(self) -> bool {
        matches!(
            self,
            Self::Hour | Self::Hour12 | Self::Half | Self::Minute | Self::Second | Self::Nanosecond
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day of the month",
            Self::DayOfYear => "day of the year",
            Self::WeekYear => "week's year",
            Self::Week => "week",
            Self::Weekday => "weekday",
            Self::Hour | Self::Hour12 => "hour",
            Self::Half => "half of the day",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Nanosecond => "fraction of the second",
            Self::Offset => "offset from UTC",
            Self::Unix => "seconds since 1970",
        }
    }
}

/// The kind of value that a format reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A date, optionally with a time of day.
    Timestamp,
    Date,
    /// A time of day.
    Clock,
}

/// The characters that fill up a number with fewer digits than its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Zeros, or no characters.
    Zero,
    /// No characters, because the directive has the flag `-`. Zeros are also accepted.
    Nothing,
    /// A space.
    Space,
}

/// A part of a format, which matches a part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(String),
    /// One or more white space characters.
    Space,
    Number {
        /// The field that the number sets. A year of two digits stands for a year from 1969 to 2068.
        field: Field,
        digits_min: usize,
        digits_max: usize,
        padding: Padding,
    },
    /// The digits of a fraction of a second. If the part includes the point, a value can omit the point and the digits.
    Fraction {
        has_point: bool,
        digits_min: usize,
        digits_max: usize,
    },
    Name {
        field: Field,
        names: &'static [(&'static str, u32)],
    },
    /// A name in a language other than English.
    LocalName {
        field: Field,
        names: Names,
    },
    Offset,
    Unix,
}

/// The format of a time.
#[derive(Clone, Debug)]
pub(crate) struct TimeFormat {
    parts: Vec<Part>,
    fields: Vec<Field>,
    locale: Locale,
}

impl TimeFormat {
    /// Parses a format for `target`, with the names of `locale`.
    ///
    /// # Errors
    /// Returns a sentence that says what is wrong in the format, and what to write instead.
    pub(crate) fn parse(text: &str, target: Target, locale: Locale) -> Result<Self, String> {
        let mut format = Self {
            parts: Vec::new(),
            fields: Vec::new(),
            locale,
        };
        format.add(text)?;
        if format.fields.is_empty() {
            return Err(match target {
                Target::Clock => "has no directives: write %H:%M:%S where others write HH:MM:SS".into(),
                _ => "has no directives: write %Y-%m-%d where others write YYYY-MM-DD".into(),
            });
        }
        match target {
            Target::Timestamp => format.check_timestamp()?,
            Target::Date => format.check_date()?,
            Target::Clock => format.check_clock_only()?,
        }
        format.check_literals()?;
        format.check_short_year()?;
        format.fix_digits()?;
        format.fix_points();
        Ok(format)
    }

    /// Returns true if the format reads the name of a month or of a weekday.
    pub(crate) fn has_names(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::LocalName { .. } => true,
            Part::Name { field, names } => *field != Field::Half && !is_numbered(names),
            _ => false,
        })
    }

    /// Returns true if the format reads an offset from UTC or the seconds since 1970.
    pub(crate) fn is_instant(&self) -> bool {
        self.has(Field::Offset) || self.has(Field::Unix)
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let after = &rest[first.len_utf8()..];
            rest = match first {
                '%' => self.add_directive(after)?,
                _ if first.is_ascii_whitespace() => {
                    self.add_space();
                    after
                }
                _ => {
                    self.add_literal(first);
                    after
                }
            };
        }
        Ok(())
    }

    fn add_space(&mut self) {
        if self.parts.last() != Some(&Part::Space) {
            self.parts.push(Part::Space);
        }
    }

    fn add_literal(&mut self, character: char) {
        match self.parts.last_mut() {
            Some(Part::Literal(literal)) => literal.push(character),
            _ => self.parts.push(Part::Literal(character.into())),
        }
    }

    fn add_field(&mut self, field: Field, part: Part) -> Result<(), String> {
        if self.has(field) {
            let hint = match field {
                Field::Month => ": minutes are %M",
                Field::Minute => ": months are %m",
                _ => ": once is enough",
            };
            return Err(format!("has the {} twice{hint}", field.name()));
        }
        self.fields.push(field);
        self.parts.push(part);
        Ok(())
    }

    /// Adds the directive after a `%`, and returns the text after it.
    fn add_directive<'a>(&mut self, text: &'a str) -> Result<&'a str, String> {
        let flags = |character: char| matches!(character, '-' | '_' | '.' | ':' | '0'..='9');
        let rest = text.trim_start_matches(flags);
        let (flags, mut characters) = (&text[..text.len() - rest.len()], rest.chars());
        let Some(letter) = characters.next() else {
            return Err("ends with a % that begins nothing: %% stands for a % in the text".into());
        };
        match (flags, letter) {
            ("", 'F') => self.add("%Y-%m-%d")?,
            ("", 'T') => self.add("%H:%M:%S")?,
            ("", 'R') => self.add("%H:%M")?,
            ("", 'D') => self.add("%m/%d/%y")?,
            ("", 'n' | 't') => self.add_space(),
            ("", '%') => self.add_literal('%'),
            _ => {
                let (field, part) = self
                    .local_name(flags, letter)
                    .or_else(|| part(flags, letter))
                    .ok_or_else(|| format!("has %{flags}{letter}, {}", unknown(flags, letter)))?;
                self.add_field(field, part)?;
            }
        }
        Ok(characters.as_str())
    }

    fn local_name(&self, flags: &str, letter: char) -> Option<(Field, Part)> {
        let (field, names) = self.locale.names(letter).filter(|_| flags.is_empty())?;
        Some((field, Part::LocalName { field, names }))
    }

    /// Checks that the fields together give exactly one time, and that each field has a use.
    fn check_timestamp(&self) -> Result<(), String> {
        use Field::{Nanosecond, Unix};
        if self.has(Unix) {
            let others = self
                .fields
                .iter()
                .find(|field| !matches!(field, Unix | Nanosecond));
            return others.map_or(Ok(()), |other| {
                Err(format!(
                    "has %s, which is a whole time, and the {} too",
                    other.name()
                ))
            });
        }
        self.check_day()?;
        self.check_clock()
    }

    /// Checks that the fields together give exactly one date, and no time of day.
    fn check_date(&self) -> Result<(), String> {
        let is_other = |field: &&Field| field.is_clock() || matches!(field, Field::Offset | Field::Unix);
        if let Some(other) = self.fields.iter().find(is_other) {
            return Err(format!(
                "has the {}, which a \"date\" would lose: write the type \"timestamp\"",
                other.name()
            ));
        }
        self.check_day()
    }

    /// Checks that the fields together give exactly one time of day, and no date.
    fn check_clock_only(&self) -> Result<(), String> {
        if let Some(other) = self.fields.iter().find(|field| !field.is_clock()) {
            return Err(format!(
                "has the {}, which a \"time\" would lose: write the type \"timestamp\"",
                other.name()
            ));
        }
        if !self.has(Field::Hour) && !self.has(Field::Hour12) {
            return Err("has no hour (%H): no time of day could come of it".into());
        }
        self.check_clock()
    }

    /// Checks that the fields of the date together give exactly one day.
    fn check_day(&self) -> Result<(), String> {
        use Field::{Day, DayOfYear, Month, Week, WeekYear, Weekday, Year};
        let has_all = |fields: &[Field]| fields.iter().all(|&field| self.has(field));
        if has_all(&[Year, Month, Day]) || has_all(&[Year, DayOfYear]) || has_all(&[WeekYear, Week, Weekday])
        {
            return Ok(());
        }
        let missing = [(Year, "%Y"), (Month, "%m"), (Day, "%d")];
        let (field, directive) = missing
            .into_iter()
            .find(|&(field, _)| !self.has(field))
            .unwrap_or(missing[0]);
        Err(format!(
            "has no {} ({directive}): no time could come of it",
            field.name()
        ))
    }

    /// Checks that each field of the time of day has a use.
    fn check_clock(&self) -> Result<(), String> {
        use Field::{Half, Hour, Hour12, Minute, Nanosecond, Second};
        if self.has(Hour) && self.has(Hour12) {
            return Err("has the hour twice: %H is of 24 hours, %I of 12".into());
        }
        if self.has(Hour12) && !self.has(Half) {
            return Err("has %I, an hour of twelve, without %p: write %H for an hour of 24".into());
        }
        let has_hour = self.has(Hour) || self.has(Hour12);
        let needs = [
            (Half, has_hour, "hour"),
            (Minute, has_hour, "hour"),
            (Second, self.has(Minute), "minute"),
            (Nanosecond, self.has(Second), "second"),
        ];
        match needs
            .iter()
            .find(|(field, has_larger, _)| self.has(*field) && !has_larger)
        {
            Some((field, _, larger)) => Err(format!("has the {} without the {larger}", field.name())),
            None => Ok(()),
        }
    }

    /// Checks that the texts between the directives say nothing about the time.
    fn check_literals(&self) -> Result<(), String> {
        let has_hour = [Field::Hour, Field::Hour12, Field::Unix]
            .iter()
            .any(|&field| self.has(field));
        let (mut text, mut previous) = (String::new(), None);
        for part in &self.parts {
            let next = part.field();
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Space => text.push(' '),
                _ => {
                    Literal {
                        text: &text,
                        previous,
                        next,
                        has_hour,
                    }
                    .check()?;
                    text.clear();
                    previous = next;
                }
            }
        }
        let next = None;
        Literal {
            text: &text,
            previous,
            next,
            has_hour,
        }
        .check()
    }

    /// Checks that a year of two digits and the numbers directly beside it do not have four digits in total. If they
    /// had four digits, a year of four digits would match these directives.
    fn check_short_year(&self) -> Result<(), String> {
        let digits = |part: &Part| match part {
            Part::Number { digits_max, .. } => *digits_max,
            Part::Fraction { digits_max, .. } => *digits_max,
            Part::Name { names, .. } if is_numbered(names) => 1,
            _ => 0,
        };
        let is_short_year = |part: &Part| part.field() == Some(Field::Year) && digits(part) == 2;
        let mut runs = self.parts.split(|part| digits(part) == 0);
        match runs.find(|run| run.iter().any(is_short_year) && run.iter().map(digits).sum::<usize>() == 4) {
            Some(_) => Err("has %y directly beside two other digits, for which a year of four digits would pass: write %Y, \
                            or put something between them"
                .into()),
            None => Ok(()),
        }
    }

    /// Requires all digits of a number that is directly beside another number. Without this rule, it would be ambiguous
    /// where the first number ends.
    fn fix_digits(&mut self) -> Result<(), String> {
        for at in 0..self.parts.len() {
            let follows_digit = at > 0 && self.parts[at - 1].ends_with_digit();
            let precedes_digit = self.parts.get(at + 1).is_some_and(Part::begins_with_digit);
            let is_fixed = match &mut self.parts[at] {
                Part::Number {
                    digits_min,
                    digits_max,
                    padding,
                    ..
                } => {
                    if follows_digit || precedes_digit {
                        if *padding == Padding::Nothing {
                            return Err("has the flag - in a number directly beside another one, where all digits are \
                                        needed: leave the flag out, or put something between them"
                                .into());
                        }
                        *digits_min = *digits_max;
                    }
                    true
                }
                Part::Fraction {
                    digits_min,
                    digits_max,
                    has_point,
                } => digits_min == digits_max && !*has_point,
                Part::Offset | Part::Unix => false,
                Part::Literal(_) | Part::Space | Part::Name { .. } | Part::LocalName { .. } => true,
            };
            if !is_fixed && precedes_digit {
                return Err("has digits behind a part that has any number of digits: \
                            put something else between them"
                    .into());
            }
        }
        Ok(())
    }

    /// Leaves a point after a short name to the text of the format, if this text begins with a point.
    fn fix_points(&mut self) {
        for at in 1..self.parts.len() {
            let (before, after) = self.parts.split_at_mut(at);
            if let (Some(Part::LocalName { names, .. }), Part::Literal(text)) = (before.last_mut(), &after[0])
            {
                names.has_point &= !text.starts_with('.');
            }
        }
    }
}

impl Part {
    fn field(&self) -> Option<Field> {
        match *self {
            Self::Literal(_) | Self::Space => None,
            Self::Number { field, .. } | Self::Name { field, .. } | Self::LocalName { field, .. } => {
                Some(field)
            }
            Self::Fraction { .. } => Some(Field::Nanosecond),
            Self::Offset => Some(Field::Offset),
            Self::Unix => Some(Field::Unix),
        }
    }

    fn begins_with_digit(&self) -> bool {
        match self {
            Self::Number { .. } | Self::Unix => true,
            Self::Fraction { has_point, .. } => !has_point,
            Self::Name { names, .. } => is_numbered(names),
            Self::Literal(_) | Self::Space | Self::Offset | Self::LocalName { .. } => false,
        }
    }

    fn ends_with_digit(&self) -> bool {
        match self {
            Self::Number { .. } | Self::Fraction { .. } | Self::Offset | Self::Unix => true,
            Self::Name { names, .. } => is_numbered(names),
            Self::Literal(_) | Self::Space | Self::LocalName { .. } => false,
        }
    }
}

/// Returns true if the names are digits, as for the directive `%w`.
fn is_numbered(names: &[(&str, u32)]) -> bool {
    names == SUNDAY_FIRST
}

/// Returns the field and the part for a directive, or `None` if the directive is not supported.
fn part(flags: &str, letter: char) -> Option<(Field, Part)> {
    let number = |field, digits_min, digits_max| {
        let padding = match (flags, letter) {
            ("", 'e' | 'k' | 'l') => Padding::Space,
            ("", _) => Padding::Zero,
            ("-", _) if digits_min < digits_max => Padding::Nothing,
            ("_", _) if (digits_min, digits_max) == (1, 2) => Padding::Space,
            _ => return None,
        };
        let number = Part::Number {
            field,
            digits_min,
            digits_max,
            padding,
        };
        Some((field, number))
    };
    let name = |field, names| flags.is_empty().then_some((field, Part::Name { field, names }));
    match letter {
        'Y' => number(Field::Year, 4, 4),
        'y' => number(Field::Year, 2, 2),
        'm' => number(Field::Month, 1, 2),
        'd' | 'e' => number(Field::Day, 1, 2),
        'j' => number(Field::DayOfYear, 1, 3),
        'G' => number(Field::WeekYear, 4, 4),
        'V' => number(Field::Week, 1, 2),
        'u' => number(Field::Weekday, 1, 1),
        'H' | 'k' => number(Field::Hour, 1, 2),
        'I' | 'l' => number(Field::Hour12, 1, 2),
        'M' => number(Field::Minute, 1, 2),
        'S' => number(Field::Second, 1, 2),
        'w' => name(Field::Weekday, SUNDAY_FIRST),
        'a' => name(Field::Weekday, WEEKDAYS_SHORT),
        'A' => name(Field::Weekday, WEEKDAYS),
        'b' | 'h' => name(Field::Month, MONTHS_SHORT),
        'B' => name(Field::Month, MONTHS),
        'p' | 'P' => name(Field::Half, HALVES),
        'f' | 'N' => fraction(flags).map(|part| (Field::Nanosecond, part)),
        'z' => matches!(flags, "" | ":" | "::" | ":::").then_some((Field::Offset, Part::Offset)),
        's' => flags.is_empty().then_some((Field::Unix, Part::Unix)),
        _ => None,
    }
}

/// Returns the part for `%f` or `%.f`, which can have a number of digits as in `%3f`. Returns `None` for other flags.
fn fraction(flags: &str) -> Option<Part> {
    let has_point = flags.starts_with('.');
    let (digits_min, digits_max) = match flags.strip_prefix('.').unwrap_or(flags).as_bytes() {
        [] => (1, 9),
        &[digit @ b'1'..=b'9'] => (usize::from(digit - b'0'), usize::from(digit - b'0')),
        _ => return None,
    };
    Some(Part::Fraction {
        has_point,
        digits_min,
        digits_max,
    })
}

/// Returns the reason why a directive is not supported.
fn unknown(flags: &str, letter: char) -> &'static str {
    match letter {
        'Z' | 'Q' => {
            "the name of a zone, for which a plugin has no table of offsets: %z reads +0200, +02:00, Z, UTC and GMT"
        }
        'c' | 'x' | 'X' | 'r' | 'E' | 'O' => "which differs from language to language: write its parts",
        'C' | 'g' => "which is half a year: write %Y or %G",
        'U' | 'W' => "a week of no standard: write %G-W%V-%u",
        _ if !flags.is_empty() && part("", letter).is_some() => {
            "whose flags mean nothing here: leave them out"
        }
        _ => "which is no directive: %% stands for a % in the text",
    }
}

const HALVES: &[(&str, u32)] = &[("AM", 0), ("PM", 1), ("A.M.", 0), ("P.M.", 1)];

const SUNDAY_FIRST: &[(&str, u32)] = &[
    ("0", 7),
    ("1", 1),
    ("2", 2),
    ("3", 3),
    ("4", 4),
    ("5", 5),
    ("6", 6),
];

const WEEKDAYS: &[(&str, u32)] = &[
    ("Monday", 1),
    ("Tuesday", 2),
    ("Wednesday", 3),
    ("Thursday", 4),
    ("Friday", 5),
    ("Saturday", 6),
    ("Sunday", 7),
];

const WEEKDAYS_SHORT: &[(&str, u32)] = &[
    ("Mon", 1),
    ("Tue", 2),
    ("Wed", 3),
    ("Thu", 4),
    ("Fri", 5),
    ("Sat", 6),
    ("Sun", 7),
];

const MONTHS: &[(&str, u32)] = &[
    ("January", 1),
    ("February", 2),
    ("March", 3),
    ("April", 4),
    ("May", 5),
    ("June", 6),
    ("July", 7),
    ("August", 8),
    ("September", 9),
    ("October", 10),
    ("November", 11),
    ("December", 12),
];

const MONTHS_SHORT: &[(&str, u32)] = &[
    ("Jan", 1),
    ("Feb", 2),
    ("Mar", 3),
    ("Apr", 4),
    ("May", 5),
    ("Jun", 6),
    ("Jul", 7),
    ("Aug", 8),
    ("Sep", 9),
    ("Oct", 10),
    ("Nov", 11),
    ("Dec", 12),
];
