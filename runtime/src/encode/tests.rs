//! What goes out for each pair of formats, for records kept, edited and made.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::batch::{Batch, Changes, ChangesReader, Rows, Verdict};
use crate::config::Limits;
use crate::decode;
use crate::format::ColumnType;
use crate::request::InputOptions;

fn column(name: &str, column_type: ColumnType, source: Option<usize>) -> OutputColumn {
    OutputColumn {
        name: name.to_owned(),
        column_type,
        source,
    }
}

/// Columns as they come: `b` shows the column of that name, `b=a` the column `a`, `b=` none.
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

    fn encoder(&self) -> Box<dyn Encoder> {
        let columns: Vec<_> = self.columns.iter().map(|&name| name.to_owned()).collect();
        new(self.pair.1, self.pair.0, self.dialect, &columns, &self.output).unwrap()
    }

    /// The record with edits, or kept if there are none; `!code` if it is unfit.
    fn write(&self, raw: &str, edits: &[(usize, &str)]) -> String {
        let (mut encoder, mut out) = (self.encoder(), b"before".to_vec());
        let result = match edits {
            [] => encoder.keep(raw.as_bytes(), &mut out),
            _ => with_edits(edits, self.output.len(), |edits| {
                encoder.edit(raw.as_bytes(), edits, &mut out)
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
        self.encoder().begin(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn row(&self, fields: &[&str]) -> String {
        let ends: Vec<_> = fields
            .iter()
            .scan(0, |end, field| {
                Some({
                    *end += field.len() as u32;
                    *end
                })
            })
            .collect();
        let bytes = fields.concat();
        let rows = Rows::check(1, &ends, bytes.as_bytes(), fields.len()).unwrap();
        let mut out = vec![];
        self.encoder().row(rows.iter().next().unwrap(), &mut out);
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
    ] {
        assert_eq!(case.write(raw, &[]), written);
    }
    assert_eq!(
        case.write("x,1,2", &[(0, "3"), (2, "y")]),
        r#"{"i":3,"n":1,"t \"x\"":"y"}"#
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
            r#"{"a":"7","b":""}"#,
        ),
        (
            r#"{"x": 1, "a": 2}"#,
            &[(1, "y"), (3, "z")],
            r#"{"x": 1, "a": 2, "b": "y", "new": "z"}"#,
        ),
        ("{ }", &[(1, "y"), (3, "z")], r#"{"b":"y","new":"z" }"#),
        ("{}", &[(0, ""), (3, "")], "{}"),
        (r#"{"new":1,"a":2}"#, &[], r#"{"new":1,"a":2}"#),
        (r#"{"new":1,"a":2}"#, &[(3, "3")], r#"{"new":3,"a":2}"#),
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
fn declared_types_count_where_a_value_of_jsonl_is_written_anew() {
    let mut case = Case::new(Format::Jsonl, Format::Jsonl, ABC, &[]);
    case.output = vec![
        column("a", ColumnType::Integer, Some(0)),
        column("b", ColumnType::Text, Some(1)),
        column("c", ColumnType::Boolean, Some(2)),
    ];
    assert_eq!(case.write(r#"{"a":"7","b":7}"#, &[]), r#"{"a":"7","b":7}"#);
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
        (r#"{"a":1,"\u0061":2}"#, &[], "!duplicate-member"),
        (r#"{"c":1,"a":"\ud800"}"#, &[], "!not-json"),
        (r#"{"c":1,"a":"\ud800"}"#, &[(1, "x")], "1,x,"),
    ] {
        assert_eq!(case.write(raw, edits), written, "{raw} {edits:?}");
    }
    assert_eq!(case.header(), "c,a,new\n");
    assert_eq!(case.row(&["1", "", ","]), "1,,\",\"\n");
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
            let refused = new(pair, pair, Dialect::default(), &["a".to_owned()], &output)
                .err()
                .unwrap();
            assert_eq!(refused.to_string(), format!("encode {message}"));
        }
    }
}

/// Decodes an output again.
fn decode(text: &[u8], format: Format, more: &[String]) -> Vec<Vec<String>> {
    let options = InputOptions {
        format: Some(format),
        ..InputOptions::default()
    };
    let reader = Box::new(std::io::Cursor::new(text.to_vec()));
    let mut decoder = decode::open(reader, "x", None, &options, &Limits::default())
        .unwrap()
        .decoder;
    // JSONL: in the order of `more`, wherever the members stand.
    let known = decoder.columns().to_vec();
    let missing: Vec<_> = more
        .iter()
        .filter(|name| !known.contains(name))
        .cloned()
        .collect();
    let names: Vec<_> = known.iter().chain(&missing).collect();
    let reads: Vec<_> = match format {
        Format::Csv => (0..known.len()).collect(),
        Format::Jsonl => more
            .iter()
            .map(|name| names.iter().position(|&known| known == name).unwrap())
            .collect(),
    };
    decoder
        .project(&reads, if format == Format::Csv { &[] } else { &missing })
        .unwrap();
    let (mut batch, mut rows) = (Batch::default(), vec![]);
    while decoder.next(&mut batch).unwrap() {
        assert_eq!(batch.malformed, []);
        let mut start = 0;
        for ends in batch.ends.chunks(reads.len()) {
            let field = |&end: &u32| {
                let field = batch.fields[start..end as usize].to_vec();
                start = end as usize;
                String::from_utf8(field).unwrap()
            };
            rows.push(ends.iter().map(field).collect());
        }
    }
    rows
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(vec![Format::Csv, Format::Jsonl])
}

fn text() -> impl Strategy<Value = String> {
    "[a-c0-9é日\",;\n\r '\\\\\\PC]{0,6}"
}

/// One step of the output's column: an input column or none, and its new text if it is edited.
type Cell = (Option<prop::sample::Index>, Option<String>);

fn written(format: Format, names: &[String], fields: &[String]) -> Vec<u8> {
    let mut raw = vec![];
    let texts = names.iter().zip(fields);
    match format {
        Format::Csv => {
            let mut writer = ::csv::WriterBuilder::new().from_writer(vec![]);
            writer.write_record(fields).unwrap();
            raw = writer.into_inner().unwrap();
            raw.pop();
        }
        Format::Jsonl => {
            let object: serde_json::Map<_, _> = texts
                .map(|(name, text)| (name.clone(), text.clone().into()))
                .collect();
            serde_json::to_writer(&mut raw, &object).unwrap();
        }
    }
    raw
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_output_says_what_the_plan_says(
        pair in (format(), format()),
        fields in vec(text(), 1..6),
        cells in vec(any::<Cell>(), 1..6),
        edited in vec(prop::option::of(text()), 6),
        plain: bool,
    ) {
        let names: Vec<String> = (0..fields.len()).map(|index| format!("c{index}")).collect();
        let sources: Vec<Option<usize>> = if plain {
            (0..fields.len()).map(Some).chain([None]).collect()
        } else {
            cells.iter().map(|(source, _)| source.map(|index| index.index(fields.len()))).collect()
        };
        let output: Vec<_> = sources
            .iter()
            .enumerate()
            .map(|(index, &source)| column(&format!("{}{index}", if plain { 'c' } else { 'o' }), ColumnType::Inherit, source))
            .collect();
        let mut expected = vec![];
        let mut edits = vec![];
        for (index, source) in sources.iter().enumerate() {
            let original = source.map_or("", |source| &fields[source]);
            if let Some(text) = &edited[index] {
                edits.push((index, text.as_str()));
            }
            expected.push(edited[index].as_deref().unwrap_or(original).to_owned());
        }
        let raw = written(pair.0, &names, &fields);
        let mut encoder = new(pair.1, pair.0, Dialect::default(), &names, &output).unwrap();
        let mut out = vec![];
        encoder.begin(&mut out);
        with_edits(&edits, output.len(), |edits| encoder.edit(&raw, edits, &mut out)).unwrap();
        if edits.is_empty() {
            encoder.keep(&raw, &mut out).unwrap();
        }
        let rows = decode(&out, pair.1, &column_names(&output));
        prop_assert_eq!(rows.len(), if edits.is_empty() { 2 } else { 1 });
        for row in rows {
            prop_assert_eq!(&row, &expected);
        }
    }

    #[test]
    fn rows_that_a_plugin_made_come_back(output_format in format(), fields in vec(text(), 1..6)) {
        let names: Vec<String> = (0..fields.len()).map(|index| format!("{index} \"ł,")).collect();
        let output: Vec<_> = names.iter().map(|name| column(name, ColumnType::Text, None)).collect();
        let ends: Vec<_> = fields.iter().scan(0, |end, field| Some({ *end += field.len() as u32; *end })).collect();
        let bytes = fields.concat();
        let rows = Rows::check(1, &ends, bytes.as_bytes(), fields.len()).unwrap();
        let mut encoder = new(output_format, Format::Csv, Dialect::default(), &[], &output).unwrap();
        let mut out = vec![];
        encoder.begin(&mut out);
        encoder.row(rows.iter().next().unwrap(), &mut out);
        prop_assert_eq!(decode(&out, output_format, &names), [fields]);
    }
}
