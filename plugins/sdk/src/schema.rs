//! What an input has and what the output shall have: the host's input comes in, the author names
//! columns, and the plan goes out. Here names become indices; after `open` nothing is looked up by name.

use std::collections::HashSet;

use crate::bindings::exports::ingest::plugin::transform::{
    ColumnType, Format, Input, OutputColumn as PlannedColumn, Plan,
};
use crate::refusal::Refusal;

/// An input column that the plugin reads: [`Record::get`](crate::Record::get) takes it, and whatever
/// takes an [`OutputColumn`] takes it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub(crate) field: u32,
    output: OutputColumn,
}

/// A column of the output: [`Record::set`](crate::Record::set) takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputColumn(u32);

impl From<Column> for OutputColumn {
    fn from(column: Column) -> Self {
        column.output
    }
}

/// The columns of an input and the output that the plugin makes of them.
///
/// Unless the plugin says otherwise the output has every column of the input, in order and as it is,
/// followed by the added ones. Only the columns that it reads cross into the sandbox; that it renames,
/// drops or sets one takes no reading.
#[derive(Debug)]
pub struct Schema {
    format: Format,
    /// The columns of the input, then further members to look for.
    inputs: Vec<String>,
    /// How many of `inputs` the input has listed.
    listed: usize,
    /// The inputs that are read.
    reads: Vec<u32>,
    /// What an [`OutputColumn`] is an index into.
    outputs: Vec<Output>,
    /// The outputs that are not dropped, in their order.
    order: Vec<u32>,
}

#[derive(Debug)]
struct Output {
    name: String,
    column_type: ColumnType,
    source: Option<u32>,
}

/// The schema as it stands after `open`, for the work on records.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The names of the columns that are read, in the order of their fields.
    pub(crate) fields: Vec<String>,
    /// For each [`OutputColumn`] where it stands.
    places: Vec<Place>,
    /// How many columns the output has.
    pub(crate) width: usize,
}

/// Where an [`OutputColumn`] stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its index in the output, unless it is dropped.
    pub(crate) index: Option<u32>,
    pub(crate) origin: Origin,
}

/// What a cell holds before it is set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// Nothing: the column is new.
    Empty,
    /// What the input has, which the plugin does not read.
    Unread,
    /// What the input has in this field.
    Field(u32),
}

impl Schema {
    pub(crate) fn new(input: Input) -> Self {
        let mut schema = Self {
            format: input.format,
            listed: input.columns.len(),
            inputs: Vec::new(),
            reads: Vec::new(),
            outputs: Vec::new(),
            order: Vec::new(),
        };
        for name in input.columns {
            schema.add_input(name);
        }
        schema
    }

