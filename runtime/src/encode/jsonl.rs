//! Writes JSONL: records go in; JSON objects come out, one on each line. If the input is also JSONL, unchanged records
//! are copied with their white space, and so are the unchanged members of edited records.

use std::collections::HashSet;

use memchr::memchr;
use memchr::memmem::Finder;

use super::{Encoder, UnwritableRecord};
use crate::format::csv::{Dialect, Scanner, unquote};
use crate::format::jsonl::{Keys, Member, Untextual, members, write_string, write_value};
use crate::format::{ColumnType, OutputColumn, Span};
use crate::record::{Batch, Edits, RowFields};

/// A column of the output.
struct JsonColumn {
    /// The column's name as a JSON string.
    key: Vec<u8>,
    column_type: ColumnType,
}

fn json_columns(output: &[OutputColumn]) -> Vec<JsonColumn> {
    let column = |column: &OutputColumn| {
        let mut key = Vec::with_capacity(column.name.len() + 2);
        write_string(column.name.as_bytes(), &mut key);
        JsonColumn {
            key,
            column_type: column.column_type,
        }
    };
    output.iter().map(column).collect()
}

/// Writes the beginning of a column's member: the punctuation before it, its name and the colon.
fn begin_member(index: usize, column: &JsonColumn, out: &mut Vec<u8>) {
    out.push(if index == 0 { b'{' } else { b',' });
    out.extend_from_slice(&column.key);
    out.push(b':');
}

/// Writes an object with the texts of one row as its values.
fn write_object(columns: &[JsonColumn], fields: RowFields<'_>, out: &mut Vec<u8>) {
    for (index, (column, text)) in columns.iter().zip(fields.iter()).enumerate() {
        begin_member(index, column, out);
        write_value(text, column.column_type, None, out);
    }
    out.extend_from_slice(b"}\n");
}

/// Writes JSON objects from CSV.
pub(super) struct JsonlFromCsv {
    scanner: Scanner,
    columns: Vec<JsonColumn>,
    /// For each column of the output, the index of its source in `wanted`.
    sources: Vec<Option<usize>>,
    /// The sources of the output's columns, in ascending order.
    wanted: Vec<usize>,
    /// The spans of the `wanted` columns in the current record.
    spans: Vec<Span>,
    text: Vec<u8>,
}

impl JsonlFromCsv {
    pub(super) fn new(dialect: Dialect, output: &[OutputColumn]) -> Self {
        let mut wanted: Vec<_> = output.iter().filter_map(|column| column.source).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let place = |column: &OutputColumn| {
            column
                .source
                .and_then(|source| wanted.binary_search(&source).ok())
        };
        Self {
            scanner: Scanner::new(dialect),
            columns: json_columns(output),
            sources: output.iter().map(place).collect(),
            wanted,
            spans: Vec::new(),
            text: Vec::new(),
        }
    }

