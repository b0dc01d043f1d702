//! Runs the command line. Arguments and environment go in. Results go to stdout, and logs and progress go to stderr.
//! The exit code is 0 for success, 1 for a failure and 2 for wrong usage.

mod compile;
mod config;
mod config_file;
mod data;
mod dead;
mod dotenv;
mod dry_run;
mod environment;
mod hints;
mod ingest;
mod input_options;
mod inputs;
mod log_filter;
mod options;
mod plugin;
mod policies;
mod print;
mod queues;
mod reload;
mod replay;
mod report;
mod requests;
mod run;
mod settings;
mod signals;
mod stdout;
mod stores;
mod submit;
mod submit_many;
mod value_enums;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::StyledStr;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::error::{Code, Error, Result, Stage};
use crate::escape;
use crate::location::redact_within;
use crate::plugin::{COMMAND, LOG_TARGET};
use crate::telemetry::log::{self, LogFormat};
use crate::telemetry::stderr;
use config_file::ConfigFile;
use environment::Environment;
use settings::{Settings, Unusable};
use signals::ReloadSignals;

/// Streams files from a queue through sandboxed WebAssembly plugins.
#[derive(Parser)]
#[command(name = "ingest-host", version, propagate_version = true, after_help = ENVIRONMENT)]
struct Cli {
    /// The queue's server: redis://..., rediss://... or sqlite:PATH [default: REDIS_URL, else REDIS_HOST with
    /// REDIS_PORT and REDIS_PASSWORD, else a SQLite file of this user].
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,

