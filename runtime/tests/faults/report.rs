//! Writes the results of the rows into the table at the end of docs/reliability.md.

use std::fmt::Write;
use std::path::Path;

use crate::{RowOutcome, Scale};

/// The line of the document between the text and the table. A run keeps the text above this line, and replaces the
/// table below it.
const MARKER: &str = "<!-- `make faults` keeps the text above this line and writes the text below it. -->";

/// Replaces the table in the document.
pub(crate) fn write(path: &Path, seen: &[RowOutcome], scale: &Scale) -> std::io::Result<()> {
    let before = std::fs::read_to_string(path)?;
    let by_hand = before.split_once(MARKER).map_or(&*before, |(by_hand, _)| by_hand);
    let mut out = format!("{}\n\n{MARKER}\n\n## The latest run\n\n", by_hand.trim_end());
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let _ = writeln!(out, "Results of `make faults SEED={}` on {date}:\n", scale.seed);
    out += "| # | fault | holds | seen | took |\n| ---: | --- | --- | --- | ---: |\n";
    for RowOutcome {
        row,
        holds,
        figures,
        took,
    } in seen
    {
        let holds = if *holds { "yes" } else { "**no**" };
        let _ = writeln!(
            out,
            "| {} | {} | {holds} | {figures} | {:.0} s |",
            row.number,
            row.fault,
            took.as_secs_f64()
        );
    }
    std::fs::write(path, out)
}
