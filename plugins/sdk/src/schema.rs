//! The columns of input and output: the host's description of the input and the author's choice of columns come in, the
//! plan goes out. This module turns names into indices, so that nothing is looked up by name after `open`.

use std::collections::{BTreeMap, BTreeSet};

#[cfg(not(target_arch = "wasm32"))]
use crate::bindings::exports::ingest::plugin::transform::InputColumn;
use crate::bindings::exports::ingest::plugin::transform::{
    ColumnType, Format, Input, OutputColumn as PlannedColumn, Plan,
};
use crate::host::{self, Origin};
use crate::refusal::Refusal;

/// A handle to an input column that the plugin reads. Pass it to [`Record::get`](crate::Record::get), or to any
/// function that takes an [`OutputColumn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub(crate) field: u32,
    output: OutputColumn,
}

/// A handle to a column of the output. Pass it to [`Record::set`](crate::Record::set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputColumn(u32);

impl From<Column> for OutputColumn {
    fn from(column: Column) -> Self {
        column.output
    }
}

/// The columns of an input, and the columns of the output.
///
/// By default, the output has every column of the input, in order and unchanged, followed by the added columns. Only
/// the columns that the plugin reads cross into the sandbox. The plugin can rename, drop or set a column without
/// reading it.
#[derive(Debug)]
pub struct Schema {
    format: Format,
    /// The names of the input's columns, followed by the names of further members to look for.
    inputs: Vec<String>,
    /// The index and the output column of each name in `inputs`. The type is not a hash map, because a hash map needs a
    /// source of randomness, which the component would have to import.
    by_name: BTreeMap<String, (u32, OutputColumn)>,
    /// The number of columns in `inputs` that the host listed.
    listed: usize,
    /// The indices in `inputs` of the columns that the plugin reads.
    reads: Vec<u32>,
    /// For each of `inputs`, its index in `reads`, or `None` if the plugin does not read it.
    fields: Vec<Option<u32>>,
    /// The columns of the output, and those that the plugin dropped or did not select. An [`OutputColumn`] is an index
    /// into this list.
    outputs: Vec<Output>,
    /// The columns of the output in order, as indices into `outputs`. Until `plan` removes them, the list can contain
    /// dropped columns.
    order: Vec<u32>,
    keeps_state: bool,
}

#[derive(Debug)]
struct Output {
    name: String,
    column_type: ColumnType,
    source: Option<u32>,
    is_dropped: bool,
}

/// The part of the schema that is needed after `open`, while records are processed.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The names of the columns that are read, in the order of their fields.
    pub(crate) fields: Vec<String>,
    /// The [`Place`] of each [`OutputColumn`].
    places: Vec<Place>,
    /// The number of columns in the output.
    pub(crate) width: usize,
    /// The names of the columns in the output.
    pub(crate) names: Vec<String>,
}

/// The position of an [`OutputColumn`] in the output, and the source of its cells until the plugin sets them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The index in the output, or `None` if the column is dropped.
    pub(crate) index: Option<u32>,
    /// The index of the field that provides the cells, or `None` if the plugin reads no such field.
    pub(crate) field: Option<u32>,
    /// True if no input column provides the cells.
    pub(crate) is_new: bool,
    /// True if the values of the column are numbers.
    pub(crate) is_number: bool,
    pub(crate) strings: Strings,
}

/// The rule for a cell that is a JSONL string, if the plugin sets the cell to the text that it already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strings {
    /// The string stays a string.
    Stay,
    /// An empty string becomes null. Any other string stays a string.
    StayUnlessEmpty,
    /// The string becomes a JSON literal with the same text.
    Go,
}

impl Schema {
    pub(crate) fn new(input: Input) -> Self {
        let mut schema = Self {
            format: input.format,
            listed: input.columns.len(),
            inputs: Vec::new(),
            by_name: BTreeMap::new(),
            reads: Vec::new(),
            fields: Vec::new(),
            outputs: Vec::new(),
            order: Vec::new(),
            keeps_state: false,
        };
        for column in input.columns {
            schema.add_input(column.name);
        }
        schema
    }

