//! Drives a plugin: an arena of fields comes in, record after record goes through the author's code,
//! and the changes go out. It works on the interface's types, and the same natively as in a sandbox.

use std::rc::Rc;

use crate::arena::Arena;
use crate::bindings::exports::ingest::plugin::transform::{Batch, Changes, Emitted, Input, Plan};
use crate::changes::ChangesWriter;
use crate::plugin::Plugin;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::schema::{Layout, Schema};

/// An open plugin.
pub(crate) struct Driver<P> {
    plugin: P,
    layout: Rc<Layout>,
    changes: ChangesWriter,
}

/// Reads and checks a config, as far as that is possible without an input.
pub(crate) fn config<P: Plugin>(json: &str) -> Result<P::Config, Refusal> {
    let config = strict_json::from_str(json).map_err(|error| Refusal::new(format!("config: {error}")))?;
    P::check(&config)?;
    Ok(config)
}

impl<P: Plugin> Driver<P> {
    /// Opens the plugin for one input.
    pub(crate) fn open(input: Input, json: &str) -> Result<(Self, Plan), Refusal> {
        let config = config::<P>(json)?;
        let mut schema = Schema::new(input);
        let plugin = P::open(&mut schema, config)?;
        let (plan, layout) = schema.plan(P::STATEFUL)?;
        let layout = Rc::new(layout);
        let changes = ChangesWriter::new(Rc::clone(&layout));
        let driver = Self {
            plugin,
            layout,
            changes,
        };
        Ok((driver, plan))
    }

    /// Puts each record of the batch through the plugin.
    pub(crate) fn process(&mut self, batch: &Batch) -> Result<Changes, Refusal> {
        let arena = Arena::check(batch, self.layout.fields.len())?;
        self.changes.begin(arena.rows());
        for fields in arena.records() {
            let mut record = Record::new(fields, &self.layout, &mut self.changes);
            let verdict = self.plugin.record(&mut record);
            record.settle(verdict)?;
        }
        Ok(self.changes.finish())
    }

    /// Lets the plugin add its last rows.
    pub(crate) fn finish(&mut self) -> Result<Emitted, Refusal> {
        let mut rows = Rows::new(Rc::clone(&self.layout));
        self.plugin.finish(&mut rows)?;
        rows.into_emitted()
    }
}
