//! Reads files of rejects. The bytes of such a file go in; the rejects come out one by one, or the records of some of them
//! as the text of an input that can be decoded again.

use std::io::{self, BufRead, BufReader, Read};

use memchr::{memchr, memchr_iter, memmem};

use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::memory::Held;
use crate::record::Position;

const HEADER: &[u8] = b"record,line,offset,code,reason,raw\n";

/// The maximum length of a row, as a multiple of the maximum length of a record. Each byte of a record can be written as
/// four.
const ROW_RECORDS_MAX: usize = 4;

/// The number of bytes that a row can have beside its record: three numbers, the code and the reason.
const ROW_BYTES_BESIDE: usize = 64 << 10;

/// The number of bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// A row of a file of rejects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectRow {
    /// The position of the record in the first input.
    pub position: Position,
    /// The code, as the file shows it.
    pub code: String,
    /// The reason, as the file shows it.
    pub reason: String,
    /// The bytes of the record, without its line end.
    pub record: Vec<u8>,
}

/// A reader of the rows of a file of rejects, in their order.
pub struct RejectRows {
    reader: BufReader<Box<dyn Read + Send>>,
    name: String,
    has_header: bool,
    row: Vec<u8>,
    row_bytes_max: usize,
    row_bytes_free: usize,
    /// The memory for a row that is longer than usual.
    held: Held,
}

impl RejectRows {
    /// Returns a reader of the file with these bytes. `name` appears in errors.
    pub fn new(reader: Box<dyn Read + Send>, name: &str, limits: &Limits) -> Self {
        Self {
            reader: BufReader::with_capacity(READ_BYTES, reader),
            name: name.to_owned(),
            has_header: false,
            row: Vec::new(),
            row_bytes_max: limits
                .record_bytes_max
                .saturating_mul(ROW_RECORDS_MAX)
                .saturating_add(ROW_BYTES_BESIDE),
            row_bytes_free: limits.batch_bytes,
            held: limits.memory.hold(),
        }
    }

    /// Returns the next row, or `None` at the end of the file.
    ///
    /// # Errors
    /// Fails permanently if the bytes are not those of a file of rejects. Returns the reader's errors.
    pub fn next_row(&mut self) -> Result<Option<RejectRow>> {
        if !self.has_header {
            if !self.read_row()? {
                return Ok(None);
            }
            if self.row != HEADER {
                return Err(self.damaged());
            }
            self.has_header = true;
        }
        if !self.read_row()? {
            return Ok(None);
        }
        match parse(&self.row) {
            Some(row) => Ok(Some(row)),
            None => Err(self.damaged()),
        }
    }

    /// Returns the bytes of the row that was returned last, with its line end.
    pub fn text(&self) -> &[u8] {
        &self.row
    }

    /// Reads up to the line feed behind which as many quotes were closed as opened. Returns false at the end of the file.
    fn read_row(&mut self) -> Result<bool> {
        self.row.clear();
        let mut is_quoted = false;
        loop {
            let read = match self.reader.fill_buf() {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let what = format!("{}: the rejects cannot be read", self.name);
                    let (class, code) = (Class::Transient, Code::OutputUnwritable);
                    return Err(Error::from_io(error, Stage::Commit, class, code, what));
                }
            };
            if read.is_empty() {
                return match self.row.is_empty() {
                    true => Ok(false),
                    false => Err(self.damaged()),
                };
            }
            let line = memchr(b'\n', read).map_or(read, |end| &read[..=end]);
            is_quoted ^= memchr_iter(b'"', line).count() % 2 == 1;
            let (used, is_end) = (line.len(), line.ends_with(b"\n") && !is_quoted);
            if self.row.len() + used > self.row_bytes_max {
                return Err(self.damaged());
            }
            self.row.extend_from_slice(line);
            self.reader.consume(used);
            if self.row.len() > self.row_bytes_free {
                // The row, its record, and the text that is made of it.
                self.held.raise(3 * self.row.capacity())?;
            }
            if is_end {
                return Ok(true);
            }
        }
    }

    fn damaged(&self) -> Error {
        let what = format!(
            "{}: is not a file of rejects, or is damaged: restore it",
            self.name
        );
        Error::permanent(Stage::Commit, Code::OutputDamaged, what)
    }
}

