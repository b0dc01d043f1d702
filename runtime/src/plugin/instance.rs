//! Runs one plugin instance on one input.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline, WasmBacktrace};

use super::calls::{Call, CallTime, Calls, thread_time};
use super::engine::Engine;
use super::interface::{Exports, FlatBatch, InputColumns, Prepared, UncheckedPlan};
use super::memory::TooMany;
use super::meter::Meter;
use super::pool::INSTANCES_MAX;
use super::state::{StoreState, TimeoutCause};
use super::trap::{Failure, Trap, is_of_machine, short};
use super::{Emitted, Plan};
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::format::{Format, OutputColumn, clip};
use crate::record::{Batch, Changes};

/// The maximum number of host resources that a plugin holds at once. Most of them are standard streams.
const HANDLES_MAX: usize = 1_000;

/// The maximum length of the name, and of the version, in the plugin's description of itself, in bytes.
const NAME_BYTES_MAX: usize = 64;
const VERSION_BYTES_MAX: usize = 64;

/// The maximum length of the JSON Schema of a config, in bytes.
const CONFIG_SCHEMA_BYTES_MAX: usize = 1 << 20;

/// A plugin instance. After an error of any call, every further call fails.
pub struct Instance {
    store: Store<StoreState>,
    exports: Box<dyn Exports>,
    limits: Arc<Limits>,
    calls: Arc<Calls>,
    meter: Option<Arc<Meter>>,
    is_alone: bool,
    poisoned: bool,
}

