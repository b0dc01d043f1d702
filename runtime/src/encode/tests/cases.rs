//! Generates random cases for the model: inputs of each format, and a plugin's changes to their columns and records.

use std::collections::{BTreeMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// The names of columns and members. JSON or CSV must escape some of them.
const NAMES: [&str; 9] = ["id", "card", "a", "b", "é", "q\"t", "x,y", "\\u", "verified"];

/// A key that is not a valid text, because it has half of a surrogate pair.
pub(super) const BAD_KEY: &str = r#""\ud800""#;

const TYPES: [ColumnType; 6] = [
    ColumnType::Inherit,
    ColumnType::Text,
    ColumnType::Integer,
    ColumnType::Number,
    ColumnType::Boolean,
    ColumnType::Timestamp,
];

/// The values of members, as they are written in JSONL.
const VALUES: [&str; 17] = [
    "null",
    "true",
    "false",
    "0",
    "-1.5e3",
    "12345678901234567890123",
    r#""""#,
    r#"" 1""#,
    r#""4111 1111""#,
    r#""é\u00e9\ud83d\ude00""#,
    r#""\"q\",\\\n""#,
    r#""null""#,
    r#"{"id":1,"card": {"a":[1 , "}"]}}"#,
    "[ {}, []]",
    "{}",
    r#""card\":\"""#,
    r#""\udc00""#,
];

/// The texts of fields in CSV and of a plugin's edits.
const TEXTS: [&str; 21] = [
    "",
    "",
    "x",
    " 1",
    "7",
    "-0",
    "007",
    "-1.5e3",
    "1e308",
    "-1e999",
    "NaN",
    "true",
    "null",
    "2024-01-01T00:00:00",
    r#"{"k": 1}"#,
    "[1",
    "[]",
    "a,b;c",
    "\"é\"\\日",
    "line\nline\r\n",
    "a text that is longer than thirty-two bytes",
];

/// One record of an input.
#[derive(Debug, Clone)]
pub(super) enum Line {
    Object(Vec<Member>, Style),
    Row(Vec<Cell>),
    Broken,
    Blank,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) key: String,
    pub(super) value: &'static str,
}

/// A field of CSV.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) text: &'static str,
    pub(super) quoted: bool,
}

/// The white space of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) open: &'static str,
    pub(super) comma: &'static str,
    pub(super) colon: &'static str,
    pub(super) close: &'static str,
}

pub(super) const STYLES: [Style; 3] = [
    Style {
        open: "{",
        comma: ",",
        colon: ":",
        close: "}",
    },
    Style {
        open: "{ ",
        comma: ", ",
        colon: ": ",
        close: " }",
    },
    Style {
        open: " {\t",
        comma: " ,",
        colon: " : ",
        close: "} ",
    },
];

