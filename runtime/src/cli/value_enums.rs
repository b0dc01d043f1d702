//! Maps the words of options to values of the domain, whose types do not know the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::format::Format;
use crate::queue::State;
use crate::request::{BlankRows, DialectFrom, DuplicateColumns, LongRows, ShortRows};
use crate::telemetry::log::LogFormat;

/// Implements [`ValueEnum`] for a type by its words, with the help for each. A variant without a word does not compile.
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
    Jsonl = "jsonl", "One JSON object a line";
});

value_enum!(State {
    Ready = "ready", "Waits to be claimed";
    Delayed = "delayed", "Waits for its time: submitted with a delay, or failed and to be tried again";
    Leased = "leased", "Claimed by a worker that is at work on it";
    Done = "done", "Committed, with a receipt";
    Dead = "dead", "Given up, with a reason: a dead letter";
    Cancelled = "cancelled", "Withdrawn by somebody";
});

value_enum!(DialectFrom {
    Auto = "auto", "The first records tell it";
    Spaces = "spaces", "One or more spaces stand between fields";
});

value_enum!(ShortRows {
    Reject = "reject", "It is rejected, `ragged-row`";
    Fill = "fill", "The fields that it lacks are empty";
});

value_enum!(LongRows {
    Reject = "reject", "It is rejected, `ragged-row`";
    TrailingEmpty = "trailing-empty",
        "It is taken without the further fields if all of these are empty, and else rejected";
});

value_enum!(BlankRows {
    Keep = "keep", "It is a row of empty fields";
    Drop = "drop", "It is passed over like an empty line";
});

value_enum!(DuplicateColumns {
    Fail = "fail", "It is an error";
    Number = "number",
        "The second column named `a` is `a_2`, the third `a_3`; names that the header has are passed over";
});

value_enum!(LogFormat {
    Human = "human";
    Json = "json";
});