impl Instance {
    pub(super) fn start(
        engine: &Engine,
        prepared: &dyn Prepared,
        state: StoreState,
        limits: &Arc<Limits>,
        is_alone: bool,
    ) -> Result<Self> {
        let limits = Arc::clone(limits);
        let mut store = Store::new(engine.wasmtime(), state);
        store.limiter(|state| &mut state.memory);
        // This fuel limits the bytes that wasmtime copies out of the plugin in a call. Before wasmtime copies a list,
        // it subtracts the list's size, even if the list overlaps others in the plugin's memory.
        store.set_hostcall_fuel(limits.changes_bytes_max);
        store.set_max_component_handles(HANDLES_MAX);
        if engine.counts_fuel() {
            // The plugin never runs out of fuel: epochs limit its time.
            store.set_fuel(u64::MAX).map_err(|e| {
                Error::permanent(Stage::Plugin, Code::HostFailure, "cannot count fuel").because(e)
            })?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            let StoreState {
                stop, call, overdue, ..
            } = context.data_mut();
            stop.check()?;
            let Some(call) = call else {
                return Ok(UpdateDeadline::Continue(1));
            };
            *overdue = match call.tick(stop)? {
                CallTime::InTime => return Ok(UpdateDeadline::Continue(1)),
                CallTime::Late => Some(TimeoutCause::Late {
                    was_alone: call.was_alone(),
                }),
                CallTime::Stalled => Some(TimeoutCause::Stalled),
            };
            Err(wasmtime::Error::msg("the time limit is exceeded"))
        });
        let calls = Arc::clone(engine.calls());
        let call = Call::begin(&calls, limits.plugin_call, is_alone, &store.data().stop)?;
        store.data_mut().begin_call("start", call);
        let started = prepared.instantiate(&mut store);
        store.data_mut().call = None;
        let exports = match started {
            Ok(exports) => exports,
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {
                let what = format!("more than {INSTANCES_MAX} plugin instances at once");
                return Err(Error::transient(Stage::Plugin, Code::MachineBusy, what).because(error));
            }
            Err(error) if let Some(what) = TooMany::reason(&error) => {
                return Err(Error::permanent(
                    Stage::Plugin,
                    Code::PluginUnfit,
                    format!("the component has {what}"),
                ));
            }
            Err(error) => {
                return Err(failed(&mut store, &limits, "start", limits.plugin_call, &error).into());
            }
        };
        Ok(Self {
            store,
            exports,
            limits,
            calls,
            meter: engine.meter().cloned(),
            is_alone,
            poisoned: false,
        })
    }

    /// Sets whether further calls run only while no other call of the engine runs.
    pub fn set_alone(&mut self, is_alone: bool) {
        self.is_alone = is_alone;
    }

    /// Returns the name and the version from the plugin's description of itself.
    ///
    /// # Errors
    /// Fails if the plugin traps, or if its answer breaks the interface's rules.
    pub fn describe(&mut self) -> Result<(String, String)> {
        let described = self.call(self.limits.plugin_call, "describe", |exports, store| {
            exports.describe(store)
        });
        let (name, version) = described?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(allowed) {
            return Err(broken(format!("gave itself the name \"{}\"", short(&name))));
        }
        let in_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        if version.is_empty() || version.len() > VERSION_BYTES_MAX || !version.chars().all(in_version) {
            return Err(broken(format!("gave itself the version \"{}\"", short(&version))));
        }
        Ok((name, version))
    }

    /// Returns the JSON Schema of the plugin's config, or `None` if the plugin has none.
    ///
    /// # Errors
    /// Fails if the plugin traps, or if its answer is no JSON object or too long.
    pub fn config_schema(&mut self) -> Result<Option<serde_json::Value>> {
        let schema = self.call(self.limits.plugin_call, "config-schema", |exports, store| {
            exports.config_schema(store)
        });
        let Some(schema) = schema? else { return Ok(None) };
        if schema.len() > CONFIG_SCHEMA_BYTES_MAX {
            let bytes = schema.len();
            return Err(broken(format!(
                "its config schema has {bytes} bytes, more than the {CONFIG_SCHEMA_BYTES_MAX} allowed"
            )));
        }
        match serde_json::from_str(&schema) {
            Ok(schema @ serde_json::Value::Object(_)) => Ok(Some(schema)),
            Ok(_) => Err(broken("its config schema is no JSON object")),
            Err(error) => Err(broken("its config schema is no JSON object").because(error)),
        }
    }

    /// Checks that the plugin accepts a config.
    ///
    /// # Errors
    /// Returns the plugin's reason for refusing the config, or the error of the call.
    pub fn check(&mut self, config: &str) -> Result<()> {
        self.ask(
            "check",
            Code::PluginConfig,
            "refuses the config: ",
            |exports, store| exports.check(store, config),
        )
    }

    /// Opens the plugin on an input and returns its plan.
    ///
    /// # Errors
    /// Returns the plugin's reason if it refuses the columns or the config. Fails if the plan is invalid.
    pub fn open(&mut self, columns: &[String], format: Format, config: &str) -> Result<Plan> {
        let input = InputColumns {
            names: columns,
            format,
        };
        let plan = self.ask(
            "open",
            Code::InputRefused,
            "refuses the input: ",
            |exports, store| exports.open(store, &input, config),
        )?;
        let plan = checked_plan(plan, columns.len(), format, &self.limits)?;
        Ok(Plan {
            uses_origin: self.store.data().has_asked_origin(),
            ..plan
        })
    }

    /// Sends a batch through the plugin. The call takes the batch's fields and gives them back afterwards.
    ///
    /// # Errors
    /// Returns the plugin's reason if the plugin answers with an error. Also fails if the plugin traps.
    pub fn process(&mut self, batch: &mut Batch) -> Result<Changes> {
        Ok(self.process_within(batch, self.limits.plugin_call)?)
    }

    /// Sends a batch through the plugin as [`Instance::process`] does, with a time limit for this call.
    ///
    /// # Errors
    /// Fails as [`Instance::process`] does. A trap has a variant of its own in [`Failure`].
    pub fn process_within(&mut self, batch: &mut Batch, limit: Duration) -> Result<Changes, Failure> {
        let mut lent = FlatBatch {
            bytes: batch.lend(),
            starts: std::mem::take(&mut batch.starts),
            ends: std::mem::take(&mut batch.ends),
        };
        let changes = self.measured(|instance| {
            instance.ask_within(limit, "process", Code::PluginFailed, "", |exports, store| {
                exports.process(store, &mut lent)
            })
        });
        batch.take_back(lent.bytes);
        (batch.starts, batch.ends) = (lent.starts, lent.ends);
        changes
    }

    /// Waits until the worker has memory for a call. `more` is the number of bytes that the call needs in addition to
    /// the memory that the instance has now. During the call itself, a wait for memory is not possible.
    ///
    /// # Errors
    /// Fails as [`crate::memory::Held::raise`] does.
    pub fn prepare(&mut self, more: usize) -> Result<()> {
        self.store.data_mut().memory.prepare(more)
    }

    /// Tells the plugin that the input has ended. Returns the rows that the plugin adds at the end.
    ///
    /// # Errors
    /// Fails as [`Instance::process`] does.
    pub fn finish(&mut self) -> Result<Emitted> {
        self.measured(|instance| {
            instance.ask("finish", Code::PluginFailed, "", |exports, store| {
                exports.finish(store)
            })
        })
    }

    /// Returns the plugin's counters since the last call of this function. The counts of a plugin call that did not
    /// return are not included.
    pub fn take_counters(&mut self) -> BTreeMap<String, u64> {
        self.store.data_mut().take_counters()
    }

    /// Returns the number of bytes that the plugin may still log.
    pub fn log_bytes_left(&self) -> usize {
        self.store.data().log_bytes_left()
    }

    /// Makes a call, and adds what it costs to the engine's meter, if there is one.
    fn measured<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let Some(meter) = self.meter.clone() else {
            return call(self);
        };
        let fuel = |instance: &Self| instance.store.get_fuel().unwrap_or_default();
        let (began, fuel_before) = (thread_time(), fuel(self));
        let answer = call(self);
        let time = thread_time().saturating_sub(began);
        meter.add(time, fuel_before.saturating_sub(fuel(self)));
        answer
    }

    /// Calls the plugin within a time limit. Fails if an earlier call has failed.
    fn call<T>(
        &mut self,
        limit: Duration,
        name: &'static str,
        call: impl FnOnce(&dyn Exports, &mut Store<StoreState>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        if self.poisoned {
            return Err(broken("was called after it had failed").into());
        }
        let turn = Call::begin(&self.calls, limit, self.is_alone, &self.store.data().stop)?;
        self.store.data_mut().begin_call(name, turn);
        self.store.set_epoch_deadline(1);
        let answer = call(&*self.exports, &mut self.store);
        self.store.data_mut().call = None;
        match answer {
            Ok(answer) => {
                self.store.data_mut().keep_counts();
                Ok(answer)
            }
            Err(error) => {
                self.poisoned = true;
                Err(failed(&mut self.store, &self.limits, name, limit, &error))
            }
        }
    }

    /// Calls a function of the plugin that can answer with an error and its reason. Such an error ends the instance, as
    /// a trap does.
    fn ask<T>(
        &mut self,
        name: &'static str,
        code: Code,
        before: &str,
        call: impl FnOnce(&dyn Exports, &mut Store<StoreState>) -> wasmtime::Result<Result<T, String>>,
    ) -> Result<T> {
        Ok(self.ask_within(self.limits.plugin_call, name, code, before, call)?)
    }

    fn ask_within<T>(
        &mut self,
        limit: Duration,
        name: &'static str,
        code: Code,
        before: &str,
        call: impl FnOnce(&dyn Exports, &mut Store<StoreState>) -> wasmtime::Result<Result<T, String>>,
    ) -> Result<T, Failure> {
        self.call(limit, name, call)?.map_err(|sentence| {
            self.poisoned = true;
            let sentence = short(&sentence);
            // Plugins write this prefix themselves, because not every host writes it.
            let said = sentence
                .strip_prefix("config: ")
                .filter(|_| code == Code::PluginConfig);
            let said = said.unwrap_or(&sentence);
            Error::permanent(Stage::Plugin, code, format!("{before}{said}")).into()
        })
    }
}

