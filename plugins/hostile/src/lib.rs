//! A plugin that misbehaves on purpose, for the tests of the host. With the config `{"mode": "panic", "at": 3}`, it
//! panics at the third record of its input. With `{"mode": "panic", "on": "x"}`, it panics at each record whose first
//! field is `x`. It keeps all other records unchanged.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use ingest_plugin::bindings::ingest::plugin::host;
use ingest_plugin::schemars::JsonSchema;
use ingest_plugin::{
    Column, Origin, Plugin, Record, Refusal, Reject, Rows, Schema, Verdict, config_schema_of, count, data,
    export, log,
};
use serde::Deserialize;

/// The mode of misbehaviour, and the records that trigger it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "ingest_plugin::schemars")]
pub struct Config {
    #[serde(default)]
    mode: Mode,
    /// The number of the record at which the plugin misbehaves. The first record of each instance has the number 1.
    /// Modes for `check`, `open` and `finish` ignore `at`.
    #[serde(default = "first")]
    at: u64,
    /// The plugin misbehaves at each record whose first field equals this text. If `on` is given, the plugin ignores
    /// `at` and keeps no state.
    on: Option<String>,
    /// The number of bytes, lines, names or rows that the mode produces. Each mode has a default.
    size: Option<usize>,
    /// The number of iterations of a loop that runs for each record.
    #[serde(default)]
    turns: u64,
    /// True if the plugin counts each record under the name `seen`.
    #[serde(default)]
    count: bool,
    /// True if the plugin counts each record under a name that is the record's first field.
    #[serde(default)]
    count_fields: bool,
    /// True if the plugin logs a line for each record.
    #[serde(default)]
    log: bool,
    /// The text that the plugin uses instead of its default text: in logs, prints, counters, refusals, rejects, errors
    /// and panics.
    text: Option<String>,
}

impl Config {
    fn words<'a>(&'a self, own: &'a str) -> &'a str {
        self.text.as_deref().unwrap_or(own)
    }
}

fn first() -> u64 {
    1
}

/// The text of a Python exception, without a line end after it.
const EXCEPTION: &str =
    "Traceback (most recent call last):\n  File \"plugin.py\", line 3, in process\nValueError: no number";

/// The modes of misbehaviour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(crate = "ingest_plugin::schemars")]
enum Mode {
    /// Does not misbehave.
    #[default]
    Keep,
    /// Edits the first column. This is no misbehaviour.
    Edit,
    /// Writes the origin of the input into the first column. This is no misbehaviour.
    Origin,
    /// Writes the reference data `t` into the first column. `check` needs the data, too. This is no misbehaviour.
    Data,
    /// Adds a copy of the record, a new row, and a copy with a changed cell. This is no misbehaviour.
    Copies,
    /// Asks for the origin while it processes a record.
    LateOrigin,
    /// Asks for the reference data while it processes a record.
    LateData,
    /// Rejects the record.
    Reject,
    /// Never returns from `record`.
    Loop,
    /// Returns from `record` very slowly.
    Dawdle,
    /// Never returns from `open`.
    LoopInOpen,
    /// Never returns from `finish`.
    LoopInFinish,
    Panic,
    /// Panics, except on the first record of its instance.
    PanicInCompany,
    /// Panics with a message of 13 MiB in many lines.
    LongPanic,
    PanicInOpen,
    PanicInFinish,
    /// Allocates memory until no memory is left.
    Allocate,
    /// Leaks 1 MiB of memory.
    Leak,
    /// Calls itself until the stack is used up.
    Recurse,
    /// Logs a million lines, or `size` lines.
    FloodLog,
    /// Logs one line of 16 MiB.
    LongLog,
    /// Counts under a million names, or `size` names.
    FloodCounters,
    /// Emits ten million rows for the record, or `size` rows.
    FloodOutput,
    /// Writes a cell of 64 MiB, or of `size` bytes.
    LongCell,
    /// Writes a cell of 64 MiB, or of `size` bytes. Each of its characters takes six bytes in JSON.
    LongEscapes,
    /// Rejects the record with a reason of 64 MiB, or of `size` bytes.
    LongReason,
    /// Writes to stdout and stderr.
    Print,
    /// Writes to stdout and stderr in `check`.
    PrintInCheck,
    /// Writes an exception to stderr and traps, as a plugin in another language does.
    Throw,
    /// Writes an exception to stdout and traps.
    ThrowOnStdout,
    /// Sleeps for a day.
    Sleep,
    /// Tries to use what a sandbox must not offer: files, environment variables, arguments, the network and a running
    /// clock. Counts each of them that it can use.
    Escape,
    /// Fails the request from `record`.
    Fail,
    /// Fails the request from `finish`.
    FailInFinish,
    /// Refuses every input.
    Refuse,
    /// Refuses the config in `check`.
    RefuseConfig,
}

