//! Does what the author of a plugin needs on the own machine, without a queue: makes a project, and builds it. Takes
//! paths and plain options, and returns typed answers. Nothing in this module prints, except that a tool chain that it
//! runs writes its own messages to stderr.

mod build;
mod language;
mod new;

pub use build::{Built, build};
pub use language::Language;
pub use new::{Created, create};