    /// Returns the names of the input's columns in order. For JSONL, they are the members that occur in the first
    /// records.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.inputs[..self.listed]
    }

    /// Returns the format of the input.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the place from which the records come: the id of the request, and the URI and name of its input.
    ///
    /// If a plugin calls this method, its output can depend on the origin. So the receipt names the origin, and the same
    /// bytes from another origin count as other work. Call it only if the output needs it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        host::origin()
    }

    /// Declares that the plugin reads the input column `name`, and returns its handle. For JSONL, any name is accepted,
    /// because a member can be absent from the first records. If a record lacks the member, the field is empty.
    ///
    /// # Errors
    /// Returns a refusal if a CSV input has no such column. The refusal lists the columns of the input.
    pub fn read(&mut self, name: &str) -> Result<Column, Refusal> {
        let (source, output) = self.find(name)?;
        let field = *self.fields[source as usize].get_or_insert_with(|| {
            self.reads.push(source);
            index(self.reads.len() - 1)
        });
        Ok(Column { field, output })
    }

    /// Reads the input column `name` like [`read`](Self::read), but returns `None` if a CSV input has no such column.
    pub fn read_optional(&mut self, name: &str) -> Option<Column> {
        let is_there = self.format == Format::Jsonl || self.by_name.contains_key(name);
        is_there.then(|| self.read(name).ok()).flatten()
    }

    /// Returns the output column that belongs to the input column `name`, without reading the input column. The handle
    /// serves to set, rename, convert or drop the output column.
    ///
    /// # Errors
    /// Returns the same refusal as [`read`](Self::read).
    pub fn output(&mut self, name: &str) -> Result<OutputColumn, Refusal> {
        Ok(self.find(name)?.1)
    }

    /// Adds a column at the end of the output. A cell of this column is empty until it is set. If a JSONL record has a
    /// member with the name of this column, and the first records did not have that member, the host rejects the record
    /// as `unexpected-member`. To replace such members instead, use [`output`](Self::output).
    pub fn add(&mut self, name: &str, column_type: ColumnType) -> OutputColumn {
        self.add_output(name.to_owned(), column_type, None)
    }

    /// Leaves a column out of the output. If the plugin sets a cell of this column, the call has no effect.
    pub fn drop(&mut self, column: impl Into<OutputColumn>) {
        self.entry(column).is_dropped = true;
    }

    /// Changes the name of a column in the output.
    pub fn rename(&mut self, column: impl Into<OutputColumn>, name: &str) {
        self.entry(column).name = name.to_owned();
    }

    /// Changes the type of a column in the output. The plugin must set values of that type. If the plugin empties a
    /// cell, the cell becomes null in JSONL output. But in a column of the type `Text`, the cell becomes an empty text,
    /// unless it was null before. A JSONL value that the plugin does not set keeps its own type.
    pub fn convert(&mut self, column: impl Into<OutputColumn>, column_type: ColumnType) {
        self.entry(column).column_type = column_type;
    }

    /// Sets the columns of the output and their order. Columns that are added later follow these columns. JSONL members
    /// that the first records did not have belong to no column, and stay in JSONL output.
    pub fn select(&mut self, columns: &[OutputColumn]) {
        for &column in columns {
            self.entry(column).is_dropped = false;
        }
        self.order = columns.iter().map(|column| column.0).collect();
    }

    /// Declares that, with the current config, the result for a record depends on earlier records, although
    /// [`STATEFUL`](crate::Plugin::STATEFUL) is false.
    pub fn keep_state(&mut self) {
        self.keeps_state = true;
    }

    /// Returns the plan for the host, and the layout for processing records.
    pub(crate) fn plan(mut self, stateful: bool) -> Result<(Plan, Layout), Refusal> {
        let outputs = &self.outputs;
        self.order.retain(|&at| !outputs[at as usize].is_dropped);
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
            stateful: stateful || self.keeps_state,
        };
        Ok((plan, layout))
    }

    /// Returns the index of the input column `name`, and its output column.
    fn find(&mut self, name: &str) -> Result<(u32, OutputColumn), Refusal> {
        if let Some(&found) = self.by_name.get(name) {
            return Ok(found);
        }
        match self.format {
            Format::Jsonl => Ok(self.add_input(name.to_owned())),
            Format::Csv => {
                let bare = |name: &str| name.trim().to_lowercase();
                let near = self.columns().iter().find(|column| bare(column) == bare(name));
                let hint = near.map_or(String::new(), |near| {
                    format!("; {near:?} differs only in case or spaces")
                });
                Err(Refusal::new(format!(
                    "the input has no column {name:?}, it has {:?}{hint}",
                    self.columns()
                )))
            }
        }
    }

    fn check_output(&self) -> Result<(), Refusal> {
        if self.order.is_empty() && !self.inputs.is_empty() {
            return Err(Refusal::new("the output has no columns, keep one or add one"));
        }
        let mut names = BTreeSet::new();
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
        let mut indices = vec![None; self.outputs.len()];
        for (at, &output) in self.order.iter().enumerate() {
            indices[output as usize].get_or_insert(index(at));
        }
        let place = |(output, index): (&Output, Option<u32>)| Place {
            index,
            field: output.source.and_then(|source| self.fields[source as usize]),
            is_new: output.source.is_none(),
            is_number: matches!(output.column_type, ColumnType::Integer | ColumnType::Number),
            strings: match output.column_type {
                _ if self.format == Format::Csv => Strings::Stay,
                ColumnType::Inherit | ColumnType::Text => Strings::Stay,
                ColumnType::Timestamp => Strings::StayUnlessEmpty,
                ColumnType::Integer | ColumnType::Number | ColumnType::Boolean => Strings::Go,
            },
        };
        let name = |&read: &u32| self.inputs[read as usize].clone();
        Layout {
            fields: self.reads.iter().map(name).collect(),
            places: self.outputs.iter().zip(indices).map(place).collect(),
            width: self.order.len(),
            names: self
                .order
                .iter()
                .map(|&at| self.outputs[at as usize].name.clone())
                .collect(),
        }
    }

    fn add_input(&mut self, name: String) -> (u32, OutputColumn) {
        let source = index(self.inputs.len());
        self.inputs.push(name.clone());
        self.fields.push(None);
        let output = self.add_output(name.clone(), ColumnType::Inherit, Some(source));
        *self.by_name.entry(name).or_insert((source, output))
    }

    fn add_output(&mut self, name: String, column_type: ColumnType, source: Option<u32>) -> OutputColumn {
        let at = index(self.outputs.len());
        self.outputs.push(Output {
            name,
            column_type,
            source,
            is_dropped: false,
        });
        self.order.push(at);
        OutputColumn(at)
    }

    fn entry(&mut self, column: impl Into<OutputColumn>) -> &mut Output {
        &mut self.outputs[column.into().0 as usize]
    }
}

