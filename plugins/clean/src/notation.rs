//! Notations of numbers: a number comes in as people write it, such as `1.234,50 €` or `(1,234.50)`. The same number in
//! the form of a [`Decimal`](crate::decimal::Decimal) goes out. No digit is dropped, and no number is guessed.

use std::fmt;

use serde::Deserialize;
use serde::de::Deserializer;

use crate::config::list;
use crate::values::Kind;

/// The `notation` of a rule: the signs that the numbers of a column have besides their digits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notation {
    decimal: Option<DecimalSign>,
    thousands: Option<Thousands>,
    #[serde(default, deserialize_with = "currency")]
    currency: Vec<String>,
    #[serde(default, deserialize_with = "negative")]
    negative: Vec<Negative>,
}

/// The sign between the whole number and the fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum DecimalSign {
    Point,
    Comma,
}

/// The sign between groups of three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Thousands {
    Point,
    Comma,
    Apostrophe,
    Space,
    Underscore,
}

/// A form of negative numbers that is read in addition to a minus before the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Negative {
    /// `(1.50)`.
    Parentheses,
    /// `1.50-`.
    Trailing,
}

fn currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    list(deserializer, "currency").map(Option::unwrap_or_default)
}

fn negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Negative>, D::Error> {
    let names: Vec<String> = list(deserializer, "negative")?.unwrap_or_default();
    let negative = |name: &String| match name.as_str() {
        "parentheses" => Ok(Negative::Parentheses),
        "trailing" => Ok(Negative::Trailing),
        _ => Err(serde::de::Error::custom(format!(
            "\"negative\" lists {name:?}: write \"parentheses\" for (1.50) or \"trailing\" for 1.50-"
        ))),
    };
    names.iter().map(negative).collect()
}

impl TryFrom<String> for DecimalSign {
    type Error = String;

    fn try_from(sign: String) -> Result<Self, String> {
        match sign.as_str() {
            "." => Ok(Self::Point),
            "," => Ok(Self::Comma),
            _ => Err(format!("\"decimal\" is {sign:?}: write \".\" or \",\"")),
        }
    }
}

impl DecimalSign {
    fn character(self) -> char {
        match self {
            Self::Point => '.',
            Self::Comma => ',',
        }
    }
}

impl TryFrom<String> for Thousands {
    type Error = String;

    fn try_from(sign: String) -> Result<Self, String> {
        match sign.as_str() {
            "." => Ok(Self::Point),
            "," => Ok(Self::Comma),
            "'" => Ok(Self::Apostrophe),
            " " => Ok(Self::Space),
            "_" => Ok(Self::Underscore),
            _ => Err(format!(
                "\"thousands\" is {sign:?}: write \".\", \",\", \"'\", \" \" or \"_\""
            )),
        }
    }
}

impl Thousands {
    fn character(self) -> char {
        match self {
            Self::Point => '.',
            Self::Comma => ',',
            Self::Apostrophe => '\'',
            Self::Space => ' ',
            Self::Underscore => '_',
        }
    }

    /// Returns true if the character is this sign. Programs write several apostrophes and several spaces.
    fn is(self, character: char) -> bool {
        match self {
            Self::Apostrophe => matches!(character, '\'' | '\u{2019}'),
            Self::Space => is_space(character),
            _ => character == self.character(),
        }
    }
}

/// Returns true for the spaces that stand within numbers: also the no-break and the narrow ones.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}')
}

/// Returns true for a hyphen and for the minus sign of typography.
fn is_minus(character: char) -> bool {
    matches!(character, '-' | '\u{2212}')
}

