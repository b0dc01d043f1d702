//! Implements `ingest`, which processes files or standard input without a queue.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::config_file::ConfigFile;
use super::data::{self, DataArgs};
use super::environment::Environment;
use super::inputs::{self, InputArgument, InputNotFound};
use super::options::{CredentialArgs, GateArgs, InputArgs, LimitArgs, OutputArgs, heading, plugin_config};
use super::print::{self, ProgressLine};
use super::signals::Signals;
use super::{dry_run, fail, hints, report, stdout, stores};
use crate::commit::{Committed, Destination};
use crate::decode::NOT_UTF8;
use crate::digest::Digesting;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fetch::{Access, Fetcher, RequestedBy};
use crate::gate::{Gate, all_rejected_warning, encoding_hint};
use crate::location::Location;
use crate::names::check_id;
use crate::pipeline::{self, Execution, Job, Placement, ProgressCounters, Work};
use crate::plugin::Plugin;
use crate::receipt::{self, Receipt};
use crate::stop::{Stop, TimeLimit, stop_after};
use crate::storage::{MemoryStorage, Owner};
use crate::telemetry::log::LogFormat;

/// The maximum number of unfinished inputs that the summary names.
const SHOWN_MAX: usize = 10;

// These lines are not wrapped here, because clap wraps them at the terminal's width.
const PIPES: &str = "\
Standard input (`-`): Only --input-format sets its format; gzip and zstd are detected from the first bytes. The input ends when \
the pipe closes. With `set -o pipefail`, the exit code of the whole pipe shows whether the program before has failed.

Stdout (`--output -`): Only the records go to stdout. The summary goes to stderr, rejects are kept only with --rejects, and \
there is no receipt. The records are first staged in a temporary folder (TMPDIR). They are copied to stdout when all inputs are \
done and few enough records were rejected (--max-rejects). Exit code 1 means that nothing was written, unless the error says \
that a part was. Exit code 141 means that the reader stopped reading early, as in `... | head`. The records of several inputs \
follow each other under one header, so all headers must be the same.

Several inputs: Each input has its own output and receipt. If one fails, the others continue, and the exit code is 1. `ingest` \
does not retry errors that may pass; a queue does. A quoted pattern such as 'data/*.csv' stands for the files that it matches, \
in sorted order; `**` matches any number of folders.";

#[derive(clap::Args)]
#[command(after_help = PIPES)]
pub(super) struct Args {
    /// The inputs: paths, patterns such as 'data/*.csv', URIs of scheme file, http, https, s3, gs or az, or `-` for standard input.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<OsString>,
    /// Name of the output, for a single input [default: the input's name and a digest of input, options, plugin and
    /// config].
    #[arg(long)]
    id: Option<String>,
    /// Print the receipt, one line for each input.
    #[arg(long)]
    json: bool,
    /// Process everything, but write nothing: only print the counts and examples of the rejects.
    #[arg(long, conflicts_with_all = ["output", "rejects", "id"])]
    dry_run: bool,
    // A group's heading also applies to the arguments after the group, so groups come last.
    /// The component file of the plugin.
    #[arg(long, value_name = "FILE", help_heading = heading::PLUGIN)]
    plugin: PathBuf,
    /// Config of the plugin.
    #[arg(
        long,
        alias = "config",
        value_name = "JSON|@FILE",
        help_heading = heading::PLUGIN
    )]
    plugin_config: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(super) async fn ingest(
    args: Args,
    file: Option<&ConfigFile>,
    environment: &Environment,
    log_format: LogFormat,
) -> Result<ExitCode> {
    if args.output.is_stdout() {
        print::keep_stdout_for_records();
    }
    let inputs = inputs::expand(&args.inputs);
    check(&args, inputs.len())?;
    args.input.options().check()?;
    let limits = Arc::new(args.limits.limits());
    tracing::debug!(%limits, "limits");
    if let Some(limits) = limits.changed() {
        tracing::info!(limits, "limits that are not the defaults");
    }
    let config = plugin_config("--plugin-config", args.plugin_config.as_deref())?;
    let staged = args.output.is_stdout().then(staging_folder).transpose()?;
    let stores = stores::with_file(&stores::object_stores()?, file)?;
    let destination = match &staged {
        _ if args.dry_run => Destination::in_storage(Box::new(MemoryStorage::dropping())),
        Some(folder) => args.output.staged_in(folder.path())?,
        None => args.output.destination(&stores)?,
    };
    let engine = environment.engine(&limits)?;
    let fetcher =
        Fetcher::with_credentials(Access::default(), args.credentials.read()?, &limits).with_stores(stores);
    let data = data::for_plugin(args.data.read(fetcher.clone()).await?)?;
    let plugin = engine.load_file(&args.plugin)?.with_data(data);
    plugin
        .check(&config.as_written)
        .map_err(|e| e.about(args.plugin.display()))?;
    let interrupted = Stop::default();
    stop_on_signals(
        &interrupted,
        staged.as_ref().map(|folder| folder.path().to_owned()),
    )?;
    let work = Ingestion {
        fetcher,
        plugin,
        config: config.canonical.into(),
        gate: args.gate.gate(),
        destination: Arc::new(destination),
        interrupted,
        args,
    };
    match staged {
        None => to_folder(&work, inputs, log_format).await,
        Some(_) => to_stdout(&work, inputs, log_format).await,
    }
}

