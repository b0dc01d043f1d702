//! Rejects of records: the plugin gives a code for programs and a sentence for people.

use std::borrow::Cow;
use std::fmt;

use crate::refusal::Refusal;

/// The error of [`record`](crate::Plugin::record). A reject sends one record to the rejects. But a reject that is made
/// from a [`Refusal`] fails the request.
///
/// The content is in a box, so that the `Result` for a good record stays small.
///
/// ```
/// # use ingest_plugin::Reject;
/// let reject = Reject::new("bad-id", "id: \"x\" is not a number");
/// assert_eq!(reject.to_string(), "bad-id: id: \"x\" is not a number");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject(pub(crate) Box<Cause>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Record { code: Cow<'static, str>, reason: String },
    Request(Refusal),
}

impl Reject {
    /// Makes a reject.
    ///
    /// `code` is 1 to 64 lowercase letters, digits and dashes. Receipts count rejects by code. An invalid code does not
    /// fail the request: capital letters become lowercase, other characters become dashes, a code that is too long is
    /// cut, and an empty code becomes `unnamed`.
    ///
    /// `reason` is a sentence for people that names the column and the value. [`Record::reject`](crate::Record::reject)
    /// makes a reject with such a reason.
    pub fn new(code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        let mut code = code.into();
        if !is_code(&code) {
            code = repaired(&code).into();
        }
        let reason = reason.into();
        Self(Box::new(Cause::Record { code, reason }))
    }
}

impl From<Refusal> for Reject {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(Cause::Request(refusal)))
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Record { code, reason } => write!(f, "{code}: {reason}"),
            Cause::Request(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for Reject {}

/// Returns true if the interface allows `code`.
pub(crate) fn is_code(code: &str) -> bool {
    let valid = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    matches!(code.len(), 1..=64) && code.bytes().all(valid)
}

/// Returns a valid code that is similar to `code`.
fn repaired(code: &str) -> String {
    let valid = |char: char| match char.to_ascii_lowercase() {
        char @ ('a'..='z' | '0'..='9') => char,
        _ => '-',
    };
    let code: String = code.chars().take(64).map(valid).collect();
    if code.is_empty() {
        return "unnamed".to_owned();
    }
    code
}

/// A value in a reason: quoted, escaped, and cut after 80 characters.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Quoted<'_> {
    const CHARS_MAX: usize = 80;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(Self::CHARS_MAX) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}...", &self.0[..end]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_code_is_repaired() {
        let code_of = |code: &'static str| Reject::new(code, "why").to_string();
        assert_eq!(code_of("bad-id"), "bad-id: why");
        assert_eq!(code_of("Bad id_2é"), "bad-id-2-: why");
        assert_eq!(code_of(""), "unnamed: why");
        let long = Reject::new("é".repeat(70), "why").to_string();
        assert_eq!(long, format!("{}: why", "-".repeat(64)));
    }

    #[test]
    fn a_long_value_is_cut_in_a_reason() {
        assert_eq!(Quoted("a\"b\n").to_string(), r#""a\"b\n""#);
        let cut = Quoted(&"é".repeat(81)).to_string();
        assert_eq!(cut, format!("\"{}\"...", "é".repeat(80)));
    }
}
