//! Rejected records go in, one at a time; rows of a CSV file come out.

use std::io::Write;

use memchr::memchr;

use crate::batch::Position;
use crate::escape::for_cell;

/// Writes the rejects file: CSV (RFC 4180, lines end with `\n`) with the columns
/// `record,line,offset,code,reason,raw`. The first three say where the record stands in the decompressed
/// input (see [`Position`]). `code` and `reason` are for people, as [`for_cell`] makes them; `raw` is the record as it came, without its line end. Bytes in it that are not
/// UTF-8 become `\xNN` with two lowercase hex digits; all else stands as it is, backslashes too, so a record
/// with such bytes is told from one that spells them out only by its place in the input.
#[derive(Debug, Default)]
pub struct RejectWriter {
    has_header: bool,
}

impl RejectWriter {
    /// Goes on behind so many rows.
    pub fn behind(rows: u64) -> Self {
        Self { has_header: rows > 0 }
    }

    /// Appends one row to `out`, and the header before the first one. Allocates nothing but what `out` needs,
    /// unless a reason has to be escaped.
    pub fn append(&mut self, out: &mut Vec<u8>, position: Position, code: &str, reason: &str, raw: &[u8]) {
        if !self.has_header {
            out.extend_from_slice(b"record,line,offset,code,reason,raw\n");
            self.has_header = true;
        }
        let Position { record, line, offset } = position;
        write!(out, "{record},{line},{offset},").expect("a vector takes everything");
        append_quoted(out, for_cell(code).as_bytes());
        out.push(b',');
        append_quoted(out, for_cell(reason).as_bytes());
        out.push(b',');
        append_quoted(out, raw);
        out.push(b'\n');
    }
}

fn append_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        append_doubling_quotes(out, chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a vector takes everything");
        }
    }
    out.push(b'"');
}

fn append_doubling_quotes(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(quote) = memchr(b'"', text) {
        out.extend_from_slice(&text[..=quote]);
        out.push(b'"');
        text = &text[quote + 1..];
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position {
        record: 812,
        line: 815,
        offset: 40_961,
    };

    #[test]
    fn a_row_has_the_place_the_reason_and_the_record() {
        let (mut out, mut writer) = (Vec::new(), RejectWriter::default());
        writer.append(
            &mut out,
            POSITION,
            "bad-id",
            "id is empty",
            b"1,\"a \"\"b\"\"\",c",
        );
        writer.append(
            &mut out,
            POSITION,
            "bad-utf8",
            "not UTF-8, \"really\"",
            b"a\nb\xff\xc3(\\x",
        );
        let text = concat!(
            "record,line,offset,code,reason,raw\n",
            "812,815,40961,\"bad-id\",\"id is empty\",\"1,\"\"a \"\"\"\"b\"\"\"\"\"\",c\"\n",
            "812,815,40961,\"bad-utf8\",\"not UTF-8, \"\"really\"\"\",\"a\nb\\xff\\xc3(\\x\"\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn code_and_reason_give_no_orders_and_the_record_is_as_it_came() {
        let mut out = Vec::new();
        let raw = b"=1+1,\x1b[2J\xe2\x80\xae";
        RejectWriter::default().append(&mut out, POSITION, "-a1", "=1+1\n\u{202e}", raw);
        let row = "812,815,40961,\"'-a1\",\"'=1+1\\n\\u{202e}\",\"=1+1,\u{1b}[2J\u{202e}\"\n";
        assert!(String::from_utf8(out).unwrap().ends_with(row));
    }

    proptest::proptest! {
        #[test]
        fn a_csv_reader_gets_back_what_was_written(raw in "(?s).*", reason in "(?s).*") {
            let mut out = Vec::new();
            RejectWriter::default().append(&mut out, POSITION, "code", &reason, raw.as_bytes());
            let mut reader = csv::Reader::from_reader(out.as_slice());
            let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
            let reason = for_cell(&reason);
            let row = csv::StringRecord::from(vec!["812", "815", "40961", "code", &reason, &raw]);
            proptest::prop_assert_eq!(rows, [row]);
        }
    }
}
