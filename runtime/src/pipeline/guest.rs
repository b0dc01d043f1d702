//! A batch in, the changes to one part of it after the other out. A part that makes a plugin without state trap is halved
//! and put through new instances until the records that do it stand alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::changes::Changes;
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::plugin::{Failure, Instance, Plan, Plugin, Trap, thread_time};
use crate::stop::Stop;

/// A part of a batch has the share of the batch's time that it has of the records, but never less than this part of it.
const TIME_SHARES_MAX: u32 = 16;

/// How often parts of a batch may trap for each halving on the way to a record: as a plugin does that leaks memory, and fails on
/// whatever comes last.
const TRAPS_A_HALVING: usize = 4;

const NO_SINGLE_RECORD: &str = "and so on many parts of the batch, and on none of its records alone";

const HAS_STATE: &str = "the plugin keeps state between records, so none of these can be set aside";

/// Opens instances of a plugin on an input.
pub(super) struct Opener {
    pub(super) plugin: Plugin,
    pub(super) columns: Vec<String>,
    pub(super) format: Format,
    pub(super) config: Arc<str>,
    pub(super) stop: Stop,
}

impl Opener {
    /// # Errors
    /// Those of the plugin, which name it.
    pub(super) fn open(&self) -> Result<(Instance, Plan)> {
        self.open_as(&self.plugin)
    }

    /// A further instance, which must plan as the first one did.
    ///
    /// # Errors
    /// As [`Opener::open`]; another plan.
    pub(super) fn open_again(&self, plan: &Plan, log_bytes: usize) -> Result<Instance> {
        let limits = Limits {
            plugin_log_bytes: log_bytes,
            ..Limits::clone(self.plugin.limits())
        };
        let (mut instance, again) = self.open_as(&self.plugin.with_limits(Arc::new(limits)))?;
        // What is counted when an input is opened counts once.
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

/// The plugin instance of a lane; another one after a trap.
pub(super) struct Guest {
    opener: Arc<Opener>,
    plan: Arc<Plan>,
    /// None if there is no other one to be had.
    instance: Option<Instance>,
    /// Whether it has seen no record yet. Only then is a trap the fault of the one that it sees.
    is_fresh: bool,
    /// What those before it counted, since it was taken last.
    counters: BTreeMap<String, u64>,
}

/// What became of a part of a batch.
pub(super) enum Piece {
    /// The plugin's answer.
    Changed(Range<usize>, Changes),
    /// A record, even alone, that makes the plugin trap.
    Trapped(usize, Trap),
    /// The plugin trapped on the whole, and on no record alone.
    Unexplained(Trap),
}

impl Guest {
    pub(super) fn new(opener: Arc<Opener>, plan: Arc<Plan>, instance: Instance) -> Self {
        Self {
            opener,
            plan,
            instance: Some(instance),
            is_fresh: true,
            counters: BTreeMap::new(),
        }
    }

    /// The next piece of the batch, in order; none at its end.
    ///
    /// # Errors
    /// What is no matter of single records: a plugin with state that trapped, its own sentence, a stop, a batch that takes
    /// too long without any of the records that are set aside.
    pub(super) fn next(&mut self, search: &mut Search, batch: &mut Batch) -> Result<Option<Piece>> {
        while let Some(part) = search.parts.pop() {
            if part.is_suspect && part.rows.len() > 1 {
                search.halve(part.rows);
                continue;
            }
            let is_whole = part.rows.len() == batch.rows.len();
            let is_alone = part.rows.len() == 1;
            if is_alone && !is_whole && !self.is_fresh {
                self.replace()?;
            }
            let was_fresh = std::mem::replace(&mut self.is_fresh, false);
            let limit = search.limit(part.rows.len());
            // Of the whole batch the call keeps the time.
            let began = (!is_whole).then(thread_time);
            if search.is_alone {
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
                    if search.is_alone {
                        let is_alone = self.opener.plugin.is_alone();
                        self.instance()?.set_alone(is_alone);
                    }
                    let took = began.map(|began| thread_time().saturating_sub(began));
                    search.passed(&part, took.unwrap_or_default())?;
                    return Ok(Some(Piece::Changed(part.rows, changes)));
                }
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Trap(trap)) if self.plan.stateful => return Err(trap.into_error(HAS_STATE)),
                Err(Failure::Trap(trap)) => {
                    self.replace()?;
                    // From now on the load of the machine has no say in what becomes of the batch.
                    search.is_alone |= trap.is_timeout;
                    if trap.is_in_company {
                        search.parts.push(part);
                        continue;
                    }
                    if is_alone && was_fresh {
                        search.found();
                        return Ok(Some(Piece::Trapped(part.rows.start, trap)));
                    }
                    search.trapped(part, trap)?;
                }
            }
        }
        Ok(search.unexplained.take().map(Piece::Unexplained))
    }

