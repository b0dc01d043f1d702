//! Suggests commands and options to users of other programs. An unknown word goes in, and the equivalent in this
//! program comes out.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::options::FILE_EXTENSIONS;

/// The commands of RQ, Celery, Sidekiq and others, each with the equivalent in this program.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &[
            "worker",
            "workers",
            "work",
            "worker-pool",
            "start",
            "serve",
            "server",
            "consume",
            "consumer",
            "listen",
            "daemon",
            "process",
        ],
        "`ingest-host run --queue QUEUE [--plugin F.wasm]` is the worker",
    ),
    (
        &[
            "enqueue",
            "queue-job",
            "send",
            "call",
            "apply",
            "apply-async",
            "delay",
            "produce",
            "publish",
            "schedule",
            "perform",
        ],
        "`ingest-host submit --queue QUEUE --uri FILE` puts a request into a queue",
    ),
    (
        &["push", "add", "upload"],
        "`ingest-host submit --queue QUEUE --uri FILE` puts a request into a queue, `ingest-host plugin push FILE` stores a plugin",
    ),
    (
        &[
            "info",
            "stats",
            "monitor",
            "dashboard",
            "ls",
            "ps",
            "top",
            "events",
        ],
        "`ingest-host queue list` shows the queues, `ingest-host requests --queue QUEUE` what is in one",
    ),
    (&["queues"], "`ingest-host queue list` shows the queues"),
    (
        &["list", "jobs", "tasks", "active", "scheduled", "reserved"],
        "`ingest-host requests --queue QUEUE` lists requests, `ingest-host queue list` queues",
    ),
    (
        &["job", "task", "request", "result", "show", "get"],
        "`ingest-host status ID` shows a request, `ingest-host report ID` what became of its input",
    ),
    (
        &["failed", "failures", "dlq", "dead-letters", "errors"],
        "`ingest-host dead list --queue QUEUE` shows what was given up",
    ),
    (
        &["requeue", "retry", "rerun"],
        "`ingest-host dead retry --all --queue QUEUE` tries again what was given up, `ingest-host dead retry ID` one request",
    ),
    (
        &["empty", "purge", "clear", "flush", "delete", "remove", "rm"],
        "`ingest-host cancel ID` withdraws a request, `ingest-host dead purge ID` removes one that was given up",
    ),
    (
        &["revoke", "abort", "kill", "terminate", "withdraw"],
        "`ingest-host cancel ID` withdraws a request",
    ),
    (
        &["stop", "shutdown"],
        "a worker stops at Ctrl-C or SIGTERM; `ingest-host queue pause --queue QUEUE` holds a queue",
    ),
    (
        &["suspend", "pause", "hold"],
        "`ingest-host queue pause --queue QUEUE` holds a queue",
    ),
    (
        &["unpause", "resume"],
        "`ingest-host queue resume --queue QUEUE` lets workers claim again",
    ),
    (
        &["bind", "rollback", "history", "swap", "deploy"],
        "`ingest-host plugin bind --queue QUEUE NAME@VERSION` binds a plugin, `plugin rollback` and `plugin history` are beside it",
    ),
    (
        &["inspect"],
        "`ingest-host plugin inspect FILE` shows a component, `ingest-host queue list` the queues",
    ),
    (&["plugins"], "`ingest-host plugin list` shows the plugins"),
    (
        &["check", "audit", "doctor", "health"],
        "`ingest-host queue audit` checks the queues and their server, `ingest-host config check` a worker's settings",
    ),
    (
        &["settings", "configuration", "validate", "configtest", "test"],
        "`ingest-host config check` checks a worker's settings and shows them, `ingest-host ingest FILE --plugin PLUGIN.wasm --output -` tries a file",
    ),
    (
        &["reload"],
        "SIGHUP makes a worker with --config-file read that file again",
    ),
    (
        &["convert", "transform", "import", "load", "file"],
        "`ingest-host ingest FILE --plugin PLUGIN.wasm` does one file, without a queue",
    ),
    (
        &["log", "logs", "tail"],
        "a worker writes its log to stderr; `ingest-host status ID` and `ingest-host report ID` show what became of a request",
    ),
    (
        &["unbind"],
        "a binding stays: `ingest-host plugin rollback --queue QUEUE` restores the one before, `ingest-host queue pause --queue QUEUE` holds the queue",
    ),
    (&["version"], "`ingest-host --version` prints it"),
];

