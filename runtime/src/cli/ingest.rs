//! `ingest`: one file, without a queue.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::environment::Environment;
use super::options::{CredentialArgs, GateArgs, InputArgs, LimitArgs, OutputArgs, plugin_config};
use super::out::{self, ProgressLine};
use super::report;
use super::signals::Signals;
use crate::commit::{Committed, Destination};
use crate::error::{Class, Result};
use crate::fetch::{Access, Fetcher, Origin};
use crate::location::redact;
use crate::pipeline::{self, Gauge, Job};
use crate::receipt;
use crate::request::check_name;
use crate::stop::{Stop, TimeLimit, stop_after};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The input: a path, or a URI of scheme file, http or https.
    uri: String,
    /// The component to run it through.
    #[arg(long, value_name = "FILE")]
    plugin: PathBuf,
    /// Config of the component.
    #[arg(long, alias = "config", value_name = "JSON|@FILE")]
    plugin_config: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    gate: GateArgs,
    /// Name of the output; by default made of the input's name and a digest of input, plugin and config.
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print the receipt.
    #[arg(long)]
    json: bool,
}

pub(super) async fn ingest(args: Args, environment: &Environment) -> Result<ExitCode> {
    if let Some(id) = &args.id {
        check_name("id", id, 128)?;
    }
    args.input.options().check()?;
    let limits = Arc::new(args.limits.limits());
    let mut time = TimeLimit::new(limits.attempt);
    tracing::info!(%limits, "limits");
    let config = plugin_config(args.plugin_config.as_deref())?;
    let destination = Destination::new(&args.output.output, args.output.rejects.as_deref())?;
    let engine = environment.engine(&limits)?;
    let plugin = engine.load_file(&args.plugin)?;
    plugin
        .check(&config.as_written)
        .map_err(|e| e.about(args.plugin.display()))?;
    let fetcher = Fetcher::with_credentials(Access::default(), args.credentials.read()?, &limits);
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    let gate = args.gate.gate();
    let gauge = Arc::new(Gauge::default());
    let now = receipt::now();
    let source = stop_after(&mut time, &stop, fetcher.open(&args.uri, Origin::Typed, &stop)).await?;
    let job = Job {
        id: args.id,
        queue: None,
        uri: redact(&args.uri),
        submitted_at: now,
        attempt: 1,
        fence: 0,
        life_ms: 0,
        is_contested: false,
        worker: "ingest".into(),
        started_at: now,
        input: args.input.options(),
        plugin,
        config: config.canonical.into(),
        binding: None,
        output_format: args.output.format,
        profile: args.output.profile,
        gate: gate.clone(),
        destination: Arc::new(destination),
        lanes: limits.lanes,
        limits,
        stop: stop.clone(),
        gauge: Arc::clone(&gauge),
    };
    let line = ProgressLine::of_job(gauge);
    let result = stop_after(&mut time, &stop, pipeline::spawn(job, move || Ok(source))).await;
    drop(line);
    let receipt = match result? {
        Committed::New(receipt) => receipt,
        Committed::Existing(receipt) => {
            out::note("done before: the same input, plugin and config gave this output");
            if args.output.profile && receipt.quality.is_none() {
                out::note(
                    "the receipt of that time has no profile: --id or --output of another name make a new one",
                );
            }
            receipt
        }
    };
    if receipt.records.read > 0 && receipt.records.rejected == receipt.records.read {
        out::note(
            "every record was rejected: is the input what it seems? (--input-format, --delimiter, --no-header)",
        );
    }
    if let Some(doubt) = gate.doubt(&receipt.rejects.by_code) {
        out::note(format!("--max-rejects: {doubt}"));
    }
    if args.json {
        out::json(&receipt);
    } else {
        out::receipt(&receipt);
        if let Some(quality) = &receipt.quality {
            out::line("");
            report::columns(quality, receipt.records.written);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The first Ctrl-C, SIGTERM or SIGHUP stops between two batches and leaves nothing behind; the second ends the process.
fn stop_on_signals(stop: &Stop) -> Result<()> {
    let mut signals = Signals::listen()?;
    let stop = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        stop.request(Class::Cancelled, "interrupted");
        signals.next().await;
        std::process::exit(130);
    });
    Ok(())
}
