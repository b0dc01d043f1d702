//! The bytes of an output in, what its columns hold out: the quality report of a receipt.
//!
//! Each lane looks at what it made itself, and at the end that is put together. What comes out does not depend on how the rows were
//! dealt to lanes.

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

/// What is kept of each vector for the next rows.
const KEPT_BYTES: usize = 1 << 20;

/// How the rows of an output are written.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Their format.
    pub format: Format,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// That of CSV.
    pub dialect: Dialect,
}

/// Looks at the rows of an output.
pub struct Profiler {
    layout: Layout,
    limits: Limits,
    decoder: Box<dyn Decoder>,
    batch: Batch,
    records: u64,
    columns: Vec<ColumnProfile>,
}

impl Profiler {
    /// Of an output whose input has these limits.
    ///
    /// # Errors
    /// If two columns have one name.
    pub fn new(layout: Layout, limits: &Limits) -> Result<Self> {
        let limits = Limits {
            // What is written may be longer than what is read.
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

    /// Looks at some whole rows, without anything before them, and gives them back.
    ///
    /// # Errors
    /// If they cannot be read back, which no output should come to.
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

    /// Looks at all rows that a reader gives.
    ///
    /// # Errors
    /// As [`Profiler::add`]; those of the reader; the stop's, if one is asked for.
    pub fn add_all(&mut self, rows: impl Read + Send + 'static, stop: &Stop) -> Result<()> {
        let mut splitter = decoding(&self.layout, &self.limits, Box::new(rows))?.splitter;
        let mut spare = Vec::new();
        while let Some(chunk) = splitter.next(spare).map_err(|fault| fault.at(&BEGIN))? {
            stop.check()?;
            spare = self.add(chunk.raw)?;
        }
        Ok(())
    }

    /// One that has seen what this and another one have seen of the same output.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.records += other.records;
        for (own, others) in self.columns.iter_mut().zip(other.columns) {
            own.merge(others);
        }
        self
    }

    /// What was seen.
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