/// The unknown subcommands that people try, for each command of this program, with a sentence about the equivalent.
const SUBCOMMANDS: &[(&str, &[&str], &str)] = &[
    (
        "dead",
        &["requeue", "rerun"],
        "`ingest-host dead retry --all --queue QUEUE` tries all again, `ingest-host dead retry ID` one",
    ),
    (
        "config",
        &["validate", "test", "show", "print", "list", "get", "dump", "lint"],
        "`ingest-host config check` checks a worker's settings and shows them",
    ),
    ("dead", &["ls"], "`ingest-host dead list` shows them"),
    (
        "dead",
        &["delete", "remove", "rm", "empty", "clear", "flush"],
        "`ingest-host dead purge ID` removes it",
    ),
    (
        "queue",
        &["info", "ls", "stats", "show", "status"],
        "`ingest-host queue list` shows what each queue has",
    ),
    (
        "queue",
        &["suspend", "stop", "hold"],
        "`ingest-host queue pause --queue QUEUE` holds it",
    ),
    (
        "queue",
        &["unpause", "start"],
        "`ingest-host queue resume --queue QUEUE` lets workers claim again",
    ),
    ("queue", &["check"], "`ingest-host queue audit` checks them"),
    (
        "queue",
        &["empty", "purge", "clear", "flush", "delete", "remove", "rm"],
        "a queue stays; `ingest-host cancel ID` withdraws a request, `ingest-host dead purge --all --queue QUEUE` removes dead ones",
    ),
    (
        "plugin",
        &["add", "upload", "install", "store"],
        "`ingest-host plugin push FILE` stores it",
    ),
    (
        "plugin",
        &["ls", "plugins"],
        "`ingest-host plugin list` shows them",
    ),
    (
        "plugin",
        &["use", "set", "deploy", "swap"],
        "`ingest-host plugin bind --queue QUEUE NAME@VERSION` binds it to a queue",
    ),
    (
        "plugin",
        &["undo", "revert"],
        "`ingest-host plugin rollback --queue QUEUE` goes back to the one before",
    ),
    (
        "plugin",
        &["unbind", "unset", "detach"],
        "a binding stays: `ingest-host plugin rollback --queue QUEUE` restores the one before, `ingest-host queue pause --queue QUEUE` holds the queue",
    ),
    (
        "plugin",
        &["remove", "rm", "delete", "uninstall", "purge", "prune"],
        "a stored plugin stays, for `plugin rollback`; `ingest-host plugin bind --queue QUEUE NAME@VERSION` binds another one",
    ),
    (
        "plugin",
        &["info", "show"],
        "`ingest-host plugin inspect FILE` shows a component",
    ),
    (
        "plugin",
        &["versions", "log", "bindings"],
        "`ingest-host plugin history --queue QUEUE` lists the bindings",
    ),
];

