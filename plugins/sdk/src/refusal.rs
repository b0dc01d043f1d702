//! Refusals of an input or a config: a sentence comes in from the plugin, and goes out to the dead letters.

use std::fmt;

/// A sentence that says why the plugin cannot work with an input or a config, and what to do. A refusal fails the whole
/// request, without another attempt. For one bad record, use [`Reject`](crate::Reject).
///
/// ```
/// # use ingest_plugin::Refusal;
/// let refusal = Refusal::new("config: max is below min, swap them");
/// assert_eq!(refusal.to_string(), "config: max is below min, swap them");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// Makes a refusal. `sentence` is lowercase, has no period, and first names the thing that is wrong. An example is
    /// `config: max is below min, swap them`.
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
