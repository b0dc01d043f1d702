//! Tests the output of each pair of formats, for records that are kept or edited, and for rows that a plugin makes.

mod cases;
mod model;
mod properties;

use super::*;
use crate::format::csv::Scanner;
use crate::format::{ColumnType, Span};
use crate::record::{Changes, ChangesReader, IN_PLACE, Row, Rows, Verdict};

fn column(name: &str, column_type: ColumnType, source: Option<usize>) -> OutputColumn {
    OutputColumn {
        name: name.to_owned(),
        column_type,
        source,
    }
}

/// Returns output columns. The name `b` stands for an output column `b` with the input column `b` as its source. `b=a`
/// has the source `a`, and `b=` has no source.
fn output(columns: &[&str], names: &[&str]) -> Vec<OutputColumn> {
    let find = |source: &str| columns.iter().position(|&column| column == source);
    let parse = |name: &&str| {
        let (name, source) = name.split_once('=').unwrap_or((name, name));
        column(name, ColumnType::Inherit, find(source))
    };
    names.iter().map(parse).collect()
}

fn with_edits<T>(edits: &[(usize, &str)], width: usize, run: impl FnOnce(Edits<'_>) -> T) -> T {
    let mut changes = Changes {
        verdicts: vec![1],
        operands: vec![edits.len() as u32],
        bytes: vec![],
    };
    for &(column, text) in edits {
        changes.bytes.extend_from_slice(text.as_bytes());
        changes
            .operands
            .extend([column as u32, changes.bytes.len() as u32]);
    }
    let (verdict, _) = ChangesReader::new(&changes, 1, width)
        .unwrap()
        .next_row()
        .unwrap();
    let Verdict::Edit(edits) = verdict else {
        panic!("not an edit")
    };
    run(edits)
}

/// Returns a batch whose second row is this record. The batch is in the state in which the decoder passes it to a
/// plugin that reads these columns.
fn batch(raw: &[u8], input: Format, dialect: Dialect, reads: &[usize]) -> Batch {
    let mut increasing = reads.to_vec();
    increasing.sort_unstable();
    let mut batch = Batch {
        in_place: reads.iter().copied().eq(0..reads.len()) && !raw.contains(&dialect.quote),
        ..Batch::default()
    };
    for raw in [b"#,#,#,#,#,#,#,#,#,#,#,#", raw] {
        let start = batch.raw.len();
        batch.raw.extend_from_slice(raw);
        let cells = if batch.in_place {
            IN_PLACE
        } else {
            batch.spans.len() as u32
        };
        batch.rows.push(Row {
            start: start as u32,
            end: batch.raw.len() as u32,
            number: 0,
            line: 0,
            cells,
        });
        batch.raw.push(b'\n');
        if input == Format::Csv {
            let mut spans = Vec::new();
            let note = |span: Span| spans.push([span.start, span.end].map(|at| at as u32));
            Scanner::new(dialect)
                .record(&batch.raw, start, true, &increasing, note)
                .unwrap();
            spans.resize(reads.len(), [0, 0]);
            if batch.in_place {
                batch.ends.extend(spans.iter().map(|span| span[1]));
            } else {
                batch.spans.extend(spans);
            }
        }
    }
    batch
}

/// Returns the fields of one row in the form in which they cross the plugin boundary.
fn arena(fields: &[impl AsRef<str>]) -> (String, Vec<u32>) {
    let (mut bytes, mut ends) = (String::new(), vec![]);
    for field in fields {
        bytes.push_str(field.as_ref());
        ends.push(bytes.len() as u32);
    }
    (bytes, ends)
}

struct Case<'a> {
    pair: (Format, Format),
    dialect: Dialect,
    columns: &'a [&'a str],
    output: Vec<OutputColumn>,
}

