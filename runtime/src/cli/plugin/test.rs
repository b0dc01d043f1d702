//! Implements `plugin test`, which runs a plugin on the cases in a folder.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::kit::load;
use crate::cli::data::DataArgs;
use crate::cli::environment::Environment;
use crate::cli::options::LimitArgs;
use crate::cli::print::{self, Look};
use crate::error::Result;
use crate::kit::cases::{self, CaseResult};
use crate::kit::{Difference, Side};
use crate::stop::Stop;

const CASES: &str = "\
The files of a case:
  NAME.csv or NAME.jsonl          the input
  NAME.config.json                the plugin's config (optional)
  NAME.out.csv or NAME.out.jsonl  the expected output
  NAME.rejects.csv                the expected rejects, unless none are expected
  NAME.error.txt                  the expected error, if the plugin refuses the input

Exit codes: 0 if every case passes, 1 if a case fails, 2 if there is no case.";

#[derive(clap::Args)]
#[command(after_help = CASES)]
pub(in crate::cli) struct Args {
    /// The folder of the plugin's project, which is built first, or a component file.
    #[arg(value_name = "DIR|FILE")]
    plugin: PathBuf,
    /// The folder of the cases [default: `cases` in DIR, or in the current folder for a component file].
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Write what the plugin does as what is expected.
    #[arg(long)]
    bless: bool,
    /// Print JSON, one line for each case.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(super) fn test(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let folder = args.cases.clone().unwrap_or_else(|| match args.plugin.is_dir() {
        true => args.plugin.join("cases"),
        false => "cases".into(),
    });
    // A folder without cases is found out before a long build.
    let cases = cases::find(&folder)?;
    let limits = Arc::new(args.limits.limits());
    let plugin = load(&args.plugin, &args.data, &limits, environment)?;
    let mut failed = 0;
    for case in &cases {
        let result = case.run(&plugin, &limits, &Stop::default(), args.bless)?;
        failed += usize::from(!result.passed);
        match args.json {
            true => print::json(&result),
            false => show(&result),
        }
    }
    if !args.json {
        let count = cases.len();
        let noun = if count == 1 { "case" } else { "cases" };
        match failed {
            0 => print::parts(&[(Look::New, &format!("{count} {noun}, all pass"))]),
            _ => print::parts(&[(Look::Gone, &format!("{count} {noun}, {failed} failed"))]),
        }
    }
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn show(result: &CaseResult) {
    let counts = match (result.records, result.rejected) {
        (Some(1), Some(rejected)) => format!("  1 record, {rejected} rejected"),
        (Some(records), Some(rejected)) => format!("  {records} records, {rejected} rejected"),
        _ => "  the plugin refuses the input, or fails".to_owned(),
    };
    let (look, word) = match (result.passed, result.blessed.is_empty()) {
        (true, true) => (Look::New, "pass   "),
        (true, false) => (Look::Strong, "blessed"),
        (false, _) => (Look::Gone, "fail   "),
    };
    print::parts(&[
        (look, word),
        (Look::Plain, "  "),
        (Look::Strong, &result.name),
        (Look::Faint, &counts),
    ]);
    for file in &result.blessed {
        print::line(format!("  {file}"));
    }
    for difference in &result.differences {
        show_difference(difference);
    }
}

fn show_difference(difference: &Difference) {
    print::parts(&[
        (Look::Plain, "  "),
        (Look::Strong, &difference.file),
        (Look::Gone, "  - expected"),
        (Look::New, "  + made"),
    ]);
    let mut before = None;
    for line in &difference.lines {
        let (look, sign) = match line.side {
            Side::Both => (Look::Faint, ' '),
            Side::Expected => (Look::Gone, '-'),
            Side::Made => (Look::New, '+'),
        };
        let is_gap = line.side == Side::Both && before.is_some_and(|before| line.number > before + 1);
        if is_gap {
            print::parts(&[(Look::Faint, "    ...")]);
        }
        before = (line.side != Side::Made).then_some(line.number).or(before);
        let end = if line.is_cut { "  (no line end)" } else { "" };
        print::parts(&[
            (Look::Faint, &format!("{:>6} ", line.number)),
            (look, &format!("{sign} {}", line.text)),
            (Look::Faint, end),
        ]);
    }
    if difference.left_out > 0 {
        print::parts(&[(
            Look::Faint,
            &format!("    ... {} more lines", difference.left_out),
        )]);
    }
}
