//! Maps the words of options to values of the domain types. These types do not depend on the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::format::Format;
use crate::kit::Language;
use crate::queue::State;
use crate::request::{BlankRows, DialectFrom, DuplicateColumns, LongRows, ShortRows};
use crate::telemetry::log::LogFormat;

/// Implements [`ValueEnum`] for a type. Each variant gets a word and, optionally, a help text. If a variant has no word
/// here, the program does not compile.
macro_rules! value_enum {
    ($type:ident { $($variant:ident = $word:literal $(, $help:literal)?;)* }) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),*]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(match self {
                    $(Self::$variant => PossibleValue::new($word)$(.help($help))?,)*
                })
            }
        }
    };
}

value_enum!(Format {
    Csv = "csv", "Comma-separated values, RFC 4180 and its usual dialects";
    Jsonl = "jsonl", "One JSON object per line";
});

value_enum!(Language {
    Rust = "rust";
    JavaScript = "js";
});

value_enum!(State {
    Ready = "ready", "Waiting to be claimed by a worker";
    Delayed = "delayed", "Submitted with a delay, or waiting for a retry";
    Leased = "leased", "Claimed by a worker that is working on it";
    Done = "done", "Committed, with a receipt";
    Dead = "dead", "Failed for good, with a reason: a dead letter";
    Cancelled = "cancelled", "Withdrawn by a user";
});

value_enum!(DialectFrom {
    Auto = "auto", "The dialect is detected from the first records";
    Spaces = "spaces", "Fields are separated by one or more spaces";
});

value_enum!(ShortRows {
    Reject = "reject", "The row is rejected with the code `ragged-row`";
    Fill = "fill", "The missing fields become empty";
});

value_enum!(LongRows {
    Reject = "reject", "The row is rejected with the code `ragged-row`";
    TrailingEmpty = "trailing-empty",
        "Extra fields are removed if all of them are empty; otherwise the row is rejected";
});

value_enum!(BlankRows {
    Keep = "keep", "The row is a record of empty fields";
    Drop = "drop", "The row is skipped like an empty line";
});

value_enum!(DuplicateColumns {
    Fail = "fail", "The input fails";
    Number = "number",
        "The second column named `a` becomes `a_2`, the third `a_3`; names that the header already has are skipped";
});

value_enum!(LogFormat {
    Human = "human";
    Json = "json";
});