/// The plugin's choice for a column of the input.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Keep,
    Drop,
    Rename(&'static str),
    KeepAndCopy(&'static str),
    CopyAndKeep(&'static str),
}

/// A plugin's verdict on a record, with numbers that select cells of the output.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Keep(usize),
    Edit(Vec<(usize, &'static str)>, usize),
    Replace(usize),
    Drop,
    Reject,
}

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) header: Vec<&'static str>,
    lines: Vec<Line>,
    pub(super) batch_bytes: usize,
    more: Vec<&'static str>,
    fates: Vec<(Fate, ColumnType)>,
    added: Vec<(&'static str, ColumnType)>,
    /// The keys that sort the columns of the output, or `None` if the order of the columns is unchanged.
    order: Option<Vec<u8>>,
    /// For each column, a key and a flag. The flag is true if the plugin reads the column. The keys sort the columns
    /// that the plugin reads.
    reads: Vec<(u8, bool)>,
    acts: Vec<Act>,
    made: Vec<&'static str>,
}

/// The columns that the plugin of a case asks for and returns.
pub(super) struct Plan {
    /// The columns of the input, followed by the members that the plugin also asks for.
    pub(super) columns: Vec<String>,
    pub(super) more: Vec<String>,
    pub(super) reads: Vec<usize>,
    pub(super) output: Vec<OutputColumn>,
}

fn name() -> impl Strategy<Value = &'static str> {
    select(NAMES.as_slice())
}

fn member(name: &'static str) -> impl Strategy<Value = Member> {
    let usual = VALUES.len() - 1;
    (any::<u8>(), 0..usual).prop_map(move |(spelled, value)| {
        let key = match spelled {
            0..32 => format!("\"{}\"", escaped(name)),
            32 => BAD_KEY.to_owned(),
            _ => string(name),
        };
        Member {
            name,
            key,
            value: VALUES[if spelled == 33 { usual } else { value }],
        }
    })
}

/// Returns a name with each character escaped as in JSON.
fn escaped(name: &str) -> String {
    name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

fn object(names: Vec<&'static str>) -> impl Strategy<Value = Line> {
    let count = names.len();
    let members = subsequence(names, 0..=count).prop_shuffle();
    let members = members.prop_flat_map(|names| names.into_iter().map(member).collect::<Vec<_>>());
    let twice = (
        any::<u8>(),
        any::<prop::sample::Index>(),
        select(VALUES.as_slice()),
    );
    (members, twice, select(STYLES.as_slice())).prop_map(|(mut members, (twice, which, value), style)| {
        if twice < 8 && !members.is_empty() {
            let Member { name, .. } = *which.get(&members);
            let key = string(name);
            members.push(Member { name, key, value });
        }
        Line::Object(members, style)
    })
}

fn lines_of_jsonl() -> impl Strategy<Value = Vec<Line>> {
    let rare = || prop_oneof![Just(Line::Broken), Just(Line::Blank)];
    let early = subsequence(NAMES.to_vec(), 0..=5);
    early.prop_flat_map(move |early| {
        let first = prop_oneof![15 => object(early), 1 => rare()];
        let later = prop_oneof![15 => object(NAMES.to_vec()), 1 => rare()];
        (vec(first, 1..6), vec(later, 0..8)).prop_map(|(first, later)| [first, later].concat())
    })
}

fn lines_of_csv(width: usize) -> impl Strategy<Value = Vec<Line>> {
    let cell = (select(TEXTS.as_slice()), any::<bool>()).prop_map(|(text, quoted)| Cell { text, quoted });
    let row = |width: usize| vec(cell.clone(), width).prop_map(Line::Row);
    let line = prop_oneof![14 => row(width), 1 => row(width + 1), 1 => Just(Line::Blank)];
    vec(line, 0..12)
}

pub(super) fn case(input: Format) -> impl Strategy<Value = Case> {
    let read = match input {
        Format::Csv => subsequence(NAMES.to_vec(), 1..=6)
            .prop_shuffle()
            .prop_flat_map(|header| (lines_of_csv(header.len()), Just(header)))
            .boxed(),
        Format::Jsonl => (lines_of_jsonl(), Just(vec![])).boxed(),
    };
    let fate = prop_oneof![
        6 => Just(Fate::Keep),
        2 => Just(Fate::Drop),
        1 => name().prop_map(Fate::Rename),
        1 => name().prop_map(Fate::KeepAndCopy),
        1 => name().prop_map(Fate::CopyAndKeep),
    ];
    // In a third of the cases, all columns of the input are kept with their types, so that kept records can be copied
    // as a whole.
    let fates = prop_oneof![
        Just(vec![(Fate::Keep, ColumnType::Inherit); 12]),
        vec((Just(Fate::Keep), column_type()), 12),
        vec((fate, column_type()), 12),
    ];
    let text = || select(TEXTS.as_slice());
    let act = prop_oneof![
        4 => prop_oneof![3 => Just(0), 1 => 1..3_usize].prop_map(Act::Keep),
        6 => (vec((0..16_usize, text()), 0..5), prop_oneof![3 => Just(0), 1 => 1..3_usize])
            .prop_map(|(cells, emitted)| Act::Edit(cells, emitted)),
        1 => (1..3_usize).prop_map(Act::Replace),
        1 => Just(Act::Drop),
        1 => Just(Act::Reject),
    ];
    let acts = prop_oneof![1 => Just(vec![Act::Keep(0)]), 9 => vec(act, 1..8)];
    let more = match input {
        Format::Csv => Just(vec![]).boxed(),
        Format::Jsonl => prop_oneof![2 => Just(vec![]), 1 => subsequence(NAMES.to_vec(), 0..=3)].boxed(),
    };
    (
        read,
        select(vec![64_usize, 1 << 16]),
        more,
        fates,
        vec((name(), column_type()), 0..3),
        prop::option::weighted(0.3, vec(any::<u8>(), 24)),
        prop_oneof![
            2 => Just(vec![(0, true); 16]),
            3 => vec((any::<u8>(), any::<bool>()), 16)
        ],
        acts,
        vec(text(), 7),
    )
        .prop_map(
            |((lines, header), batch_bytes, more, fates, added, order, reads, acts, made)| Case {
                header,
                lines,
                batch_bytes,
                more,
                fates,
                added,
                order,
                reads,
                acts,
                made,
            },
        )
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    prop_oneof![Just(ColumnType::Inherit), select(TYPES.as_slice())]
}

impl Case {
    /// Returns the input's bytes.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if !self.header.is_empty() {
            let header = self.header.iter().map(|&text| Cell { text, quoted: false });
            text += &csv_line(&header.collect::<Vec<_>>());
            text.push('\n');
        }
        for (number, line) in self.lines.iter().enumerate() {
            match line {
                Line::Object(members, style) => text += &raw(members, *style),
                Line::Row(cells) => text += &csv_line(cells),
                Line::Broken => text += "{\"id\":1,",
                Line::Blank => {}
            }
            text += if number % 3 == 2 { "\r\n" } else { "\n" };
        }
        text
    }

    /// Returns the records, without blank lines.
    pub(super) fn records(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !matches!(line, Line::Blank))
    }

    pub(super) fn plan(&self, columns: &[String]) -> Plan {
        let more = self.more.iter().map(|&name| name.to_owned());
        let more: Vec<_> = more.filter(|name| !columns.contains(name)).collect();
        let columns = [columns, &more].concat();
        let mut output = vec![];
        for (source, own) in columns.iter().enumerate() {
            let (fate, column_type) = self.fates[source % self.fates.len()];
            let names: &[&str] = match fate {
                Fate::Keep => &[own],
                Fate::Drop => &[],
                Fate::Rename(name) => &[name],
                Fate::KeepAndCopy(name) => &[own, name],
                Fate::CopyAndKeep(name) => &[name, own],
            };
            output.extend(names.iter().map(|name| column(name, column_type, Some(source))));
        }
        output.extend(self.added.iter().map(|&(name, typed)| column(name, typed, None)));
        if let Some(order) = &self.order {
            let mut places: Vec<_> = output.into_iter().zip(order.iter().cycle()).collect();
            places.sort_by_key(|&(_, place)| place);
            output = places.into_iter().map(|(column, _)| column).collect();
        }
        let mut met = HashSet::new();
        output.retain(|column| met.insert(column.name.clone()));
        if output.is_empty() {
            output.push(column("only", ColumnType::Text, None));
        }
        let mut reads: Vec<_> = (0..columns.len()).filter(|&read| self.reads[read].1).collect();
        reads.sort_by_key(|&read| self.reads[read].0);
        Plan {
            columns,
            more,
            reads,
            output,
        }
    }

    pub(super) fn act(&self, record: usize) -> &Act {
        &self.acts[record % self.acts.len()]
    }

    /// Returns a field of a row that the plugin makes.
    pub(super) fn made(&self, record: usize, cell: usize) -> &'static str {
        self.made[(record + cell) % self.made.len()]
    }

    /// Returns the plugin's verdicts on some records, as flat lists.
    pub(super) fn changes(&self, records: &[usize], width: usize) -> Changes {
        let mut changes = Changes::default();
        let all_kept = |&record: &usize| matches!(self.act(record), Act::Keep(0));
        if records.iter().all(all_kept) {
            return changes;
        }
        for &record in records {
            let mut texts = vec![];
            let (verdict, emitted) = match self.act(record) {
                Act::Keep(emitted) => (0, *emitted),
                Act::Edit(cells, emitted) => {
                    let cells = edits(cells, width);
                    changes.operands.push(cells.len() as u32);
                    for (column, text) in cells {
                        changes.operands.push(column as u32);
                        add(&mut changes, text);
                    }
                    (1, *emitted)
                }
                Act::Replace(emitted) => (2, *emitted),
                Act::Drop => (3, 0),
                Act::Reject => {
                    texts.extend(["by-plugin", "as it likes"]);
                    (4, 0)
                }
            };
            changes.verdicts.push(if verdict < 2 && emitted > 0 {
                verdict + 8
            } else {
                verdict
            });
            if emitted > 0 {
                changes.operands.push(emitted as u32);
                texts.extend((0..emitted * width).map(|cell| self.made(record, cell)));
            }
            texts.iter().for_each(|text| add(&mut changes, text));
        }
        changes
    }
}

