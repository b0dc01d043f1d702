//! Implements `compile-component`. The program starts itself with this command to compile a component. The command is
//! not for users.

use std::io::Write;
use std::process::ExitCode;

use crate::config::{LimitValue, Limits};
use crate::error::Class;
use crate::plugin::{PASSING, UNFIT, compile};

#[derive(clap::Parser)]
pub(super) struct Args {
    /// All limits, as NAME=VALUE.
    limits: Vec<LimitValue>,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let limits = Limits::default().with(&args.limits);
    match compile(&limits) {
        // If writing fails, the parent process is gone, so nobody reads the result.
        Ok(code) => {
            let mut out = std::io::stdout();
            let written = out.write_all(&code).and_then(|()| out.flush());
            written.map_or(ExitCode::from(PASSING), |()| ExitCode::SUCCESS)
        }
        Err(error) => {
            // The parent process adds the stage, and escapes the report before it prints it.
            let report = format!("{}\n{}", error.code(), error.report_without_stage());
            let written = std::io::stdout().write_all(report.as_bytes());
            let code = match error.class() {
                Class::Permanent => UNFIT,
                _ => PASSING,
            };
            written.map_or(ExitCode::from(PASSING), |()| ExitCode::from(code))
        }
    }
}