/// Reads a row as the writer of rejects writes it. Returns `None` if it is none.
fn parse(row: &[u8]) -> Option<RejectRow> {
    let mut rest = row.strip_suffix(b"\n")?;
    let mut number = || -> Option<u64> {
        let end = memchr(b',', rest)?;
        let number = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        rest = &rest[end + 1..];
        Some(number)
    };
    let position = Position {
        record: number()?,
        line: number()?,
        offset: number()?,
    };
    let (code, rest) = quoted(rest)?;
    let (reason, rest) = quoted(rest.strip_prefix(b",")?)?;
    let (raw, rest) = quoted(rest.strip_prefix(b",")?)?;
    rest.is_empty().then_some(RejectRow {
        position,
        code: String::from_utf8(code).ok()?,
        reason: String::from_utf8(reason).ok()?,
        record: record_of(raw),
    })
}

/// Reads a quoted field. Returns its text and what follows the field.
fn quoted(field: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = field.strip_prefix(b"\"")?;
    let mut text = Vec::new();
    loop {
        let end = memchr(b'"', rest)?;
        text.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => {
                text.push(b'"');
                rest = after;
            }
            None => return Some((text, rest)),
        }
    }
}

/// Returns the record that the field `raw` represents: replaces each `\xNN` by its byte.
fn record_of(raw: Vec<u8>) -> Vec<u8> {
    if memmem::find(&raw, b"\\x").is_none() {
        return raw;
    }
    let (mut record, mut rest) = (Vec::with_capacity(raw.len()), raw.as_slice());
    while let Some(at) = memchr(b'\\', rest) {
        record.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let digit = |at: usize| match *rest.get(at)? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        match (rest.get(1), digit(2), digit(3)) {
            (Some(b'x'), Some(high), Some(low)) => {
                record.push(16 * high + low);
                rest = &rest[4..];
            }
            _ => {
                record.push(b'\\');
                rest = &rest[1..];
            }
        }
    }
    record.extend_from_slice(rest);
    record
}

/// A reader of the records of selected rejects, each with a line feed behind it.
pub struct RejectedRecords<F> {
    rows: RejectRows,
    is_selected: F,
    /// The text of the present record, from `at` on.
    text: Vec<u8>,
    at: usize,
}

impl<F: Fn(&str) -> bool> RejectedRecords<F> {
    /// Returns a reader of the records of those rows whose code `is_selected` returns true for.
    pub fn new(rows: RejectRows, is_selected: F) -> Self {
        Self {
            rows,
            is_selected,
            text: Vec::new(),
            at: 0,
        }
    }
}

