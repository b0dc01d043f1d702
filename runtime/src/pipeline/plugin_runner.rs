//! Runs the plugin on a batch: the batch goes in; the plugin's changes to one part of it after the other come out.
//! After a trap of a plugin without state, the runner opens a new instance and continues with the parts that
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

    /// Opens a further instance, which must return the same plan as the first one.
    ///
    /// # Errors
    /// Fails as [`InstanceOpener::open`] does, and if the plan differs.
    pub(super) fn open_again(&self, plan: &Plan, log_bytes: usize) -> Result<Instance> {
        let limits = Limits {
            plugin_log_bytes: log_bytes,
            ..Limits::clone(self.plugin.limits())
        };
        let (mut instance, again) = self.open_as(&self.plugin.with_limits(Arc::new(limits)))?;
        // Counts of opening an input must not be added again for each instance.
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
    /// The instance; none if no new one could be opened.
    instance: Option<Instance>,
    /// Set if the instance has seen no record yet. Only then is a trap the fault of the record that it processes.
    is_fresh: bool,
    /// The counters of earlier instances since they were last taken.
    counters: BTreeMap<String, u64>,
}

/// The result of the plugin on a part of a batch.
pub(super) enum PartOutcome {
    /// The plugin's answer.
    Changed(Range<usize>, Changes),
    /// A record that makes the plugin trap even alone.
    Trapped(usize, Trap),
    /// A trap on the whole batch, and on no record alone.
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

    /// Returns the next piece of the batch, in order; none at its end.
    ///
    /// # Errors
    /// Returns errors that do not concern single records: a trap of a plugin with state, an error that the plugin
    /// returns, a stop, or a batch that takes too long even without the rejected records.
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
            // The call itself measures the time of a whole batch.
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
                    // From now on the machine's load cannot affect the result of the batch.
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

    /// Returns the current instance: the first one, unless it trapped.
    pub(super) fn instance(&mut self) -> Result<&mut Instance> {
        self.instance.as_mut().ok_or_else(|| {
            Error::permanent(
                Stage::Plugin,
                Code::PluginContract,
                "was called after it had failed",
            )
        })
    }

    /// Returns the plugin's counters since the last call, over all instances. Counts made in a call that trapped are
    /// lost with the instance.
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
        // The old instance goes first, to make room for the new one.
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