    fn write<'a>(&mut self, raw: &[u8], edits: impl Iterator<Item = (usize, &'a [u8])>, out: &mut Vec<u8>) {
        self.spans.clear();
        let found = self
            .scanner
            .record(raw, 0, true, &self.wanted, |span| self.spans.push(span));
        let quoted = found.is_ok_and(|record| record.quoted);
        let mut edits = edits.peekable();
        for (index, (column, source)) in self.columns.iter().zip(&self.sources).enumerate() {
            begin_member(index, column, out);
            let field = source
                .and_then(|source| self.spans.get(source))
                .map_or(&b""[..], |span| span.of(raw));
            if let Some((_, text)) = edits.next_if(|&(edited, _)| edited == index) {
                write_value(text, column.column_type, None, out);
                continue;
            }
            let text = if quoted {
                self.text.clear();
                unquote(field, self.scanner.dialect().quote, &mut self.text);
                &self.text
            } else {
                field
            };
            let column_type = match (column.column_type, source) {
                (ColumnType::Inherit, Some(_)) => ColumnType::Text, // CSV has only texts
                (column_type, _) => column_type,
            };
            write_value(text, column_type, None, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

impl Encoder for JsonlFromCsv {
    fn begin(&mut self, _: &mut Vec<u8>) {}

    fn keep(&mut self, batch: &Batch, row: usize, out: &mut Vec<u8>) -> Result<(), UnwritableRecord> {
        let raw = batch.record(row);
        self.write(raw, std::iter::empty(), out);
        Ok(())
    }

    fn edit(
        &mut self,
        batch: &Batch,
        row: usize,
        edits: Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UnwritableRecord> {
        let raw = batch.record(row);
        self.write(raw, edits.iter(), out);
        Ok(())
    }

    fn row(&mut self, fields: RowFields<'_>, out: &mut Vec<u8>) {
        write_object(&self.columns, fields, out);
    }
}

/// The treatment of a member whose name is also the name of a column of the input or of the output.
#[derive(Debug, Clone, Copy, PartialEq)]
enum MemberFate {
    /// The member belongs to a column of the input that is the source of no column of the output. It is left out.
    Nowhere,
    /// The member is written to the column of the output with the same name. The value is the index of that column.
    Same(usize),
    /// The member is written to a column of the output with another name. The value is the index of that column.
    Renamed(usize),
    /// The member belongs to no column of the input, but a column of the output has its name. Writing the member would
    /// put a value of the input into that column, and leaving it out would silently lose data. So the record is
    /// rejected.
    Taken,
}

/// Writes JSON objects from JSON objects. A member that belongs to no column of the input is copied, unless a column of
/// the output has its name.
pub(super) struct JsonlFromJsonl {
    columns: Vec<JsonColumn>,
    sources: Vec<Option<usize>>,
    /// The names of the input's columns, followed by the names that only the output's columns have.
    keys: Keys,
    /// The treatment of each member, by the index of its name in `keys`.
    places: Vec<MemberFate>,
    whole: CopyWhole,
    record: RecordEdits,
}

/// The condition on which a kept record is copied as a whole.
enum CopyWhole {
    Always,
    /// The record is copied if none of these names can occur in it. The names are JSON strings, and belong to the
    /// members with [`MemberFate::Taken`].
    Unless(Vec<Finder<'static>>),
    Never,
}

impl CopyWhole {
    /// The maximum number of names to search for. Parsing a record takes about as long as this number of searches.
    const NAMES_MAX: usize = 8;

    fn unless(taken: &[JsonColumn]) -> Self {
        match taken.len() {
            0 => Self::Always,
            1..=Self::NAMES_MAX => {
                let finder = |column: &JsonColumn| Finder::new(&column.key).into_owned();
                Self::Unless(taken.iter().map(finder).collect())
            }
            _ => Self::Never,
        }
    }

    #[inline]
    fn is_copied(&self, raw: &[u8]) -> bool {
        match self {
            Self::Always => true,
            // If a name is spelled in another way in the record, the spelling contains a backslash.
            Self::Unless(names) => {
                memchr(b'\\', raw).is_none() && names.iter().all(|name| name.find(raw).is_none())
            }
            Self::Never => false,
        }
    }
}

/// The edits and values of the current record.
struct RecordEdits {
    /// The texts of the edited cells, one after the other.
    texts: Vec<u8>,
    /// For each column of the output, the span of its new text in `texts`, or `None` if the column is not edited.
    edits: Vec<Option<Span>>,
    /// For each column of the output, true if it has been written.
    written: Vec<bool>,
    /// For each column of the input, the span of its value in the record, or `None` if the record has no such member.
    values: Vec<Option<Span>>,
}

impl JsonlFromJsonl {
    pub(super) fn new(columns: &[String], output: &[OutputColumn]) -> Self {
        let mut places = vec![MemberFate::Nowhere; columns.len()];
        let mut copies = false;
        for (index, column) in output.iter().enumerate() {
            if let Some(source) = column.source {
                copies |= places[source] != MemberFate::Nowhere;
                if places[source] == MemberFate::Nowhere {
                    let same = column.name == columns[source];
                    places[source] = if same {
                        MemberFate::Same(index)
                    } else {
                        MemberFate::Renamed(index)
                    };
                }
            }
        }
        let same = !copies && places.iter().all(|place| matches!(place, MemberFate::Same(_)));
        let known: HashSet<_> = columns.iter().collect();
        let is_new = |column: &&OutputColumn| !known.contains(&column.name);
        let new: Vec<_> = output.iter().filter(is_new).cloned().collect();
        places.resize(columns.len() + new.len(), MemberFate::Taken);
        let names = columns.iter().chain(new.iter().map(|column| &column.name));
        Self {
            columns: json_columns(output),
            sources: output.iter().map(|column| column.source).collect(),
            keys: Keys::new(names.map(String::as_str)),
            places,
            whole: if same {
                CopyWhole::unless(&json_columns(&new))
            } else {
                CopyWhole::Never
            },
            record: RecordEdits {
                texts: Vec::new(),
                edits: vec![None; output.len()],
                written: vec![false; output.len()],
                values: vec![None; columns.len()],
            },
        }
    }

    /// Writes the members of a record one by one, each with the white space and punctuation before it. Then writes the
    /// new members.
    fn write(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), UnwritableRecord> {
        self.record.written.fill(false);
        self.record.values.fill(None);
        let mut object = ObjectLayout::new(raw);
        let mut guess = 0;
        for member in members(raw) {
            let key = member.key.of(raw);
            let known = self
                .keys
                .find(key, guess)
                .map_err(|Untextual| UnwritableRecord::untextual(key))?;
            guess = known.map_or(guess, |index| index + 1);
            if let Some(index) = known
                && let Some(value) = self.record.values.get_mut(index)
            {
                *value = Some(member.value);
            }
            object.advance_to(member);
            let place = known.map(|index| self.places[index]);
            let (index, key) = match place {
                None => {
                    object.begin_member(key, out);
                    out.extend_from_slice(member.value.of(raw));
                    continue;
                }
                Some(MemberFate::Nowhere) => continue,
                Some(MemberFate::Taken) => {
                    return Err(UnwritableRecord::member("unexpected-member", key, NAME_TAKEN));
                }
                Some(MemberFate::Same(index)) => (index, key),
                Some(MemberFate::Renamed(index)) => (index, &*self.columns[index].key),
            };
            object.begin_member(key, out);
            self.record
                .value(index, &self.columns[index], Some(member.value.of(raw)), out);
            self.record.written[index] = true;
        }
        for (index, column) in self.columns.iter().enumerate() {
            let original = self.sources[index].and_then(|source| self.record.values[source]);
            let edited = self.record.edits[index].is_some_and(|text| text.start < text.end);
            if !self.record.written[index] && (edited || original.is_some()) {
                object.begin_member(&column.key, out);
                self.record
                    .value(index, column, original.map(|value| value.of(raw)), out);
            }
        }
        object.finish(out);
        Ok(())
    }

    /// Writes a record as [`Self::write`] does, but removes the beginning of the record from `out` after a failure.
    fn write_whole(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), UnwritableRecord> {
        let start = out.len();
        self.write(raw, out).inspect_err(|_| out.truncate(start))
    }
}

const NAME_TAKEN: &str = "is in no column of the input, but has the name of a column of the output";

impl RecordEdits {
    /// Writes the value of a column: the new value if the column is edited, otherwise the original value.
    fn value(&self, index: usize, column: &JsonColumn, original: Option<&[u8]>, out: &mut Vec<u8>) {
        match self.edits[index] {
            Some(text) => write_value(text.of(&self.texts), column.column_type, original, out),
            None => out.extend_from_slice(original.unwrap_or(b"null")),
        }
    }
}

impl Encoder for JsonlFromJsonl {
    fn begin(&mut self, _: &mut Vec<u8>) {}

    fn keep(&mut self, batch: &Batch, row: usize, out: &mut Vec<u8>) -> Result<(), UnwritableRecord> {
        let raw = batch.raw(batch.rows[row]);
        if self.whole.is_copied(raw) {
            out.extend_from_slice(raw);
            out.push(b'\n');
            return Ok(());
        }
        self.record.edits.fill(None);
        self.write_whole(raw, out)
    }

    fn edit(
        &mut self,
        batch: &Batch,
        row: usize,
        edits: Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UnwritableRecord> {
        let raw = batch.raw(batch.rows[row]);
        self.record.edits.fill(None);
        self.record.texts.clear();
        for (column, text) in edits.iter() {
            let start = self.record.texts.len();
            self.record.texts.extend_from_slice(text);
            self.record.edits[column] = Some(Span {
                start,
                end: self.record.texts.len(),
            });
        }
        self.write_whole(raw, out)
    }

    fn row(&mut self, fields: RowFields<'_>, out: &mut Vec<u8>) {
        write_object(&self.columns, fields, out);
    }
}

/// The white space and punctuation of an object, copied from the original object.
struct ObjectLayout<'a> {
    raw: &'a [u8],
    /// The text before the first member.
    head: &'a [u8],
    /// The text between the last two members that were read.
    comma: &'a [u8],
    /// The text between the last key that was read and its value.
    colon: &'a [u8],
    /// The position after the last member that was read.
    end: usize,
    /// True if no member has been written.
    empty: bool,
}

impl<'a> ObjectLayout<'a> {
    fn new(raw: &'a [u8]) -> Self {
        let end = memchr(b'{', raw).map_or(raw.len(), |brace| brace + 1);
        Self {
            raw,
            head: &raw[..end],
            comma: b",",
            colon: b":",
            end,
            empty: true,
        }
    }

    /// Advances to the next member of the original object.
    fn advance_to(&mut self, member: Member) {
        let before = Span {
            start: self.end,
            end: member.key.start,
        }
        .of(self.raw);
        if before.contains(&b',') {
            self.comma = before;
        } else {
            self.head = &self.raw[..member.key.start];
        }
        self.colon = Span {
            start: member.key.end,
            end: member.value.start,
        }
        .of(self.raw);
        self.end = member.value.end;
    }

    /// Writes the part of a member before its value.
    fn begin_member(&mut self, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(if self.empty { self.head } else { self.comma });
        out.extend_from_slice(key);
        out.extend_from_slice(self.colon);
        self.empty = false;
    }

    fn finish(self, out: &mut Vec<u8>) {
        if self.empty {
            out.extend_from_slice(self.head);
        }
        out.extend_from_slice(&self.raw[self.end..]);
        out.push(b'\n');
    }
}
