//! Why a plugin can't work: a sentence goes out, to whoever reads the dead letters.

use std::fmt;

/// A sentence that says why the plugin can't work with an input or a config, and what to do about it.
/// It fails the whole request, without another attempt; for one bad record there is
/// [`Reject`](crate::Reject).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal for the reason in `sentence`: lowercase, without a period, with the thing named first,
    /// as in `config: max is below min`.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}
