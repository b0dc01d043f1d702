//! Runs the plugin on a batch. The batch goes in, and the plugin's changes to its parts come out, one part after the
//! other. If a stateless plugin traps, the runner opens a new instance and continues with the parts that
//! [`TrapIsolation`] gives.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::trap_isolation::TrapIsolation;
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::plugin::{Failure, Instance, Plan, Plugin, Trap, thread_time};
use crate::record::{Batch, Changes};
use crate::stop::Stop;

const HAS_STATE: &str = "the plugin keeps state between records, so none of these can be set aside";

/// Opens instances of a plugin on an input.
pub(super) struct InstanceOpener {
    pub(super) plugin: Plugin,
    pub(super) columns: Vec<String>,
    pub(super) format: Format,
    pub(super) config: Arc<str>,
    pub(super) stop: Stop,
}

impl InstanceOpener {
    /// Opens an instance and returns it with its plan.
    ///
    /// # Errors
    /// Returns the plugin's errors, with its name.
    pub(super) fn open(&self) -> Result<(Instance, Plan)> {
        self.open_as(&self.plugin)
    }

    /// Opens another instance. It must return the same plan as the first instance.
    ///
    /// # Errors
    /// Fails as [`InstanceOpener::open`] does, and if the plan differs.
    pub(super) fn open_again(&self, plan: &Plan, log_bytes: usize) -> Result<Instance> {
        let limits = Limits {
            plugin_log_bytes: log_bytes,
            ..Limits::clone(self.plugin.limits())
        };
        let (mut instance, again) = self.open_as(&self.plugin.with_limits(Arc::new(limits)))?;
        // The counts from `open` were taken from the first instance already, and must not be added again.
        instance.take_counters();
        if again != *plan {
            let why = "planned otherwise when it was opened on the same input again";
            return Err(Error::permanent(Stage::Plugin, Code::PluginContract, why)
                .about(&self.plugin.description().name));
        }
        Ok(instance)
    }

    fn open_as(&self, plugin: &Plugin) -> Result<(Instance, Plan)> {
        plugin
            .open(&self.columns, self.format, &self.config, self.stop.clone())
            .map_err(|e| e.about(&plugin.description().name))
    }
}

/// Runs the plugin instance of a lane, and replaces the instance after a trap.
pub(super) struct PluginRunner {
    opener: Arc<InstanceOpener>,
    plan: Arc<Plan>,
    /// The current instance, or `None` if no new instance could be opened after a trap.
    instance: Option<Instance>,
    /// Set if the instance has seen no record yet. Only in this case does a trap prove that the record in the call is
    /// its cause.
    is_fresh: bool,
    /// The counters of earlier instances that `take_counters` has not returned yet.
    counters: BTreeMap<String, u64>,
}

/// The outcome of the plugin's work on a part of a batch.
pub(super) enum PartOutcome {
    /// The plugin has answered with changes to these rows.
    Changed(Range<usize>, Changes),
    /// The plugin traps on this record even if a new instance gets only this record.
    Trapped(usize, Trap),
    /// The plugin trapped on the whole batch, but on no record alone.
    Unexplained(Trap),
}

impl PluginRunner {
    pub(super) fn new(opener: Arc<InstanceOpener>, plan: Arc<Plan>, instance: Instance) -> Self {
        Self {
            opener,
            plan,
            instance: Some(instance),
            is_fresh: true,
            counters: BTreeMap::new(),
        }
    }

    /// Returns the outcome of the next part of the batch, in order, or `None` at the end of the batch.
    ///
    /// # Errors
    /// Returns errors that do not concern single records:
    ///
    /// - a trap of a plugin with state
    /// - an error that the plugin returns
    /// - a stop
    /// - a timeout of the whole batch: its parts together take too long, and no single record is the cause
    /// - more traps than the records found so far can explain
    pub(super) fn next(
        &mut self,
        isolation: &mut TrapIsolation,
        batch: &mut Batch,
    ) -> Result<Option<PartOutcome>> {
        while let Some(part) = isolation.parts.pop() {
            if part.is_suspect && part.rows.len() > 1 {
                isolation.halve(part.rows);
                continue;
            }
            let is_whole = part.rows.len() == batch.rows.len();
            let is_alone = part.rows.len() == 1;
            if is_alone && !is_whole && !self.is_fresh {
                self.replace_instance()?;
            }
            let was_fresh = std::mem::replace(&mut self.is_fresh, false);
            let limit = isolation.limit(part.rows.len());
            // For a whole batch, the call itself measures the time.
            let began = (!is_whole).then(thread_time);
            if isolation.is_alone {
                self.instance()?.set_alone(true);
            }
            let result = if is_whole {
                self.instance()?.process_within(batch, limit)
            } else {
                let mut batch = batch.part(part.rows.clone(), self.plan.reads.len());
                self.instance()?.process_within(&mut batch, limit)
            };
            match result {
                Ok(changes) => {
                    if isolation.is_alone {
                        let is_alone = self.opener.plugin.is_alone();
                        self.instance()?.set_alone(is_alone);
                    }
                    let took = began.map(|began| thread_time().saturating_sub(began));
                    isolation.passed(&part, took.unwrap_or_default())?;
                    return Ok(Some(PartOutcome::Changed(part.rows, changes)));
                }
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Trap(trap)) if self.plan.stateful => return Err(trap.into_error(HAS_STATE)),
                Err(Failure::Trap(trap)) => {
                    self.replace_instance()?;
                    // After a timeout, the calls run alone, so that the machine's load cannot affect the result of the
                    // batch.
                    isolation.is_alone |= trap.is_timeout;
                    if trap.ran_beside_others {
                        isolation.parts.push(part);
                        continue;
                    }
                    if is_alone && was_fresh {
                        isolation.found();
                        return Ok(Some(PartOutcome::Trapped(part.rows.start, trap)));
                    }
                    isolation.trapped(part, trap)?;
                }
            }
        }
        Ok(isolation.unexplained.take().map(PartOutcome::Unexplained))
    }

    /// Returns the current instance.
    pub(super) fn instance(&mut self) -> Result<&mut Instance> {
        self.instance.as_mut().ok_or_else(|| {
            Error::permanent(
                Stage::Plugin,
                Code::PluginContract,
                "was called after it had failed",
            )
        })
    }

    /// Returns the plugin's counters since the last call of this function, as sums over all instances. The counts of a
    /// call that trapped are lost.
    pub(super) fn take_counters(&mut self) -> BTreeMap<String, u64> {
        if let Some(instance) = &mut self.instance {
            add_counters(&mut self.counters, instance.take_counters());
        }
        std::mem::take(&mut self.counters)
    }

    fn replace_instance(&mut self) -> Result<()> {
        self.opener.stop.check()?;
        let Some(mut before) = self.instance.take() else {
            return Ok(());
        };
        add_counters(&mut self.counters, before.take_counters());
        let log_bytes = before.log_bytes_left();
        // The old instance is dropped first, to make room for the new one.
        drop(before);
        self.instance = Some(self.opener.open_again(&self.plan, log_bytes)?);
        self.is_fresh = true;
        Ok(())
    }
}

fn add_counters(sum: &mut BTreeMap<String, u64>, counters: BTreeMap<String, u64>) {
    for (name, count) in counters {
        let counter = sum.entry(name).or_default();
        *counter = counter.saturating_add(count);
    }
}
