//! Prints results, errors and progress.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::commit::receipt_uri;
use crate::error::Error;
use crate::escape;
use crate::pipeline::ProgressCounters;
use crate::receipt::{OutputPart, Receipt, RecordCounts, RejectsPart, StepPart};
use crate::telemetry::log::{self, is_dumb};
use crate::telemetry::stderr;

/// The maximum number of characters of a cell outside the last column. Without this maximum, one long cell would make
/// its whole column as wide.
const CELL_CHARS_MAX: usize = 512;

/// The time between two updates of a progress line.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Prints a line of results for people, escaped.
pub(super) fn line(text: impl Display) {
    print(&escape::for_people(&text.to_string()));
}

/// The look of a part of a line, on a terminal with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As the terminal shows text.
    Plain,
    /// Bold.
    Strong,
    /// Faint.
    Faint,
    /// Green: new, or good.
    New,
    /// Red: gone, or bad.
    Gone,
}

/// Prints a line of results for people that consists of parts with looks. The parts are escaped.
pub(super) fn parts(parts: &[(Look, &str)]) {
    let has_colours = log::colours_stdout();
    let shown = parts.iter().map(|(look, text)| {
        let text = escape::for_people(text);
        match (has_colours && !text.is_empty(), look.ansi()) {
            (true, Some(code)) => format!("\u{1b}[{code}m{text}\u{1b}[0m").into(),
            _ => text,
        }
    });
    let line = shown.collect::<Vec<_>>().concat();
    print(line.trim_end());
}

impl Look {
    /// Returns the number of the look in the escape sequences of ECMA-48.
    fn ansi(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Strong => Some(1),
            Self::Faint => Some(2),
            Self::New => Some(32),
            Self::Gone => Some(31),
        }
    }
}

/// Prints a result for machines as one line of JSON. Characters that could control a terminal are escaped.
pub(super) fn json(value: &impl Serialize) {
    print(&escape::json(
        serde_json::to_string(value).expect("results serialize"),
    ));
}

/// Set if stdout is for records. If so, results go to stderr.
static IS_FOR_RECORDS: AtomicBool = AtomicBool::new(false);

/// From now on, keeps stdout free for records: results go to stderr.
pub(super) fn keep_stdout_for_records() {
    IS_FOR_RECORDS.store(true, Ordering::Relaxed);
}

/// Writes a line to stdout unchanged. If no process reads stdout any more, as after `... | head`, the program
/// continues. Any other failure ends the program.
fn print(line: &str) {
    if IS_FOR_RECORDS.load(Ordering::Relaxed) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
        return;
    }
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            note(format!("error: cannot write to stdout: {error}"));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints an error with all its causes and its code to stderr.
pub(super) fn error(error: &Error) {
    note(error_text(error));
}

/// Returns an error with all its causes and its code as a note.
pub(super) fn error_text(error: &Error) -> String {
    format!("error: {} [{}]", error.report(), error.code())
}

/// Prints a note to stderr, for the person at the terminal. The note is escaped as in [`line()`].
pub(super) fn note(text: impl Display) {
    // If stderr is closed, nobody reads the note.
    let line = format!("{}\n", escape::for_people(&text.to_string()));
    let _ = stderr::write(line.as_bytes());
}

/// Returns the first `chars` characters of a text, with `…` if the text is longer.
pub(super) fn beginning(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns whether a cell is a number (a count, a share or an estimate), or the `-` that replaces a number.
fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('~').unwrap_or(cell);
    let digits = digits.strip_suffix('%').unwrap_or(digits);
    cell == "-" || digits.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Prints a table for people. Its cells are escaped.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    aligned(head, rows).iter().for_each(|line| print(line));
}

/// Escapes the cells of a row for people and limits their length.
fn shown(row: &[String]) -> Vec<Cow<'_, str>> {
    let chars_max = |column| match column + 1 == row.len() {
        true => escape::SHOWN_CHARS_MAX,
        false => CELL_CHARS_MAX,
    };
    row.iter()
        .enumerate()
        .map(|(column, cell)| escape::for_people_within(cell, chars_max(column)))
        .collect()
}

/// Returns the lines of a table with aligned columns. Numbers are aligned right.
fn aligned(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<_>> = rows.iter().map(|row| shown(row)).collect();
    let columns: Vec<(usize, bool)> = (0..head.len())
        .map(|column| {
            let cells = || {
                rows.iter()
                    .map(|row| &*row[column])
                    .filter(|cell| !cell.is_empty())
            };
            let width = cells()
                .map(UnicodeWidthStr::width)
                .fold(head[column].width(), usize::max);
            (width, cells().count() > 0 && cells().all(is_number))
        })
        .collect();
    let aligned = |cells: &[Cow<'_, str>]| {
        let mut text = String::new();
        for (cell, (width, is_numbers)) in cells.iter().zip(&columns) {
            let room = " ".repeat(width - cell.width());
            let [before, behind] = if *is_numbers { [&*room, ""] } else { ["", &*room] };
            text.extend([before, cell, behind, "  "]);
        }
        text.trim_end().to_owned()
    };
    let head: Vec<_> = head.iter().map(|cell| Cow::from(*cell)).collect();
    std::iter::once(&head)
        .chain(&rows)
        .map(|cells| aligned(cells))
        .collect()
}