impl Layout {
    /// Returns the sentence that says that a value of this column cannot be written.
    #[cold]
    pub(crate) fn unwritable(&self, column: u32) -> String {
        let name = &self.names[column as usize];
        format!("{name}: the plugin's value is not a finite number")
    }

    #[inline]
    pub(crate) fn place(&self, column: impl Into<OutputColumn>) -> Place {
        self.places[column.into().0 as usize]
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("an input has fewer than 2^32 columns")
}

/// Returns the description of an input whose columns have no types.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn input<'a>(names: impl IntoIterator<Item = &'a str>, format: Format) -> Input {
    let columns = names.into_iter().map(|name| InputColumn {
        name: name.to_owned(),
        type_name: None,
    });
    let columns = columns.collect();
    Input { columns, format }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(format: Format, columns: &[&str]) -> Schema {
        Schema::new(input(columns.iter().copied(), format))
    }

    fn output_of(plan: &Plan) -> Vec<(&str, Option<u32>)> {
        plan.output
            .iter()
            .map(|column| (column.name.as_str(), column.source))
            .collect()
    }

    #[test]
    fn added_columns_follow_those_of_the_input() {
        let mut schema = schema(Format::Csv, &["a", "b"]);
        schema.add("c", ColumnType::Integer);
        let (plan, layout) = schema.plan(false).unwrap();
        assert_eq!(output_of(&plan), [("a", Some(0)), ("b", Some(1)), ("c", None)]);
        assert_eq!(plan.output[0].column_type, ColumnType::Inherit);
        assert_eq!(plan.output[2].column_type, ColumnType::Integer);
        assert!(plan.reads.is_empty());
        assert_eq!(layout.width, 3);
    }

    #[test]
    fn config_can_make_a_plugin_stateful() {
        let mut schema = schema(Format::Csv, &["a"]);
        schema.keep_state();
        assert!(schema.plan(false).unwrap().0.stateful);
    }