/// Returns the reason why a call into the plugin did not return.
fn failed(
    store: &mut Store<StoreState>,
    limits: &Limits,
    call: &str,
    limit: Duration,
    error: &wasmtime::Error,
) -> Failure {
    if let Some(refused) = store.data_mut().memory.take_refused() {
        return refused.into();
    }
    let state = store.data();
    if let Err(stopped) = state.stop.check() {
        return stopped.into();
    }
    if let Some(why) = state.memory.refused_by_machine() {
        let what = format!("the machine has no memory for {call}, though its limit allows it");
        return Error::transient(Stage::Plugin, Code::MachineBusy, what)
            .because(why.to_owned())
            .into();
    }
    if let Some(TimeoutCause::Stalled) = state.overdue {
        let what = format!("the machine is too busy: {call} waits for a processor");
        return Error::transient(Stage::Plugin, Code::MachineBusy, what).into();
    }
    let is_trap = error.is::<WasmBacktrace>() || error.is::<wasmtime::Trap>();
    if !is_trap && is_of_machine(error) {
        let what = format!("the machine lacks something for {call}");
        return Error::transient(Stage::Plugin, Code::MachineBusy, what)
            .because(error.root_cause().to_string())
            .into();
    }
    if !is_trap && !state.memory.exceeded() && state.overdue.is_none() {
        let bytes_max = limits.changes_bytes_max;
        let what = format!(
            "{call} returned what cannot be read, or more than the limit of {bytes_max} bytes (--limit call-bytes)"
        );
        return broken(what).because(error.root_cause().to_string()).into();
    }
    let (code, message) = if state.memory.exceeded() {
        let bytes = limits.plugin_memory_bytes;
        let what = format!("{call} needed more memory than the limit of {bytes} bytes (--limit memory)");
        (Code::PluginMemory, what)
    } else if state.overdue.is_some() {
        let what = format!("{call} took longer than the limit of {limit:?} (--limit call-time)");
        (Code::PluginTimeout, what)
    } else if let Some(words) = state.last_words() {
        (Code::PluginTrap, format!("{call} trapped: {}", short(&words)))
    } else {
        (Code::PluginTrap, format!("{call} trapped"))
    };
    Failure::Trap(Trap::new(state.overdue, code, message, error))
}

