//! Tests properties that hold for every record: the decoded output has the values that the columns' sources and the
//! edits define.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::config::Limits;
use crate::decode::{self, Decoding};
use crate::record::Batch;
use crate::request::InputOptions;

/// Decodes an output, so that a test can compare its values.
fn decode(text: &[u8], format: Format, more: &[String]) -> Vec<Vec<String>> {
    let options = InputOptions {
        format: Some(format),
        ..InputOptions::default()
    };
    let reader = Box::new(std::io::Cursor::new(text.to_vec()));
    let Decoding {
        mut splitter,
        mut decoder,
        columns: known,
        ..
    } = decode::open(reader, "x", None, &options, &Limits::default()).unwrap();
    // The members of JSONL can be in any order in a record. They are read in the order of `more`.
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
    if let Some(chunk) = splitter.next(Vec::new()).unwrap() {
        batch.load(chunk.raw);
    }
    while decoder.next(&mut batch).unwrap() {
        assert_eq!(batch.malformed, []);
        rows.extend(crate::decode::tests::read(&mut batch, reads.len()));
    }
    rows
}

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(vec![Format::Csv, Format::Jsonl])
}

fn text() -> impl Strategy<Value = String> {
    "[a-c0-9é日\",;\n\r '\\\\\\PC]{0,6}"
}

/// One cell of the output: the input column that is its source, if there is one, and the new text if the cell is
/// edited.
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
        read in vec(any::<bool>(), 6),
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
            .map(|(index, &source)| {
                let name = format!("{}{index}", if plain { 'c' } else { 'o' });
                column(&name, ColumnType::Inherit, source)
            })
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
        let reads: Vec<_> = (0..names.len()).filter(|&column| read[column % read.len()]).collect();
        let batch = batch(&raw, pair.0, Dialect::default(), &reads);
        let mut encoder = new(pair.1, pair.0, Dialect::default(), &names, &reads, &output).unwrap();
        let mut out = vec![];
        encoder.begin(&mut out);
        with_edits(&edits, output.len(), |edits| {
            if plain {
                encoder.expect(edits.bytes());
            }
            encoder.edit(&batch, 1, edits, &mut out)
        })
        .unwrap();
        if edits.is_empty() {
            encoder.keep(&batch, 1, &mut out).unwrap();
        }
        let rows = decode(&out, pair.1, &column_names(&output));
        prop_assert_eq!(rows.len(), if edits.is_empty() { 2 } else { 1 });
        for row in rows {
            prop_assert_eq!(&row, &expected);
        }
    }

    #[test]
    fn a_raw_object_that_is_broken_does_no_harm(
        raw in "[ab\"{}:,\\\\u0 \\[\\]]{0,20}", csv: bool, edited in text(),
    ) {
        let columns = ["a".to_owned(), "b".to_owned()];
        let output = [column("b", ColumnType::Inherit, Some(1)), column("x", ColumnType::Inherit, Some(0))];
        let format = if csv { Format::Csv } else { Format::Jsonl };
        let mut encoder = new(format, Format::Jsonl, Dialect::default(), &columns, &[], &output).unwrap();
        let batch = batch(raw.as_bytes(), Format::Jsonl, Dialect::default(), &[]);
        let mut out = vec![];
        let kept = encoder.keep(&batch, 1, &mut out);
        prop_assert_eq!(kept.is_err(), out.is_empty());
        with_edits(&[(1, &edited)], 2, |edits| encoder.edit(&batch, 1, edits, &mut out)).ok();
    }

    #[test]
    fn rows_that_a_plugin_made_come_back(output_format in format(), fields in vec(text(), 1..6)) {
        let names: Vec<String> = (0..fields.len()).map(|index| format!("{index} \"ł,")).collect();
        let output: Vec<_> = names.iter().map(|name| column(name, ColumnType::Text, None)).collect();
        let (bytes, ends) = arena(&fields);
        let rows = Rows::check(1, &ends, bytes.as_bytes(), fields.len()).unwrap();
        let mut encoder = new(output_format, Format::Csv, Dialect::default(), &[], &[], &output).unwrap();
        let mut out = vec![];
        encoder.begin(&mut out);
        encoder.row(rows.iter().next().unwrap(), &mut out);
        prop_assert_eq!(decode(&out, output_format, &names), [fields]);
    }
}