    #[test]
    fn handles_stay_valid_when_columns_move() {
        let mut schema = schema(Format::Csv, &["a", "b", "c"]);
        let c = schema.read("c").unwrap();
        let a = schema.read("a").unwrap();
        let b = schema.output("b").unwrap();
        let d = schema.add("d", ColumnType::Text);
        schema.select(&[d, c.into(), b]);
        schema.rename(b, "a");
        let (plan, layout) = schema.plan(false).unwrap();
        assert_eq!(plan.reads, [2, 0]);
        assert_eq!(output_of(&plan), [("d", None), ("c", Some(2)), ("a", Some(1))]);
        assert_eq!(layout.place(d).index, Some(0));
        assert_eq!(layout.place(c).index, Some(1));
        assert_eq!(layout.place(a).index, None);
        assert_eq!((layout.place(a).field, layout.place(a).is_new), (Some(1), false));
        assert_eq!((layout.place(b).field, layout.place(b).is_new), (None, false));
        assert_eq!((layout.place(d).field, layout.place(d).is_new), (None, true));
    }

    #[test]
    fn a_dropped_column_can_be_selected_again() {
        let mut schema = schema(Format::Csv, &["a", "b", "c"]);
        let [a, b, c] = ["a", "b", "c"].map(|name| schema.output(name).unwrap());
        schema.drop(a);
        schema.drop(c);
        schema.select(&[c, a]);
        schema.drop(a);
        schema.drop(b);
        let (plan, layout) = schema.plan(false).unwrap();
        assert_eq!(output_of(&plan), [("c", Some(2))]);
        let place = |column| layout.place(column).index;
        assert_eq!((place(a), place(b), place(c)), (None, None, Some(0)));
    }

    /// If each column needed a linear search, this test would take an hour.
    #[test]
    fn columns_need_no_linear_search() {
        let names: Vec<_> = (0..300_000).map(|at| format!("column {at}")).collect();
        let mut schema = schema(Format::Csv, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let began = std::time::Instant::now();
        for (at, name) in names.iter().enumerate() {
            let column = schema.read(name).unwrap();
            assert_eq!(column, schema.read(name).unwrap());
            assert_eq!(schema.read_optional(&name[1..]), None);
            if at % 2 == 0 {
                schema.drop(column);
            }
        }
        let (plan, layout) = schema.plan(false).unwrap();
        assert_eq!((plan.reads.len(), plan.output.len()), (300_000, 150_000));
        assert_eq!(layout.place(OutputColumn(299_999)).index, Some(149_999));
        assert_eq!(layout.place(OutputColumn(299_999)).field, Some(299_999));
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }

    #[test]
    fn a_column_read_twice_crosses_once() {
        let mut schema = schema(Format::Csv, &["a", "b"]);
        assert_eq!(schema.read("b").unwrap(), schema.read("b").unwrap());
        assert_eq!(schema.plan(false).unwrap().0.reads, [1]);
    }

    #[test]
    fn a_missing_column_is_refused_in_csv_and_awaited_in_jsonl() {
        let mut csv = schema(Format::Csv, &["a", "b"]);
        assert_eq!(csv.read_optional("c"), None);
        assert_eq!(
            csv.read("c").unwrap_err().to_string(),
            r#"the input has no column "c", it has ["a", "b"]"#
        );
        assert_eq!(
            csv.read(" B").unwrap_err().to_string(),
            r#"the input has no column " B", it has ["a", "b"]; "b" differs only in case or spaces"#
        );

        let mut jsonl = schema(Format::Jsonl, &["a", "b"]);
        jsonl.add("x", ColumnType::Text);
        let c = jsonl.read("c").unwrap();
        assert_eq!(jsonl.read_optional("c"), Some(c));
        assert_eq!(jsonl.columns(), ["a", "b"]);
        let (plan, _) = jsonl.plan(false).unwrap();
        assert_eq!(plan.more_columns, ["c"]);
        assert_eq!(plan.reads, [2]);
        assert_eq!(plan.output[3].source, Some(2));
    }

    #[test]
    fn output_columns_need_distinct_names() {
        let mut twice = schema(Format::Csv, &["a"]);
        twice.add("a", ColumnType::Text);
        assert_eq!(
            twice.plan(false).unwrap_err().to_string(),
            r#"the output has two columns "a", rename or drop one of them"#
        );

        let mut none = schema(Format::Csv, &["a"]);
        let a = none.output("a").unwrap();
        none.drop(a);
        assert!(none.plan(false).is_err());
    }
}
