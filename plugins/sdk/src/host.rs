//! The functions `log` and `count` of the host. A native build has no host, so log lines and counts go to the test
//! harness that runs the plugin on the same thread. Without a harness, they are dropped.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use imports::capture;
pub(crate) use imports::log;

#[cfg(target_arch = "wasm32")]
use crate::bindings::ingest::plugin::host as imports;

/// Adds `delta` to the counter `name`, which the receipt reports.
///
/// The host drops counts if there are too many names or a name is too long. It discards the counts of a call that
/// traps. Each call of `count` leaves the sandbox, which takes time. To count a frequent event, make the plugin
/// stateful, add up the number in the plugin, and call `count` once in [`finish`](crate::Plugin::finish).
///
/// ```
/// ingest_plugin::count("too-high", 1);
/// ```
pub fn count(name: &str, delta: u64) {
    imports::count(name, delta);
}

#[cfg(not(target_arch = "wasm32"))]
mod imports {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use crate::bindings::ingest::plugin::host::Level;

    /// The log lines and counts of one run of a plugin.
    #[derive(Default)]
    pub(crate) struct Captured {
        pub(crate) logs: Vec<(Level, String)>,
        pub(crate) counters: BTreeMap<String, u64>,
    }

    thread_local! {
        static CAPTURED: RefCell<Option<Captured>> = const { RefCell::new(None) };
    }

    /// Runs `plugin` and collects its log lines and counts.
    pub(crate) fn capture<T>(plugin: impl FnOnce() -> T) -> (T, Captured) {
        CAPTURED.set(Some(Captured::default()));
        let result = plugin();
        (result, CAPTURED.take().unwrap_or_default())
    }

    pub(crate) fn log(level: Level, message: &str) {
        CAPTURED.with_borrow_mut(|captured| {
            if let Some(captured) = captured {
                captured.logs.push((level, message.to_owned()));
            }
        });
    }

    pub(crate) fn count(name: &str, delta: u64) {
        CAPTURED.with_borrow_mut(|captured| {
            if let Some(captured) = captured {
                *captured.counters.entry(name.to_owned()).or_default() += delta;
            }
        });
    }
}