    /// The config file, with settings for `run` (see `config check`) [default: INGEST_HOST_CONFIG].
    #[arg(long, global = true, value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// The form of the log lines on stderr.
    #[arg(long, global = true, value_enum, default_value = "human")]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

/// The description of the variables. Each line fits into a small terminal.
const ENVIRONMENT: &str = "\
Environment:
  REDIS_URL                the queue's server; or set REDIS_HOST, REDIS_PORT
                           and REDIS_PASSWORD (.env may set them, too)
  QUEUE_NAME               the queues that `run` serves (.env may set it, too)
  INGEST_HOST_CONFIG       the file for --config-file
  INGEST_HOST_CREDENTIALS  the file for --credentials
  AWS_*, GOOGLE_*, AZURE_* the settings of object stores: docs/storage.md
  RUST_LOG                 the log lines to show: error, warn, info, debug or
                           trace, or TARGET=LEVEL,... such as
                           warn,plugin=debug. The default is info for `run`
                           and warn for other commands; for what plugins log
                           and print it is plugin=info
  NO_COLOR                 disables colours
  TERM=dumb                disables colours and the progress line";

#[derive(Subcommand)]
enum Command {
    /// Run a worker: process the requests of one or more queues.
    Run(run::Args),
    /// Check the settings of a worker.
    #[command(subcommand)]
    Config(config::Command),
    /// Submit requests to a queue.
    Submit(submit::Args),
    /// Show one request, or sum up a group.
    Status(requests::StatusArgs),
    /// Show the result of an input: its counts, its rejects with examples and, after `--profile`, statistics of the
    /// output's columns.
    Report(report::Args),
    /// List the requests of a queue.
    Requests(requests::Args),
    /// Cancel a request.
    Cancel(requests::CancelArgs),
    /// Process the rejects of a request again, for example after its plugin was fixed. The rescued rows become an output
    /// beside the first one.
    Replay(replay::Args),
    /// Inspect, retry or purge dead letters.
    #[command(subcommand)]
    Dead(dead::Command),
    /// List, pause, resume or audit queues.
    #[command(subcommand)]
    Queue(queues::Command),
    /// Ingest files or standard input, without a queue.
    Ingest(ingest::Args),
    /// Store plugins and bind them to queues.
    #[command(subcommand)]
    Plugin(plugin::Command),
}

/// The exit code for wrong usage.
const WRONG_USAGE: u8 = 2;

/// The longest wait, at the end of the program, for threads that still work, such as one that waits for an object store.
/// The end of the process does no more harm to their work than a crash, after which the next worker goes on.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // This command comes first, because its memory limit leaves no room for the work below. Users never call it, so
    // help and suggestions do not show it.
    if arguments.get(1).is_some_and(|command| command == COMMAND) {
        return compile::run(&compile::Args::parse_from(&arguments[1..]));
    }
    // A service manager may ask for a reload as soon as it has started the process.
    signals::hold_hangup();
    let (mut cli, is_log_format_given) = parse(&arguments);
    let path = environment::config_file(cli.config_file.take());
    let config = path.as_deref().map(settings::load).transpose();
    if let (false, Ok(Some(file))) = (is_log_format_given, &config)
        && let Some(format) = file.log_format()
    {
        cli.log_format = format;
    }
    let log_format = cli.log_format;
    start_log(&cli);
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(runtime_threads())
        .enable_all()
        .build()
        .map_err(|e| {
            Error::permanent(Stage::Worker, Code::HostFailure, "cannot start the async runtime").because(e)
        })
        .and_then(|runtime| {
            let sources = Sources {
                arguments,
                path,
                config,
            };
            let result = runtime.block_on(dispatch(cli, sources));
            runtime.shutdown_timeout(BLOCKING_PATIENCE);
            result
        });
    match result {
        Ok(code) => code,
        Err(error) => {
            fail(&error.report(), error.code(), log_format);
            match is_wrong_usage(&error) {
                true => ExitCode::from(WRONG_USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// Returns whether an argument, a variable or a settings file is wrong. Returns false if something that they name is
/// missing or outdated.
fn is_wrong_usage(error: &Error) -> bool {
    error.stage() == Stage::Config && !matches!(error.code(), Code::ReportMissing | Code::HostOutdated)
}

/// Reports a failure of the program or of a part of its work.
fn fail(report: &str, code: Code, log_format: LogFormat) {
    match log_format {
        LogFormat::Human => print::note(format!("error: {report} [{code}]")),
        // The log must contain the reason why the program ended, too.
        LogFormat::Json => tracing::error!(target: log::FAILURE, error = report, %code, "failed"),
    }
}

/// Returns the number of threads of the async runtime. They only wait for servers, and other threads process the
/// records. A few threads wake each other less often than many, and even one thread can serve thousands of small
/// requests per second.
fn runtime_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(4))
}

/// The arguments of the program, and the config file that they or the environment name.
struct Sources {
    arguments: Vec<OsString>,
    path: Option<PathBuf>,
    config: Result<Option<ConfigFile>, Unusable>,
}

async fn dispatch(cli: Cli, sources: Sources) -> Result<ExitCode> {
    signals::survive_file_size_limit()?;
    let reloads = match (&cli.command, &sources.config) {
        (Command::Run(_), Ok(Some(_))) => Some(ReloadSignals::listen()?),
        _ => {
            signals::release_hangup();
            None
        }
    };
    let (arguments, path) = (sources.arguments, sources.path);
    let config = match (sources.config, &cli.command) {
        (Err(unusable), Command::Config(command)) => return Ok(config::report_faults(command, unusable)),
        (config, _) => config?,
    };
    if let Some(file) = &config {
        file.warn_of_others();
    }
    let environment = Environment::new(cli.url, config.as_ref().and_then(ConfigFile::url));
    match cli.command {
        Command::Run(args) => {
            let of_dotenv = environment.queues_unless_given(&args.queue)?;
            let settings = Settings::new(arguments, &["run"], path, config, of_dotenv);
            run::run(settings, reloads, &environment).await
        }
        Command::Config(config::Command::Check(args)) => {
            let of_dotenv = match environment.queues_unless_given(&args.run.queue) {
                Ok(queues) => queues,
                Err(error) => {
                    let file = config.as_ref().map(|file| &*file.name);
                    return Ok(config::report_faults_in(args.json, file, &error));
                }
            };
            let words = &["config", "check"];
            let settings = Settings::new(arguments, words, path, config, of_dotenv);
            config::check(&args, &settings, &environment, cli.log_format)
        }
        Command::Submit(args) => submit::submit(args, config.as_ref(), &environment).await,
        Command::Status(args) => requests::status(args, &environment).await,
        Command::Report(args) => report::report(args, config.as_ref(), &environment).await,
        Command::Requests(args) => requests::list(args, &environment).await,
        Command::Cancel(args) => requests::cancel(args, &environment).await,
        Command::Replay(args) => replay::replay(args, &environment).await,
        Command::Dead(command) => dead::dead(command, &environment).await,
        Command::Queue(command) => queues::queue(command, &environment).await,
        Command::Ingest(args) => ingest::ingest(args, config.as_ref(), &environment, cli.log_format).await,
        Command::Plugin(command) => plugin::plugin(command, config.as_ref(), &environment).await,
    }
}

/// Starts the log, filtered by `RUST_LOG` (`LEVEL` or `TARGET=LEVEL,...`) or by default levels. By default, every
/// command shows the output of plugins, because it matters to the user who runs the plugin.
fn start_log(cli: &Cli) {
    // A worker logs its work. The other commands log only problems.
    let level = match cli.command {
        Command::Run(_) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let asked = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = asked.as_ref().map(|text| log_filter::parse(text));
    let by_default = Targets::new()
        .with_default(level)
        .with_target(LOG_TARGET, LevelFilter::INFO)
        // The library logs each of its retries without the server. The error after the last one names it.
        .with_target("object_store", LevelFilter::WARN);
    let (filter, wrong) = match filter {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (by_default, Some(error)),
        None => (by_default, None),
    };
    if let Command::Run(_) = cli.command {
        stderr::lose_lines_if_stuck();
    }
    log::start(cli.log_format, filter);
    if let Some(error) = wrong {
        tracing::warn!(
            error,
            "RUST_LOG is not understood and not used: write a level, as in debug, or levels by target, as in warn,plugin=debug"
        );
    }
}

/// Parses the arguments, or ends the program. An error quotes the arguments, so they are escaped first: a shell may
/// have inserted file names from an untrusted source.
/// Also returns whether the arguments give the form of the log.
fn parse(arguments: &[OsString]) -> (Cli, bool) {
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| {
            let is_given = matches.value_source("log_format") == Some(ValueSource::CommandLine);
            Ok((Cli::from_arg_matches(&matches)?, is_given))
        });
    parsed.unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        let shown = arguments.iter().map(|argument| {
            // An argument may be a URL with a password.
            escape::for_people(&redact_within(&argument.to_string_lossy())).into_owned()
        });
        // The escaped arguments give the same error, except if the error is about the escaped bytes.
        match Cli::try_parse_from(shown) {
            Err(mut shown) if shown.use_stderr() => {
                let mut program = Cli::command();
                program.build();
                hints::add(&mut shown, &program, arguments);
                refuse(&shown.render(), shown.kind(), arguments);
            }
            _ => {
                let text = error.to_string();
                let first = redact_within(text.lines().next().unwrap_or_default());
                refuse(
                    &escape::for_people(&first).into_owned().into(),
                    error.kind(),
                    arguments,
                );
            }
        }
        std::process::exit(WRONG_USAGE.into())
    })
}

/// Reports arguments that could not be parsed. The text is already escaped.
fn refuse(text: &StyledStr, kind: ErrorKind, arguments: &[OsString]) {
    if asks_for_json(arguments) {
        log::start(LogFormat::Json, Targets::new());
        return fail(&one_line(&text.to_string()), Code::Usage, LogFormat::Json);
    }
    let shown = match log::colours_stderr() {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    let code = match kind {
        // This is the help text, which clap returns if the command is missing.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => String::new(),
        _ => format!(" [{}]", Code::Usage),
    };
    // If stderr is closed, nobody reads the report.
    let _ = stderr::write(format!("{}{code}\n", shown.trim_end()).as_bytes());
}

/// Returns whether arguments that could not be parsed ask for log lines in JSON.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let follows = arguments
        .windows(2)
        .any(|pair| pair[0] == "--log-format" && pair[1] == "json");
    follows || arguments.iter().any(|argument| argument == "--log-format=json")
}

/// Returns an error about arguments as one line, without the usage that follows the error.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let error =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let mut joined = String::new();
    for line in error.filter(|line| !line.is_empty()) {
        joined += match line.starts_with("tip: ") {
            _ if joined.is_empty() => "",
            true => "; ",
            false => " ",
        };
        joined += line;
    }
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}