impl Notation {
    /// Checks that the notation says how each number is to be read.
    ///
    /// # Errors
    /// Returns a sentence that says what is missing or contradicts itself.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), String> {
        self.check_signs(kind)?;
        for text in &self.currency {
            check_currency(text)?;
        }
        let of = |is_one: fn(&str) -> bool| self.currency.iter().filter(move |text| is_one(text));
        for mut several in [of(is_code), of(is_symbol)] {
            if let (Some(first), Some(second)) = (several.next(), several.next()) {
                return Err(format!(
                    "\"currency\" lists {first:?} and {second:?}, and would lose which of them a value has: \
                     list the spellings of one currency"
                ));
            }
        }
        Ok(())
    }

    fn check_signs(&self, kind: Kind) -> Result<(), String> {
        match (kind, self.decimal) {
            (Kind::Integer, Some(_)) => {
                return Err(
                    "\"notation\" has a \"decimal\", but an integer has no decimal sign: leave it out"
                        .to_owned(),
                );
            }
            (Kind::Integer, None) => {}
            (_, None) => {
                return Err(
                    "\"notation\" needs \"decimal\": write \".\" for numbers such as 1234.50, or \",\" for \
                     1234,50"
                        .to_owned(),
                );
            }
            (_, Some(decimal)) => {
                if self
                    .thousands
                    .is_some_and(|sign| sign.character() == decimal.character())
                {
                    return Err(format!(
                        "\"decimal\" and \"thousands\" are both \"{}\"",
                        decimal.character()
                    ));
                }
            }
        }
        let says_nothing = self.decimal.is_none()
            && self.thousands.is_none()
            && self.currency.is_empty()
            && self.negative.is_empty();
        if says_nothing {
            return Err(
                "\"notation\" says nothing: give it \"thousands\", \"currency\" or \"negative\"".to_owned(),
            );
        }
        Ok(())
    }

    /// Returns the spellings of the currency.
    pub(crate) fn currency(&self) -> &[String] {
        &self.currency
    }

    /// Rewrites a number into the form `-1234.50`. Returns `None` if the text does not have this notation. The caller
    /// must still parse the result.
    pub(crate) fn rewrite<'o>(&self, text: &str, out: &'o mut String) -> Option<&'o str> {
        let amount = self.strip(text)?;
        out.clear();
        if amount.is_negative {
            out.push('-');
        }
        let rest = self.whole(amount.digits, out)?;
        let rest = match self.decimal {
            Some(decimal) => match rest.strip_prefix(decimal.character()) {
                Some(fraction) => {
                    let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
                    out.push('.');
                    out.push_str(&fraction[..count]);
                    &fraction[count..]
                }
                None => rest,
            },
            None => rest,
        };
        let has_groups = amount
            .digits
            .chars()
            .any(|character| self.is_thousands(character));
        let is_exponent = rest.starts_with(['e', 'E']) && !has_groups && self.decimal.is_some();
        if !rest.is_empty() && !is_exponent {
            return None;
        }
        out.push_str(rest);
        Some(out)
    }

    fn is_thousands(&self, character: char) -> bool {
        self.thousands.is_some_and(|sign| sign.is(character))
    }

    /// Removes the sign and the currency around the digits.
    fn strip<'a>(&self, text: &'a str) -> Option<Amount<'a>> {
        let mut amount = Amount {
            digits: text,
            ..Amount::default()
        };
        while self.strip_start(&mut amount) {}
        while self.strip_end(&mut amount) {}
        (amount.is_open == amount.is_closed).then_some(amount)
    }

    /// Removes a sign, an opening parenthesis or the currency from the start. Returns false if there is none.
    fn strip_start(&self, amount: &mut Amount<'_>) -> bool {
        let text = amount.digits;
        let unspaced = if amount.has_sign {
            text.trim_start_matches(is_space)
        } else {
            text
        };
        if let Some(rest) = text.strip_prefix(|first: char| first == '+' || is_minus(first))
            && !amount.has_sign
        {
            amount.is_negative = !text.starts_with('+');
            amount.has_sign = true;
            amount.digits = rest;
        } else if let Some(rest) = text.strip_prefix('(')
            && !amount.has_sign
            && self.negative.contains(&Negative::Parentheses)
        {
            amount.is_negative = true;
            amount.has_sign = true;
            amount.is_open = true;
            amount.digits = rest;
        } else if let Some(rest) = self.longest(|currency| unspaced.strip_prefix(currency))
            && !amount.has_currency
        {
            amount.has_currency = true;
            amount.digits = rest.trim_start_matches(is_space);
        } else {
            return false;
        }
        true
    }

    /// Removes a trailing minus, a closing parenthesis or the currency from the end. Returns false if there is none.
    fn strip_end(&self, amount: &mut Amount<'_>) -> bool {
        let text = amount.digits;
        let unspaced = if amount.has_sign {
            text.trim_end_matches(is_space)
        } else {
            text
        };
        if let Some(rest) = text.strip_suffix(')')
            && amount.is_open
            && !amount.is_closed
        {
            amount.is_closed = true;
            amount.digits = rest;
        } else if let Some(rest) = text.strip_suffix(is_minus)
            && !amount.has_sign
            && self.negative.contains(&Negative::Trailing)
        {
            amount.is_negative = true;
            amount.has_sign = true;
            amount.digits = rest;
        } else if let Some(rest) = self.longest(|currency| unspaced.strip_suffix(currency))
            && !amount.has_currency
        {
            amount.has_currency = true;
            amount.digits = rest.trim_end_matches(is_space);
        } else {
            return false;
        }
        true
    }

    /// Returns what `strip` leaves for the longest spelling of the currency for which it leaves something.
    fn longest<'a>(&self, strip: impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
        let rests = self.currency.iter().filter_map(|currency| strip(currency));
        rests.min_by_key(|rest| rest.len())
    }

    /// Appends the digits before the decimal sign to `out`, and returns the text after them. If there are separators of
    /// thousands, the first group has one to three digits and no leading zero. All other groups have three digits. So
    /// `0.123` and `1234.567` are refused if the point separates thousands.
    fn whole<'a>(&self, text: &'a str, out: &mut String) -> Option<&'a str> {
        let (mut group, mut is_grouped) = (0, false);
        for (at, character) in text.char_indices() {
            if character.is_ascii_digit() {
                group += 1;
                out.push(character);
            } else if self.is_thousands(character) {
                let is_complete = if is_grouped {
                    group == 3
                } else {
                    matches!(group, 1..=3) && !text.starts_with('0')
                };
                if !is_complete {
                    return None;
                }
                (group, is_grouped) = (0, true);
            } else {
                return (!is_grouped || group == 3).then_some(&text[at..]);
            }
        }
        (!is_grouped || group == 3).then_some("")
    }
}

