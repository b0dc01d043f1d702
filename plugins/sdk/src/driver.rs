//! Runs a plugin: a batch comes in, each of its records goes through the author's code, and the changes go out. The
//! driver uses the types of the interface, both in native builds and in the sandbox.

use std::rc::Rc;

use crate::arena::Arena;
use crate::bindings::exports::ingest::plugin::transform::{Batch, Changes, Emitted, Input, Plan};
use crate::changes::ChangesWriter;
use crate::plugin::Plugin;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::schema::{Layout, Schema};

/// A plugin that has been opened for an input.
pub(crate) struct Driver<P> {
    plugin: P,
    layout: Rc<Layout>,
    changes: ChangesWriter,
}

/// Parses a config and runs the plugin's `check` on it. This needs no input.
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

    /// Passes each record of the batch to the plugin, and returns the changes.
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

    /// Returns the rows that the plugin adds at the end of the output.
    pub(crate) fn finish(&mut self) -> Result<Emitted, Refusal> {
        let mut rows = Rows::new(Rc::clone(&self.layout));
        self.plugin.finish(&mut rows)?;
        rows.into_emitted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::exports::ingest::plugin::transform::{ColumnType, Format};
    use crate::changes::code::EDIT;
    use crate::plugin::{NoConfig, Verdict};
    use crate::reject::Reject;
    use crate::schema::{Column, input};

    /// A plugin that sets each cell to the value that the cell already has.
    struct Same([Column; 3]);

    impl Plugin for Same {
        type Config = NoConfig;
        const STATEFUL: bool = false;

        fn open(schema: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
            let columns = ["n", "t", "s"].map(|name| schema.read(name).expect("there is any column"));
            schema.convert(columns[0], ColumnType::Number);
            schema.convert(columns[1], ColumnType::Timestamp);
            Ok(Self(columns))
        }

        fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
            for column in self.0 {
                record.set(column, record.get(column));
            }
            Ok(Verdict::Keep)
        }
    }

    /// Returns the changes of a record whose three fields are `5`, empty and `5`. `behind` contains the byte after each
    /// field.
    fn changes(format: Format, behind: [u8; 3]) -> (Vec<u8>, Vec<u32>, Vec<u8>) {
        let (mut driver, _) = Driver::<Same>::open(input(["n", "t", "s"], format), "{}").unwrap();
        let [n, t, s] = behind;
        let bytes = vec![b'5', n, t, b'5', s];
        let (starts, ends) = (vec![0], vec![1, 2, 4]);
        let changes = driver.process(&Batch { bytes, starts, ends }).unwrap();
        (changes.verdicts, changes.operands, changes.bytes)
    }

    #[test]
    fn a_string_of_jsonl_gives_way_to_a_literal_of_the_same_text() {
        let kept = (vec![], vec![], vec![]);
        assert_eq!(changes(Format::Jsonl, *b"\n\n\n"), kept);
        assert_eq!(changes(Format::Jsonl, *b"\n\n\""), kept);
        assert_eq!(
            changes(Format::Jsonl, *b"\"\n\""),
            (vec![EDIT], vec![1, 0, 1], b"5".to_vec())
        );
        assert_eq!(
            changes(Format::Jsonl, *b"\n\"\n"),
            (vec![EDIT], vec![1, 1, 0], vec![])
        );
        // In CSV, the byte after a field has no meaning.
        assert_eq!(changes(Format::Csv, *b"\"\"\""), kept);
    }
}