/// The options of other programs, each with its name in this program and a sentence about it.
const OPTIONS: &[(&[&str], &str, &str)] = &[
    (
        &["-q", "-Q", "--queues"],
        "queue",
        "a queue is given as --queue NAME",
    ),
    (
        &["-c", "-n", "--workers", "--num-workers", "--threads", "--jobs"],
        "concurrency",
        "--concurrency N works on that many requests at once",
    ),
    (
        &["-d", "--sep", "--separator", "--delim", "--field-separator"],
        "delimiter",
        "--delimiter CHAR says what separates fields",
    ),
    (
        &["--skip", "--skiprows", "--skip-rows"],
        "skip-lines",
        "--skip-lines N leaves out the first lines",
    ),
    (
        &["--skipfooter", "--skip-footer-lines", "--skip-last"],
        "skip-footer",
        "--skip-footer N leaves out the last lines",
    ),
    (
        &["--quotechar", "--quote-char"],
        "quote",
        "--quote CHAR says what fields are quoted with",
    ),
    (
        &["--escapechar", "--escape-char"],
        "escape",
        "--escape CHAR says what stands before a character that is meant as it is",
    ),
    (
        &["--commentchar", "--comment-char", "--comment-prefix"],
        "comment",
        "--comment CHAR says what lines to leave out begin with",
    ),
    (
        &["-e", "--charset", "--enc"],
        "encoding",
        "--encoding NAME says how the text is encoded, --escape CHAR what escapes a character",
    ),
    (
        &["--strip", "--skipinitialspace", "--trim-spaces"],
        "trim",
        "--trim removes white space around fields",
    ),
    (
        &["--header", "--has-header"],
        "no-header",
        "the first record is the header, unless --no-header says that there is none",
    ),
    (
        &["-o", "--out", "--outdir", "--output-dir", "--output-folder"],
        "output",
        "--output FOLDER says where outputs go",
    ),
    (
        &["-p", "--wasm", "--component"],
        "plugin",
        "--plugin FILE is the component that records run through",
    ),
    (
        &["--config"],
        "plugin-config",
        "--plugin-config JSON or --plugin-config @FILE is the plugin's config, --config-file FILE has settings of this program",
    ),
];

/// The options that people expect of one command, or of all commands if the name is empty. Each has a sentence that
/// says what to do instead.
const COMMAND_OPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "ingest",
        &["--uri", "--input", "--in", "--file", "--path", "-i", "-f"],
        "an input is given without an option: `ingest-host ingest FILE --plugin PLUGIN.wasm`",
    ),
    (
        "ingest",
        &["--queue", "--queuename"],
        "`ingest` uses no queue; `ingest-host submit --queue QUEUE --uri FILE` puts a request into one",
    ),
    (
        "submit",
        &["--file", "--input", "--in", "--path", "-i", "-f"],
        "an input is given as --uri FILE",
    ),
    (
        "submit",
        &[
            "--delay",
            "--countdown",
            "--eta",
            "--at",
            "--run-at",
            "--enqueue-in",
            "--enqueue-at",
        ],
        "`submit` cannot delay a request; the document of a producer can, with its member `delay_ms`",
    ),
    (
        "submit",
        &["--plugin", "-p", "--wasm", "--component"],
        "a request has no plugin: `ingest-host plugin bind --queue QUEUE NAME@VERSION` gives its queue one, `ingest-host run --plugin FILE` a worker",
    ),
    (
        "cancel",
        &["--all"],
        "`cancel` takes one ID at a time; `ingest-host requests --queue QUEUE` lists them, `ingest-host queue pause --queue QUEUE` holds them all",
    ),
    (
        "run",
        &["--daemon", "--daemonize", "--detach", "--background", "-D", "-b"],
        "`run` stays in the foreground: start it with systemd, in a container, or with `&` at the end",
    ),
    (
        "run",
        &["--json"],
        "--log-format json prints the log lines as JSON",
    ),
    (
        "run",
        &["--retries", "--max-retries", "--retry", "--attempts"],
        "--retry-for DURATION is the time for which a request is retried",
    ),
    (
        "run",
        &["--timeout", "--job-timeout", "--time-limit"],
        "--limit request-time=DURATION bounds one attempt",
    ),
    (
        "ingest",
        &["--timeout", "--time-limit"],
        "--limit request-time=DURATION bounds one input",
    ),
    (
        "",
        &[
            "--redis",
            "--redis-url",
            "--redis-uri",
            "--broker",
            "--server",
            "--db",
        ],
        "--url redis://HOST:PORT or --url sqlite:PATH names the queue's server",
    ),
];

/// The options of other programs that have no equivalent option here, each with a sentence that says what to do
/// instead.
const NO_OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--na-values", "--null-values", "--nulls", "--null-value"],
        "`null` in the config of clean lists the values that mean nothing: {\"columns\":{\"price\":{\"null\":[\"N/A\"]}}}",
    ),
    (
        &[
            "-q",
            "-l",
            "--loglevel",
            "--log-level",
            "--logging-level",
            "-v",
            "--verbose",
            "--debug",
            "--quiet",
        ],
        "RUST_LOG=debug shows more log lines, RUST_LOG=warn fewer",
    ),
];

