//! The trait that the author of a plugin implements: an input's schema and a config come in, verdicts on the input's
//! records go out.

use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::record::Record;
use crate::refusal::Refusal;
use crate::reject::Reject;
use crate::rows::Rows;
use crate::schema::Schema;

/// A plugin. Each value of a type that implements this trait processes one input, or a part of an input, from front to
/// back on one thread.
///
/// The host calls [`check`](Self::check) and [`open`](Self::open) first, then [`record`](Self::record) for each record,
/// and [`finish`](Self::finish) last. The host makes only one call at a time. The README of the crate has an example of
/// each method.
pub trait Plugin: Sized + 'static {
    /// The config that the operator gives as JSON. If the operator gives none, the JSON is `{}`. Put
    /// `#[serde(deny_unknown_fields)]` on the type, so that a misspelt key is refused rather than ignored.
    type Config: DeserializeOwned;

    /// True if the result for a record, or the rows that [`finish`](Self::finish) adds, depend on earlier records. If
    /// this is true, one instance gets the whole input in order. If it is false, the host may process a large input on
    /// several cores: each of several instances gets a part of the input, and the host calls `finish` on only one of
    /// them.
    const STATEFUL: bool;

    /// Checks that `config` could work with some input. The host calls this before it binds the plugin to a queue.
    /// [`open`](Self::open) gets only configs that passed this check.
    ///
    /// # Errors
    /// Returns a sentence that says what is wrong in the config, and what to do. The host then refuses the binding. If
    /// the check that precedes `open` fails, the request fails.
    fn check(config: &Self::Config) -> Result<(), Refusal> {
        let _ = config;
        Ok(())
    }

    /// Returns a JSON Schema of the config, or `None` if there is none. `ingest-host plugin inspect` shows it to people,
    /// and editors can use it. [`check`](Self::check) alone decides whether a config is accepted. With the feature
    /// `schemars`, `config_schema_of` makes the schema from the type of the config.
    fn config_schema() -> Option<String> {
        None
    }

    /// Prepares the plugin for one input: chooses the input columns to read and the columns of the output. The host
    /// calls this once per instance, before the first record. The same input, config, reference data and origin must
    /// always give the same columns.
    ///
    /// # Errors
    /// Returns a sentence that says why the plugin cannot work with this input or config, and what to do. The request
    /// then becomes a dead letter, without another attempt.
    fn open(schema: &mut Schema, config: Self::Config) -> Result<Self, Refusal>;

    /// Processes one record. The host calls this for each record, in the order of the input.
    ///
    /// # Errors
    /// A [`Reject`] sends the record to the rejects, and the host continues with the next record. A [`Refusal`] that is
    /// converted into a `Reject`, for example by `?`, fails the whole request, without another attempt.
    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject>;

    /// Adds rows at the end of the output. The host calls this once per input, after the last record. If several
    /// instances share the input, only one of them gets this call.
    ///
    /// # Errors
    /// Returns a sentence that says why the plugin cannot finish. The whole request then fails, without another
    /// attempt.
    fn finish(&mut self, rows: &mut Rows) -> Result<(), Refusal> {
        let _ = rows;
        Ok(())
    }
}

/// The verdict on a record that is not rejected. With either verdict, the rows from [`Record::emit`] go to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Writes the record to the output: unchanged, or with the cells that [`Record::set`] changed.
    Keep,
    /// Leaves the record out of the output.
    Drop,
}

/// The config of a plugin that takes no config. Its JSON is `{}`, and a key in it is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoConfig {}

impl<'de> Deserialize<'de> for NoConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NoMembers;
        impl<'de> Visitor<'de> for NoMembers {
            type Value = NoConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NoConfig, A::Error> {
                match members.next_key::<String>()? {
                    Some(name) => Err(de::Error::custom(format_args!(
                        "unknown field `{name}`: this plugin takes no config"
                    ))),
                    None => Ok(NoConfig {}),
                }
            }
        }
        deserializer.deserialize_map(NoMembers)
    }
}
