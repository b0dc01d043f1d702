//! One instance of a component: the host's calls come in, in the order that the interface promises, and results in the
//! types of the interface go out. [`export!`](crate::export) creates the only instance.

use std::cell::RefCell;

use crate::bindings::exports::ingest::plugin::transform::{Batch, Changes, Emitted, Input, Plan};
use crate::driver::{self, Driver};
use crate::plugin::Plugin;

/// The state of a component between two calls of the host. It is empty until `open`, and then contains the plugin.
#[doc(hidden)]
pub struct Instance<P>(RefCell<Option<Driver<P>>>);

impl<P: Plugin> Instance<P> {
    /// Creates an instance that is not open yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Implements the interface's `open`.
    pub fn open(&self, input: Input, config: &str) -> Result<Plan, String> {
        let (driver, plan) = Driver::open(input, config)?;
        self.0.replace(Some(driver));
        Ok(plan)
    }

    /// Implements the interface's `config-schema`.
    pub fn config_schema(&self) -> Option<String> {
        P::config_schema()
    }

    /// Implements the interface's `check`.
    pub fn check(&self, config: &str) -> Result<(), String> {
        driver::config::<P>(config)?;
        Ok(())
    }

    /// Implements the interface's `process`.
    pub fn process(&self, batch: &Batch) -> Result<Changes, String> {
        self.driver(|driver| driver.process(batch))
    }

    /// Implements the interface's `finish`.
    pub fn finish(&self) -> Result<Emitted, String> {
        self.driver(Driver::finish)
    }

    fn driver<T, E: Into<String>>(
        &self,
        call: impl FnOnce(&mut Driver<P>) -> Result<T, E>,
    ) -> Result<T, String> {
        let mut driver = self.0.borrow_mut();
        let driver = driver.as_mut().expect("the host calls `open` first");
        call(driver).map_err(Into::into)
    }
}

impl<P: Plugin> Default for Instance<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns true if the interface allows `name` as the name of a plugin.
#[doc(hidden)]
#[must_use]
pub const fn is_plugin_name(name: &str) -> bool {
    let name = name.as_bytes();
    let mut at = 0;
    while at < name.len() {
        if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') {
            return false;
        }
        at += 1;
    }
    matches!(name.len(), 1..=64)
}

#[cfg(test)]
mod tests {
    use super::is_plugin_name;

    #[test]
    fn names_are_short_lowercase_and_ascii() {
        assert!(is_plugin_name("clean_2-b"));
        assert!(is_plugin_name(&"a".repeat(64)));
        for bad in ["", "Clean", "clean 2", "größe", &"a".repeat(65)] {
            assert!(!is_plugin_name(bad), "{bad}");
        }
    }
}
