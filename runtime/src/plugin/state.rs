//! What one plugin instance sees of the world: a log line, a counter, and a standard library that starts
//! but finds no files, no environment, no network, a clock that stands still and the same random numbers each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::bindings::ingest::plugin::host::{Host, Level};
use super::memory::MemoryLimit;
use crate::config::Limits;
use crate::stop::Stop;

/// The data of one store.
pub(super) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    log: Arc<Mutex<PluginLog>>,
    /// What was counted since it was taken last, by name.
    counters: BTreeMap<String, Option<u64>>,
    counters_max: usize,
    pub(super) memory: MemoryLimit,
    /// When the call under way must be over.
    pub(super) deadline: Instant,
    pub(super) stop: Stop,
}

impl State {
    pub(super) fn new(plugin: &str, limits: &Limits, stop: Stop) -> Self {
        let log = Arc::new(Mutex::new(PluginLog::new(plugin, limits.plugin_log_bytes)));
        let printed = Printed(Arc::clone(&log));
        let wasi = WasiCtx::builder()
            .stdout(printed.clone())
            .stderr(printed)
            .secure_random(Deterministic::new(vec![0x5a; 16]))
            .insecure_random(Deterministic::new(vec![0x5a; 16]))
            .insecure_random_seed(0)
            .wall_clock(StillClock)
            .monotonic_clock(StillClock)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self {
            wasi,
            table: ResourceTable::new(),
            log,
            counters: BTreeMap::new(),
            counters_max: limits.plugin_counters,
            memory: MemoryLimit::new(limits.plugin_memory_bytes),
            deadline: Instant::now(),
            stop,
        }
    }

    /// The last line that the plugin printed: after a trap, mostly the panic's message.
    pub(super) fn last_printed(&self) -> Option<String> {
        lock(&self.log).last_printed.clone()
    }

    /// Names that were met count for the limit for good.
    pub(super) fn take_counters(&mut self) -> BTreeMap<String, u64> {
        let counters = self.counters.iter_mut();
        let counted = counters.filter_map(|(name, count)| Some((name.clone(), count.take()?)));
        counted.collect()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl Host for State {
    fn log(&mut self, level: Level, message: String) {
        lock(&self.log).write(level, &message);
    }

    fn count(&mut self, name: String, delta: u64) {
        if let Some(counter) = self.counters.get_mut(&name) {
            *counter = Some(counter.unwrap_or_default().saturating_add(delta));
        } else if self.counters.len() < self.counters_max && name.len() <= 64 {
            self.counters.insert(name, Some(delta));
        } else {
            lock(&self.log).write(
                Level::Warn,
                "a counter was dropped: too many names, or a name over 64 bytes",
            );
        }
    }
}

/// A clock that always shows its beginning: output must not depend on when it is made.
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

/// Lines from a plugin on their way to the host's log, up to a number of bytes.
struct PluginLog {
    plugin: String,
    left: usize,
    dropped: u64,
    line: Vec<u8>,
    panicked_at: Option<String>,
    last_printed: Option<String>,
}

const LINE_BYTES_MAX: usize = 2048;
/// What a line costs beside its text, so that empty ones have an end, too.
const LINE_COST: usize = 32;

impl PluginLog {
    fn new(plugin: &str, bytes: usize) -> Self {
        Self {
            plugin: plugin.to_owned(),
            left: bytes,
            dropped: 0,
            line: Vec::new(),
            panicked_at: None,
            last_printed: None,
        }
    }

    fn write(&mut self, level: Level, message: &str) {
        let cost = message.len() + LINE_COST;
        if self.left < cost {
            // Shorter lines that come later are dropped as well: what is there is the beginning, without holes.
            self.left = 0;
            self.dropped += 1;
            return;
        }
        self.left -= cost;
        match level {
            Level::Trace => tracing::trace!(plugin = self.plugin, message),
            Level::Debug => tracing::debug!(plugin = self.plugin, message),
            Level::Info => tracing::info!(plugin = self.plugin, message),
            Level::Warn => tracing::warn!(plugin = self.plugin, message),
            Level::Error => tracing::error!(plugin = self.plugin, message),
        }
    }

    /// Gathers what a plugin prints into lines.
    fn print(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' && self.line.len() < LINE_BYTES_MAX {
                self.line.push(byte);
            } else if byte == b'\n' {
                let line = String::from_utf8_lossy(&self.line).into_owned();
                self.line.clear();
                self.printed(line);
            }
        }
    }

    /// Keeps the last line even when the log is full, because it is what a panic has to say. A panic in Rust prints
    /// where it was, then its message, then a note on an environment variable that no plugin has.
    fn printed(&mut self, line: String) {
        if line.is_empty() || line.starts_with("note: run with `RUST_BACKTRACE") {
            return;
        }
        self.write(Level::Info, &line);
        if let Some((_, place)) = line.rsplit_once(" panicked at ") {
            self.panicked_at = Some(place.trim_end_matches(':').to_owned());
            return;
        }
        self.last_printed = Some(match self.panicked_at.take() {
            Some(place) => format!("{line} (at {place})"),
            None => line,
        });
    }
}

impl Drop for PluginLog {
    fn drop(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(
                plugin = self.plugin,
                lines = self.dropped,
                "plugin log was full, lines were dropped"
            );
        }
    }
}

fn lock(log: &Mutex<PluginLog>) -> std::sync::MutexGuard<'_, PluginLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plugin's standard output and error.
#[derive(Clone)]
struct Printed(Arc<Mutex<PluginLog>>);

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 would ask for it, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        lock(&self.0).print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[async_trait::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}
