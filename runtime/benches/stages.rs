//! Measures the time per record for splitting, decoding, encoding and digesting. The command is
//! `cargo bench --bench stages`.
//!
//! There are four inputs:
//! - alarms of 77 bytes in 8 columns,
//! - the same alarms as JSONL,
//! - records with 60 columns, of which 4 are read,
//! - records whose fields contain quotes and line ends.
#![expect(clippy::unwrap_used, reason = "a broken benchmark stops")]

use std::io::Cursor;

use divan::Bencher;
use divan::counter::ItemsCount;
use ingest_host::config::Limits;
use ingest_host::decode::{self, Decoding};
use ingest_host::digest::{Digesting, update_both};
use ingest_host::encode::{self, Encoder};
use ingest_host::format::{ColumnType, Format, OutputColumn};
use ingest_host::record::{Batch, Changes, ChangesReader, Verdict};
use ingest_host::request::InputOptions;

fn main() {
    divan::main();
}

const RECORDS: usize = 20_000;

/// An input, and the columns that are read from it.
struct Input {
    text: Vec<u8>,
    format: Format,
    reads: Vec<usize>,
}

fn alarms() -> Input {
    let mut text = Vec::new();
    alarm_feed::write_alarms(&mut text, 1, RECORDS as u64, 0).unwrap();
    Input {
        text,
        format: Format::Csv,
        reads: (0..8).collect(),
    }
}

fn alarms_as_jsonl() -> Input {
    let csv = alarms().text;
    let mut reader = csv::Reader::from_reader(&*csv);
    let names = reader.headers().unwrap().clone();
    let mut text = String::new();
    for record in reader.records() {
        let record = record.unwrap();
        let members = names
            .iter()
            .zip(&record)
            .map(|(name, field)| match field.parse::<f64>() {
                Ok(_) => format!("\"{name}\":{field}"),
                Err(_) => format!("\"{name}\":\"{field}\""),
            });
        text += &format!("{{{}}}\n", members.collect::<Vec<_>>().join(","));
    }
    Input {
        text: text.into_bytes(),
        format: Format::Jsonl,
        reads: (0..8).collect(),
    }
}

fn wide() -> Input {
    let line = |cell: &dyn Fn(usize) -> String| (0..60).map(cell).collect::<Vec<_>>().join(",") + "\n";
    let mut text = line(&|column| format!("c{column}"));
    for record in 0..RECORDS {
        text += &line(&|column| (record * 61 + column * 7_919).to_string());
    }
    Input {
        text: text.into_bytes(),
        format: Format::Csv,
        reads: vec![3, 17, 30, 55],
    }
}

fn quoted() -> Input {
    let mut text = "id,text,note\n".to_owned();
    for record in 0..RECORDS {
        text += &format!("{record},\"line one,\nline {record}\",\"say \"\"{record}\"\"\"\n");
    }
    Input {
        text: text.into_bytes(),
        format: Format::Csv,
        reads: vec![0, 1, 2],
    }
}

impl Input {
    fn open(&self) -> Decoding {
        let reader = Box::new(Cursor::new(self.text.clone()));
        let options = InputOptions {
            format: Some(self.format),
            ..InputOptions::default()
        };
        let mut decoding = decode::open(reader, "input", None, &options, &Limits::default()).unwrap();
        decoding.decoder.project(&self.reads, &[]).unwrap();
        decoding
    }

    /// Returns the whole input in one chunk, and its [`Decoding`].
    fn chunk(&self) -> (Vec<u8>, Decoding) {
        let mut decoding = self.open();
        let mut raw = Vec::new();
        while let Some(chunk) = decoding.splitter.next(Vec::new()).unwrap() {
            raw.extend(chunk.raw);
        }
        (raw, decoding)
    }
}

fn bench_split(bencher: Bencher<'_, '_>, input: &Input) {
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| input.open().splitter)
        .bench_local_values(|mut splitter| {
            let mut spare = Vec::new();
            while let Some(chunk) = splitter.next(std::mem::take(&mut spare)).unwrap() {
                spare = chunk.raw;
            }
        });
}

#[divan::bench]
fn split_alarms(bencher: Bencher<'_, '_>) {
    bench_split(bencher, &alarms());
}

#[divan::bench]
fn split_quoted(bencher: Bencher<'_, '_>) {
    bench_split(bencher, &quoted());
}

