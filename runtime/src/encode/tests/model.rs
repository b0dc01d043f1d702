//! Tests the encoders against a slow and simple model. Random inputs are decoded in small batches, so that new members
//! appear after the first batch. For each pair of formats, random plans and verdicts are applied in the same way as in
//! a lane. The output, the rejects and their codes must equal the results of the model.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::Value;

use super::cases::{
    Act, BAD_KEY, Case, Line, Member, Plan, STYLES, Style, case, edits, raw, string, written,
};
use super::*;
use crate::config::Limits;
use crate::decode::{self, Decoding};
use crate::record::{Emission, EmittedRow};
use crate::request::InputOptions;

/// The number of inputs for each pair of formats.
const CASES: u32 = 2_600;

/// The result of a case.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The lines of JSONL, or the fields of CSV with the header first.
    rows: Vec<Vec<String>>,
    /// The numbers of the rejected records, with the codes of the rejects.
    rejects: Vec<(usize, String)>,
}

/// The numbers of interesting events in all cases of one pair of formats.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    cases: u32,
    written: usize,
    /// Three numbers of records:
    ///
    /// - `late`: a member is in no column of the input
    /// - `shuffled`: the members are in another order than the columns of the input
    /// - `missing`: a column of the input has no member
    late: usize,
    shuffled: usize,
    missing: usize,
    /// The number of records with a member that is in no column of the input but has the name of an output column.
    taken: usize,
    /// The number of records with a member whose column is not in the output, although the output has a column with the
    /// member's name. This output column comes from elsewhere.
    replaced: usize,
    duplicates: usize,
}

/// Returns the text of a JSON value, or `None` if the value has no text.
fn text_of(value: &str) -> Option<String> {
    match serde_json::from_str(value) {
        Ok(Value::Null) => Some(String::new()),
        Ok(Value::String(text)) => Some(text),
        Ok(_) => Some(value.to_owned()),
        Err(_) => None,
    }
}

