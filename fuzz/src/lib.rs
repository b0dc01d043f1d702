//! Properties that hold for all possible bytes. For each place in the program where unchecked bytes arrive, this crate
//! has a function. The function takes any bytes, and panics if its property does not hold. `make fuzz` searches with
//! libFuzzer for bytes that break a property. With each `cargo test`, `runtime/tests/it/fuzz.rs` tries the corpus and
//! mutations of it.
//!
//! For most of these functions, the first bytes of an input select the options with which the rest is read. So all
//! options are tried.

mod records;

use std::io::Cursor;

use ingest_host::config::Limits;
use ingest_host::encode;
use ingest_host::format::csv::Dialect;
use ingest_host::format::{ColumnType, Format, OutputColumn};
use ingest_host::quality::{Layout, Profiler};
use ingest_host::receipt::Receipt;
use ingest_host::record::{Changes, ChangesReader, Emission, EmittedRow, Rows, Verdict};
use ingest_host::request::{
    BlankRows, Character, DialectFrom, DuplicateColumns, InputOptions, LongRows, NewRequest, ShortRows,
};
use ingest_host::stop::Stop;

use self::records::{Read, read, small};

/// A function that takes any bytes, and panics if its property does not hold.
pub type Property = fn(&[u8]);

/// All functions, with their names.
pub const TARGETS: [(&str, Property); 8] = [
    ("csv", csv),
    ("options", options),
    ("jsonl", jsonl),
    ("changes", changes),
    ("splice", splice),
    ("arena", arena),
    ("request", request),
    ("receipt", receipt),
];

/// Checks a CSV input. Its first bytes select the dialect and the columns that are read.
pub fn csv(data: &[u8]) {
    let Some((&[how, pieces], text)) = data.split_first_chunk() else {
        return;
    };
    let options = InputOptions {
        format: Some(Format::Csv),
        header: Some(how & 1 == 0),
        delimiter: Some([',', ';', '\t', '|'][usize::from(how >> 1) % 4]),
        quote: Some(Character::Is(if how & 8 == 0 { '"' } else { '\'' })),
        ..InputOptions::default()
    };
    input(text, &options, how >> 4, pieces);
}

/// Checks a CSV input. Its first bytes select the options.
pub fn options(data: &[u8]) {
    let Some((&[how, characters, rows, pieces], text)) = data.split_first_chunk() else {
        return;
    };
    let one_of = |choices: [Option<char>; 4], bits: u8| match choices[usize::from(bits % 4)] {
        None => Some(Character::None),
        Some(character) => Some(Character::Is(character)),
    };
    let is_auto = how & 0x40 != 0;
    let options = InputOptions {
        // If no format is named, the host examines the input more closely.
        format: (how & 0x80 == 0).then_some(Format::Csv),
        dialect: is_auto.then_some(DialectFrom::Auto),
        header: Some(how & 1 == 0),
        trim: Some(how & 2 != 0),
        duplicate_columns: (how & 4 != 0).then_some(DuplicateColumns::Number),
        quote: one_of([Some('"'), None, Some('\''), Some('a')], characters),
        escape: one_of([Some('\\'), None, Some('^'), Some('b')], characters >> 2),
        comment: one_of([Some('#'), None, Some('a'), Some(';')], characters >> 4),
        delimiter: (!is_auto).then_some([',', ';', '\t', 'a'][usize::from(characters >> 6)]),
        short_rows: (rows & 1 != 0).then_some(ShortRows::Fill),
        long_rows: (rows & 2 != 0).then_some(LongRows::TrailingEmpty),
        blank_rows: (rows & 4 != 0).then_some(BlankRows::Drop),
        skip_lines: Some(u32::from(rows >> 3) % 4),
        skip_footer: Some(u32::from(rows >> 5) % 4),
        ..InputOptions::default()
    };
    if options.check().is_ok() {
        input(text, &options, how >> 4, pieces);
    }
}

/// Checks an input in JSON lines. Its first bytes select the columns that are read.
pub fn jsonl(data: &[u8]) {
    let Some((&[how, pieces], text)) = data.split_first_chunk() else {
        return;
    };
    let options = InputOptions {
        format: Some(Format::Jsonl),
        ..InputOptions::default()
    };
    input(text, &options, how >> 4, pieces);
}

/// Checks three properties:
/// - The decoded records do not depend on the sizes of the pieces in which the input is read.
/// - Each record is counted.
/// - The encoded records decode to the same records again.
fn input(text: &[u8], options: &InputOptions, projection: u8, pieces: u8) {
    let whole = read(text, options, projection, usize::MAX, &small());
    let parted = read(text, options, projection, usize::from(pieces) + 1, &small());
    assert_eq!(whole, parted, "how the bytes are parted makes no difference");
    let Ok(read) = whole else { return };
    for format in [Format::Csv, Format::Jsonl] {
        comes_back(&read, format);
    }
}

