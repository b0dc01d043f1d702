//! The bytes of an output go in; the profile of its columns comes out. This profile is the quality report in a receipt.
//!
//! Each lane profiles its own rows, and the profiles are merged at the end. The result does not depend on which lane
//! profiled which rows.

mod column;
mod distinct;
#[cfg(test)]
mod tests;

use std::io::{Read, empty};

use self::column::ColumnProfile;
use crate::config::Limits;
use crate::decode::{self, Decoder, Decoding, ResumePoint};
use crate::error::Result;
use crate::format::Format;
use crate::format::csv::Dialect;
use crate::receipt::QualityPart;
use crate::record::{Batch, ChunkOrigin, Position};
use crate::request::InputOptions;
use crate::stop::Stop;

const OUTPUT: &str = "output";

/// The maximum size of a vector that is kept for the next rows, in bytes.
const KEPT_BYTES: usize = 1 << 20;

/// The format, the columns and the dialect of an output's rows.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The format of the rows.
    pub format: Format,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The dialect, if the format is CSV.
    pub dialect: Dialect,
}

/// A profiler of the rows of an output.
pub struct Profiler {
    layout: Layout,
    limits: Limits,
    decoder: Box<dyn Decoder>,
    batch: Batch,
    records: u64,
    columns: Vec<ColumnProfile>,
}

impl Profiler {
    /// Returns a profiler for an output. `limits` are the limits with which the input is read.
    ///
    /// # Errors
    /// Fails if the format is JSONL and two columns have the same name.
    pub fn new(layout: Layout, limits: &Limits) -> Result<Self> {
        let limits = Limits {
            // A record of the output can be longer than the record of the input from which it was made.
            record_bytes_max: usize::MAX,
            ..limits.clone()
        };
        let mut decoder = decoding(&layout, &limits, Box::new(empty()))?.decoder;
        let width = layout.columns.len();
        decoder.project(&(0..width).collect::<Vec<_>>(), &[])?;
        Ok(Self {
            columns: vec![ColumnProfile::one_of(width); width],
            layout,
            limits,
            decoder,
            batch: Batch::default(),
            records: 0,
        })
    }

    /// Profiles the rows in `rows`, which must be whole rows without a header or other text before them. Returns the
    /// vector of the rows, so that its memory can be reused.
    ///
    /// # Errors
    /// Fails if the rows cannot be read back. No output should cause this.
    pub fn add(&mut self, rows: Vec<u8>) -> Result<Vec<u8>> {
        self.batch.load(rows);
        loop {
            let next = self.decoder.next(&mut self.batch);
            if !next.map_err(|fault| fault.at(&BEGIN))? {
                self.batch.shrink(KEPT_BYTES);
                return Ok(self.batch.load(Vec::new()));
            }
            self.batch();
        }
    }

    /// Profiles all rows that a reader returns.
    ///
    /// # Errors
    /// Fails in the same cases as [`Profiler::add`]. Also returns the errors of the reader, and an error if a stop is
    /// requested.
    pub fn add_all(&mut self, rows: impl Read + Send + 'static, stop: &Stop) -> Result<()> {
        let mut splitter = decoding(&self.layout, &self.limits, Box::new(rows))?.splitter;
        let mut spare = Vec::new();
        while let Some(chunk) = splitter.next(spare).map_err(|fault| fault.at(&BEGIN))? {
            stop.check()?;
            spare = self.add(chunk.raw)?;
        }
        Ok(())
    }

    /// Merges the profiles of this profiler and of another profiler of the same output.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.records += other.records;
        for (own, others) in self.columns.iter_mut().zip(other.columns) {
            own.merge(others);
        }
        self
    }

    /// Returns the quality report.
    pub fn quality(self) -> QualityPart {
        let columns = self.columns.into_iter().zip(self.layout.columns);
        QualityPart {
            records: self.records,
            columns: columns.map(|(column, name)| column.quality(name)).collect(),
        }
    }

    fn batch(&mut self) {
        let batch = &mut self.batch;
        let bytes = batch.lend();
        self.records += batch.rows.len() as u64;
        let width = self.columns.len();
        for (row, &start) in batch.starts.iter().enumerate() {
            let mut from = start as usize;
            for (column, &end) in self.columns.iter_mut().zip(&batch.ends[row * width..]) {
                column.add(&bytes[from..end as usize]);
                from = end as usize + 1;
            }
        }
        batch.take_back(bytes);
    }
}

const BEGIN: ChunkOrigin = ChunkOrigin(Position {
    record: 1,
    line: 1,
    offset: 0,
});

fn decoding(layout: &Layout, limits: &Limits, rows: Box<dyn Read + Send>) -> Result<Decoding> {
    let Layout {
        format,
        columns,
        dialect,
    } = layout.clone();
    let begin = ResumePoint {
        origin: BEGIN,
        read: Vec::new(),
    };
    let plain = InputOptions::default();
    decode::resume(rows, OUTPUT, begin, (format, columns, dialect), &plain, limits)
}
