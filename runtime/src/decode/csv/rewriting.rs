//! CSV in any [syntax](crate::format::csv::Syntax) goes in; batches of records come out, rewritten as plain CSV in the
//! dialect of the output. The decoder also applies the rules for rows that are wider or narrower than the header.

use std::sync::Arc;

use super::{Projection, escape_at_end, never_closed, ragged, stray_quote};
use crate::decode::split::{in_input, too_long};
use crate::decode::utf8::{NOT_UTF8, Utf8};
use crate::decode::{BatchLimits, Decoder, check_reads};
use crate::error::{Code, Result};
use crate::format::csv::{CsvItem, ParsedRow, Parser, RowRules, line_feeds};
use crate::record::{Batch, ChunkError, MalformedRecord, Used};

/// A decoder for CSV that a dialect alone does not describe. It rewrites each record as plain CSV.
#[derive(Clone)]
pub(super) struct RewritingDecoder {
    pub(super) name: Arc<str>,
    pub(super) parser: Parser,
    pub(super) rules: RowRules,
    pub(super) limits: BatchLimits,
    /// The number of fields that a record must have.
    pub(super) columns: usize,
    pub(super) projection: Projection,
    /// The ends of the current record's fields in the rewritten bytes.
    pub(super) ends: Vec<u32>,
}

impl Decoder for RewritingDecoder {
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()> {
        if let Some(name) = more.first() {
            return Err(in_input(
                &self.name,
                Code::PluginPlan,
                super::not_looked_for(name),
            ));
        }
        check_reads(reads, self.columns)
            .map_err(|message| in_input(&self.name, Code::PluginPlan, message))?;
        let quote = self.parser.syntax().dialect().quote;
        self.projection = Projection::new(quote, reads, self.columns);
        Ok(())
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool, ChunkError> {
        batch.clear();
        // The bytes are taken out of the batch, so that records can be added to the batch while the bytes are read.
        let raw = std::mem::take(&mut batch.raw);
        let mut rewritten = std::mem::take(&mut batch.rewritten);
        let cut = self.cut(&raw, &mut rewritten, batch);
        (batch.raw, batch.rewritten) = (raw, rewritten);
        cut.map(|()| !batch.is_empty())
    }

    fn fork(&self) -> Box<dyn Decoder> {
        Box::new(self.clone())
    }
}

impl RewritingDecoder {
    /// Decodes records of `raw` until the batch is full or `raw` ends.
    fn cut(&mut self, raw: &[u8], rewritten: &mut Vec<u8>, batch: &mut Batch) -> Result<(), ChunkError> {
        let mut records_left = self.limits.records_max(self.columns);
        let (mut used, mut utf8) = (batch.used, Utf8::default());
        while used.bytes < raw.len() && records_left > 0 {
            let found = match self.parser.next(raw, used.bytes, true) {
                Ok(CsvItem::Row(found)) => found,
                Ok(CsvItem::Nothing { next }) => {
                    used.blank_line(next);
                    continue;
                }
                Err(partial) => {
                    let open = partial.quote.unwrap_or(raw.len());
                    let (name, feeds) = (Arc::clone(&self.name), line_feeds(&raw[used.bytes..open]));
                    return Err(ChunkError::new(move |origin| {
                        never_closed(&name, origin, used, feeds)
                    }));
                }
            };
            if found.end - used.bytes > self.limits.record_bytes_max {
                let (name, bytes_max) = (Arc::clone(&self.name), self.limits.record_bytes_max);
                return Err(ChunkError::new(move |origin| {
                    too_long(&name, origin, used, bytes_max)
                }));
            }
            let mut row = used.row(found.end);
            match utf8
                .check(raw, row)
                .map_err(|reason| (NOT_UTF8, reason))
                .and_then(|()| self.check(raw, used, found))
            {
                Ok(()) => {
                    let spans = batch.spans.len();
                    row.cells = spans as u32;
                    self.rewrite(raw, rewritten, batch);
                    batch.rows.push(row);
                }
                Err((code, reason)) => batch.malformed.push(MalformedRecord { row, code, reason }),
            }
            used.record(found.next, found.line_feeds + 1);
            records_left -= 1;
        }
        batch.used = used;
        Ok(())
    }

    /// Rewrites the record that was found last, and appends it to the batch.
    fn rewrite(&mut self, raw: &[u8], rewritten: &mut Vec<u8>, batch: &mut Batch) {
        let (start, spans) = (rewritten.len(), batch.spans.len());
        self.ends.clear();
        let quoted = self.parser.rewrite(raw, self.columns, rewritten, &mut self.ends);
        let lines = [start as u32, rewritten.len() as u32];
        self.projection.spans(lines[0], &self.ends, &mut batch.spans);
        self.projection.take(rewritten, spans, quoted, batch);
        batch.lines.push(lines);
    }

    /// Checks the record that was found last. If it has several faults, returns the fault that can cause the others.
    fn check(&self, raw: &[u8], used: Used, found: ParsedRow) -> Result<(), (&'static str, String)> {
        if let Some(at) = found.stray {
            let dialect = self.parser.syntax().dialect();
            return Err(("stray-quote", stray_quote(raw, used.bytes, at, dialect)));
        }
        if let Some(at) = found.stray_escape {
            return Err(("stray-escape", escape_at_end(raw, used.bytes, at)));
        }
        let fits = match found.fields {
            fields if fields < self.columns => self.rules.fills_short,
            fields if fields > self.columns => self.rules.cuts_long && found.filled <= self.columns,
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(("ragged-row", ragged(self.columns, found.fields)))
        }
    }
}