/// Checks that the encoded records decode to the same records again.
fn comes_back(records: &Read, format: Format) {
    let names = Vec::from_iter((0..records.width).map(|column| format!("c{column}")));
    let rows: Vec<_> = records
        .found
        .iter()
        .filter_map(|found| found.fields.as_ref().ok())
        .collect();
    if names.is_empty() || rows.is_empty() {
        return;
    }
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for field in rows.iter().copied().flatten() {
        bytes.extend_from_slice(field.as_bytes());
        ends.push(bytes.len() as u32);
    }
    let output = columns(&names, |_| None);
    let mut encoder = encode::new(format, Format::Csv, Dialect::default(), &names, &[], &output).unwrap();
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for fields in Rows::check(rows.len() as u32, &ends, &bytes, names.len())
        .unwrap()
        .iter()
    {
        encoder.row(fields, &mut out);
    }
    let again = read_all(&out, format, rows.len());
    assert_eq!(again.columns, names);
    let again: Vec<_> = again
        .found
        .iter()
        .map(|found| found.fields.as_ref().unwrap())
        .collect();
    assert_eq!(
        again,
        rows,
        "as {}: {:?}",
        format.name(),
        String::from_utf8_lossy(&out)
    );
}

/// Checks arbitrary changes from a plugin. The host refuses them, or each record has one verdict, and the output has as
/// many records as the verdicts give.
pub fn changes(data: &[u8]) {
    let Some((&[how, verdicts, operands], data)) = data.split_first_chunk() else {
        return;
    };
    let batch = records::sample(how & 1 == 0);
    let (verdicts, rest) = data.split_at(usize::from(verdicts).min(data.len()));
    let (operands, bytes) = rest.split_at((2 * usize::from(operands)).min(rest.len()));
    let small = |pair: &[u8; 2]| u32::from(u16::from_le_bytes(*pair));
    let changes = Changes {
        verdicts: verdicts.iter().map(|verdict| verdict % 16).collect(),
        operands: operands.as_chunks().0.iter().map(small).collect(),
        bytes: bytes.to_vec(),
    };
    let format = if how & 2 == 0 { Format::Csv } else { Format::Jsonl };
    let names = Vec::from_iter((0..records::SAMPLE_WIDTH).map(|column| format!("c{column}")));
    let output = columns(&names, |column| (how & (4 << column) == 0).then_some(column));
    let reads = Vec::from_iter(0..names.len());
    let mut encoder = encode::new(format, Format::Csv, Dialect::default(), &names, &reads, &output).unwrap();
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.expect(&changes.bytes);
    let Ok(mut reader) = ChangesReader::new(&changes, batch.rows.len(), output.len()) else {
        return;
    };
    let mut written = 0;
    for row in 0..batch.rows.len() {
        let Ok((verdict, emitted)) = reader.next_row() else {
            return;
        };
        match verdict {
            Verdict::Keep => encoder.keep(&batch, row, &mut out).unwrap(),
            Verdict::Edit(edits) => encoder.edit(&batch, row, edits, &mut out).unwrap(),
            Verdict::Reject { code, .. } => assert!(!code.is_empty()),
            Verdict::Drop | Verdict::Replace => {}
        }
        written += usize::from(matches!(verdict, Verdict::Keep | Verdict::Edit(_)));
        for emitted in emitted.iter().flat_map(Emission::iter) {
            match emitted {
                EmittedRow::New(fields) => encoder.row(fields, &mut out),
                EmittedRow::Copy(edits) => encoder.edit(&batch, row, edits, &mut out).unwrap(),
            }
            written += 1;
        }
    }
    if reader.finish().is_ok() {
        assert_eq!(read_all(&out, format, written).found.len(), written);
    }
}