/// The maximum number of commands that a hint about an option of other commands names.
const COMMANDS_SHOWN: usize = 5;

const QUEUE: &str = "a queue is given as --queue NAME";
const ONE_ID: &str = "a queue is given as --queue NAME, and one ID at a time";
const ONE_FILE: &str = "one file at a time";

/// For each command, a hint for unexpected arguments that are not options.
const POSITIONALS: &[(&str, &str)] = &[
    ("run", QUEUE),
    (
        "config check",
        "a queue is given as --queue NAME, the file as --config-file FILE",
    ),
    (
        "submit",
        "an input is given as --uri FILE, its queue as --queue NAME",
    ),
    ("requests", QUEUE),
    ("queue pause", QUEUE),
    ("queue resume", QUEUE),
    ("queue audit", QUEUE),
    ("dead list", QUEUE),
    ("dead show", ONE_ID),
    ("dead retry", ONE_ID),
    ("dead purge", ONE_ID),
    ("report", ONE_ID),
    ("status", ONE_ID),
    ("cancel", ONE_ID),
    ("replay", ONE_ID),
    ("plugin push", ONE_FILE),
    ("plugin inspect", ONE_FILE),
    (
        "plugin bind",
        "a queue is given as --queue NAME, a config as --config JSON or --config @FILE",
    ),
    ("plugin rollback", QUEUE),
    ("plugin history", QUEUE),
];

/// The hint for a file that is given to `run`.
const FILE_FOR_RUN: &str = "`ingest-host ingest FILE --plugin PLUGIN.wasm` does one file, `ingest-host submit --queue QUEUE --uri FILE` puts it into \
     a queue";

/// Adds the equivalent in this program to an error about an unknown command or option. `program` describes all commands
/// and options.
pub(super) fn add(error: &mut clap::Error, program: &Command, arguments: &[OsString]) {
    let (invalid, suggested) = match error.kind() {
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        ErrorKind::MissingRequiredArgument => return add_to_missing(error, given(program, arguments)),
        _ => return,
    };
    let Some(ContextValue::String(word)) = error.get(invalid) else {
        return;
    };
    let hint = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            command(&word.replace('_', "-").to_ascii_lowercase(), arguments).map(str::to_owned)
        }
        _ if let Some(option) = switch_before(word, arguments) => Some(format!("write {option}={word}")),
        _ if word.starts_with('-') => option(word.split('=').next().unwrap_or_default(), program, arguments),
        _ => positional(word, given(program, arguments)).map(str::to_owned),
    };
    if let Some(hint) = hint {
        error.remove(suggested);
        // The usage contains the option that clap suggests, so the usage is replaced.
        let usage = given(program, arguments).clone().render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
        let hint = ContextValue::StyledStrs(vec![StyledStr::from(hint)]);
        error.insert(ContextKind::Suggested, hint);
    } else if let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) {
        // A mistyped option is rarely meant as a value. So clap's tip, which is to write `--` before the option, is not
        // shown.
        let tips = tips.into_iter().filter(|tip| !tip.to_string().contains("'-- "));
        let tips: Vec<_> = tips.collect();
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
}

/// Adds to an error about a missing id how to select all dead letters.
fn add_to_missing(error: &mut clap::Error, given: &Command) {
    if matches!(words_of(given), "dead retry" | "dead purge") {
        let hint = StyledStr::from("give one ID, or all of a queue with --all --queue NAME");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint]));
    }
}

/// Returns the hint for an unexpected argument of a command that is not an option.
fn positional(word: &str, given: &Command) -> Option<&'static str> {
    let words = words_of(given);
    let extension = Path::new(word).extension().and_then(OsStr::to_str);
    let has_name_of_file = extension.is_some_and(|extension| FILE_EXTENSIONS.contains(&extension));
    if words == "run" && (has_name_of_file || word.contains('/') || Path::new(word).is_file()) {
        return Some(FILE_FOR_RUN);
    }
    let found = POSITIONALS.iter().find(|(of, _)| *of == words);
    found.map(|(_, hint)| *hint)
}

