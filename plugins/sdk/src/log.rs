//! The host's log: a line comes in, the operator sees it beside the request it belongs to.
//!
//! The host drops lines beyond its limit and counts them, so log what a person should act on; what is to
//! be counted goes to [`count`](crate::count), what is wrong with a record into its reject. In a native
//! test the lines are in the [report](crate::testing::Report).

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
    /// For whoever follows each step of the plugin.
    trace Trace
    /// For whoever looks for a fault in the plugin.
    debug Debug
    /// What an operator may want to know.
    info Info
    /// What an operator should look at.
    warn Warn
    /// What an operator must do something about.
    error Error
}
