//! Rewriting of texts before any check: a field comes in, the text without invisible characters, in one form of Unicode
//! and in one case goes out. A text that needs no change is not copied.

use std::borrow::Cow;

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use crate::values::Fault;

/// The keys of a rule that rewrite a text, in the order in which they apply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rewrite {
    pub(crate) invisible: Option<Invisible>,
    pub(crate) unicode: Option<Form>,
    pub(crate) trim: bool,
    pub(crate) case: Option<Case>,
}

/// The treatment of invisible characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Invisible {
    /// They are removed, and unusual spaces become ordinary ones.
    Remove,
    /// A value with such a character is rejected.
    Reject,
}

/// A normalisation form of Unicode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Form {
    /// Characters are composed: `e` and an accent become `é`.
    Nfc,
    /// As `Nfc`, and variants of a character, such as `ﬁ` and `①`, become the plain characters.
    Nfkc,
}

/// The case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Case {
    Lower,
    Upper,
}

impl TryFrom<String> for Invisible {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "remove" => Ok(Self::Remove),
            "reject" => Ok(Self::Reject),
            _ => Err(format!(
                "\"invisible\" is {name:?}: write \"remove\" or \"reject\""
            )),
        }
    }
}

impl TryFrom<String> for Form {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "nfc" => Ok(Self::Nfc),
            "nfkc" => Ok(Self::Nfkc),
            _ => Err(format!("\"unicode\" is {name:?}: write \"nfc\" or \"nfkc\"")),
        }
    }
}

impl TryFrom<String> for Case {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "lower" => Ok(Self::Lower),
            "upper" => Ok(Self::Upper),
            "title" => Err(
                "\"case\" is \"title\", which differs from language to language (\"McDonald\", \"O'Neill\", \
                            \"van der Meer\"): write \"lower\" or \"upper\""
                    .to_owned(),
            ),
            _ => Err(format!("\"case\" is {name:?}: write \"lower\" or \"upper\"")),
        }
    }
}

impl Rewrite {
    /// Rewrites a text.
    ///
    /// # Errors
    /// Fails with the first invisible character if the rule rejects them.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Result<Cow<'a, str>, Fault<'static>> {
        let mut text = Cow::Borrowed(text);
        match self.invisible {
            _ if is_plain(&text) => {}
            Some(Invisible::Reject) => {
                if let Some((_, character)) = invisible(&text).next() {
                    return Err(Fault::Invisible(character));
                }
            }
            Some(Invisible::Remove) => replace(&mut text, remove_invisible),
            None => {}
        }
        self.normalise(&mut text);
        if self.trim {
            text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
            };
        }
        if let Some(case) = self.case {
            replace(&mut text, |text| case.apply(text));
            // A letter can become several characters that have a composed form.
            self.normalise(&mut text);
        }
        Ok(text)
    }

    /// Returns the name of the first key that changes or rejects the text, or `None` if all keys leave it as it is.
    pub(crate) fn changed_by(&self, text: &str) -> Option<&'static str> {
        let keys = [
            (
                "invisible",
                Self {
                    invisible: self.invisible,
                    ..Self::default()
                },
            ),
            (
                "unicode",
                Self {
                    unicode: self.unicode,
                    ..Self::default()
                },
            ),
            (
                "trim",
                Self {
                    trim: self.trim,
                    ..Self::default()
                },
            ),
            (
                "case",
                Self {
                    case: self.case,
                    ..Self::default()
                },
            ),
        ];
        let is_changed = |rewrite: &Self| !rewrite.apply(text).is_ok_and(|rewritten| rewritten == text);
        keys.iter()
            .find(|(_, rewrite)| is_changed(rewrite))
            .map(|(key, _)| *key)
    }

    fn normalise(&self, text: &mut Cow<'_, str>) {
        // Every form leaves ASCII as it is.
        if let Some(form) = self.unicode
            && !text.is_ascii()
        {
            replace(text, |text| form.apply(text));
        }
    }
}

/// Replaces a text by the result of `change`, if there is one.
fn replace(text: &mut Cow<'_, str>, change: impl Fn(&str) -> Option<String>) {
    if let Some(changed) = change(text) {
        *text = Cow::Owned(changed);
    }
}

impl Form {
    /// Returns the text in this form, or `None` if it has this form already.
    fn apply(self, text: &str) -> Option<String> {
        let normal: String = match self {
            Self::Nfc if unicode_normalization::is_nfc(text) => return None,
            Self::Nfkc if unicode_normalization::is_nfkc(text) => return None,
            Self::Nfc => text.nfc().collect(),
            Self::Nfkc => text.nfkc().collect(),
        };
        Some(normal)
    }
}

impl Case {
    /// Returns the text in this case, or `None` if it has this case already.
    fn apply(self, text: &str) -> Option<String> {
        let is_other = |byte: u8| match self {
            Self::Lower => byte.is_ascii_uppercase(),
            Self::Upper => byte.is_ascii_lowercase(),
        };
        if text.is_ascii() && !text.bytes().any(is_other) {
            return None;
        }
        let changed = match self {
            Self::Lower => text.to_lowercase(),
            Self::Upper => text.to_uppercase(),
        };
        (changed != text).then_some(changed)
    }
}

/// Returns true if all characters are visible ones of ASCII, spaces, tabs and line breaks. Most texts are plain.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'))
}

/// Returns the text without invisible characters, or `None` if it has none.
fn remove_invisible(text: &str) -> Option<String> {
    let mut found = invisible(text).peekable();
    found.peek()?;
    let (mut visible, mut end) = (String::with_capacity(text.len()), 0);
    for (at, character) in found {
        visible.push_str(&text[end..at]);
        if character.is_whitespace() {
            visible.push(' ');
        }
        end = at + character.len_utf8();
    }
    visible.push_str(&text[end..]);
    Some(visible)
}

/// Finds the invisible characters and the unusual spaces of a text, with their positions in bytes.
fn invisible(text: &str) -> impl Iterator<Item = (usize, char)> {
    let is_found = move |&(at, character): &(usize, char)| {
        is_invisible(character) && !(is_joiner(character) && is_joining(text, at))
    };
    text.char_indices().filter(is_found)
}

fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}')
}

/// Returns true if the joiner at `at` is between two visible characters that are not of the Latin, Greek, Cyrillic or
/// Armenian script. The spelling of Persian, of the languages of India and of many emoji needs joiners there.
fn is_joining(text: &str, at: usize) -> bool {
    let is_joined = |character: Option<char>| {
        character.is_some_and(|character| {
            let is_other_script = matches!(character, '\u{590}'..='\u{1dff}' | '\u{2000}'..);
            is_other_script && !is_invisible(character)
        })
    };
    is_joined(text[..at].chars().next_back()) && is_joined(text[at..].chars().nth(1))
}

/// Returns true for characters without a visible form, and for spaces that look like the ordinary one. Tabs and line
/// breaks are not among them, nor are the selectors of variants, which change the form of the character before them.
fn is_invisible(character: char) -> bool {
    match character {
        ' '..='~' | '\t' | '\n' | '\r' => false,
        // Control characters.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        // The no-break space, the spaces of typography, and the separators of lines and paragraphs.
        '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202f}'
        | '\u{205f}' => true,
        // The soft hyphen, joiners, marks of the direction, invisible operators and fillers.
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' => true,
        // Tags, which can hide a text.
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}