/// Returns a text as a JSON value of this type. The new value replaces the value `original`, if there is one.
fn value_of(text: &str, column_type: ColumnType, original: Option<&str>) -> String {
    if text.is_empty() {
        return match (column_type, original) {
            (ColumnType::Text, Some("null")) => "null",
            (ColumnType::Text, _) | (ColumnType::Inherit, Some(r#""""#)) => r#""""#,
            _ => "null",
        }
        .to_owned();
    }
    // A string with half of a surrogate pair also counts as a string here, although it has no valid text.
    let is_string = original.is_some_and(|value| value.starts_with('"'));
    let original = original.and_then(|value| serde_json::from_str::<Value>(value).ok());
    if column_type == ColumnType::Text || (column_type == ColumnType::Inherit && is_string) {
        return string(text);
    }
    let parsed = serde_json::from_str(text).unwrap_or(Value::Null);
    let stands = match column_type {
        ColumnType::Text | ColumnType::Timestamp => false,
        ColumnType::Integer => parsed.is_number() && !text.contains(['.', 'e']),
        ColumnType::Number => parsed.is_number(),
        ColumnType::Boolean => parsed.is_boolean(),
        ColumnType::Inherit => {
            !parsed.is_null()
                && original.is_some_and(|original| {
                    std::mem::discriminant(&original) == std::mem::discriminant(&parsed)
                })
        }
    };
    if stands && text == text.trim() {
        text.to_owned()
    } else {
        string(text)
    }
}

/// The model: the rules of the plugin interface for one record.
struct Model<'a> {
    plan: &'a Plan,
    pair: (Format, Format),
    edits: BTreeMap<usize, &'static str>,
}

impl Model<'_> {
    fn is_column(&self, name: &str) -> bool {
        self.plan.columns.iter().any(|column| column == name)
    }

    fn is_output(&self, name: &str) -> bool {
        self.plan.output.iter().any(|column| column.name == name)
    }

    /// Returns all reasons why a record is not passed to the plugin. The decoder can report any one of them.
    fn faults(&self, line: &Line, width: usize) -> Vec<&'static str> {
        let mut faults = vec![];
        match line {
            Line::Broken => faults.push("not-json"),
            Line::Row(cells) if cells.len() != width => faults.push("ragged-row"),
            Line::Object(members, _) => {
                let is_read = |member: &&Member| {
                    let reads = &self.plan.reads;
                    reads.iter().any(|&read| self.plan.columns[read] == member.name)
                };
                if members.iter().any(|member| member.key == BAD_KEY)
                    || members
                        .iter()
                        .filter(is_read)
                        .any(|member| text_of(member.value).is_none())
                {
                    faults.push("not-json");
                }
                let mut names = HashSet::new();
                let texts = members.iter().filter(|member| member.key != BAD_KEY);
                if texts.map(|member| member.name).any(|name| !names.insert(name)) {
                    faults.push("duplicate-member");
                }
            }
            Line::Row(_) | Line::Blank => {}
        }
        faults
    }

    /// Returns the text of each column of a record. If a member is missing, its text is empty. If the value of a member
    /// has no text, the element for its column is `None`.
    fn texts(&self, line: &Line) -> Vec<Option<String>> {
        let text = |(index, name): (usize, &String)| match line {
            Line::Row(cells) => Some(cells[index].text.to_owned()),
            _ => original(line, name).map_or(Some(String::new()), text_of),
        };
        self.plan.columns.iter().enumerate().map(text).collect()
    }

    /// Returns the line or the fields that are written for a record, or the code of its reject.
    fn write(&self, line: &Line) -> Result<Vec<String>, &'static str> {
        if let Line::Object(members, _) = line {
            let homeless = |member: &Member| {
                let is_output = self.pair.1 == Format::Csv || self.is_output(member.name);
                !self.is_column(member.name) && is_output
            };
            if members.iter().any(homeless) {
                return Err("unexpected-member");
            }
        }
        if let (Line::Object(members, style), Format::Jsonl) = (line, self.pair.1) {
            return Ok(vec![self.object(line, members, *style)]);
        }
        let texts = self.texts(line);
        let cell = |(index, column): (usize, &OutputColumn)| match (self.edits.get(&index), column.source) {
            (Some(text), _) => Ok((*text).to_owned()),
            (None, Some(source)) => texts[source].clone().ok_or("not-json"),
            (None, None) => Ok(String::new()),
        };
        let cells: Vec<_> = self
            .plan
            .output
            .iter()
            .enumerate()
            .map(cell)
            .collect::<Result<_, _>>()?;
        Ok(self.row(&cells, true))
    }

    /// Returns the output row for these texts. `is_record` is true for the texts of a record, and false for a row that
    /// the plugin makes.
    fn row(&self, cells: &[String], is_record: bool) -> Vec<String> {
        if self.pair.1 == Format::Csv {
            return cells.to_vec();
        }
        let pair = |((index, column), text): ((usize, &OutputColumn), &String)| {
            // A field of CSV is always a text.
            let is_field = is_record && column.source.is_some() && !self.edits.contains_key(&index);
            let column_type = match column.column_type {
                ColumnType::Inherit if is_field => ColumnType::Text,
                column_type => column_type,
            };
            (string(&column.name), value_of(text, column_type, None))
        };
        let pairs: Vec<_> = self.plan.output.iter().enumerate().zip(cells).map(pair).collect();
        vec![written(&pairs, STYLES[0])]
    }

    fn object(&self, line: &Line, members: &[Member], style: Style) -> String {
        let value = |index: usize| {
            let OutputColumn {
                column_type, source, ..
            } = self.plan.output[index];
            let original = source.and_then(|source| original(line, &self.plan.columns[source]));
            match (self.edits.get(&index), original) {
                // A member that was missing and is edited to an empty text stays missing.
                (Some(&""), None) | (None, None) => None,
                (Some(text), _) => Some(value_of(text, column_type, original)),
                (None, Some(original)) => Some(original.to_owned()),
            }
        };
        let mut pairs = vec![];
        let mut left: Vec<_> = (0..self.plan.output.len()).collect();
        for member in members {
            if !self.is_column(member.name) {
                pairs.push((member.key.clone(), member.value.to_owned()));
                continue;
            }
            let shows = |column: &OutputColumn| {
                column
                    .source
                    .is_some_and(|source| self.plan.columns[source] == member.name)
            };
            if let Some(index) = self.plan.output.iter().position(shows) {
                let name = &self.plan.output[index].name;
                let key = if name == member.name {
                    member.key.clone()
                } else {
                    string(name)
                };
                pairs.push((key, value(index).unwrap()));
                left.retain(|&other| other != index);
            }
        }
        for index in left {
            if let Some(value) = value(index) {
                pairs.push((string(&self.plan.output[index].name), value));
            }
        }
        // An object has white space between members only if it has at least two members.
        let style = match members.len() {
            0 => {
                let raw = raw(members, style);
                let open = raw.find('{').unwrap() + 1;
                let inside = written(
                    &pairs,
                    Style {
                        open: "",
                        close: "",
                        ..STYLES[0]
                    },
                );
                return format!("{}{inside}{}", &raw[..open], &raw[open..]);
            }
            1 => Style { comma: ",", ..style },
            _ => style,
        };
        written(&pairs, style)
    }
}

/// Returns the original value of a member.
fn original<'a>(line: &'a Line, name: &str) -> Option<&'a str> {
    let Line::Object(members, _) = line else {
        return None;
    };
    members
        .iter()
        .find(|member| member.name == name)
        .map(|member| member.value)
}