fn bench_decode(bencher: Bencher<'_, '_>, input: &Input) {
    let (raw, mut decoding) = input.chunk();
    let mut batch = Batch::default();
    batch.load(raw);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let raw = batch.load(Vec::new());
        batch.load(raw);
        let mut records = 0;
        while decoding.decoder.next(&mut batch).unwrap() {
            records += batch.rows.len();
        }
        assert_eq!(records, RECORDS);
    });
}

#[divan::bench]
fn decode_alarms(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &alarms());
}

#[divan::bench]
fn decode_wide(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &wide());
}

#[divan::bench]
fn decode_quoted(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &quoted());
}

#[divan::bench]
fn decode_jsonl(bencher: Bencher<'_, '_>) {
    bench_decode(bencher, &alarms_as_jsonl());
}

/// Measures the encoder on the first batch of an input. If `edited`, two cells of each record are edited.
fn bench_encode(bencher: Bencher<'_, '_>, input: &Input, output: Format, edited: bool) {
    let (raw, mut decoding) = input.chunk();
    let mut batch = Batch::default();
    batch.load(raw);
    assert!(decoding.decoder.next(&mut batch).unwrap());
    let columns: Vec<_> = decoding
        .columns
        .iter()
        .enumerate()
        .map(|(source, name)| OutputColumn {
            name: name.clone(),
            column_type: ColumnType::Inherit,
            source: Some(source),
        })
        .collect();
    let changes = changes(batch.rows.len(), edited.then_some([4, 5]));
    let mut encoder = encode::new(
        output,
        input.format,
        decoding.dialect,
        &decoding.columns,
        &input.reads,
        &columns,
    )
    .unwrap();
    let mut out = Vec::new();
    bencher
        .counter(ItemsCount::new(batch.rows.len()))
        .bench_local(|| {
            out.clear();
            encode_batch(&mut *encoder, &batch, &changes, columns.len(), &mut out);
        });
}

fn changes(rows: usize, edited: Option<[u32; 2]>) -> Changes {
    let mut changes = Changes::default();
    for _ in 0..if edited.is_some() { rows } else { 0 } {
        changes.verdicts.push(1);
        changes.operands.push(2);
        for column in edited.unwrap_or_default() {
            changes.bytes.extend_from_slice(b"2017-10-23T00:00:27");
            changes.operands.extend([column, changes.bytes.len() as u32]);
        }
    }
    changes
}

fn encode_batch(
    encoder: &mut dyn Encoder,
    batch: &Batch,
    changes: &Changes,
    width: usize,
    out: &mut Vec<u8>,
) {
    let mut reader = ChangesReader::new(changes, batch.rows.len(), width).unwrap();
    encoder.expect(&changes.bytes);
    for row in 0..batch.rows.len() {
        match reader.next_row().unwrap().0 {
            Verdict::Edit(edits) => encoder.edit(batch, row, edits, out).unwrap(),
            _ => encoder.keep(batch, row, out).unwrap(),
        }
    }
    reader.finish().unwrap();
}

#[divan::bench]
fn encode_kept(bencher: Bencher<'_, '_>) {
    bench_encode(bencher, &alarms(), Format::Csv, false);
}

#[divan::bench]
fn encode_edited(bencher: Bencher<'_, '_>) {
    bench_encode(bencher, &alarms(), Format::Csv, true);
}

#[divan::bench]
fn encode_jsonl_kept(bencher: Bencher<'_, '_>) {
    bench_encode(bencher, &alarms_as_jsonl(), Format::Jsonl, false);
}

#[divan::bench]
fn encode_jsonl_of_csv(bencher: Bencher<'_, '_>) {
    bench_encode(bencher, &alarms(), Format::Jsonl, false);
}

/// Measures the SHA-256 digest of an input.
#[divan::bench]
fn digest_alarms(bencher: Bencher<'_, '_>) {
    let input = alarms();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut digesting = Digesting::default();
        digesting.update(&input.text);
        digesting.finish()
    });
}

/// Measures the SHA-256 digests of an input and of an output that is as long as the input.
#[divan::bench]
fn digest_alarms_twice(bencher: Bencher<'_, '_>) {
    let input = alarms();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let [mut first, mut second] = [Digesting::default(), Digesting::default()];
        update_both((&mut first, &input.text), (&mut second, &input.text));
        [first, second].map(Digesting::finish)
    });
}
