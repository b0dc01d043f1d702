//! Provides everything that a plugin instance can reach: a log, counters, and the functions of WASI without any
//! resources. With these functions, the plugin's standard library can start, but it finds no files, no environment
//! variables and no network. The clock always shows the same time, and the random numbers are always the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::Level;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::calls::Call;
use super::memory::MemoryLimit;
use super::reference_data::ReferenceData;
use crate::config::Limits;
use crate::format::redacted_start;
use crate::location::redact_within;
use crate::record::Origin;
use crate::stop::Stop;

/// The maximum number of random bytes that a plugin gets at once.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// The maximum length of a counter's name, in bytes.
const COUNTER_NAME_BYTES_MAX: usize = 64;

/// The log target of the lines that plugins log and print.
pub const PLUGIN: &str = "plugin";

/// The bytes that every source of random numbers repeats. The output must not depend on chance.
const RANDOM_BYTES: [u8; 16] = [0x5a; 16];

/// The maximum number of bytes that a plugin prints at once.
const PRINT_BYTES_MAX: usize = 64 << 10;

/// The maximum number of resources that the host keeps for a plugin.
const RESOURCES_MAX: usize = 1_000;

/// The data of one store, in which wasmtime keeps one instance.
pub(super) struct StoreState {
    wasi: WasiCtx,
    table: ResourceTable,
    log: Arc<Mutex<PluginLog>>,
    /// The counts of the calls that have returned since the counters were last taken.
    counters: BTreeMap<String, u64>,
    /// The counts of the current call. The keys are all names that were used since the counters were last taken. They
    /// count towards the limit on names.
    counting: BTreeMap<String, Option<u64>>,
    counters_max: usize,
    pub(super) memory: MemoryLimit,
    /// The current call.
    pub(super) call: Option<Call>,
    /// The name of the current call, or of the last one.
    call_name: &'static str,
    surroundings: Arc<Surroundings>,
    /// Set if the plugin has asked for the origin of its input.
    has_asked_origin: bool,
    /// The reason for the current call's timeout, or `None` if the call is in time.
    pub(super) overdue: Option<TimeoutCause>,
    pub(super) stop: Stop,
}

/// The values outside an input that a plugin can ask for.
#[derive(Default)]
pub(super) struct Surroundings {
    pub(super) data: ReferenceData,
    pub(super) origin: Origin,
}

/// The reason for a timeout.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeoutCause {
    /// The plugin has used up its time limit.
    Late { was_alone: bool },
    /// The machine has given the plugin hardly any processor time.
    Stalled,
}

impl StoreState {
    pub(super) fn new(plugin: &str, limits: &Limits, surroundings: &Arc<Surroundings>, stop: Stop) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let log = Arc::new(Mutex::new(PluginLog::new(plugin, limits.plugin_log_bytes)));
        let printed = |stream| PrintStream(Arc::clone(&log), stream);
        let wasi = WasiCtx::builder()
            .stdout(printed(OutputStreamKind::Output))
            .stderr(printed(OutputStreamKind::Error))
            .secure_random(Deterministic::new(RANDOM_BYTES.to_vec()))
            .insecure_random(Deterministic::new(RANDOM_BYTES.to_vec()))
            .insecure_random_seed(0)
            .max_random_size(RANDOM_BYTES_MAX)
            .wall_clock(StillClock)
            .monotonic_clock(StillClock)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self {
            wasi,
            table,
            log,
            counters: BTreeMap::new(),
            counting: BTreeMap::new(),
            counters_max: limits.plugin_counters,
            memory: MemoryLimit::new(limits),
            call: None,
            call_name: "",
            surroundings: Arc::clone(surroundings),
            has_asked_origin: false,
            overdue: None,
            stop,
        }
    }

    /// Records that a call begins. Forgets text that the plugin printed earlier, because that text cannot explain how
    /// this call ends.
    pub(super) fn begin_call(&mut self, name: &'static str, call: Call) {
        self.call = Some(call);
        self.call_name = name;
        self.log.lock().forget_words();
    }

    /// Returns the plugin's last output in a call that trapped: the message of its panic, or the text that it printed.
    pub(super) fn last_words(&self) -> Option<String> {
        self.log.lock().last_words()
    }

    pub(super) fn log_bytes_left(&self) -> usize {
        self.log.lock().left
    }

    /// Adds the counts of a call that has returned. The counts of a call that does not return are dropped, because its
    /// records are counted when they are processed again.
    pub(super) fn keep_counts(&mut self) {
        for (name, count) in &mut self.counting {
            if let Some(count) = count.take() {
                let counter = self.counters.entry(name.clone()).or_default();
                *counter = counter.saturating_add(count);
            }
        }
    }

    pub(super) fn take_counters(&mut self) -> BTreeMap<String, u64> {
        // The names are forgotten, too. So the limit on names begins anew, as in a new instance.
        self.counting.clear();
        std::mem::take(&mut self.counters)
    }
}

