//! The functions `log` and `count` of the host. A native build has no host, so log lines and counts go to the test
//! harness that runs the plugin on the same thread. Without a harness, they are dropped.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use outside::listen;
pub(crate) use outside::log;

#[cfg(target_arch = "wasm32")]
use crate::bindings::ingest::plugin::host as outside;

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
    outside::count(name, delta);
}

#[cfg(not(target_arch = "wasm32"))]
mod outside {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use crate::bindings::ingest::plugin::host::Level;

    /// The log lines and counts of one run of a plugin.
    #[derive(Default)]
    pub(crate) struct Heard {
        pub(crate) logs: Vec<(Level, String)>,
        pub(crate) counters: BTreeMap<String, u64>,
    }

    thread_local! {
        static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
    }

    /// Runs `plugin` and collects its log lines and counts.
    pub(crate) fn listen<T>(plugin: impl FnOnce() -> T) -> (T, Heard) {
        HEARD.set(Some(Heard::default()));
        let result = plugin();
        (result, HEARD.take().unwrap_or_default())
    }

    pub(crate) fn log(level: Level, message: &str) {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                heard.logs.push((level, message.to_owned()));
            }
        });
    }

    pub(crate) fn count(name: &str, delta: u64) {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                *heard.counters.entry(name.to_owned()).or_default() += delta;
            }
        });
    }
}