/// Returns the outcome that the model expects.
fn expected(
    case: &Case,
    plan: &Plan,
    pair: (Format, Format),
    found: &Outcome,
    counts: &mut Counts,
) -> Outcome {
    let mut outcome = Outcome {
        rows: vec![],
        rejects: vec![],
    };
    if pair.1 == Format::Csv {
        outcome.rows.push(column_names(&plan.output));
    }
    let width = plan.output.len();
    for (record, line) in case.records().enumerate() {
        let act = case.act(record);
        let model = Model {
            plan,
            pair,
            edits: match act {
                Act::Edit(cells, _) => edits(cells, width),
                _ => BTreeMap::new(),
            },
        };
        counts.note(line, &model);
        let faults = model.faults(line, case.header.len());
        if let Some(fault) = faults.first() {
            let mut rejected = found.rejects.iter().filter(|reject| reject.0 == record);
            let code = rejected.next().map_or(*fault, |rejected| &rejected.1);
            let code = if faults.contains(&code) { code } else { fault };
            outcome.rejects.push((record, code.to_owned()));
            continue;
        }
        let (written, emitted) = match act {
            Act::Keep(emitted) | Act::Edit(_, emitted) => (model.write(line).map(Some), *emitted),
            Act::Replace(emitted) => (Ok(None), *emitted),
            Act::Drop => (Ok(None), 0),
            Act::Reject => (Err("by-plugin"), 0),
        };
        match written {
            Ok(row) => outcome.rows.extend(row),
            Err(code) => {
                outcome.rejects.push((record, code.to_owned()));
                continue;
            }
        }
        for row in 0..emitted {
            let cells = (row * width..(row + 1) * width).map(|cell| case.made(record, cell).to_owned());
            outcome.rows.push(model.row(&cells.collect::<Vec<_>>(), false));
        }
    }
    counts.written += outcome.rows.len();
    outcome
}

impl Counts {
    fn note(&mut self, line: &Line, model: &Model<'_>) {
        let Line::Object(members, _) = line else { return };
        let columns = &model.plan.columns;
        let place = |member: &Member| columns.iter().position(|column| column == member.name);
        let places: Vec<_> = members.iter().filter_map(place).collect();
        self.late += usize::from(places.len() < members.len());
        self.shuffled += usize::from(!places.is_sorted());
        self.missing += usize::from(columns.iter().any(|name| original(line, name).is_none()));
        let taken = |member: &Member| place(member).is_none() && model.is_output(member.name);
        self.taken += usize::from(members.iter().any(taken));
        let is_shown = |at: usize| model.plan.output.iter().any(|column| column.source == Some(at));
        let replaced =
            |member: &Member| place(member).is_some_and(|at| !is_shown(at)) && model.is_output(member.name);
        self.replaced += usize::from(members.iter().any(replaced));
        let faults = model.faults(line, 0);
        self.duplicates += usize::from(faults.contains(&"duplicate-member"));
    }
}

/// Decodes the input of a case, applies the changes and encodes the output, as a lane does.
fn run(case: &Case, pair: (Format, Format)) -> (Plan, Outcome) {
    let limits = Limits {
        batch_bytes: case.batch_bytes,
        batch_records: 3,
        ..Limits::default()
    };
    let options = InputOptions {
        format: Some(pair.0),
        ..InputOptions::default()
    };
    let reader = Box::new(std::io::Cursor::new(case.text().into_bytes()));
    let Decoding {
        mut splitter,
        mut decoder,
        columns,
        dialect,
        ..
    } = decode::open(reader, "x", None, &options, &limits).unwrap();
    check_columns(case, pair.0, &columns);
    let plan = case.plan(&columns);
    decoder.project(&plan.reads, &plan.more).unwrap();
    let mut encoder = new(pair.1, pair.0, dialect, &plan.columns, &plan.reads, &plan.output).unwrap();
    let lines: Vec<_> = case.records().collect();
    let (mut batch, mut begun, mut out, mut rejects) = (Batch::default(), 0, vec![], vec![]);
    encoder.begin(&mut out);
    while let Some(chunk) = splitter.next(Vec::new()).unwrap() {
        batch.load(chunk.raw);
        while decoder.next(&mut batch).unwrap() {
            let records: Vec<_> = batch.rows.iter().map(|row| begun + row.number as usize).collect();
            check_fields(&plan, pair, &records, &lines, &mut batch);
            for bad in &batch.malformed {
                rejects.push((begun + bad.row.number as usize, bad.code.to_owned()));
            }
            let changes = case.changes(&records, plan.output.len());
            let mut reader = ChangesReader::new(&changes, records.len(), plan.output.len()).unwrap();
            encoder.expect(&changes.bytes);
            for (row, &record) in records.iter().enumerate() {
                let (verdict, emitted) = reader.next_row().unwrap();
                let written = match verdict {
                    Verdict::Keep => encoder.keep(&batch, row, &mut out).map_err(|unfit| unfit.code),
                    Verdict::Edit(edits) => encoder
                        .edit(&batch, row, edits, &mut out)
                        .map_err(|unfit| unfit.code),
                    Verdict::Replace | Verdict::Drop => Ok(()),
                    Verdict::Reject { code, .. } => Err(code),
                };
                match written {
                    Ok(()) => {
                        for emitted in emitted.iter().flat_map(Emission::iter) {
                            match emitted {
                                EmittedRow::New(fields) => encoder.row(fields, &mut out),
                                EmittedRow::Copy(_) => unreachable!("the model makes no copies"),
                            }
                        }
                    }
                    Err(code) => rejects.push((record, code.to_owned())),
                }
            }
            reader.finish().unwrap();
        }
        begun += batch.used.records as usize;
    }
    rejects.sort();
    let rows = rows_of(std::str::from_utf8(&out).unwrap(), pair.1);
    (plan, Outcome { rows, rejects })
}