/// Refuses options that make no sense for `count` inputs.
fn check(args: &Args, count: usize) -> Result<()> {
    let refused = |what: String| Err(Error::permanent(Stage::Config, Code::Usage, what));
    if let Some(id) = &args.id {
        check_id(id)?;
    }
    let of_one = [
        (args.id.is_some(), "--id names one output"),
        (args.input.sha256.is_some(), "--sha256 is of one file"),
    ];
    if let Some((_, what)) = of_one.iter().find(|(given, _)| *given && count > 1) {
        return refused(format!(
            "{what}, and these are {count} inputs: give one input with it"
        ));
    }
    let is_component = |path: &Path| path.extension().is_some_and(|extension| extension == "wasm");
    let mut components = args
        .inputs
        .iter()
        .map(Path::new)
        .filter(|path| is_component(path));
    if let Some(component) = components.next()
        && !is_component(&args.plugin)
    {
        return refused(format!(
            "{} is an input here, and {} the plugin: write --plugin {0}",
            component.display(),
            args.plugin.display()
        ));
    }
    if args.json && args.output.is_stdout() {
        return refused(
            "--json prints the receipt, and with `--output -` there is none: leave one of them out".into(),
        );
    }
    Ok(())
}

/// Creates the folder in which the output for stdout is staged until the output is complete. Dropping the returned
/// value removes the folder.
fn staging_folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("ingest-host-").tempdir();
    folder.map_err(|error| {
        let what = format!(
            "{}: the folder for what goes to stdout cannot be created; TMPDIR names another place",
            std::env::temp_dir().display()
        );
        Error::permanent(Stage::Commit, Code::OutputUnwritable, what).because(error)
    })
}