    /// The names of the input's columns, in their order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.inputs[..self.listed]
    }

    /// The format of the input.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Reads the input column `name`. In JSONL any member may be absent from the first records: there
    /// one that is not known yet is looked for, and is empty in a record that lacks it.
    ///
    /// # Errors
    /// A CSV input has no such column; the sentence lists those it has.
    pub fn read(&mut self, name: &str) -> Result<Column, Refusal> {
        let output = self.output(name)?;
        // An input column's output has the same index, and stays where it is.
        let known = self.reads.iter().position(|&read| read == output.0);
        let field = known.unwrap_or_else(|| {
            self.reads.push(output.0);
            self.reads.len() - 1
        });
        let field = index(field);
        Ok(Column { field, output })
    }

    /// Reads the input column `name` if there is one.
    pub fn read_optional(&mut self, name: &str) -> Option<Column> {
        self.read(name).ok()
    }

    /// The output of the input column `name`, without reading it: to set, rename, convert or drop it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn output(&mut self, name: &str) -> Result<OutputColumn, Refusal> {
        let of_name = |output: &Output| {
            let source = output.source.map(|source| &self.inputs[source as usize]);
            source.is_some_and(|source| source == name)
        };
        if let Some(at) = self.outputs.iter().position(of_name) {
            return Ok(OutputColumn(index(at)));
        }
        match self.format {
            Format::Jsonl => Ok(self.add_input(name.to_owned())),
            Format::Csv => Err(Refusal::new(format!(
                "the input has no column {name:?}, it has {}",
                list(self.columns())
            ))),
        }
    }

    /// Adds a column at the end of the output. It is empty where it is not set.
    pub fn add(&mut self, name: &str, column_type: ColumnType) -> OutputColumn {
        self.add_output(name.to_owned(), column_type, None)
    }

    /// Leaves a column out of the output. Setting it then does nothing.
    pub fn drop(&mut self, column: impl Into<OutputColumn>) {
        let OutputColumn(dropped) = column.into();
        self.order.retain(|&column| column != dropped);
    }

    /// Gives a column another name in the output.
    pub fn rename(&mut self, column: impl Into<OutputColumn>, name: &str) {
        self.entry(column).name = name.to_owned();
    }

    /// Gives a column another type in the output. The plugin sees to it that its values are of that type;
    /// empty ones are null.
    pub fn convert(&mut self, column: impl Into<OutputColumn>, column_type: ColumnType) {
        self.entry(column).column_type = column_type;
    }

    /// Gives the output exactly these columns, in this order. What is added later follows them.
    pub fn select(&mut self, columns: &[OutputColumn]) {
        self.order = columns.iter().map(|column| column.0).collect();
    }

    /// What the plugin is going to do.
    pub(crate) fn plan(self, stateful: bool) -> Result<(Plan, Layout), Refusal> {
        self.check_output()?;
        let layout = self.layout();
        let planned = |&at: &u32| {
            let output = &self.outputs[at as usize];
            PlannedColumn {
                name: output.name.clone(),
                column_type: output.column_type,
                source: output.source,
            }
        };
        let plan = Plan {
            output: self.order.iter().map(planned).collect(),
            more_columns: self.inputs[self.listed..].to_vec(),
            reads: self.reads,
            stateful,
        };
        Ok((plan, layout))
    }

    fn check_output(&self) -> Result<(), Refusal> {
        if self.order.is_empty() {
            return Err(Refusal::new("the output has no columns, keep one or add one"));
        }
        let mut names = HashSet::new();
        for &at in &self.order {
            let name = &self.outputs[at as usize].name;
            if !names.insert(name) {
                return Err(Refusal::new(format!(
                    "the output has two columns {name:?}, rename or drop one of them"
                )));
            }
        }
        Ok(())
    }

    fn layout(&self) -> Layout {
        let place = |(at, output): (usize, &Output)| Place {
            index: self.position(&self.order, at).map(index),
            origin: match output.source {
                None => Origin::Empty,
                Some(source) => self
                    .position(&self.reads, source as usize)
                    .map_or(Origin::Unread, |field| Origin::Field(index(field))),
            },
        };
        let name = |&read: &u32| self.inputs[read as usize].clone();
        Layout {
            fields: self.reads.iter().map(name).collect(),
            places: self.outputs.iter().enumerate().map(place).collect(),
            width: self.order.len(),
        }
    }

    fn add_input(&mut self, name: String) -> OutputColumn {
        let source = index(self.inputs.len());
        self.inputs.push(name.clone());
        self.add_output(name, ColumnType::Inherit, Some(source))
    }

    fn add_output(
        &mut self,
        name: String,
        column_type: ColumnType,
        source: Option<u32>,
    ) -> OutputColumn {
        let at = index(self.outputs.len());
        self.outputs.push(Output {
            name,
            column_type,
            source,
        });
        self.order.push(at);
        OutputColumn(at)
    }

    fn entry(&mut self, column: impl Into<OutputColumn>) -> &mut Output {
        &mut self.outputs[column.into().0 as usize]
    }
}

impl Layout {
    #[inline]
    pub(crate) fn place(&self, column: impl Into<OutputColumn>) -> Place {
        self.places[column.into().0 as usize]
    }
}
