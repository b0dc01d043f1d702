//! The functions of the host. A native build has no host, so log lines and counts go to the test harness that runs the
//! plugin on the same thread, and reference data and origin come from it. Without a harness, log lines and counts are
//! dropped, and there is no data.

pub use crate::bindings::ingest::plugin::host::InputOrigin as Origin;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use imports::{Captured, Surroundings, run_in};
pub(crate) use imports::{data, data_names, log, origin};

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

    use crate::bindings::ingest::plugin::host::{InputOrigin as Origin, Level};

    /// The log lines and counts of one run of a plugin.
    #[derive(Default)]
    pub(crate) struct Captured {
        pub(crate) logs: Vec<(Level, String)>,
        pub(crate) counters: BTreeMap<String, u64>,
    }

    /// The values that a plugin can ask for during one run.
    #[derive(Clone)]
    pub(crate) struct Surroundings {
        pub(crate) data: BTreeMap<String, Vec<u8>>,
        pub(crate) origin: Origin,
    }

    impl Surroundings {
        /// Returns surroundings without data, and with an origin without an id.
        pub(crate) const fn none() -> Self {
            Self {
                data: BTreeMap::new(),
                origin: Origin {
                    request_id: None,
                    uri: String::new(),
                    name: String::new(),
                },
            }
        }
    }

    thread_local! {
        static CAPTURED: RefCell<Option<Captured>> = const { RefCell::new(None) };
        static SURROUNDINGS: RefCell<Surroundings> = const { RefCell::new(Surroundings::none()) };
    }

    /// Runs `plugin` in these surroundings, and collects its log lines and counts.
    pub(crate) fn run_in<T>(surroundings: Surroundings, plugin: impl FnOnce() -> T) -> (T, Captured) {
        CAPTURED.set(Some(Captured::default()));
        let before = SURROUNDINGS.replace(surroundings);
        let result = plugin();
        SURROUNDINGS.set(before);
        (result, CAPTURED.take().unwrap_or_default())
    }

    pub(crate) fn data_names() -> Vec<String> {
        SURROUNDINGS.with_borrow(|surroundings| surroundings.data.keys().cloned().collect())
    }

    pub(crate) fn data(name: &str) -> Option<Vec<u8>> {
        SURROUNDINGS.with_borrow(|surroundings| surroundings.data.get(name).cloned())
    }

    pub(crate) fn origin() -> Origin {
        SURROUNDINGS.with_borrow(|surroundings| surroundings.origin.clone())
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