/// The plugin `hostile`, opened for one input.
pub struct Hostile {
    config: Config,
    seen: u64,
    column: Column,
}

impl Plugin for Hostile {
    type Config = Config;

    // Without `on`, `open` calls `keep_state`, because the result then depends on the number of earlier records.
    const STATEFUL: bool = false;

    fn config_schema() -> Option<String> {
        Some(config_schema_of::<Config>())
    }

    fn check(config: &Config) -> Result<(), Refusal> {
        match config.mode {
            Mode::RefuseConfig => {
                return Err(Refusal::new(config.words("config: this mode refuses itself")));
            }
            Mode::PrintInCheck => print(config),
            Mode::Data => drop(reference_data()?),
            _ => {}
        }
        Ok(())
    }

    fn open(schema: &mut Schema, mut config: Config) -> Result<Self, Refusal> {
        match config.mode {
            Mode::Origin => {
                let Origin {
                    request_id,
                    uri,
                    name,
                } = schema.origin();
                let id = request_id.as_deref().unwrap_or("no id");
                config.text = Some(format!("{id}|{uri}|{name}"));
            }
            Mode::Data => config.text = Some(reference_data()?),
            Mode::Refuse => {
                return Err(Refusal::new(config.words("this input is refused, as all are")));
            }
            Mode::LoopInOpen => spin(),
            Mode::PanicInOpen => panic!("asked to panic in open"),
            _ => {}
        }
        if config.on.is_none() {
            schema.keep_state();
        }
        let first = schema.columns()[0].clone();
        let column = schema.read(&first)?;
        Ok(Self {
            config,
            seen: 0,
            column,
        })
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        self.seen += 1;
        if self.config.count {
            count(self.config.words("seen"), 1);
        }
        if self.config.count_fields {
            count(record.get(self.column), 1);
        }
        if self.config.log {
            log::info(self.config.words("seen"));
        }
        dawdle(self.config.turns);
        let is_meant = match &self.config.on {
            Some(on) => record.get(self.column) == on,
            None => self.seen == self.config.at,
        };
        if is_meant {
            self.misbehave(record)?;
        }
        Ok(Verdict::Keep)
    }

    fn finish(&mut self, _: &mut Rows) -> Result<(), Refusal> {
        match self.config.mode {
            Mode::LoopInFinish => spin(),
            Mode::PanicInFinish => panic!("asked to panic in finish"),
            Mode::FailInFinish => Err(Refusal::new(self.config.words("asked to fail in finish"))),
            _ => Ok(()),
        }
    }
}

export!(Hostile);

impl Hostile {
    fn misbehave(&self, record: &mut Record<'_>) -> Result<(), Reject> {
        let size = |usual| self.config.size.unwrap_or(usual);
        match self.config.mode {
            Mode::Edit => record.set(self.column, "edited"),
            Mode::Origin | Mode::Data => record.set(self.column, self.config.words("")),
            Mode::Copies => {
                record.emit_copy();
                record.emit().set(self.column, "new");
                record.emit_copy().set(self.column, "changed");
            }
            Mode::LateOrigin => drop(host::origin()),
            Mode::LateData => drop(data::bytes("t")),
            Mode::Reject => {
                return Err(match &self.config.text {
                    Some(text) => Reject::new("asked-to", text),
                    None => record.reject(self.column, "asked-to", "is rejected"),
                });
            }
            Mode::Loop => spin(),
            Mode::Dawdle => dawdle(5_000_000),
            Mode::Panic => match &self.config.on {
                _ if self.config.text.is_some() => panic!("{}", self.config.words("")),
                Some(on) => panic!("asked to panic\nat {on:?}"),
                None => panic!("asked to panic at record {}", self.seen),
            },
            Mode::PanicInCompany if self.seen > 1 => panic!("asked to panic in company"),
            Mode::LongPanic => panic!("{}", "a long story\n".repeat(16 << 20 >> 4)),
            Mode::Allocate => allocate(),
            Mode::Leak => std::mem::forget(black_box(vec![1_u8; 1 << 20])),
            Mode::Recurse => {
                recurse(0);
            }
            Mode::FloodLog => flood_log(size(1_000_000)),
            Mode::LongLog => log::info("x".repeat(16 << 20)),
            Mode::FloodCounters => flood_counters(size(1_000_000)),
            Mode::FloodOutput => self.flood_output(record, size(10_000_000)),
            Mode::LongCell => record.set(self.column, "x".repeat(size(64 << 20))),
            Mode::LongEscapes => record.set(self.column, "\u{1}".repeat(size(64 << 20))),
            Mode::LongReason => {
                let reason = "é".repeat(size(64 << 20) / 2);
                return Err(record.reject(self.column, "asked-to", reason));
            }
            Mode::Print => print(&self.config),
            Mode::Throw => throw(std::io::stderr(), &self.config),
            Mode::ThrowOnStdout => throw(std::io::stdout(), &self.config),
            Mode::Sleep => std::thread::sleep(Duration::from_secs(24 * 3_600)),
            Mode::Escape => escape(),
            Mode::Fail => return Err(Refusal::new(self.config.words("asked to fail")).into()),
            _ => {}
        }
        Ok(())
    }