/// Prints the counts of records.
pub(super) fn records(records: &RecordCounts) {
    let noun = if records.read == 1 { "record" } else { "records" };
    line(format!(
        "{} {noun}: {} kept, {} edited, {} replaced, {} dropped, {} rejected; {} written",
        records.read,
        records.kept,
        records.edited,
        records.replaced,
        records.dropped,
        records.rejected,
        records.written
    ));
}

/// Prints a receipt for people.
pub(super) fn receipt(receipt: &Receipt) {
    records(&receipt.records);
    for (code, count) in &receipt.rejects.by_code {
        line(format!("  {count:>8}  {code}"));
    }
    made_by(&receipt.steps, receipt.binding);
    objects(&receipt.outputs, &receipt.rejects);
    if let Some(uri) = receipt_uri(receipt) {
        line(format!("receipt  {uri}"));
    }
}

/// Prints the plugins that ran.
pub(super) fn made_by(steps: &[StepPart], binding: Option<u64>) {
    let binding = binding.map_or(String::new(), |number| format!(", binding {number}"));
    for step in steps {
        let StepPart {
            plugin, data, origin, ..
        } = step;
        line(format!("plugin   {plugin}{binding}"));
        for (name, sha256) in data {
            line(format!("data     {name}  sha256:{}", beginning(sha256, 12)));
        }
        if origin.is_some() {
            line("origin   the plugin uses the request's id or its input's URI or name");
        }
    }
}

/// Prints the locations of outputs and rejects.
pub(super) fn objects(outputs: &[OutputPart], rejects: &RejectsPart) {
    for output in outputs {
        line(format!("output   {}", output.uri));
    }
    if let Some(uri) = &rejects.uri {
        line(format!("rejects  {uri}"));
    }
}

/// Returns a number of bytes as a text for people.
pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Returns the progress of a job as a text for people.
pub(super) fn measures(bytes: u64, records: u64, rejects: u64) -> String {
    format!(
        "{}  {} records  {} rejects",
        HumanBytes(bytes),
        HumanCount(records),
        HumanCount(rejects)
    )
}

/// Shows a job's progress on stderr until this value is dropped. Shows nothing if stderr is not a terminal, or if the
/// terminal cannot redraw a line (`TERM=dumb`).
pub(super) struct ProgressLine {
    bar: ProgressBar,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl ProgressLine {
    /// Creates a line that shows the progress of a job in this process.
    pub(super) fn of_job(progress: Arc<ProgressCounters>) -> Self {
        let mut line = Self::spinner();
        let bar = line.bar.clone();
        line.task = Some(tokio::spawn(async move {
            loop {
                let [bytes, records, rejects] = [&progress.bytes, &progress.records, &progress.rejects]
                    .map(|count| count.load(Ordering::Relaxed));
                let rate = records as f64 / bar.elapsed().as_secs_f64().max(0.001);
                let rate = HumanCount(rate as u64);
                bar.set_message(format!("{}  {rate} records/s", measures(bytes, records, rejects)));
                tokio::time::sleep(REDRAW_EVERY).await;
            }
        }));
        line
    }

    /// Creates a line that shows the text given to [`ProgressLine::say`].
    pub(super) fn spinner() -> Self {
        let can_show = std::io::stderr().is_terminal() && !is_dumb(&|name| std::env::var_os(name));
        let bar = if can_show {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(
            ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("a constant template"),
        );
        bar.enable_steady_tick(REDRAW_EVERY);
        Self { bar, task: None }
    }

    pub(super) fn say(&self, text: impl Into<String>) {
        let text = escape::for_people(&text.into()).into_owned();
        self.bar.set_message(text);
    }

    /// Prints a note above the line. The note stays on the screen.
    pub(super) fn keep(&self, text: impl Display) {
        self.bar.suspend(|| note(text));
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{CELL_CHARS_MAX, aligned, beginning};

    #[test]
    fn columns_are_aligned_by_what_they_hold_and_how_wide_it_is() {
        let rows = [
            ["汉字", "~100", "", "-", "1"],
            ["é", "7", "", "-5.5", "n/a"],
            ["plain", "", "", "33.33%", ""],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let lines = aligned(&["NAME", "COUNT", "NONE", "SHARE", "MIXED"], &rows);
        assert_eq!(
            lines,
            [
                "NAME   COUNT  NONE   SHARE  MIXED",
                "汉字    ~100             -  1",
                "é          7          -5.5  n/a",
                "plain               33.33%",
            ]
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(beginning("éé", 2), "éé");
        assert_eq!(beginning("ééé", 2), "éé…");
    }

    #[test]
    fn a_cell_stays_in_its_place() {
        let long = "x".repeat(1 << 20);
        let rows = [["a\n\u{202e}", "b"], [&long, &long]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let lines = aligned(&["A", "B"], &rows);
        let is_told = |line: &str| line.contains("… (1048064 more characters)  ");
        assert!(
            lines[1].starts_with("a\\n\\u{202e}  ") && is_told(&lines[2]),
            "{lines:?}"
        );
        assert!(lines[1].len() < 2 * CELL_CHARS_MAX && lines[1].ends_with(" b"));
    }
}