/// Checks that the output of edited records contains the edits and no other changes.
pub fn splice(data: &[u8]) {
    let Some((&[how, edited], data)) = data.split_first_chunk() else {
        return;
    };
    let text = String::from_utf8_lossy(data);
    let mut texts = text.split('\u{1}').map(str::to_owned);
    let batch = records::sample(how & 1 == 0);
    let format = if how & 2 == 0 { Format::Csv } else { Format::Jsonl };
    let names = Vec::from_iter((0..records::SAMPLE_WIDTH).map(|column| format!("c{column}")));
    // The output has all columns, in order or in reverse order, followed by one new column.
    let source = |column| {
        if how & 4 == 0 {
            column
        } else {
            records::SAMPLE_WIDTH - 1 - column
        }
    };
    let mut output = columns(&names, |column| Some(source(column)));
    output.extend(columns(&["new".to_owned()], |_| None));
    let reads = Vec::from_iter(0..names.len());
    let mut encoder = encode::new(format, Format::Csv, Dialect::default(), &names, &reads, &output).unwrap();
    let (mut changes, mut expected) = (Changes::default(), Vec::new());
    for fields in records::SAMPLE {
        let mut row: Vec<_> = (0..names.len())
            .map(|column| fields[source(column)].to_owned())
            .collect();
        row.push(String::new());
        changes.verdicts.push(1);
        let count = changes.operands.len();
        changes.operands.push(0);
        for (column, cell) in row.iter_mut().enumerate() {
            if edited & (1 << column) != 0
                && let Some(text) = texts.next()
            {
                changes.bytes.extend_from_slice(text.as_bytes());
                changes
                    .operands
                    .extend([column as u32, changes.bytes.len() as u32]);
                changes.operands[count] += 1;
                *cell = text;
            }
        }
        expected.push(row);
    }
    let mut out = Vec::new();
    encoder.begin(&mut out);
    let begin = out.len();
    encoder.expect(&changes.bytes);
    let mut reader = ChangesReader::new(&changes, batch.rows.len(), output.len()).unwrap();
    for row in 0..batch.rows.len() {
        let (Verdict::Edit(edits), None) = reader.next_row().unwrap() else {
            unreachable!("only edits")
        };
        encoder.edit(&batch, row, edits, &mut out).unwrap();
    }
    reader.finish().unwrap();
    let found = read_all(&out, format, expected.len()).found;
    let found: Vec<_> = found.into_iter().map(|found| found.fields.unwrap()).collect();
    assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&out));
    let columns = output.into_iter().map(|column| column.name).collect();
    profiled(format, columns, out.split_off(begin), &expected);
}

/// Checks that a profile counts each row, and each cell that is not empty.
fn profiled(format: Format, columns: Vec<String>, rows: Vec<u8>, expected: &[Vec<String>]) {
    let layout = Layout {
        format,
        columns,
        dialect: Dialect::default(),
    };
    let mut profiler = Profiler::new(layout, &small()).unwrap();
    let rows = profiler.add(rows).unwrap();
    profiler.add_all(Cursor::new(rows), &Stop::default()).unwrap();
    let quality = profiler.quality();
    assert_eq!(quality.records, 2 * expected.len() as u64);
    for (index, column) in quality.columns.iter().enumerate() {
        let filled = expected.iter().filter(|row| !row[index].is_empty()).count();
        assert_eq!(column.filled, 2 * filled as u64, "{}", column.name);
    }
}

/// Checks a batch that a plugin gets, with the code of the plugin SDK. The SDK refuses the batch, or each of its fields
/// is valid text.
pub fn arena(data: &[u8]) {
    let Some((&[width, starts, ends], data)) = data.split_first_chunk() else {
        return;
    };
    let (starts, rest) = data.split_at(usize::from(starts).min(data.len()));
    let (ends, bytes) = rest.split_at(usize::from(ends).min(rest.len()));
    let offsets = |offsets: &[u8]| offsets.iter().map(|&at| u32::from(at)).collect();
    let width = usize::from(width) % 5;
    if let Ok(rows) = ingest_plugin::testing::read_batch(bytes, offsets(starts), offsets(ends), width) {
        assert_eq!(rows.len(), starts.len());
        assert!(rows.iter().all(|row| row.len() == width));
    }
}

/// Checks a document of a producer. The document is refused, or its request stays the same when it is written and read
/// again.
pub fn request(data: &[u8]) {
    let Ok(document) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(request) = NewRequest::parse(document) else {
        return;
    };
    request.check().unwrap();
    let again = NewRequest::parse(&serde_json::to_string(&request).unwrap()).unwrap();
    assert_eq!(again, request);
    assert_eq!(again.content_digest(), request.content_digest());
}

/// Checks an existing receipt. The receipt is unreadable, or it stays the same when it is written and read again.
pub fn receipt(data: &[u8]) {
    let Ok(receipt) = Receipt::read(data) else {
        return;
    };
    let again = Receipt::read(&serde_json::to_vec(&receipt).unwrap()).unwrap();
    assert_eq!(again, receipt);
    assert!(receipt.same_work(&again));
    receipt.records.add_up();
}

fn columns(names: &[String], source: impl Fn(usize) -> Option<usize>) -> Vec<OutputColumn> {
    let column = |(index, name): (usize, &String)| OutputColumn {
        name: name.clone(),
        column_type: ColumnType::Text,
        source: source(index),
    };
    names.iter().enumerate().map(column).collect()
}

/// Reads an output, which must have this number of records.
fn read_all(output: &[u8], format: Format, records: usize) -> Read {
    let options = InputOptions {
        format: Some(format),
        ..InputOptions::default()
    };
    // The output can be longer than the input.
    let limits = Limits {
        record_bytes_max: 1 << 20,
        ..small()
    };
    let read = read(output, &options, 0, usize::MAX, &limits);
    let read = read.unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(output)));
    assert_eq!(read.found.len(), records, "{:?}", String::from_utf8_lossy(output));
    read
}