fn checked_plan(plan: UncheckedPlan, columns: usize, format: Format, limits: &Limits) -> Result<Plan> {
    if format != Format::Jsonl && !plan.more_columns.is_empty() {
        return Err(broken("planned more columns than the header has"));
    }
    let columns = columns + plan.more_columns.len();
    let refused = |what: String| Error::permanent(Stage::Plugin, Code::OutputColumns, what);
    let of_output = ("its output", plan.output.len());
    for (what, number) in [
        ("the input with the members that it asks for", columns),
        of_output,
    ] {
        if number > limits.columns_max {
            return Err(refused(format!("{what} {}", limits.too_many_columns(number))));
        }
    }
    let bytes_max = limits.column_name_bytes_max;
    let mut names = plan
        .output
        .iter()
        .map(|column| &column.name)
        .chain(&plan.more_columns);
    if let Some(name) = names.find(|name| name.len() > bytes_max) {
        let (shown, bytes) = (clip(name.as_bytes()), name.len());
        return Err(refused(format!(
            "names a column \"{shown}\" with {bytes} bytes, more than the {bytes_max} allowed"
        )));
    }
    let index = |index: u32| match index as usize {
        index if index < columns => Ok(index),
        index => Err(broken(format!("planned to use column {index} of {columns}"))),
    };
    let reads = plan
        .reads
        .iter()
        .map(|&read| index(read))
        .collect::<Result<Vec<_>>>()?;
    if reads.iter().collect::<HashSet<_>>().len() != reads.len() {
        return Err(broken("planned to read a column twice"));
    }
    let mut output = Vec::with_capacity(plan.output.len());
    for column in plan.output {
        output.push(OutputColumn {
            name: column.name,
            column_type: column.column_type,
            source: column.source.map(index).transpose()?,
        });
    }
    if output.is_empty() && columns > 0 {
        return Err(broken("planned an output without columns"));
    }
    if output
        .iter()
        .map(|column| &column.name)
        .collect::<HashSet<_>>()
        .len()
        != output.len()
    {
        return Err(broken("planned two output columns of one name"));
    }
    Ok(Plan {
        reads,
        more_columns: plan.more_columns,
        output,
        stateful: plan.stateful,
        uses_origin: false,
    })
}

fn broken(message: impl Into<String>) -> Error {
    Error::permanent(
        Stage::Plugin,
        Code::PluginContract,
        format!("breaks the interface: {}", message.into()),
    )
}
