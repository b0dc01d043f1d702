//! Sets limits by name. A setting such as `memory=64MiB` goes in, and changed [`Limits`] come out.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::units::{DAY_MS, GIB, KIB, MIB, TIB, Unit};

/// The limits of a binding, by name. The values are texts such as `64MiB`. They can only lower the limits of a worker.
pub type LimitOverrides = BTreeMap<String, String>;

/// One limit with its value.
#[derive(Debug, Clone, Copy)]
pub struct LimitValue {
    limit: &'static LimitSpec,
    value: u64,
}

/// The description of a limit that has a name.
#[derive(Debug)]
struct LimitSpec {
    name: &'static str,
    unit: Unit,
    range: RangeInclusive<u64>,
    set_by: SetBy,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

/// The place where a limit can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetBy {
    /// Only for the whole worker, whose queues share the compiler.
    Worker,
    /// For the worker and for each queue: the limit bounds the fetching of inputs.
    Queue,
    /// For the worker and for each queue, and a binding may lower it: the limit bounds the work of a request.
    Binding,
}

/// The type of a limit's value. Times are in milliseconds.
trait LimitNumber {
    fn number(self) -> u64;
    fn of(number: u64) -> Self;
}

impl LimitNumber for u64 {
    fn number(self) -> u64 {
        self
    }

    fn of(number: u64) -> Self {
        number
    }
}

impl LimitNumber for usize {
    fn number(self) -> u64 {
        self as u64
    }

    fn of(number: u64) -> Self {
        number as usize
    }
}

impl LimitNumber for Duration {
    fn number(self) -> u64 {
        self.as_millis() as u64
    }

    fn of(number: u64) -> Self {
        Self::from_millis(number)
    }
}

/// Makes the description of the limit in a field.
macro_rules! limit {
    ($name:literal, $unit:ident, $range:expr, $by:ident, $field:ident) => {
        LimitSpec {
            name: $name,
            unit: Unit::$unit,
            range: $range,
            set_by: SetBy::$by,
            get: |limits| limits.$field.number(),
            set: |limits, value| limits.$field = LimitNumber::of(value),
        }
    };
}

/// The maximum of the limit `columns`.
pub const COLUMNS_MAX: usize = 65_536;

/// The limits that have names. docs/security.md describes each limit.
static LIMITS: [LimitSpec; 17] = [
    limit!("memory", Bytes, MIB..=4 * GIB, Binding, plugin_memory_bytes),
    limit!("call-time", Milliseconds, 50..=DAY_MS, Binding, plugin_call),
    limit!("call-bytes", Bytes, 64 * KIB..=GIB, Binding, changes_bytes_max),
    limit!(
        "record-rows",
        Count,
        1..=u32::MAX as u64,
        Binding,
        record_rows_max
    ),
    limit!("output-bytes", Bytes, 0..=1024 * TIB, Binding, output_bytes_max),
    limit!("rejects-bytes", Bytes, 0..=1024 * TIB, Binding, rejects_bytes_max),
    limit!("request-time", Milliseconds, 50..=30 * DAY_MS, Binding, attempt),
    limit!("log-bytes", Bytes, 0..=GIB, Binding, plugin_log_bytes),
    limit!("traps", Count, 0..=1_000_000, Binding, traps),
    limit!("timeouts", Count, 0..=1_000_000, Binding, timeouts),
    limit!("columns", Count, 1..=COLUMNS_MAX as u64, Binding, columns_max),
    limit!("component-bytes", Bytes, 1..=GIB, Worker, component_bytes_max),
    limit!("compile-time", Milliseconds, 1_000..=DAY_MS, Worker, compile),
    limit!(
        "compile-memory",
        Bytes,
        64 * MIB..=TIB,
        Worker,
        compile_memory_bytes
    ),
    limit!(
        "first-byte-time",
        Milliseconds,
        100..=DAY_MS,
        Queue,
        http_first_byte
    ),
    limit!("redirects", Count, 0..=100, Queue, http_redirects),
    limit!("zstd-window", Bytes, KIB..=2 * GIB, Queue, zstd_window_bytes_max),
];

impl Limits {
    /// Returns these limits with the given settings applied.
    #[must_use]
    pub fn with(mut self, settings: &[LimitValue]) -> Self {
        for LimitValue { limit, value } in settings {
            (limit.set)(&mut self, *value);
        }
        self
    }