    fn flood_output(&self, record: &mut Record<'_>, rows: usize) {
        for _ in 0..rows {
            record.emit().set(self.column, "flood");
        }
    }
}

/// Returns the names of all reference data, and the data `t` as a text.
fn reference_data() -> Result<String, Refusal> {
    let bytes = data::bytes("t").ok_or_else(|| Refusal::new("there is no reference data \"t\""))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(format!("{}:{}", data::names().join("+"), text.trim()))
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn dawdle(turns: u64) {
    let mut turned = 0_u64;
    while turned < turns {
        turned = black_box(turned + 1);
    }
}

fn allocate() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1 << 20]);
        black_box(&hoard);
    }
}

/// Calls itself. Each call needs the result of the next call, so that no compiler turns the recursion into a loop.
#[expect(unconditional_recursion, reason = "it is what this is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(frame[63] + 1) + black_box(&frame)[0]
}

fn flood_log(lines: usize) {
    for line in 0..lines {
        log::warn(format_args!("line {line} of a flood"));
    }
}

fn flood_counters(names: usize) {
    for name in 0..names {
        count(&format!("counter-{name}"), 1);
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what this is for")]
fn print(config: &Config) {
    println!("{}", config.words("a line on stdout"));
    eprintln!("{}", config.words("a line on stderr"));
}

fn throw(mut stream: impl Write, config: &Config) {
    let written = write!(stream, "{}", config.words(EXCEPTION)).and_then(|()| stream.flush());
    written.expect("the host takes what is printed");
    std::process::abort();
}

/// Adds one to a counter for each resource outside the sandbox that the plugin can use.
fn escape() {
    let before = Instant::now();
    let ways_out = [
        (
            "files",
            std::fs::read_dir("/").is_ok() || std::fs::write("escaped", "x").is_ok(),
        ),
        ("environment", std::env::vars_os().next().is_some()),
        ("arguments", std::env::args_os().next().is_some()),
        ("tcp", std::net::TcpStream::connect("127.0.0.1:80").is_ok()),
        ("udp", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("wall-clock", SystemTime::now() != SystemTime::UNIX_EPOCH),
        ("monotonic-clock", Instant::now() != before),
    ];
    for (name, is_open) in ways_out {
        if is_open {
            count(name, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingest_plugin::testing;

    #[test]
    fn it_keeps_everything_unless_told_otherwise() {
        let input = "a,b\n1,2\n3,4\n";
        for config in ["{}", r#"{"mode": "keep"}"#, r#"{"mode": "panic", "at": 3}"#] {
            let report = testing::run::<Hostile>(config, input).unwrap();
            assert_eq!(report.kept, 2);
            assert_eq!(report.csv(), input);
        }
    }

    #[test]
    fn it_acts_at_the_record_it_is_told() {
        let run = |config| testing::run::<Hostile>(config, "a\n1\n2\n");
        let report = run(r#"{"mode": "reject", "at": 2}"#).unwrap();
        assert_eq!((report.kept, report.rejects[0].record), (1, 2));
        let refusal = run(r#"{"mode": "fail", "at": 2}"#).unwrap_err();
        assert_eq!(refusal.to_string(), "asked to fail");
        assert!(testing::check::<Hostile>(r#"{"mode": "refuse-config"}"#).is_err());
        assert!(testing::check::<Hostile>(r#"{"mode": "explode"}"#).is_err());
    }

    #[test]
    fn it_acts_on_the_records_it_is_told() {
        let config = r#"{"mode": "reject", "on": "2", "count": true}"#;
        let report = testing::run::<Hostile>(config, "a\n1\n2\n2\n").unwrap();
        assert_eq!((report.kept, report.rejects.len()), (1, 2));
        assert_eq!(report.counters["seen"], 3);
    }
}
