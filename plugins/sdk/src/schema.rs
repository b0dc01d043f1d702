//! What an input has and what the output shall have: the host's input comes in, the author names
//! columns, and the plan goes out. Here names become indices; after `open` nothing is looked up by name.

use std::collections::BTreeSet;

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
    keeps_state: bool,
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
    /// Their names.
    pub(crate) names: Vec<String>,
}

/// Where an [`OutputColumn`] stands, and what its cells hold before they are set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its index in the output, unless it is dropped.
    pub(crate) index: Option<u32>,
    /// The field that it shows, if the plugin reads that.
    pub(crate) field: Option<u32>,
    /// Whether it shows nothing at all.
    pub(crate) is_new: bool,
    /// True if the values of the column are numbers.
    pub(crate) is_number: bool,
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
            keeps_state: false,
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
        let (source, output) = self.find(name)?;
        let known = self.reads.iter().position(|&read| read == source);
        let field = known.unwrap_or_else(|| {
            self.reads.push(source);
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
        Ok(self.find(name)?.1)
    }

    /// Adds a column at the end of the output. It is empty where it is not set, whatever the input has: a record of
    /// JSONL with a member of that name, which the first records did not have, is rejected as `unexpected-member`. To
    /// replace such members use [`output`](Self::output) instead.
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

    /// Gives a column another type in the output. The plugin sees to it that its values are of that type. Where the
    /// output is JSONL, a value that the plugin empties is null; in a column of texts it is an empty one, unless it was
    /// null before.
    pub fn convert(&mut self, column: impl Into<OutputColumn>, column_type: ColumnType) {
        self.entry(column).column_type = column_type;
    }

    /// Gives the output exactly these columns, in this order. What is added later follows them. Members of JSONL that
    /// the first records did not have are in no column, and stay in the output all the same.
    pub fn select(&mut self, columns: &[OutputColumn]) {
        self.order = columns.iter().map(|column| column.0).collect();
    }

    /// Says that with this config a record's fate depends on the records before, although
    /// [`STATEFUL`](crate::Plugin::STATEFUL) is false.
    pub fn keep_state(&mut self) {
        self.keeps_state = true;
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
            stateful: stateful || self.keeps_state,
        };
        Ok((plan, layout))
    }

    /// The input column `name` and its output.
    fn find(&mut self, name: &str) -> Result<(u32, OutputColumn), Refusal> {
        for (at, output) in self.outputs.iter().enumerate() {
            if let Some(source) = output.source
                && self.inputs[source as usize] == name
            {
                return Ok((source, OutputColumn(index(at))));
            }
        }
        match self.format {
            Format::Jsonl => Ok(self.add_input(name.to_owned())),
            Format::Csv => Err(Refusal::new(format!(
                "the input has no column {name:?}, it has {:?}",
                self.columns()
            ))),
        }
    }

    fn check_output(&self) -> Result<(), Refusal> {
        if self.order.is_empty() && !self.inputs.is_empty() {
            return Err(Refusal::new("the output has no columns, keep one or add one"));
        }
        // Not a hash set, which would import a source of randomness.
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
        let place = |(at, output): (usize, &Output)| Place {
            index: position(&self.order, index(at)),
            field: output.source.and_then(|source| position(&self.reads, source)),
            is_new: output.source.is_none(),
            is_number: matches!(output.column_type, ColumnType::Integer | ColumnType::Number),
        };
        let name = |&read: &u32| self.inputs[read as usize].clone();
        Layout {
            fields: self.reads.iter().map(name).collect(),
            places: self.outputs.iter().enumerate().map(place).collect(),
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
        let output = self.add_output(name, ColumnType::Inherit, Some(source));
        (source, output)
    }

    fn add_output(&mut self, name: String, column_type: ColumnType, source: Option<u32>) -> OutputColumn {
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
    /// The sentence about a value in this column that cannot be written.
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

fn position(list: &[u32], item: u32) -> Option<u32> {
    list.iter().position(|&other| other == item).map(index)
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("an input has fewer than 2^32 columns")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(format: Format, columns: &[&str]) -> Schema {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Schema::new(Input { columns, format })
    }

    fn output_of(plan: &Plan) -> Vec<(&str, Option<u32>)> {
        plan.output
            .iter()
            .map(|column| (column.name.as_str(), column.source))
            .collect()
    }

    #[test]
    fn the_output_is_the_input_followed_by_what_is_added() {
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
    fn state_is_a_matter_of_the_config_too() {
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
    fn an_output_needs_columns_with_names_of_their_own() {
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
