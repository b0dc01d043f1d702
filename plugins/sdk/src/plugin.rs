//! The trait that an author implements: an input's schema and a config come in, verdicts on its records
//! go out.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::record::Record;
use crate::refusal::Refusal;
use crate::reject::Reject;
use crate::rows::Rows;
use crate::schema::Schema;

/// A plugin. One value of it sees one input, or a part of one, from front to back, on one thread.
pub trait Plugin: Sized + 'static {
    /// The config, as the operator gives it in JSON; without one it is `{}`. Put
    /// `#[serde(deny_unknown_fields)]` on it, so that a misspelt key is refused rather than ignored.
    type Config: DeserializeOwned;

    /// Whether what becomes of a record, or what [`finish`](Self::finish) adds, depends on the records before.
    /// If so, one instance sees the whole input in order. If not, the host works on a large input with all
    /// its cores: each of several instances gets a part of it, and one of them is asked to finish.
    const STATEFUL: bool;

    /// Whether `config` could work with some input: whatever can be said about it before there is one.
    /// The host asks before it binds the plugin to a queue; [`open`](Self::open) is only ever called
    /// with a config that passed.
    ///
    /// # Errors
    /// A sentence that says what is wrong in the config, and what to do.
    fn check(config: &Self::Config) -> Result<(), Refusal> {
        let _ = config;
        Ok(())
    }

    /// Prepares for one input: says which columns it reads and what the output has. Called once, first.
    ///
    /// # Errors
    /// A sentence that says why the plugin can't work with this input or config, and what to do. The
    /// request then goes to the dead letters.
    fn open(schema: &mut Schema, config: Self::Config) -> Result<Self, Refusal>;

    /// Decides about one record. Called for each, in the order of the input.
    ///
    /// # Errors
    /// A [`Reject`] sends the record to the rejects and the work goes on. `?` on a [`Refusal`] fails the
    /// whole request, without another attempt.
    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject>;

    /// Adds rows to the end of the output. Called once for an input, after the last record: where several
    /// instances share it, on one of them.
    ///
    /// # Errors
    /// A sentence that says why; it fails the whole request, without another attempt.
    fn finish(&mut self, rows: &mut Rows) -> Result<(), Refusal> {
        let _ = rows;
        Ok(())
    }
}

/// What becomes of a record that is not rejected. Rows from [`Record::emit`] go to the output either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the output: as it came, or with the cells that [`Record::set`] changed.
    Keep,
    /// It does not go to the output.
    Drop,
}

/// The config of a plugin that has none: `{}`, and any key is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