impl WasiView for StoreState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// The functions that the host offers, without the types of a version of the interface.
impl StoreState {
    pub(super) fn write_log(&mut self, level: Level, message: &str) {
        self.log.lock().write(level, message);
    }

    /// Returns the reference data, for the function `asking`.
    pub(super) fn reference_data(&self, asking: &str) -> wasmtime::Result<&ReferenceData> {
        self.check_call(asking, &["check", "open"])?;
        Ok(&self.surroundings.data)
    }

    /// Returns the origin, and records that the plugin has asked for it.
    pub(super) fn asked_origin(&mut self) -> wasmtime::Result<&Origin> {
        self.check_call("origin", &["open"])?;
        self.has_asked_origin = true;
        Ok(&self.surroundings.origin)
    }

    pub(super) fn has_asked_origin(&self) -> bool {
        self.has_asked_origin
    }

    /// Refuses a function of the host in a call in which the answer would come too late: the plan, the receipt and the
    /// checkpoints say what a plugin depends on before the first batch.
    fn check_call(&self, asking: &str, allowed: &[&str]) -> wasmtime::Result<()> {
        let name = self.call_name;
        if allowed.contains(&name) {
            return Ok(());
        }
        let allowed = allowed.join(" and ");
        Err(wasmtime::Error::msg(format!(
            "a plugin may call {asking} in {allowed} only, not in {name}"
        )))
    }

    pub(super) fn add_count(&mut self, name: String, delta: u64) {
        if let Some(counter) = self.counting.get_mut(&name) {
            *counter = Some(counter.unwrap_or_default().saturating_add(delta));
        } else if self.counting.len() < self.counters_max && name.len() <= COUNTER_NAME_BYTES_MAX {
            self.counting.insert(name, Some(delta));
        } else {
            self.log.lock().write(
                Level::WARN,
                &format!(
                    "a counter was dropped: too many names, or a name over {COUNTER_NAME_BYTES_MAX} bytes"
                ),
            );
        }
    }
}

/// A clock that always shows the same time. The output must not depend on the time at which it is written.
struct StillClock;

impl HostWallClock for StillClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for StillClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// The stream to which a plugin prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputStreamKind {
    Output,
    Error,
}

/// The lines that a plugin writes to the host's log, up to a maximum number of bytes.
struct PluginLog {
    plugin: String,
    /// Set if the limit allowed any log output at the start.
    had_room: bool,
    left: usize,
    dropped: u64,
    output: PrintedLine,
    error: PrintedLine,
    panic: Option<PanicMessage>,
}

/// The text that a plugin prints to one stream.
#[derive(Default)]
struct PrintedLine {
    /// The line that has not ended yet.
    unfinished: Vec<u8>,
    /// The text printed in the current call.
    words: PrintedText,
}

/// The beginning and the end of a text of any length. Some languages print the exception first, others print it last.
#[derive(Default)]
struct PrintedText {
    beginning: Vec<u8>,
    end: VecDeque<u8>,
    /// Set if text between the beginning and the end was left out.
    has_gap: bool,
}

/// The message of a panic.
struct PanicMessage {
    place: String,
    message: String,
    /// Set if the message is complete.
    is_told: bool,
}

/// The maximum length of a message in the log, in bytes. It bounds the time for hiding the secrets in the message.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
const LINE_BYTES_MAX: usize = 2048;
/// If a panic's message has at least this many bytes, no further line is added to it.
const PANIC_BYTES_MAX: usize = 2048;
const PANIC_CHARS_TOLD: usize = 800;
/// The number of bytes that are kept of the beginning, and of the end, of the text printed in a call.
const WORDS_BYTES: usize = 400;
/// The number of bytes that a line costs in addition to its text. This cost also limits the number of empty lines.
const LINE_COST: usize = 32;

impl PrintedText {
    fn add(&mut self, bytes: &[u8]) {
        let room = WORDS_BYTES - self.beginning.len();
        let (beginning, rest) = bytes.split_at(room.min(bytes.len()));
        self.beginning.extend_from_slice(beginning);
        // Skips bytes that later bytes would push out at once.
        let skipped = rest.len().saturating_sub(WORDS_BYTES);
        self.end.extend(&rest[skipped..]);
        let surplus = self.end.len().saturating_sub(WORDS_BYTES);
        self.end.drain(..surplus);
        self.has_gap |= skipped + surplus > 0;
    }

    /// Returns the text on one line and without control characters, or `None` if the text is blank.
    fn text(&self) -> Option<String> {
        let gap = if self.has_gap { " … " } else { "" };
        let mut bytes = self.beginning.clone();
        bytes.extend_from_slice(gap.as_bytes());
        bytes.extend(&self.end);
        let text = String::from_utf8_lossy(&bytes);
        // Characters that were cut apart are dropped.
        let words: Vec<_> = text
            .split(|c: char| c.is_whitespace() || c.is_control() || c == char::REPLACEMENT_CHARACTER)
            .collect();
        let line = words
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        (!line.is_empty()).then_some(line)
    }
}