    /// The instance; the first one, unless it trapped.
    pub(super) fn instance(&mut self) -> Result<&mut Instance> {
        self.instance.as_mut().ok_or_else(|| {
            Error::permanent(
                Stage::Plugin,
                Code::PluginContract,
                "was called after it had failed",
            )
        })
    }

    /// What the plugin counted since this was asked last, all its instances together. What one counted in the call that it
    /// trapped in is lost with it.
    pub(super) fn take_counters(&mut self) -> BTreeMap<String, u64> {
        if let Some(instance) = &mut self.instance {
            add(&mut self.counters, instance.take_counters());
        }
        std::mem::take(&mut self.counters)
    }

    fn replace(&mut self) -> Result<()> {
        self.opener.stop.check()?;
        let Some(mut before) = self.instance.take() else {
            return Ok(());
        };
        add(&mut self.counters, before.take_counters());
        let log_bytes = before.log_bytes_left();
        // It makes room for the next one.
        drop(before);
        self.instance = Some(self.opener.open_again(&self.plan, log_bytes)?);
        self.is_fresh = true;
        Ok(())
    }
}

/// Where the way through a batch has led.
pub(super) struct Search {
    /// What is left, the next part last.
    parts: Vec<Part>,
    rows: usize,
    /// What a batch may take.
    time: Duration,
    /// What the parts that passed took.
    passed: Duration,
    /// How many parts have trapped, and how many records were found to be the reason.
    trapped: usize,
    found: usize,
    unexplained: Option<Trap>,
    /// Whether what is left runs while no other call does: something took too long.
    is_alone: bool,
}

struct Part {
    rows: Range<usize>,
    is_left: bool,
    /// Whether it need not be tried: the other half of a part that trapped has passed.
    is_suspect: bool,
}

impl Search {
    pub(super) fn new(rows: usize, time: Duration) -> Self {
        let whole = Part {
            rows: 0..rows,
            is_left: false,
            is_suspect: false,
        };
        Self {
            parts: if rows == 0 { Vec::new() } else { vec![whole] },
            rows,
            time,
            passed: Duration::ZERO,
            trapped: 0,
            found: 0,
            unexplained: None,
            is_alone: false,
        }
    }

    /// How long some of the records may take. One alone has all the time of a batch: it is only rejected if it takes longer.
    fn limit(&self, rows: usize) -> Duration {
        if rows == 1 || rows == self.rows {
            return self.time;
        }
        self.time
            .mul_f64(rows as f64 / self.rows as f64)
            .max(self.time / TIME_SHARES_MAX)
    }

    fn halve(&mut self, rows: Range<usize>) {
        let middle = rows.start + rows.len() / 2;
        for (rows, is_left) in [(middle..rows.end, false), (rows.start..middle, true)] {
            self.parts.push(Part {
                rows,
                is_left,
                is_suspect: false,
            });
        }
    }

    /// What trapped is tried again: in halves or, if that cannot be, on the new instance.
    ///
    /// # Errors
    /// If it has trapped far more often than the records that were found explain: the way to each is no longer than the
    /// halvings that lead to it.
    fn trapped(&mut self, part: Part, trap: Trap) -> Result<()> {
        self.trapped += 1;
        let halvings = self.rows.ilog2() as usize + 2;
        if self.trapped > TRAPS_A_HALVING * halvings * (self.found + 1) {
            return Err(trap.into_error(NO_SINGLE_RECORD));
        }
        if part.rows.len() > 1 {
            self.halve(part.rows);
        } else {
            self.parts.push(part);
        }
        if self.found == 0 {
            self.unexplained = Some(trap);
        }
        Ok(())
    }

    fn found(&mut self) {
        self.found += 1;
        self.unexplained = None;
    }

    fn passed(&mut self, part: &Part, took: Duration) -> Result<()> {
        if part.is_left
            && let Some(right) = self.parts.last_mut()
        {
            right.is_suspect = true;
        }
        self.passed += took;
        if part.rows.len() < self.rows && self.passed > self.time {
            if !std::mem::replace(&mut self.is_alone, true) {
                self.passed = Duration::ZERO;
                return Ok(());
            }
            let why = format!(
                "process took longer than the limit of {:?} (--limit call-time), and it was no single record",
                self.time
            );
            return Err(Error::permanent(Stage::Plugin, Code::PluginTimeout, why));
        }
        Ok(())
    }
}

fn add(sum: &mut BTreeMap<String, u64>, counters: BTreeMap<String, u64>) {
    for (name, count) in counters {
        let counter = sum.entry(name).or_default();
        *counter = counter.saturating_add(count);
    }
}