/// Checks that the columns of JSONL are the members of the first one, two or three records. The size of the first batch
/// determines how many records count.
fn check_columns(case: &Case, input: Format, columns: &[String]) {
    if input == Format::Csv {
        assert_eq!(columns, case.header);
        return;
    }
    let mut met = vec![];
    let mut first = case.records().take(3).map(|line| {
        if let Line::Object(members, _) = line {
            for member in members.iter().filter(|member| member.key != BAD_KEY) {
                if !met.contains(&member.name) {
                    met.push(member.name);
                }
            }
        }
        columns == met
    });
    assert!(columns.is_empty() || first.any(|is_all| is_all), "{columns:?}");
}

/// Checks that the plugin receives the columns that it asked for.
fn check_fields(plan: &Plan, pair: (Format, Format), records: &[usize], lines: &[&Line], batch: &mut Batch) {
    let model = Model {
        plan,
        pair,
        edits: BTreeMap::new(),
    };
    let fields = crate::decode::tests::read(batch, plan.reads.len());
    assert_eq!(fields.len(), records.len());
    for (fields, &record) in fields.iter().zip(records) {
        let texts = model.texts(lines[record]);
        let read = plan.reads.iter().map(|&read| texts[read].clone().unwrap());
        assert_eq!(*fields, read.collect::<Vec<_>>());
    }
}

fn rows_of(out: &str, format: Format) -> Vec<Vec<String>> {
    match format {
        Format::Jsonl => {
            let is_valid = |line: &str| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok();
            assert!(out.lines().all(is_valid), "{out}");
            out.split_terminator('\n')
                .map(|line| vec![line.to_owned()])
                .collect()
        }
        Format::Csv => {
            let mut reader = ::csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(out.as_bytes());
            let row =
                |row: ::csv::Result<::csv::StringRecord>| row.unwrap().iter().map(str::to_owned).collect();
            reader.records().map(row).collect()
        }
    }
}

/// Runs many cases of a pair of formats, compares each result with the model, and counts the interesting events.
fn agree(input: Format, output: Format) -> Counts {
    let counts = RefCell::new(Counts::default());
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    });
    let tried = runner.run(&case(input), |case| {
        let (plan, found) = run(&case, (input, output));
        let mut counts = counts.borrow_mut();
        counts.cases += 1;
        let expected = expected(&case, &plan, (input, output), &found, &mut counts);
        prop_assert_eq!(
            found,
            expected,
            "{}\nplan {:?} {:?}",
            case.text(),
            plan.reads,
            plan.output
        );
        Ok(())
    });
    if let Err(TestError::Fail(reason, case)) = &tried {
        panic!("{reason}\n{case:?}");
    }
    tried.unwrap();
    let counts = counts.into_inner();
    assert_eq!(counts.cases, CASES);
    assert!(counts.written > 2 * CASES as usize, "{counts:?}");
    counts
}

/// Checks that the cases had many records of each kind that [`Counts`] lists.
fn assert_members(counts: Counts) {
    let often = CASES as usize / 6;
    let all = [
        counts.late,
        counts.shuffled,
        counts.missing,
        counts.taken,
        counts.replaced,
    ];
    assert!(all.iter().all(|&count| count > often), "{counts:?}");
    assert!(counts.duplicates > often / 3, "{counts:?}");
}

#[test]
fn csv_from_csv() {
    agree(Format::Csv, Format::Csv);
}

#[test]
fn jsonl_from_csv() {
    agree(Format::Csv, Format::Jsonl);
}

#[test]
fn csv_from_jsonl() {
    assert_members(agree(Format::Jsonl, Format::Csv));
}

#[test]
fn jsonl_from_jsonl() {
    assert_members(agree(Format::Jsonl, Format::Jsonl));
}