/// Publishes the output of each input in the output folder, and prints each result as soon as it is published.
async fn to_folder(
    work: &Ingestion,
    inputs: Vec<Result<InputArgument, InputNotFound>>,
    log_format: LogFormat,
) -> Result<ExitCode> {
    let count = inputs.len();
    let is_named = count > 1 && !work.args.json;
    let print_committed = |name: String, committed| {
        if is_named {
            print::line(&name);
        }
        work.print_committed((count > 1).then_some(&*name), committed);
        Ok(())
    };
    let left = work.ingest_all(inputs, log_format, print_committed).await?;
    if !left.is_empty() {
        if count > 1 {
            print::note(format!(
                "{} of {count} inputs are done{}",
                count - left.len(),
                not_done(&left)
            ));
        }
        return Ok(ExitCode::FAILURE);
    }
    if is_named {
        print::line(format!("all {count} inputs are done"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the outputs to stdout if all inputs succeed. If an input fails, writes nothing to stdout.
async fn to_stdout(
    work: &Ingestion,
    inputs: Vec<Result<InputArgument, InputNotFound>>,
    log_format: LogFormat,
) -> Result<ExitCode> {
    let count = inputs.len();
    let (mut receipts, mut files) = (Vec::new(), Vec::new());
    let stage = |name, committed| {
        let (Committed::New(mut receipt) | Committed::Existing(mut receipt)) = committed;
        for output in &mut receipt.outputs {
            let Location::File(path) = Location::parse(&output.uri, Stage::Commit)? else {
                unreachable!("what is staged is a file");
            };
            files.push(path);
            "stdout".clone_into(&mut output.uri);
        }
        receipts.push((name, receipt));
        Ok(())
    };
    let left = work.ingest_all(inputs, log_format, stage).await?;
    if !left.is_empty() {
        let which = match count {
            1 => String::new(),
            _ => not_done(&left),
        };
        print::note(format!("nothing was written to stdout{which}"));
        return Ok(ExitCode::FAILURE);
    }
    if !stdout::copy(files, &work.interrupted).await? {
        return Ok(ExitCode::from(stdout::NO_READER));
    }
    for (name, receipt) in receipts {
        if count > 1 {
            print::line(&name);
        }
        work.print_committed((count > 1).then_some(&*name), Committed::New(receipt));
    }
    Ok(ExitCode::SUCCESS)
}

fn name(input: &Result<InputArgument, InputNotFound>) -> String {
    match input {
        Ok(input) => input.to_string(),
        Err(unfound) => unfound.argument.clone(),
    }
}

/// Returns the report of an error, with the input at the beginning. The input is named as in the arguments, because
/// several inputs may have the same file name.
fn about(input: &str, error: &Error) -> String {
    let (what, stage) = (error.report_without_stage(), error.stage());
    let last_part = input.rsplit('/').next().unwrap_or(input);
    let rest = |what: &str| {
        let subjects = [input, last_part].into_iter();
        let mut rests = subjects.filter_map(|subject| what.strip_prefix(subject)?.strip_prefix(": "));
        rests.next().map(str::to_owned)
    };
    match rest(&what) {
        Some(rest) => format!("{input}: {stage}: {rest}"),
        None => format!("{input}: {}", error.report()),
    }
}

/// Returns a sentence that names the unfinished inputs.
fn not_done(left: &[String]) -> String {
    let shown = left[..left.len().min(SHOWN_MAX)].join(", ");
    match left.len().saturating_sub(SHOWN_MAX) {
        0 => format!("; not done: {shown}"),
        more => format!("; not done: {shown} and {more} more"),
    }
}

/// Returns the local path of a `file:` URI, for use on a command line. Returns the URI itself if it is not local or if
/// its path contains blanks.
fn shell_path(uri: &str) -> String {
    match Location::parse(uri, Stage::Commit) {
        Ok(Location::File(path)) if !path.to_string_lossy().contains(char::is_whitespace) => {
            path.display().to_string()
        }
        _ => uri.to_owned(),
    }
}

/// The settings that all inputs share.
struct Ingestion {
    fetcher: Fetcher,
    plugin: Plugin,
    config: Arc<str>,
    gate: Gate,
    destination: Arc<Destination>,
    /// The stop that is requested when a signal arrives.
    interrupted: Stop,
    args: Args,
}

impl Ingestion {
    /// Ingests the inputs one after the other, until a signal arrives. Calls `done` with each result and the input's
    /// name, and prints each failure. Returns the names of the unfinished inputs.
    ///
    /// # Errors
    /// Returns the errors of stage config, because they concern all inputs, and the errors of `done`.
    async fn ingest_all(
        &self,
        inputs: Vec<Result<InputArgument, InputNotFound>>,
        log_format: LogFormat,
        mut done: impl FnMut(String, Committed) -> Result<()>,
    ) -> Result<Vec<String>> {
        let (count, mut left) = (inputs.len(), Vec::new());
        for input in inputs {
            let name = name(&input);
            // If there is only one input, its own error says that it was interrupted.
            if count > 1 && self.interrupted.is_requested() {
                left.push(name);
                continue;
            }
            match self.ingest_one(input).await {
                Ok(committed) => done(name, committed)?,
                Err(error) if error.stage() == Stage::Config => return Err(error),
                Err(error) => {
                    let report = match count {
                        1 => error.report(),
                        _ => about(&name, &error),
                    };
                    fail(&report, error.code(), log_format);
                    left.push(name);
                }
            }
        }
        Ok(left)
    }

    /// Ingests one input. Stops if a signal arrives.
    async fn ingest_one(&self, input: Result<InputArgument, InputNotFound>) -> Result<Committed> {
        let input = input.map_err(|unfound| *unfound.error)?;
        // Each input has its own stop, because a time limit stops one input only.
        let stop = Stop::default();
        let attempt = self.attempt(&input, &stop);
        tokio::pin!(attempt);
        let result = tokio::select! {
            biased;
            result = &mut attempt => result,
            () = self.interrupted.requested() => {
                stop.request(Class::Cancelled, INTERRUPTED);
                attempt.await
            }
        };
        result.map_err(|error| match (error.class(), &input) {
            // With `--rejects`, rejects are staged in their own folder, and the error may be about that folder.
            (Class::Transient, _) if error.stage() == Stage::Commit && self.args.output.is_stdout() => {
                match self.args.output.rejects {
                    None => error.with_hint(STAGED_FIRST),
                    Some(_) => error.with_hint(OUTPUT_STAGED_FIRST),
                }
            }
            (Class::Transient, InputArgument::At(_)) => error.with_hint(NO_RETRY),
            _ if let Some(report) = error.kept_report() => {
                let hint = format!("`ingest-host report {}` shows the report", shell_path(report));
                error.with_hint(hint)
            }
            (_, InputArgument::At(uri)) if error.code() == Code::InputMissing => {
                self.about_missing(uri, error)
            }
            // Standard input gets no hint, because a queue cannot retry it.
            _ => error,
        })
    }

    /// Adds a hint to the error about a missing file. If the missing file is in fact the value of a switch, as in
    /// `--trim true`, the hint says to write the value after `=`. If not, the hint names the file with the most similar
    /// name in the folder.
    fn about_missing(&self, uri: &str, error: Error) -> Error {
        let arguments: Vec<_> = std::env::args_os().collect();
        match (hints::switch_before(uri, &arguments), inputs::near(uri)) {
            (Some(switch), _) => error.with_hint(format!("write {switch}={uri}")),
            (None, Some(near)) => error.with_hint(format!("{near} is here: did you mean it?")),
            (None, None) => error,
        }
    }

    async fn attempt(&self, input: &InputArgument, stop: &Stop) -> Result<Committed> {
        let args = &self.args;
        let limits = self.plugin.limits();
        let mut time = TimeLimit::new(limits.attempt);
        let now = receipt::now();
        let is_typed = *input == InputArgument::Stdin && std::io::stdin().is_terminal();
        if is_typed {
            print::note("reading from the terminal: Ctrl-D on a line of its own ends the input");
        }
        let source = match input {
            InputArgument::At(uri) => {
                stop_after(&mut time, stop, self.fetcher.open(uri, RequestedBy::Typed, stop)).await?
            }
            InputArgument::Stdin => self.fetcher.open_stdin(stop)?,
        };
        let progress = Arc::new(ProgressCounters::default());
        let mut options = args.input.options();
        if let (InputArgument::At(uri), None, None) = (input, &args.id, &options.sha256)
            && args.output.prefix().is_some()
        {
            options.sha256 = digest_of_file(uri.clone(), stop.clone()).await?;
        }
        let work = Work {
            input: options,
            plugin: self.plugin.clone(),
            binding: None,
            config: Arc::clone(&self.config),
            output_format: args.output.format,
            profile: args.output.profile,
            gate: self.gate.clone(),
            limits: Arc::clone(limits),
            replay: None,
        };
        let placement = Placement {
            owner: Owner {
                id: args.id.clone(),
                ..Owner::default()
            },
            uri: input.uri(),
            submitted_at: now,
            group: None,
            submitted_input: None,
            destination: Arc::clone(&self.destination),
        };
        let execution = Execution {
            attempt: 1,
            worker: "ingest".into(),
            started_at: now,
            lanes: limits.lanes,
            stop: stop.clone(),
            progress: Arc::clone(&progress),
            watcher: None,
        };
        let job = Job {
            work,
            placement,
            execution,
        };
        // On a terminal, the progress line would overwrite the text that the user types.
        let line = (!is_typed).then(|| ProgressLine::of_job(progress));
        let result = stop_after(&mut time, stop, pipeline::spawn(job, move || Ok(source))).await;
        drop(line);
        result
    }

    /// Prints the result of an input. `name` is the input's name if there are several inputs. Each note then begins
    /// with this name.
    fn print_committed(&self, name: Option<&str>, committed: Committed) {
        let args = &self.args;
        let note = |text: &str| match name {
            Some(name) => print::note(format!("{name}: {text}")),
            None => print::note(text),
        };
        let receipt = match committed {
            Committed::New(receipt) => receipt,
            Committed::Existing(receipt) => {
                note("done before: the same input, options, plugin and config gave this output");
                if args.output.profile && receipt.quality.is_none() {
                    note(
                        "the receipt of that time has no profile: --id or --output of another name make a new one",
                    );
                }
                receipt
            }
        };
        let by_code = &receipt.rejects.by_code;
        let not_utf8 = by_code.get(NOT_UTF8).copied().unwrap_or(0);
        if let Some(warning) = all_rejected_warning(&receipt.records, by_code) {
            note(&warning);
        } else if let Some(hint) = encoding_hint(receipt.records.rejected, not_utf8) {
            note(&hint);
        }
        if let Some(warning) = self.gate.unused_rule_warning(&receipt.rejects.by_code) {
            note(&format!("--max-rejects: {warning}"));
        }
        self.show(&receipt);
    }

    fn show(&self, receipt: &Receipt) {
        if self.args.dry_run {
            return dry_run::show(receipt, self.args.json);
        }
        if self.args.json {
            print::json(receipt);
            return;
        }
        print::receipt(receipt);
        if receipt.rejects.records > 0 && receipt.rejects.uri.is_none() {
            print::line("rejects  not kept: --rejects FOLDER keeps them");
        }
        if let Some(quality) = &receipt.quality {
            print::line("");
            report::columns(quality, receipt.records.written);
        }
    }
}

/// Returns the SHA-256 of a file, in lowercase hex. An output on an object store is named before the input is read, and
/// its name contains this digest. Returns `None` for other inputs, because they can be read only once.
async fn digest_of_file(uri: String, stop: Stop) -> Result<Option<String>> {
    let digest = move || {
        let Ok(Location::File(path)) = Location::parse(&uri, Stage::Fetch) else {
            return Ok(None);
        };
        // If the file cannot be read, the error of the attempt says why.
        if !path.metadata().is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        let Ok(mut file) = File::open(path) else {
            return Ok(None);
        };
        let (mut digesting, mut buffer) = (Digesting::default(), vec![0; READ_BYTES]);
        loop {
            stop.check()?;
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Some(digesting.finish().sha256)),
                Ok(bytes) => digesting.update(&buffer[..bytes]),
                Err(_) => return Ok(None),
            }
        }
    };
    let failed = |error| {
        let what = "the digest of the input was not computed";
        Err(Error::transient(Stage::Fetch, Code::HostFailure, what).because(error))
    };
    tokio::task::spawn_blocking(digest).await.unwrap_or_else(failed)
}

/// The number of bytes of a file that are read at once.
const READ_BYTES: usize = 256 << 10;

/// The exit code of a program that SIGINT ended. By the convention of shells, it is 128 plus the signal's number.
const EXIT_INTERRUPTED: i32 = 130;

const INTERRUPTED: &str = "interrupted";

/// The hint for an error that a worker would retry.
const NO_RETRY: &str = "it may pass by itself: `ingest` does not try again, a queue does";

/// The hint for an error whose most likely cause is a full disk.
const STAGED_FIRST: &str = "what goes to stdout is staged first: TMPDIR names another place for it";

/// The hint for this error if rejects are staged in a separate folder.
const OUTPUT_STAGED_FIRST: &str = "the output is staged before it goes to stdout: TMPDIR names another place for it; rejects are staged in their own folder";

/// On the first Ctrl-C, SIGTERM or SIGHUP, stops the work between two batches, so that no partial output is left
/// behind. On the second signal, removes the folder in which the output for stdout is staged, and ends the process.
fn stop_on_signals(stop: &Stop, staged: Option<PathBuf>) -> Result<()> {
    let mut signals = Signals::listen()?;
    let stop = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        stop.request(Class::Cancelled, INTERRUPTED);
        signals.next().await;
        if let Some(folder) = staged {
            let _ = std::fs::remove_dir_all(folder);
        }
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(())
}
