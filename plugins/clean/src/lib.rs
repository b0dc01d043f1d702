#![doc = include_str!("../README.md")]

mod config;
mod decimal;
mod literal;
mod locale;
mod mask;
mod notation;
mod range;
mod refinements;
mod text;
mod time;
mod time_format;
mod values;

use ingest_plugin::{
    Column, ColumnType, Format, OutputColumn, Plugin, Record, Refusal, Reject, Schema, Verdict, export,
};

pub use config::Config;
use config::Rule;
use refinements::{Refinements, Scratch, Source};
use values::{Cell, Fault, Receiver, Values};

/// The plugin `clean`, opened for one input.
pub struct Clean {
    checks: Vec<Check>,
    constants: Vec<(OutputColumn, String)>,
    scratch: Scratch,
}

/// A column whose values are checked.
struct Check {
    column: Column,
    values: Values,
    /// True if a value whose text stays the same needs no edit. This is false for JSONL, where a string may have to
    /// become a literal with the same text.
    same_text_stays: bool,
    /// True if the input is JSONL.
    is_json: bool,
}

impl Plugin for Clean {
    type Config = Config;
    const STATEFUL: bool = false;

    fn check(config: &Config) -> Result<(), Refusal> {
        config
            .check()
            .map_err(|fault| Refusal::new(format!("config: {fault}")))
    }

    fn open(schema: &mut Schema, config: Config) -> Result<Self, Refusal> {
        let mut clean = Self {
            checks: Vec::new(),
            constants: Vec::new(),
            scratch: Scratch::default(),
        };
        let mut rules = config.columns;
        // A reject names only the first fault of a record, so the checks run in the order of the input's columns.
        let rule = |name: &String| rules.remove_entry(name);
        let listed: Vec<_> = schema.columns().iter().filter_map(rule).collect();
        for (name, rule) in &listed {
            clean.add(schema, name, rule, true)?;
        }
        for (name, rule) in &rules {
            clean.add(schema, name, rule, false)?;
        }
        Ok(clean)
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        for check in &self.checks {
            check.apply(record, &mut self.scratch)?;
        }
        for (column, constant) in &self.constants {
            record.set(*column, constant);
        }
        Ok(Verdict::Keep)
    }
}

export!(Clean);

impl Clean {
    fn add(&mut self, schema: &mut Schema, name: &str, rule: &Rule, is_listed: bool) -> Result<(), Refusal> {
        // In JSONL, later records may have a member that the first records lack. The constant must also replace such a
        // member.
        let is_new = rule.constant.is_some() && schema.format() == Format::Csv && !is_listed;
        let column = if is_new {
            schema.add(name, ColumnType::Text)
        } else {
            schema.output(name)?
        };
        if let Some(column_type) = rule.column_type() {
            schema.convert(column, column_type);
        }
        if let Some(name) = &rule.rename {
            schema.rename(column, name);
        }
        if rule.drop {
            schema.drop(column);
        }
        if let Some(constant) = rule.constant().map_err(Refusal::new)? {
            self.constants.push((column, constant));
        }
        if rule.is_check() {
            let column = schema.read(name)?;
            let values = rule.values().map_err(Refusal::new)?;
            self.checks.push(Check {
                column,
                values,
                same_text_stays: schema.format() == Format::Csv,
                is_json: schema.format() == Format::Jsonl,
            });
        }
        Ok(())
    }
}

impl Check {
    fn apply(&self, record: &mut Record<'_>, scratch: &mut Scratch) -> Result<(), Reject> {
        if let Some(refinements) = &self.values.refinements {
            return self.apply_refined(refinements, record, scratch);
        }
        let values = &self.values;
        let field = record.get(self.column);
        let edited = match values.text(field) {
            Ok("") => {
                record.set(self.column, "");
                return Ok(());
            }
            Ok(text) => values.convert(
                text,
                Edit {
                    check: self,
                    field,
                    text,
                    record,
                },
            ),
            Err(fault) => Err(fault),
        };
        edited.map_err(|fault| self.reject(record, &fault))
    }

    #[cold]
    fn reject(&self, record: &Record<'_>, fault: &Fault<'_>) -> Reject {
        record.reject(self.column, fault.code(), fault)
    }

    /// Does the same as `apply` for a column with refinements. It is never inlined, so that it does not slow down the other
    /// columns.
    #[inline(never)]
    fn apply_refined(
        &self,
        refinements: &Refinements,
        record: &mut Record<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Reject> {
        let source = Source {
            text: record.get(self.column),
            is_literal: self.is_json && !record.is_string(self.column),
        };
        match refinements.read(&self.values, source, scratch) {
            Ok(Some(cell)) => record.set(self.column, cell),
            Ok(None) => record.set(self.column, ""),
            Err(fault) if refinements.protection.is_some() => {
                let name = record.name(self.column);
                let reason = format!("{name}: the value, which is not shown here, {fault}");
                return Err(Reject::new(fault.code(), reason));
            }
            Err(fault) => return Err(self.reject(record, &fault)),
        }
        Ok(())
    }
}

/// Sets a cell of a record to a value, if the value passes the last checks and differs from the field.
struct Edit<'c, 'r, 'a> {
    check: &'c Check,
    field: &'c str,
    /// The text of the value.
    text: &'c str,
    record: &'r mut Record<'a>,
}

impl<'c> Receiver<'c> for Edit<'c, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn receive(self, cell: Cell<'c>) -> Result<(), Fault<'c>> {
        let Self {
            check,
            field,
            text,
            record,
        } = self;
        check.values.restrict(text)?;
        if !(check.same_text_stays && cell.is_unchanged(field)) {
            cell.put(record, check.column);
        }
        Ok(())
    }
}