/// Returns the words of a command after the program's name, such as `plugin push`.
fn words_of(command: &Command) -> &str {
    let name = command.get_bin_name().unwrap_or_default();
    name.split_once(' ').map_or("", |(_, words)| words)
}

/// Returns the switch that has its value in a separate argument, as in `--trim true`.
pub(super) fn switch_before(value: &str, arguments: &[OsString]) -> Option<&'static str> {
    let is_value = matches!(value, "true" | "false");
    let mut pairs = arguments.windows(2).filter(|pair| is_value && pair[1] == value);
    pairs.find_map(|pair| {
        ["--trim", "--no-header"]
            .into_iter()
            .find(|switch| pair[0] == *switch)
    })
}

fn is_given(name: &str, arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).any(|argument| argument == name)
}

/// Returns the equivalent of another program's option in the given command. If this command has none, returns the
/// equivalent in other commands.
fn option(name: &str, program: &Command, arguments: &[OsString]) -> Option<String> {
    let named = OPTIONS.iter().find(|(names, ..)| names.contains(&name));
    let unnamed = NO_OPTIONS.iter().find(|(names, _)| names.contains(&name));
    let given = given(program, arguments);
    let of_command = COMMAND_OPTIONS
        .iter()
        .find(|(of, names, _)| [given.get_name(), ""].contains(of) && names.contains(&name));
    if let Some((.., hint)) = of_command {
        return Some((*hint).to_owned());
    }
    match (named, unnamed) {
        (Some((_, ours, hint)), _) if has_option(given, ours) => Some((*hint).to_owned()),
        (_, Some((_, hint))) => Some((*hint).to_owned()),
        (Some((_, ours, _)), None) => {
            let mut names = Vec::new();
            commands_with(program, ours, &mut names);
            Some(format!("--{ours} is an option of {}", names.join(", ")))
        }
        (None, None) => of_other_commands(name, program, given),
    }
}

/// Returns a hint for an option of this program that was given to the wrong command, or before its command.
fn of_other_commands(name: &str, program: &Command, given: &Command) -> Option<String> {
    let option = name.strip_prefix("--")?;
    if has_option(given, option) {
        return Some(format!("write {name} after `{}`", words_of(given)));
    }
    let mut names = Vec::new();
    commands_with(program, option, &mut names);
    let is_short = (1..=COMMANDS_SHOWN).contains(&names.len());
    is_short.then(|| format!("{name} is an option of {}", names.join(", ")))
}

/// Returns the command that the arguments select.
fn given<'a>(program: &'a Command, arguments: &[OsString]) -> &'a Command {
    let words = arguments.iter().skip(1);
    words.fold(program, |command, word| {
        command.find_subcommand(word).unwrap_or(command)
    })
}

fn has_option(command: &Command, option: &str) -> bool {
    command
        .get_arguments()
        .any(|argument| argument.get_long() == Some(option))
}

/// Collects the names of the commands that have an option.
fn commands_with(command: &Command, option: &str, names: &mut Vec<String>) {
    if has_option(command, option) {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        names.push(format!("`{name}`"));
    }
    // `config check` only repeats the options of `run`.
    for command in command
        .get_subcommands()
        .filter(|command| command.get_name() != "config")
    {
        commands_with(command, option, names);
    }
}

fn command(word: &str, arguments: &[OsString]) -> Option<&'static str> {
    let parent = ["config", "dead", "queue", "plugin"]
        .into_iter()
        .find(|name| is_given(name, arguments));
    match parent {
        Some(parent) => SUBCOMMANDS
            .iter()
            .find(|(of, words, _)| *of == parent && words.contains(&word))
            .map(|(.., hint)| *hint),
        None => COMMANDS
            .iter()
            .find(|(words, _)| words.contains(&word))
            .map(|(_, hint)| *hint),
    }
}
