//! Tests that files of all kinds decode to the expected records.

mod csv;
mod csv_as_found;
mod jsonl;
mod properties;

use std::io::Read;

use super::*;
use crate::error::{Class, Error, Stage};
use crate::record::ChunkOrigin;

/// A reader that returns a text in pieces of the given sizes. After the last size, it begins again with the first size.
struct Pieces {
    text: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    next: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes[self.next % self.sizes.len()]
            .min(buffer.len())
            .min(self.text.len() - self.at);
        self.next += 1;
        buffer[..size].copy_from_slice(&self.text[self.at..self.at + size]);
        self.at += size;
        Ok(size)
    }
}

/// A decoded input.
#[derive(Debug, PartialEq)]
struct Decoded {
    columns: Vec<String>,
    records: Vec<Found>,
    /// The number of records in each batch, including malformed records.
    batches: Vec<usize>,
}

/// A record of the input, which can be malformed.
#[derive(Debug, PartialEq)]
struct Found {
    position: crate::record::Position,
    raw: Vec<u8>,
    /// The fields, or the code and the reason of the reject.
    fields: Result<Vec<String>, (&'static str, String)>,
}

fn small() -> Limits {
    Limits {
        batch_bytes: 64,
        batch_records: 5,
        record_bytes_max: 200,
        columns_max: 20,
        ..Limits::default()
    }
}

fn as_csv() -> InputOptions {
    InputOptions {
        format: Some(Format::Csv),
        ..InputOptions::default()
    }
}

fn as_jsonl() -> InputOptions {
    InputOptions {
        format: Some(Format::Jsonl),
        ..InputOptions::default()
    }
}

fn run(
    text: &[u8],
    options: &InputOptions,
    limits: &Limits,
    reads: Option<&[usize]>,
    sizes: &[usize],
) -> Result<Decoded> {
    let reader = Pieces {
        text: text.to_vec(),
        at: 0,
        sizes: sizes.to_vec(),
        next: 0,
    };
    let Decoding {
        mut splitter,
        mut decoder,
        columns,
        ..
    } = open(Box::new(reader), "orders.csv", None, options, limits)?;
    let every: Vec<usize> = (0..columns.len()).collect();
    let reads = reads.unwrap_or(&every);
    decoder.project(reads, &[])?;
    let (mut batch, mut origin) = (Batch::default(), splitter.origin());
    let mut decoded = Decoded {
        columns,
        records: vec![],
        batches: vec![],
    };
    while let Some(chunk) = splitter.next(Vec::new()).map_err(|fault| fault.at(&origin))? {
        let start = origin.0.offset as usize;
        assert_eq!(
            chunk.raw,
            text[start..start + chunk.raw.len()],
            "no byte is left out"
        );
        batch.load(chunk.raw);
        while decoder.next(&mut batch).map_err(|fault| fault.at(&origin))? {
            assert_eq!(batch.ends.len(), batch.rows.len() * reads.len());
            let mut found = records(&mut batch, &origin, reads.len());
            decoded.batches.push(found.len());
            decoded.records.append(&mut found);
        }
        assert_eq!(batch.used.bytes, batch.raw.len(), "the whole chunk is decoded");
        assert!(
            batch.is_empty() && !decoder.next(&mut batch).map_err(|fault| fault.at(&origin))?,
            "the end stays the end"
        );
        origin.advance(batch.used);
    }
    let end = origin.0.offset as usize;
    let has_footer = options.skip_footer.is_some();
    assert!(
        end == text.len() || has_footer && end < text.len(),
        "the whole input is decoded"
    );
    for (number, record) in (1..).zip(&decoded.records) {
        assert_eq!(record.position.record, number, "every record is there");
    }
    Ok(decoded)
}

fn records(batch: &mut Batch, origin: &ChunkOrigin, width: usize) -> Vec<Found> {
    let rows = read(batch, width);
    let good = batch
        .rows
        .iter()
        .zip(rows)
        .map(|(&row, fields)| (row, Ok(fields)));
    let mut found: Vec<_> = good.collect();
    found.extend(
        batch
            .malformed
            .iter()
            .map(|bad| (bad.row, Err((bad.code, bad.reason.clone())))),
    );
    found.sort_by_key(|(row, _)| row.number);
    let found = found.into_iter();
    found
        .map(|(row, fields)| Found {
            position: origin.position(row),
            raw: batch.raw(row).to_vec(),
            fields,
        })
        .collect()
}

/// Returns the fields of each row in the form in which a plugin reads them.
pub(crate) fn read(batch: &mut Batch, width: usize) -> Vec<Vec<String>> {
    let bytes = batch.lend();
    let field = |start: &mut usize, end: u32| {
        let begin = std::mem::replace(start, end as usize + 1);
        String::from_utf8(bytes[begin..end as usize].to_vec()).unwrap()
    };
    let row = |(number, &start): (usize, &u32)| {
        let (mut start, ends) = (start as usize, &batch.ends[number * width..][..width]);
        ends.iter().map(|&end| field(&mut start, end)).collect()
    };
    let rows = batch.starts.iter().enumerate().map(row).collect();
    batch.take_back(bytes);
    rows
}

/// Returns the fields of all records. For a malformed record, these are `!` and its code.
fn table(decoded: &Decoded) -> Vec<Vec<&str>> {
    fn row(found: &Found) -> Vec<&str> {
        match &found.fields {
            Ok(fields) => fields.iter().map(String::as_str).collect(),
            Err((code, _)) => vec!["!", code],
        }
    }
    decoded.records.iter().map(row).collect()
}

fn decode(text: &str, options: &InputOptions) -> Decoded {
    run(text.as_bytes(), options, &Limits::default(), None, &[usize::MAX]).unwrap()
}

fn error(text: &[u8], options: &InputOptions) -> Error {
    run(text, options, &small(), None, &[usize::MAX]).expect_err("must be refused")
}