    /// Returns the message about a table with `columns` columns, more than the limit. If there are more than
    /// [`COLUMNS_MAX`], `columns` can be any number above it.
    pub fn too_many_columns(&self, columns: usize) -> String {
        let max = self.columns_max;
        match columns <= COLUMNS_MAX {
            true => format!(
                "has {columns} columns, more than the {max} allowed; --limit columns={columns} allows them"
            ),
            false => format!(
                "has more than {COLUMNS_MAX} columns, and {max} are allowed; --limit columns allows at most {COLUMNS_MAX}"
            ),
        }
    }

    /// Returns these limits, except that the limits of a whole worker are those of `worker`.
    #[must_use]
    pub fn in_worker(mut self, worker: &Self) -> Self {
        self.checkpoint_bytes = worker.checkpoint_bytes;
        for limit in LIMITS.iter().filter(|limit| limit.set_by == SetBy::Worker) {
            (limit.set)(&mut self, (limit.get)(worker));
        }
        self
    }

    /// Returns these limits, lowered by the binding: if the binding has a lower value for a limit, the result has this
    /// value.
    ///
    /// # Errors
    /// Fails transiently if this program does not accept a limit of the binding, for example because it does not know
    /// the limit's name.
    pub fn with_overrides(&self, binding: &LimitOverrides) -> Result<Self> {
        // The program that made the binding accepted the limit, so a worker of that version accepts it, too.
        let newer = |why| {
            let error = Error::transient(
                Stage::Plugin,
                Code::HostOutdated,
                format!("limit of the binding: {why}"),
            );
            error.with_hint("if a newer version has bound it, update this program")
        };
        let mut limits = self.clone();
        for (name, value) in binding {
            let LimitValue { limit, value } = setting(name, value)
                .and_then(LimitValue::in_binding)
                .map_err(newer)?;
            if value < (limit.get)(self) {
                (limit.set)(&mut limits, value);
            }
        }
        Ok(limits)
    }
}

impl Limits {
    /// Returns the limits that differ from the defaults, in the form `NAME=VALUE`. Returns `None` if no limit differs.
    pub fn changed(&self) -> Option<String> {
        let default = Self::default();
        let settings = LIMITS.iter().filter_map(|limit| {
            let value = (limit.get)(self);
            (value != (limit.get)(&default)).then(|| LimitValue { limit, value }.to_string())
        });
        let settings: Vec<_> = settings.collect();
        (!settings.is_empty()).then(|| settings.join(" "))
    }
}

impl Limits {
    /// Returns the values of all limits that have names.
    pub fn named(&self) -> impl Iterator<Item = LimitValue> {
        LIMITS.iter().map(|limit| LimitValue {
            limit,
            value: (limit.get)(self),
        })
    }
}

/// Formats the limits that have names, each as `NAME=VALUE`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, limit) in self.named().enumerate() {
            let between = if index == 0 { "" } else { " " };
            write!(f, "{between}{limit}")?;
        }
        Ok(())
    }
}

impl LimitValue {
    /// Returns the limit if a binding may set it.
    ///
    /// # Errors
    /// Fails if only a worker may set the limit.
    pub fn in_binding(self) -> Result<Self, String> {
        if self.limit.set_by == SetBy::Binding {
            return Ok(self);
        }
        Err(format!(
            "{} is for a worker to set, not for a binding",
            self.limit.name
        ))
    }

    /// Returns the limit if it can be set for a queue.
    ///
    /// # Errors
    /// Fails if it can be set for a whole worker only.
    pub fn in_queue(self) -> Result<Self, String> {
        if self.limit.set_by != SetBy::Worker {
            return Ok(self);
        }
        Err(format!(
            "{} is a limit of the whole worker, not of a queue",
            self.limit.name
        ))
    }

    /// Returns the limit's name.
    pub fn name(self) -> &'static str {
        self.limit.name
    }

    /// Returns the name and the value in the form in which a binding stores them.
    pub fn parts(self) -> (String, String) {
        (self.limit.name.to_owned(), self.limit.unit.format(self.value))
    }
}

impl FromStr for LimitValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        setting(name, value)
    }
}

/// Formats the limit as `NAME=VALUE`.
impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitSpec { name, unit, .. } = self.limit;
        write!(f, "{name}={}", unit.format(self.value))
    }
}