impl<'a> Case<'a> {
    fn new(input: Format, output_format: Format, columns: &'a [&'a str], names: &[&str]) -> Self {
        let (dialect, output) = (Dialect::default(), output(columns, names));
        Self {
            pair: (input, output_format),
            dialect,
            columns,
            output,
        }
    }

    fn encoder(&self, reads: &[usize]) -> Box<dyn Encoder> {
        let columns: Vec<_> = self.columns.iter().map(|&name| name.to_owned()).collect();
        new(
            self.pair.1,
            self.pair.0,
            self.dialect,
            &columns,
            reads,
            &self.output,
        )
        .unwrap()
    }

    /// Returns the record as it is written after `edits`. If the record cannot be written, returns `!code`. Checks that
    /// the result does not depend on which columns the plugin reads.
    fn write(&self, raw: &str, edits: &[(usize, &str)]) -> String {
        let all: Vec<_> = (0..self.columns.len()).rev().collect();
        let written = self.write_reading(&all, raw, edits);
        let in_place: Vec<_> = (0..self.columns.len()).collect();
        for reads in [&all[..0], &all[..all.len().min(1)], &in_place] {
            assert_eq!(self.write_reading(reads, raw, edits), written, "{reads:?}");
        }
        written
    }

    fn write_reading(&self, reads: &[usize], raw: &str, edits: &[(usize, &str)]) -> String {
        let (mut encoder, mut out) = (self.encoder(reads), b"before".to_vec());
        let batch = batch(raw.as_bytes(), self.pair.0, self.dialect, reads);
        let result = match edits {
            [] => encoder.keep(&batch, 1, &mut out),
            _ => with_edits(edits, self.output.len(), |edits| {
                encoder.expect(edits.bytes());
                encoder.edit(&batch, 1, edits, &mut out)
            }),
        };
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_prefix("before").unwrap();
        match result {
            Ok(()) => text.strip_suffix('\n').unwrap().to_owned(),
            Err(unfit) => {
                assert_eq!(text, "", "nothing of an unfit record is left");
                format!("!{}", unfit.code)
            }
        }
    }

    fn header(&self) -> String {
        let mut out = vec![];
        self.encoder(&[]).begin(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn row(&self, fields: &[&str]) -> String {
        let (bytes, ends) = arena(fields);
        let rows = Rows::check(1, &ends, bytes.as_bytes(), fields.len()).unwrap();
        let mut out = vec![];
        self.encoder(&[]).row(rows.iter().next().unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }
}

const ABC: &[&str] = &["a", "b", "c"];

#[test]
fn csv_with_the_columns_of_its_input_is_copied_or_spliced() {
    for (raw, edits, written) in [
        ("1,\"2\",3", &[][..], "1,\"2\",3,"),
        ("1,\"2\",3", &[(0, "x")], "x,\"2\",3,"),
        ("1,\"2,\"\"\",3", &[(2, "x")], "1,\"2,\"\"\",x,"),
        ("1,\"2,\n\",3", &[(1, "x"), (3, "y")], "1,x,3,y"),
        ("1,\"2\",\"3\"", &[(3, "y")], "1,\"2\",\"3\",y"),
        (
            ",,",
            &[(0, "a,b"), (1, "c\"d"), (2, "e\nf"), (3, "g\rh")],
            "\"a,b\",\"c\"\"d\",\"e\nf\",\"g\rh\"",
        ),
        ("1,2,3", &[(0, ""), (1, ""), (2, "")], ",,,"),
    ] {
        let case = Case::new(Format::Csv, Format::Csv, ABC, &["a", "z=b", "c", "new="]);
        assert_eq!(case.write(raw, edits), written, "{raw} {edits:?}");
        assert_eq!(case.header(), "a,z,c,new\n");
    }
}

#[test]
fn csv_with_other_columns_is_put_together_from_raw_fields() {
    for (names, edits, written) in [
        (&["c", "a"][..], &[][..], "\"\"\"3\",1"),
        (&["c", "a"], &[(1, "x,")], "\"\"\"3\",\"x,\""),
        (&["b", "new=", "b2=b", "a"], &[], "\" 2\",,\" 2\",1"),
        (&["b", "new=", "b2=b", "a"], &[(1, "x"), (2, "y")], "\" 2\",x,y,1"),
        (&["a", "b", "c", "a2=a"], &[], "1,\" 2\",\"\"\"3\",1"),
        (&["new="], &[], "\"\""),
        (&["b"], &[(0, "")], "\"\""),
    ] {
        let case = Case::new(Format::Csv, Format::Csv, ABC, names);
        assert_eq!(case.write("1,\" 2\",\"\"\"3\"", edits), written, "{names:?}");
    }
}

#[test]
fn a_record_of_one_empty_field_is_not_an_empty_line() {
    let case = Case::new(Format::Csv, Format::Csv, &["a"], &["a"]);
    assert_eq!(case.write("1", &[(0, "")]), "\"\"");
    assert_eq!(case.write("\"\"", &[]), "\"\"");
    assert_eq!(case.row(&[""]), "\"\"\n");
    assert_eq!(
        Case::new(Format::Jsonl, Format::Csv, &["a"], &["a"]).write("{}", &[]),
        "\"\""
    );
}

#[test]
fn csv_keeps_its_dialect() {
    let dialect = Dialect {
        delimiter: b';',
        quote: b'\'',
    };
    let case = Case {
        dialect,
        ..Case::new(Format::Csv, Format::Csv, ABC, &["a", "b", "c;=c"])
    };
    assert_eq!(case.header(), "a;b;'c;'\n");
    assert_eq!(case.write("'1;''';\"2;3", &[(1, "a;b'")]), "'1;''';'a;b''';3");
    assert_eq!(case.row(&["1,\"", "", "'"]), "1,\";;''''\n");
    assert_eq!(case.row(&["\u{feff}", "", ""]), "'\u{feff}';;\n");
}

#[test]
fn csv_becomes_jsonl_with_types() {
    let mut case = Case::new(Format::Csv, Format::Jsonl, ABC, &[]);
    case.output = vec![
        column("i", ColumnType::Integer, Some(2)),
        column("n", ColumnType::Number, Some(1)),
        column("t \"x\"", ColumnType::Inherit, Some(0)),
    ];
    for (raw, written) in [
        ("x,1.5,7", r#"{"i":7,"n":1.5,"t \"x\"":"x"}"#),
        (
            "\"a \"\"b\"\"\n\",\"-1e9\",\"-0\"",
            r#"{"i":-0,"n":-1e9,"t \"x\"":"a \"b\"\n"}"#,
        ),
        (",,", r#"{"i":null,"n":null,"t \"x\"":""}"#),
        (
            "\t\u{1}\\é,NaN,007",
            "{\"i\":\"007\",\"n\":\"NaN\",\"t \\\"x\\\"\":\"\\t\\u0001\\\\é\"}",
        ),
        ("7,+5,1.0", r#"{"i":"1.0","n":"+5","t \"x\"":"7"}"#),
        ("x, 5,-", r#"{"i":"-","n":" 5","t \"x\"":"x"}"#),
        // A number beyond the range of a 64-bit float is written as a string.
        ("x,1e308,-7", r#"{"i":-7,"n":1e308,"t \"x\"":"x"}"#),
        ("x,1e309,1", r#"{"i":1,"n":"1e309","t \"x\"":"x"}"#),
        ("x,-1E+400,inf", r#"{"i":"inf","n":"-1E+400","t \"x\"":"x"}"#),
        ("x,1e-999,1", r#"{"i":1,"n":1e-999,"t \"x\"":"x"}"#),
    ] {
        assert_eq!(case.write(raw, &[]), written);
    }
    let digits = |count: usize| "9".repeat(count);
    for (count, quote) in [(308, ""), (309, "\""), (400, "\"")] {
        let digits = digits(count);
        let written = format!(r#"{{"i":{quote}{digits}{quote},"n":{quote}-{digits}{quote},"t \"x\"":"x"}}"#);
        assert_eq!(case.write(&format!("x,-{digits},{digits}"), &[]), written);
    }
    assert_eq!(
        case.write("x,1,2", &[(0, "3"), (2, "y")]),
        r#"{"i":3,"n":1,"t \"x\"":"y"}"#
    );
    // An empty field is an empty text. A field that the plugin empties or does not fill becomes null.
    assert_eq!(case.write("x,1,2", &[(2, "")]), r#"{"i":2,"n":1,"t \"x\"":null}"#);
    assert_eq!(
        case.row(&["1", "", ""]),
        "{\"i\":1,\"n\":null,\"t \\\"x\\\"\":null}\n"
    );
    assert_eq!(
        case.row(&["1", "", "x"]),
        "{\"i\":1,\"n\":null,\"t \\\"x\\\"\":\"x\"}\n"
    );
    assert_eq!(case.header(), "");
    case.output = vec![
        column("b", ColumnType::Boolean, Some(0)),
        column("t", ColumnType::Timestamp, Some(1)),
    ];
    assert_eq!(
        case.write("true,2024-01-01,", &[]),
        r#"{"b":true,"t":"2024-01-01"}"#
    );
    assert_eq!(case.write("TRUE,,", &[]), r#"{"b":"TRUE","t":null}"#);
}

#[test]
fn jsonl_with_the_columns_of_its_input_is_copied_or_spliced() {
    let case = Case::new(Format::Jsonl, Format::Jsonl, ABC, &["c", "b", "a", "new="]);
    for (raw, edits, written) in [
        (
            r#" { "a" : 1, "x":[1 ,2] }"#,
            &[][..],
            r#" { "a" : 1, "x":[1 ,2] }"#,
        ),
        (
            r#"{ "a" : 1, "b":"x" }"#,
            &[(1, "y\"")],
            r#"{ "a" : 1, "b":"y\"" }"#,
        ),
        (
            r#"{"a":1,"b":true,"c":{"d":[]}}"#,
            &[(0, "[1]"), (1, "no"), (2, "2")],
            r#"{"a":2,"b":"no","c":"[1]"}"#,
        ),
        (
            r#"{"a":1,"b":true,"c":{"d":[]}}"#,
            &[(0, "{}"), (1, "false"), (2, "")],
            r#"{"a":null,"b":false,"c":{}}"#,
        ),
        (
            r#"{"a":null,"b":"5"}"#,
            &[(1, ""), (2, "7")],
            r#"{"a":"7","b":null}"#,
        ),
        // Nothing changes.
        (
            r#"{"a":null,"b":"","c":[null, null]}"#,
            &[(0, "[null, null]"), (1, ""), (2, "")],
            r#"{"a":null,"b":"","c":[null, null]}"#,
        ),
        (
            r#"{"x": 1, "a": 2}"#,
            &[(1, "y"), (3, "z")],
            r#"{"x": 1, "a": 2, "b": "y", "new": "z"}"#,
        ),
        ("{ }", &[(1, "y"), (3, "z")], r#"{"b":"y","new":"z" }"#),
        ("{}", &[(0, ""), (3, "")], "{}"),
        // The column belongs to the plugin, so a member of the input cannot be written into it.
        (r#"{"new":1,"a":2}"#, &[], "!unexpected-member"),
        (r#"{"a":2,"\u006eew":null}"#, &[], "!unexpected-member"),
        (r#"{"new":1,"a":2}"#, &[(3, "3")], "!unexpected-member"),
        (r#"{"a":2,"b":{"new":1}}"#, &[], r#"{"a":2,"b":{"new":1}}"#),
        (
            r#" { "a" :"\"new\"" ,"x" : ["new"]}  "#,
            &[],
            r#" { "a" :"\"new\"" ,"x" : ["new"]}  "#,
        ),
        (r#"{"\u0061":1,"a\"":2}"#, &[(2, "3")], r#"{"\u0061":3,"a\"":2}"#),
    ] {
        assert_eq!(case.write(raw, edits), written, "{raw} {edits:?}");
    }
}

#[test]
fn jsonl_with_other_columns_keeps_the_rest() {
    let case = Case::new(Format::Jsonl, Format::Jsonl, ABC, &["z=c", "b", "b2=b"]);
    for (raw, edits, written) in [
        (
            r#"{"a": 1, "x": 0, "b": 2, "c": 3}"#,
            &[][..],
            r#"{"x": 0, "b": 2, "z": 3, "b2": 2}"#,
        ),
        (
            r#"{"a": 1, "b": 2}"#,
            &[(0, "n"), (2, "4")],
            r#"{"b": 2, "z": "n", "b2": 4}"#,
        ),
        (r#"{ "a": 1 }"#, &[], "{  }"),
        (r#"{"a":1,"c":null}"#, &[], r#"{"z":null}"#),
        (r#"{"z":1}"#, &[], "!unexpected-member"),
        (r#"{"\ud800":1}"#, &[], "!not-json"),
    ] {
        assert_eq!(case.write(raw, edits), written, "{raw} {edits:?}");
    }
    assert_eq!(
        case.row(&["1", "", "\t"]),
        "{\"z\":\"1\",\"b\":null,\"b2\":\"\\t\"}\n"
    );
}

#[test]
fn a_name_of_the_plugins_is_taken_however_many_it_adds() {
    let names: Vec<_> = (0..20).map(|number| format!("new {number}=")).collect();
    for count in [1, 8, 9, 20] {
        let output: Vec<_> = ["a"]
            .into_iter()
            .chain(names[..count].iter().map(String::as_str))
            .collect();
        let case = Case::new(Format::Jsonl, Format::Jsonl, &["a"], &output);
        for raw in [r#" { "a": 1 , "n":"new 0" }"#, r#"{"n":"\n","a":"new"}"#, "{}"] {
            assert_eq!(case.write(raw, &[]), raw, "{count}");
        }
        let last = count - 1;
        for raw in [
            format!(r#"{{"new {last}":1}}"#),
            format!(r#"{{"a":1,"n\u0065w {last}":1}}"#),
        ] {
            assert_eq!(case.write(&raw, &[]), "!unexpected-member", "{raw}");
            assert_eq!(
                case.write(&raw, &[(0, "2"), (1, "3")]),
                "!unexpected-member",
                "{raw}"
            );
        }
    }
}

#[test]
fn declared_types_count_where_a_value_of_jsonl_is_written_anew() {
    let mut case = Case::new(Format::Jsonl, Format::Jsonl, ABC, &[]);
    case.output = vec![
        column("a", ColumnType::Integer, Some(0)),
        column("b", ColumnType::Text, Some(1)),
        column("c", ColumnType::Boolean, Some(2)),
    ];
    assert_eq!(case.write(r#"{"a":"7","b":7}"#, &[]), r#"{"a":"7","b":7}"#);
    let empty = [(0, ""), (1, ""), (2, "")];
    for (raw, written) in [
        (
            r#"{"a":null,"b":null,"c":null}"#,
            r#"{"a":null,"b":null,"c":null}"#,
        ),
        (r#"{"a":7,"b":7,"c":true}"#, r#"{"a":null,"b":"","c":null}"#),
        (r#"{"a":"","b":"x","c":[null]}"#, r#"{"a":null,"b":"","c":null}"#),
    ] {
        assert_eq!(case.write(raw, &empty), written, "{raw}");
    }
    assert_eq!(
        case.write(r#"{"a":"7","b":7}"#, &[(0, "8"), (1, "9"), (2, "true")]),
        r#"{"a":8,"b":"9","c":true}"#
    );
}

#[test]
fn jsonl_becomes_csv() {
    let case = Case::new(Format::Jsonl, Format::Csv, ABC, &["c", "a", "new="]);
    for (raw, edits, written) in [
        (
            r#"{"a":1,"b":2,"c":"x,\"y\"\n"}"#,
            &[][..],
            "\"x,\"\"y\"\"\n\",1,",
        ),
        (r#"{"c":null}"#, &[(2, "z")], ",,z"),
        (r#"{"a":{"x":[1,2]}}"#, &[(0, "3")], "3,\"{\"\"x\"\":[1,2]}\","),
        (r#"{"a":1,"d":2}"#, &[], "!unexpected-member"),
        (r#"{"c":1,"a":"\ud800"}"#, &[], "!not-json"),
        (r#"{"c":1,"a":"\ud800"}"#, &[(1, "x")], "1,x,"),
    ] {
        assert_eq!(case.write(raw, edits), written, "{raw} {edits:?}");
    }
    assert_eq!(case.header(), "c,a,new\n");
    assert_eq!(case.row(&["1", "", ","]), "1,,\",\"\n");
}

#[test]
fn an_input_without_columns_may_have_an_output_without_columns() {
    for (output_format, header, kept) in [(Format::Jsonl, "", "{}"), (Format::Csv, "\"\"\n", "\"\"")] {
        let case = Case::new(Format::Jsonl, output_format, &[], &[]);
        assert_eq!(
            (case.header().as_str(), case.write("{}", &[]).as_str()),
            (header, kept)
        );
    }
}

#[test]
fn a_name_in_an_error_is_clipped() {
    let (name, clipped) = ("x".repeat(1 << 20), format!("{}…", "x".repeat(64)));
    let twice = output(&["a"], &[&name, &name]);
    let Err(error) = new(
        Format::Csv,
        Format::Csv,
        Dialect::default(),
        &["a".to_owned()],
        &[],
        &twice,
    ) else {
        panic!("two of one name")
    };
    assert_eq!(
        error.to_string(),
        format!("encode the output has two columns \"{clipped}\"")
    );
    let case = Case::new(Format::Jsonl, Format::Csv, &["a"], &["a"]);
    let raw = format!("{{\"{name}\":1}}");
    let batch = batch(raw.as_bytes(), Format::Jsonl, Dialect::default(), &[]);
    let unfit = case.encoder(&[]).keep(&batch, 1, &mut vec![]).unwrap_err();
    assert!(unfit.reason.len() < 200, "{}", unfit.reason.len());
}

#[test]
fn a_plan_that_cannot_be_written_is_refused() {
    for (output, message) in [
        (vec![], "the output has no column"),
        (output(&["a"], &["a", "a="]), "the output has two columns \"a\""),
        (
            vec![column("b", ColumnType::Text, Some(1))],
            "output column \"b\" has source 1, but there are 1 columns",
        ),
    ] {
        for pair in [Format::Csv, Format::Jsonl] {
            let refused = new(pair, pair, Dialect::default(), &["a".to_owned()], &[], &output)
                .err()
                .unwrap();
            assert_eq!(refused.to_string(), format!("encode {message}"));
        }
    }
}
