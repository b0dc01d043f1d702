//! The host's log: a message comes in, and appears in the operator's log with the id of the request.
//!
//! When the log reaches the host's limit, the host drops further lines and counts them. So log only messages that a
//! person should act on. Use [`count`](crate::count) for numbers, and a reject for a fault of a record. In a native
//! test, the lines are in the [report](crate::testing::Report).
//!
//! ```
//! ingest_plugin::log::warn("the input has no column zone: times are taken as local");
//! ```

use std::fmt::Display;

use crate::bindings::ingest::plugin::host::Level;
use crate::host;

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident $level:ident)*) => {$(
        $(#[$doc])*
        pub fn $name(message: impl Display) {
            host::log(Level::$level, &message.to_string());
        }
    )*};
}

levels! {
    /// Logs a single step of the plugin.
    trace Trace
    /// Logs a detail that helps to find a fault in the plugin.
    debug Debug
    /// Logs a message that can be useful to an operator.
    info Info
    /// Logs a message that an operator should look at.
    warn Warn
    /// Logs a message that an operator must act on.
    error Error
}