fn setting(name: &str, value: &str) -> Result<LimitValue, String> {
    let Some(limit) = LIMITS.iter().find(|limit| limit.name == name) else {
        let names: Vec<_> = LIMITS.iter().map(|limit| limit.name).collect();
        return Err(format!("there is no limit \"{name}\", only {}", names.join(", ")));
    };
    let (value, range) = (limit.unit.parse(value)?, &limit.range);
    if !range.contains(&value) {
        let [least, most] = [range.start(), range.end()].map(|bound| limit.unit.format(*bound));
        return Err(format!("{name} is from {least} to {most}"));
    }
    Ok(LimitValue { limit, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::HumanDuration;

    fn refused(text: &str) -> String {
        text.parse::<LimitValue>().expect_err("refused")
    }

    #[test]
    fn a_setting_is_written_as_it_is_read() {
        let texts = [
            "memory=64MiB",
            "call-time=1500ms",
            "call-time=2m",
            "traps=0",
            "output-bytes=1000",
        ];
        for text in texts {
            assert_eq!(text.parse::<LimitValue>().unwrap().to_string(), text);
        }
        assert_eq!(
            "memory=1024MiB".parse::<LimitValue>().unwrap().to_string(),
            "memory=1GiB"
        );
        assert!(refused("memory").contains("NAME=VALUE"));
        assert!(refused("memry=1MiB").contains("there is no limit \"memry\", only memory, call-time"));
        assert!(refused("memory=64MB").contains("is no size"));
        assert!(refused("memory=99999999999999999999TiB").contains("is no size"));
        assert!(refused("call-time=5").contains("is no time"));
        assert!(refused("traps=-1").contains("is no number"));
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("30d", 30 * DAY_MS),
        ] {
            assert_eq!(
                text.parse::<HumanDuration>().unwrap().0,
                Duration::from_millis(millis)
            );
        }
        assert!("5".parse::<HumanDuration>().is_err() && "".parse::<HumanDuration>().is_err());
    }

    #[test]
    fn each_limit_has_a_least_and_a_most() {
        assert_eq!(refused("memory=1023KiB"), "memory is from 1MiB to 4GiB");
        for limit in &LIMITS {
            let text = |value| format!("{}={}", limit.name, limit.unit.format(value));
            let (least, most) = (*limit.range.start(), *limit.range.end());
            for value in [least, most] {
                let mut limits = Limits::default();
                limits = limits.with(&[text(value).parse().unwrap()]);
                assert_eq!((limit.get)(&limits), value, "{}", limit.name);
            }
            refused(&text(most + 1));
            if least > 0 {
                refused(&text(least - 1));
            }
            let default = (limit.get)(&Limits::default());
            assert!(limit.range.contains(&default), "{}", limit.name);
        }
    }

    #[test]
    fn the_limits_of_a_worker_stay() {
        let limits = |texts: &[&str]| {
            Limits::default().with(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
        };
        let mut worker = limits(&["memory=32MiB", "compile-time=5m", "component-bytes=1MiB"]);
        worker.checkpoint_bytes = 7;
        let changed = limits(&["memory=64MiB", "compile-time=9m", "redirects=3"]).in_worker(&worker);
        let expected = limits(&[
            "memory=64MiB",
            "compile-time=5m",
            "component-bytes=1MiB",
            "redirects=3",
        ]);
        assert_eq!(changed.to_string(), expected.to_string());
        assert_eq!(changed.checkpoint_bytes, 7);
    }

    #[test]
    fn a_binding_only_lowers() {
        let of_worker =
            Limits::default().with(&["memory=32MiB".parse().unwrap(), "traps=7".parse().unwrap()]);
        let binding = |limits: &[(&str, &str)]| {
            let limits = limits
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            of_worker.with_overrides(&limits.collect())
        };
        let limits = binding(&[("memory", "64MiB"), ("traps", "3")]).unwrap();
        assert_eq!((limits.plugin_memory_bytes, limits.traps), (32 << 20, 3));
        let error = binding(&[("component-bytes", "1MiB")]).unwrap_err().to_string();
        assert!(
            error.contains("component-bytes is for a worker to set"),
            "{error}"
        );
        assert!(binding(&[("from-the-future", "1")]).is_err());
    }

    #[test]
    fn the_page_on_security_has_them_all() {
        let page = include_str!("../../../docs/security.md");
        for limit in &LIMITS {
            let value = limit.unit.format((limit.get)(&Limits::default()));
            let row = format!("| `{}` | {value} |", limit.name);
            assert!(page.contains(&row), "no row {row}");
        }
    }
}