fn add(changes: &mut Changes, text: &str) {
    changes.bytes.extend_from_slice(text.as_bytes());
    changes.operands.push(changes.bytes.len() as u32);
}

/// Returns the edited cells by column; the last edit of a cell counts.
pub(super) fn edits(cells: &[(usize, &'static str)], width: usize) -> BTreeMap<usize, &'static str> {
    cells
        .iter()
        .map(|&(column, text)| (column % width, text))
        .collect()
}

pub(super) fn raw(members: &[Member], style: Style) -> String {
    let pairs = members
        .iter()
        .map(|Member { key, value, .. }| (key.clone(), (*value).to_owned()));
    written(&pairs.collect::<Vec<_>>(), style)
}

pub(super) fn written(pairs: &[(String, String)], style: Style) -> String {
    let Style {
        open,
        comma,
        colon,
        close,
    } = style;
    let pairs = pairs.iter().map(|(key, value)| format!("{key}{colon}{value}"));
    format!("{open}{}{close}", pairs.collect::<Vec<_>>().join(comma))
}

fn csv_line(cells: &[Cell]) -> String {
    let cell = |Cell { text, quoted }: &Cell| {
        if *quoted || cells.len() == 1 || text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            (*text).to_owned()
        }
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",")
}

pub(super) fn string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}