/// Writes an example of a number in this notation.
impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1")?;
        if let Some(thousands) = self.thousands {
            write!(f, "{}", thousands.character())?;
        }
        f.write_str("234")?;
        if let Some(decimal) = self.decimal {
            write!(f, "{}50", decimal.character())?;
        }
        Ok(())
    }
}

/// A number whose signs are being removed.
#[derive(Default)]
struct Amount<'a> {
    /// The text that is left.
    digits: &'a str,
    is_negative: bool,
    /// True if a plus, a minus or an opening parenthesis has been removed.
    has_sign: bool,
    has_currency: bool,
    is_open: bool,
    is_closed: bool,
}

fn check_currency(text: &str) -> Result<(), String> {
    let is_part = |character: char| {
        character.is_alphabetic() || matches!(character, '.' | ' ') || is_symbol_character(character)
    };
    let has_name =
        text.contains(|character: char| character.is_alphabetic() || is_symbol_character(character));
    if !has_name || text.trim() != text || !text.chars().all(is_part) {
        return Err(format!(
            "\"currency\" lists {text:?}: a currency has letters, points or a currency sign, such as \"€\", \
             \"EUR\" or \"Fr.\", and no space at its start or end"
        ));
    }
    Ok(())
}

/// Returns true if the text is a code of a currency as in ISO 4217, such as `EUR`.
fn is_code(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Returns true if the text is one currency sign.
fn is_symbol(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(is_symbol_character) && characters.next().is_none()
}

/// Returns true if the character has the general category `Sc` of Unicode, without those of scripts with own digits.
fn is_symbol_character(character: char) -> bool {
    matches!(
        character,
        '$' | '\u{a2}'..='\u{a5}' | '\u{58f}' | '\u{60b}' | '\u{e3f}' | '\u{17db}' | '\u{20a0}'..='\u{20cf}' | '\u{fdfc}'
    )
}
