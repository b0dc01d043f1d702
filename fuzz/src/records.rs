//! Reads an input for the fuzz targets: takes any bytes, and returns all records. Also creates a small batch for the
//! targets that change a batch.

use std::io::Cursor;

use ingest_host::config::Limits;
use ingest_host::decode::{self, Decoding};
use ingest_host::format::Format;
use ingest_host::record::{Batch, ChunkOrigin, Position};
use ingest_host::request::InputOptions;

/// The records and counts that were read from an input.
#[derive(Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) columns: Vec<String>,
    /// The number of columns whose fields [`read`] returns.
    pub(crate) width: usize,
    pub(crate) found: Vec<Found>,
}

/// A record, and its position in the input.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    position: Position,
    raw: Vec<u8>,
    /// The fields, or the reason why the record is malformed.
    pub(crate) fields: Result<Vec<String>, String>,
}

/// Returns limits that are so small that even short inputs reach them.
pub(crate) fn small() -> Limits {
    Limits {
        batch_bytes: 64,
        batch_records: 5,
        batch_cells: 40,
        record_bytes_max: 1_000,
        columns_max: 30,
        column_name_bytes_max: 100,
        ..Limits::default()
    }
}

/// A reader that returns at most `self.1` bytes at each read.
struct Pieces(Cursor<Vec<u8>>, usize);

impl std::io::Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let size = out.len().min(self.1);
        self.0.read(&mut out[..size])
    }
}

/// Reads an input in pieces of a given number of bytes. Fails with the host's error report if the host refuses the
/// input.
pub(crate) fn read(
    text: &[u8],
    options: &InputOptions,
    projection: u8,
    piece: usize,
    limits: &Limits,
) -> Result<Read, String> {
    let reader = Box::new(Pieces(Cursor::new(text.to_vec()), piece));
    let opened = decode::open(reader, "input", None, options, limits).map_err(|error| error.report())?;
    let Decoding {
        mut splitter,
        mut decoder,
        columns,
        ..
    } = opened;
    assert!(columns.len() <= limits.columns_max);
    let reads: Vec<_> = match projection % 4 {
        0 => (0..columns.len()).collect(),
        1 => (0..columns.len()).rev().collect(),
        2 => (0..columns.len()).step_by(3).collect(),
        _ => Vec::new(),
    };
    decoder.project(&reads, &[]).unwrap();
    let (mut batch, mut origin, mut found) = (Batch::default(), splitter.origin(), Vec::new());
    while let Some(chunk) = splitter
        .next(Vec::new())
        .map_err(|fault| fault.at(&origin).report())?
    {
        let start = origin.0.offset as usize;
        assert_eq!(text[start..][..chunk.raw.len()], chunk.raw, "no byte is left out");
        batch.load(chunk.raw);
        while decoder
            .next(&mut batch)
            .map_err(|fault| fault.at(&origin).report())?
        {
            assert!(batch.rows.len() + batch.malformed.len() <= limits.batch_records);
            assert!(
                batch.fields.len() <= batch.raw.len() + batch.ends.len(),
                "memory is bounded"
            );
            note(&mut batch, &origin, reads.len(), &mut found);
        }
        assert_eq!(batch.used.bytes, batch.raw.len(), "the whole chunk is decoded");
        origin.advance(batch.used);
    }
    // The footer is not decoded, so the decoded part can end before the end of the input.
    let end = origin.0.offset as usize;
    let has_footer = options.skip_footer.is_some_and(|rows| rows > 0);
    assert!(
        end == text.len() || has_footer && end < text.len(),
        "the whole input is decoded"
    );
    for (number, record) in (1..).zip(&found) {
        assert_eq!(record.position.record, number, "every record is accounted for");
    }
    Ok(Read {
        columns,
        width: reads.len(),
        found,
    })
}

/// Adds the records of a batch to `found`.
fn note(batch: &mut Batch, origin: &ChunkOrigin, width: usize, found: &mut Vec<Found>) {
    let begun = found.len();
    let bytes = batch.lend();
    let mut fields = Vec::new();
    for (row, &start) in batch.starts.iter().enumerate() {
        let mut start = start as usize;
        let field = |&end: &u32| {
            let begin = std::mem::replace(&mut start, end as usize + 1);
            String::from_utf8(bytes[begin..end as usize].to_vec()).unwrap()
        };
        fields.push(
            batch.ends[row * width..][..width]
                .iter()
                .map(field)
                .collect::<Vec<_>>(),
        );
    }
    batch.take_back(bytes);
    assert_eq!(fields.len(), batch.rows.len());
    for (&row, fields) in batch.rows.iter().zip(fields) {
        let (position, raw) = (origin.position(row), batch.raw(row).to_vec());
        found.push(Found {
            position,
            raw,
            fields: Ok(fields),
        });
    }
    for bad in &batch.malformed {
        let (position, raw) = (origin.position(bad.row), batch.raw(bad.row).to_vec());
        let fields = Err(format!("{}: {}", bad.code, bad.reason));
        found.push(Found {
            position,
            raw,
            fields,
        });
    }
    found[begun..].sort_by_key(|found| found.position.record);
}

pub(crate) const SAMPLE_WIDTH: usize = 4;

/// The records of the batch that [`sample`] creates.
pub(crate) const SAMPLE: [[&str; SAMPLE_WIDTH]; 4] = [
    ["1", "Ada", "", "x y"],
    ["22", "", "é", "longer than a block of thirty-two bytes"],
    ["", "", "", ""],
    ["3", "O\"Hara, Scarlett", "line\none", "z"],
];

/// Creates a batch for a target that changes it. All columns are read. With `in_place`, only fields that need
/// unescaping are copied. Without it, all fields are copied.
pub(crate) fn sample(in_place: bool) -> Batch {
    let text = b"a,b,c,d\n1,Ada,,x y\n22,,\xc3\xa9,longer than a block of thirty-two bytes\n,,,\n\
        3,\"O\"\"Hara, Scarlett\",\"line\none\",z\n";
    let options = InputOptions {
        format: Some(Format::Csv),
        ..InputOptions::default()
    };
    let reader = Box::new(Cursor::new(text.to_vec()));
    let mut decoding = decode::open(reader, "sample", None, &options, &Limits::default()).unwrap();
    let mut reads: Vec<_> = (0..SAMPLE_WIDTH).collect();
    if !in_place {
        reads.reverse();
    }
    decoding.decoder.project(&reads, &[]).unwrap();
    let mut batch = Batch::default();
    batch.load(decoding.splitter.next(Vec::new()).unwrap().unwrap().raw);
    assert!(decoding.decoder.next(&mut batch).unwrap());
    assert_eq!((batch.rows.len(), batch.in_place), (SAMPLE.len(), in_place));
    batch
}