impl PluginLog {
    fn new(plugin: &str, bytes: usize) -> Self {
        Self {
            plugin: plugin.to_owned(),
            had_room: bytes > 0,
            left: bytes,
            dropped: 0,
            output: PrintedLine::default(),
            error: PrintedLine::default(),
            panic: None,
        }
    }

    fn line(&mut self, stream: OutputStreamKind) -> &mut PrintedLine {
        match stream {
            OutputStreamKind::Output => &mut self.output,
            OutputStreamKind::Error => &mut self.error,
        }
    }

    fn forget_words(&mut self) {
        (self.output.words, self.error.words) = Default::default();
    }

    fn write(&mut self, level: Level, message: &str) {
        let cost = message.len() + LINE_COST;
        if self.left < cost {
            // Later lines are also dropped, even if they are shorter, so that the log has the beginning without gaps.
            self.left = 0;
            self.dropped += 1;
            return;
        }
        self.left -= cost;
        // With the prefix, a reader of the log does not take a plugin's text for the host's text.
        let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        let (plugin, message) = (&self.plugin, redact_within(message));
        match level {
            Level::TRACE => tracing::trace!(target: PLUGIN, plugin, "plugin says: {message}"),
            Level::DEBUG => tracing::debug!(target: PLUGIN, plugin, "plugin says: {message}"),
            Level::INFO => tracing::info!(target: PLUGIN, plugin, "plugin says: {message}"),
            Level::WARN => tracing::warn!(target: PLUGIN, plugin, "plugin says: {message}"),
            Level::ERROR => tracing::error!(target: PLUGIN, plugin, "plugin says: {message}"),
        }
    }

    /// Collects printed text into lines.
    fn print(&mut self, stream: OutputStreamKind, bytes: &[u8]) {
        self.line(stream).words.add(bytes);
        for &byte in bytes {
            let line = &mut self.line(stream).unfinished;
            if byte != b'\n' && line.len() < LINE_BYTES_MAX {
                line.push(byte);
            } else if byte == b'\n' {
                let text = String::from_utf8_lossy(line).into_owned();
                line.clear();
                self.printed(stream, &text);
            }
        }
    }

    /// Handles a line that the plugin printed. The message of a panic becomes part of an error or a reject, not a log
    /// line. A panic in Rust prints its location, then its message, then a note about the variable `RUST_BACKTRACE`,
    /// which no plugin has.
    fn printed(&mut self, stream: OutputStreamKind, line: &str) {
        match self.panic.as_mut().filter(|_| stream == OutputStreamKind::Error) {
            Some(panic) if line.starts_with("note: run with `RUST_BACKTRACE") => {
                panic.is_told = true;
                return;
            }
            Some(panic) if !panic.is_told => {
                if !line.is_empty() && panic.message.len() < PANIC_BYTES_MAX {
                    let between = if panic.message.is_empty() { "" } else { " " };
                    panic.message.push_str(between);
                    panic.message.push_str(line);
                }
                return;
            }
            _ => {}
        }
        if line.is_empty() {
            return;
        }
        if let Some(place) = panic_place(line) {
            self.panic = Some(PanicMessage {
                place: place.to_owned(),
                message: String::new(),
                is_told: false,
            });
            return;
        }
        self.write(Level::INFO, line);
    }

    fn last_words(&self) -> Option<String> {
        let Some(panic) = &self.panic else {
            return self.error.words.text().or_else(|| self.output.words.text());
        };
        // Only the message is shortened, so that the location is always shown.
        let clip = |message: &str| redacted_start(message, PANIC_CHARS_TOLD);
        let message = if panic.message.is_empty() {
            // The only line of the message has not ended yet.
            clip(&String::from_utf8_lossy(&self.error.unfinished))
        } else {
            clip(&panic.message)
        };
        Some(format!("{message} (at {})", panic.place))
    }
}

/// Returns the location of a panic, if `line` is the first line of a panic's message.
fn panic_place(line: &str) -> Option<&str> {
    let (thread, place) = line.rsplit_once(" panicked at ")?;
    thread.starts_with("thread '").then(|| place.strip_suffix(':'))?
}

impl Drop for PluginLog {
    fn drop(&mut self) {
        for stream in [OutputStreamKind::Output, OutputStreamKind::Error] {
            let rest = std::mem::take(&mut self.line(stream).unfinished);
            if !rest.is_empty() && (stream == OutputStreamKind::Output || self.panic.is_none()) {
                self.write(Level::INFO, &String::from_utf8_lossy(&rest));
            }
        }
        if self.dropped > 0 && self.had_room {
            tracing::warn!(
                plugin = self.plugin,
                lines = self.dropped,
                "plugin log was full, lines were dropped"
            );
        }
    }
}

/// A plugin's standard output or error.
#[derive(Clone)]
struct PrintStream(Arc<Mutex<PluginLog>>, OutputStreamKind);

impl IsTerminal for PrintStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for PrintStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 would call this function, and WASI 0.3 is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for PrintStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.lock().print(self.1, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINT_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for PrintStream {
    async fn ready(&mut self) {}
}
