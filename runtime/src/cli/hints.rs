//! Commands and options as other programs name them: a word that is none of this program's goes in, what to type instead comes
//! out.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Words of RQ, Celery, Sidekiq and others, each with the command that does the same.
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
        "`ingest-host run` is the worker",
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
        "`ingest-host submit` puts a request into a queue",
    ),
    (
        &["push", "add", "upload"],
        "`ingest-host submit` puts a request into a queue, `ingest-host plugin push` stores a plugin",
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
        "`ingest-host dead list` shows what was given up",
    ),
    (
        &["requeue", "retry", "rerun"],
        "`ingest-host dead retry ID` tries a request again that was given up",
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
        "`ingest-host plugin` has it: see `ingest-host plugin --help`",
    ),
    (
        &["inspect"],
        "`ingest-host plugin inspect FILE` shows a component, `ingest-host queue list` the queues",
    ),
    (&["plugins"], "`ingest-host plugin list` shows the plugins"),
    (
        &["check", "audit", "doctor", "health"],
        "`ingest-host queue audit` checks the queues and their server",
    ),
    (
        &["convert", "transform", "import", "load", "file"],
        "`ingest-host ingest FILE --plugin PLUGIN.wasm` does one file, without a queue",
    ),
    (&["version"], "`ingest-host --version` prints it"),
];

/// The same below a command.
const SUBCOMMANDS: &[(&str, &[&str], &str)] = &[
    (
        "dead",
        &["requeue", "rerun"],
        "`ingest-host dead retry ID` tries it again",
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
        "`ingest-host cancel ID` withdraws a request, `ingest-host dead purge --all --queue QUEUE` removes dead ones",
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
        &["info", "show"],
        "`ingest-host plugin inspect FILE` shows a component",
    ),
    (
        "plugin",
        &["versions", "log", "bindings"],
        "`ingest-host plugin history --queue QUEUE` lists the bindings",
    ),
];

/// Options of other programs.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["-Q"], "a queue is given as --queue NAME"),
    (
        &["-c", "-n", "--workers", "--num-workers", "--threads"],
        "--concurrency N works on that many requests at once",
    ),
    (
        &[
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

/// What stands without an option.
const POSITIONALS: &[(&str, &str)] = &[
    ("run", "a queue is given as --queue NAME"),
    (
        "submit",
        "an input is given as --uri FILE, its queue as --queue NAME",
    ),
    ("requests", "a queue is given as --queue NAME"),
    ("queue", "a queue is given as --queue NAME"),
    ("plugin", "a queue is given as --queue NAME"),
];

/// Adds to an error about a command or an option that there is none of what does the same here.
pub(super) fn add(error: &mut clap::Error, arguments: &[OsString]) {
    let (invalid, suggested) = match error.kind() {
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        _ => return,
    };
    let Some(ContextValue::String(word)) = error.get(invalid) else {
        return;
    };
    let hint = match error.kind() {
        ErrorKind::InvalidSubcommand => command(&word.replace('_', "-").to_ascii_lowercase(), arguments),
        _ if word.starts_with('-') => {
            let name = word.split('=').next().unwrap_or_default();
            OPTIONS
                .iter()
                .find(|(names, _)| names.contains(&name))
                .map(|(_, hint)| *hint)
        }
        _ => POSITIONALS
            .iter()
            .find(|(of, _)| is_given(of, arguments))
            .map(|(_, hint)| *hint),
    };
    if let Some(hint) = hint {
        error.remove(suggested);
        let hint = ContextValue::StyledStrs(vec![StyledStr::from(hint)]);
        error.insert(ContextKind::Suggested, hint);
    }
}

fn is_given(name: &str, arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).any(|argument| argument == name)
}

fn command(word: &str, arguments: &[OsString]) -> Option<&'static str> {
    let parent = ["dead", "queue", "plugin"]
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
