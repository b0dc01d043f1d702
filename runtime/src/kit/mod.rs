//! Does what the author of a plugin needs on the own machine, without a queue: makes a project, builds it, runs its
//! cases, and shows what it does and what it costs. Takes paths and plain options, and returns typed answers. Nothing in
//! this module prints, except that a tool chain that it runs writes its own messages to stderr.

mod build;
pub mod cases;
mod cost;
mod differences;
mod inspection;
mod language;
mod new;
mod preview;
mod run;

pub use build::{Built, build, component};
pub use cost::{Cost, measure};
pub use differences::{Difference, Line, Side};
pub use inspection::{InputColumns, PlanInWords, PlannedColumn, columns_of, plan};
pub use language::Language;
pub use new::{Created, create};
pub use preview::{Cells, HEAD_MAX, Preview, PreviewRecord, PreviewRows, preview};
pub use run::Run;