impl<F: Fn(&str) -> bool> Read for RejectedRecords<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() {
            let Some(row) = self.rows.next_row().map_err(Error::into_io)? else {
                return Ok(0);
            };
            if (self.is_selected)(&row.code) {
                (self.text, self.at) = (row.record, 0);
                self.text.push(b'\n');
            }
        }
        let count = buffer.len().min(self.text.len() - self.at);
        buffer[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;
    use crate::encode::RejectWriter;

    fn position(record: u64) -> Position {
        Position {
            record,
            line: record + 3,
            offset: 7 * record,
        }
    }

    /// Returns the file of rejects that has these records, with the codes `c0`, `c1`, `c2`, `c0` and so on.
    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let (mut out, mut writer) = (Vec::new(), RejectWriter::default());
        for (index, record) in records.iter().enumerate() {
            let code = format!("c{}", index % 3);
            writer
                .append(&mut out, position(index as u64), &code, "\"why\"\nnot", record)
                .unwrap();
        }
        out
    }

    fn rows(bytes: Vec<u8>) -> RejectRows {
        RejectRows::new(
            Box::new(io::Cursor::new(bytes)),
            "a.rejects.csv",
            &Limits::default(),
        )
    }

    fn all(mut rows: RejectRows) -> Result<Vec<RejectRow>> {
        std::iter::from_fn(|| rows.next_row().transpose()).collect()
    }

    fn records() -> impl proptest::strategy::Strategy<Value = Vec<Vec<u8>>> {
        let piece = proptest::prop_oneof![
            proptest::sample::select(vec![
                &b"\\"[..],
                b"x",
                b"\\x",
                b"\\x5c",
                b"\\xff",
                b"\"",
                b"\"\"",
                b"\n",
                b"\r\n",
                b",",
                b"\xff",
                b"\xc3\xa9",
            ])
            .prop_map(<[u8]>::to_vec),
            proptest::collection::vec(proptest::prelude::any::<u8>(), 1..4),
        ];
        let record = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
        proptest::collection::vec(record, 1..8)
    }

    proptest::proptest! {
        #[test]
        fn what_was_written_comes_back(records in records()) {
            let read = all(rows(file(&records))).unwrap();
            proptest::prop_assert_eq!(read.len(), records.len());
            for (index, (row, record)) in read.iter().zip(&records).enumerate() {
                proptest::prop_assert_eq!(&row.record, record);
                proptest::prop_assert_eq!(row.position, position(index as u64));
                proptest::prop_assert_eq!(&row.code, &format!("c{}", index % 3));
                proptest::prop_assert_eq!(&row.reason, "\"why\"\\nnot");
            }
        }

        #[test]
        fn the_selected_records_are_the_lines_of_an_input(records in records()) {
            let mut text = Vec::new();
            let mut reader = RejectedRecords::new(rows(file(&records)), |code| code != "c1");
            reader.read_to_end(&mut text).unwrap();
            let selected = records.iter().enumerate().filter(|(index, _)| index % 3 != 1);
            let lines: Vec<u8> = selected.flat_map(|(_, record)| [record, &b"\n"[..]].concat()).collect();
            proptest::prop_assert_eq!(text, lines);
        }

        #[test]
        fn the_rows_are_the_bytes_of_the_file(records in records()) {
            let bytes = file(&records);
            let (mut rows, mut again) = (rows(bytes.clone()), HEADER.to_vec());
            while rows.next_row().unwrap().is_some() {
                again.extend_from_slice(rows.text());
            }
            proptest::prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn what_is_no_file_of_rejects_is_refused() {
        let whole = file(&[b"a,b".to_vec()]);
        assert!(all(rows(Vec::new())).unwrap().is_empty());
        assert!(all(rows(HEADER.to_vec())).unwrap().is_empty());
        let text = String::from_utf8(whole.clone()).unwrap();
        for bytes in [
            whole[..whole.len() - 1].to_vec(),
            whole[1..].to_vec(),
            text.replace("\"a,b\"", "a,b").into_bytes(),
            text.replace("\"a,b\"", "\"a,b\",").into_bytes(),
            text.replace("0,3,0", "0,x,0").into_bytes(),
            b"id,name\n1,x\n".to_vec(),
        ] {
            let error = all(rows(bytes.clone())).unwrap_err();
            assert_eq!(
                error.code(),
                Code::OutputDamaged,
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    fn a_row_has_a_maximum_length() {
        let limits = Limits {
            record_bytes_max: 10,
            ..Limits::default()
        };
        let bytes = file(&[vec![b'x'; ROW_BYTES_BESIDE + 40]]);
        let rows = RejectRows::new(Box::new(io::Cursor::new(bytes)), "a", &limits);
        assert_eq!(all(rows).unwrap_err().code(), Code::OutputDamaged);
    }
}
