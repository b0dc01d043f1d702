//! Writes rejects: rejected records go in, one at a time; rows of a CSV file come out.

use std::borrow::Cow;
use std::io::{self, Write};

use memchr::{memchr, memchr_iter};

use crate::escape::for_cell;
use crate::record::Position;

/// Writes the file of rejects: CSV (RFC 4180, lines end with `\n`) with the columns
/// `record,line,offset,code,reason,raw`. The first three columns are the position of the record (see [`Position`]).
/// `code` and `reason` are for people, and are escaped by [`for_cell`]. `raw` is the unchanged record, without its line
/// end.
///
/// In `raw`, a byte that is not UTF-8 is written as `\xNN`, with two lowercase hex digits. If a backslash in the record
/// looks like the beginning of such an escape, the backslash is written in the same form: the text `\xff` in a record
/// becomes `\x5cxff`. All other bytes are unchanged. To restore the record, replace each `\xNN` by its byte
/// (docs/formats.md).
#[derive(Debug, Default)]
pub struct RejectWriter {
    has_header: bool,
}

impl RejectWriter {
    /// Returns a writer for a file that already has `rows` rows.
    pub fn after(rows: u64) -> Self {
        Self { has_header: rows > 0 }
    }

    /// Writes a row of another file of rejects to `out` unchanged, with its line end, and the header before the first row.
    ///
    /// # Errors
    /// Returns the errors of `out`.
    pub fn append_row(&mut self, out: &mut impl Write, row: &[u8]) -> io::Result<()> {
        self.begin(out)?;
        out.write_all(row)
    }

    fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        if !self.has_header {
            out.write_all(b"record,line,offset,code,reason,raw\n")?;
            self.has_header = true;
        }
        Ok(())
    }

    /// Writes one row to `out`, and the header before the first row. Allocates memory only if `code` or `reason` has to
    /// be escaped or shortened.
    ///
    /// # Errors
    /// Returns the errors of `out`.
    pub fn append(
        &mut self,
        out: &mut impl Write,
        position: Position,
        code: &str,
        reason: &str,
        raw: &[u8],
    ) -> io::Result<()> {
        self.begin(out)?;
        let Position { record, line, offset } = position;
        write!(out, "{record},{line},{offset},")?;
        for text in [code, reason] {
            out.write_all(b"\"")?;
            append_doubling_quotes(out, for_cell(text).as_bytes())?;
            out.write_all(b"\",")?;
        }
        out.write_all(b"\"")?;
        append_raw(out, raw)?;
        out.write_all(b"\"\n")
    }
}

/// Returns a code as a file of rejects shows it.
pub fn shown_code(code: &str) -> Cow<'_, str> {
    for_cell(code)
}

/// Writes the bytes of a record as a text from which the bytes can be recovered.
fn append_raw(out: &mut impl Write, raw: &[u8]) -> io::Result<()> {
    for chunk in raw.utf8_chunks() {
        let mut text = chunk.valid().as_bytes();
        while let Some(at) = find_escape(text) {
            append_doubling_quotes(out, &text[..at])?;
            append_escape(out, text[at])?;
            text = &text[at + 1..];
        }
        append_doubling_quotes(out, text)?;
        chunk
            .invalid()
            .iter()
            .try_for_each(|&byte| append_escape(out, byte))?;
    }
    Ok(())
}

fn append_escape(out: &mut impl Write, byte: u8) -> io::Result<()> {
    write!(out, "\\x{byte:02x}")
}

/// Returns the position of the first backslash that could be read as the beginning of an escape.
fn find_escape(text: &[u8]) -> Option<usize> {
    let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    memchr_iter(b'\\', text)
        .find(|&at| matches!(&text[at + 1..], [b'x', high, low, ..] if is_digit(high) && is_digit(low)))
}

fn append_doubling_quotes(out: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    while let Some(quote) = memchr(b'"', text) {
        out.write_all(&text[..=quote])?;
        out.write_all(b"\"")?;
        text = &text[quote + 1..];
    }
    out.write_all(text)
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    const POSITION: Position = Position {
        record: 812,
        line: 815,
        offset: 40_961,
    };

    #[test]
    fn a_row_has_the_place_the_reason_and_the_record() {
        let (mut out, mut writer) = (Vec::new(), RejectWriter::default());
        writer
            .append(
                &mut out,
                POSITION,
                "bad-id",
                "id is empty",
                b"1,\"a \"\"b\"\"\",c",
            )
            .unwrap();
        writer
            .append(
                &mut out,
                POSITION,
                "bad-utf8",
                "not UTF-8, \"really\"",
                b"a\nb\xff\xc3(\\x",
            )
            .unwrap();
        let text = concat!(
            "record,line,offset,code,reason,raw\n",
            "812,815,40961,\"bad-id\",\"id is empty\",\"1,\"\"a \"\"\"\"b\"\"\"\"\"\",c\"\n",
            "812,815,40961,\"bad-utf8\",\"not UTF-8, \"\"really\"\"\",\"a\nb\\xff\\xc3(\\x\"\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    /// Returns the `raw` field of the row for this record, read as docs/formats.md describes.
    fn raw_of(record: &[u8]) -> String {
        let mut out = Vec::new();
        RejectWriter::default()
            .append(&mut out, POSITION, "code", "why", record)
            .unwrap();
        let mut rows = csv::Reader::from_reader(out.as_slice()).into_records();
        let row = rows.next().expect("a row").expect("UTF-8");
        assert!(rows.next().is_none());
        row[5].to_owned()
    }

    /// Returns the record that `raw` represents: replaces each `\xNN` by its byte, from left to right.
    fn record_of(raw: &str) -> Vec<u8> {
        let (mut record, mut rest) = (Vec::new(), raw);
        while let Some((before, after)) = rest.split_once("\\x") {
            record.extend_from_slice(before.as_bytes());
            let digits = after.get(..2).filter(|digits| {
                let is_digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
                digits.chars().all(is_digit)
            });
            let Some(digits) = digits else {
                record.push(b'\\');
                rest = &rest[before.len() + 1..];
                continue;
            };
            record.push(u8::from_str_radix(digits, 16).expect("hex digits"));
            rest = &after[2..];
        }
        record.extend_from_slice(rest.as_bytes());
        record
    }

    #[test]
    fn a_record_that_is_not_utf8_is_distinguished_from_one_that_spells_it_out() {
        for (record, raw) in [
            (&b"a,\xff"[..], r"a,\xff"),
            (br"a,\xff", r"a,\x5cxff"),
            (br"\x5cxff", r"\x5cx5cxff"),
            (b"\\\xff", r"\\xff"),
            (b"\\x\xff", r"\x\xff"),
            (b"\\xf\xff", r"\xf\xff"),
            (br"\\xff", r"\\x5cxff"),
            (
                br#"{"a\"":"\u00ff\\","b":"C:\\xyz\\xFF"}"#,
                r#"{"a\"":"\u00ff\\","b":"C:\\xyz\\xFF"}"#,
            ),
        ] {
            assert_eq!(raw_of(record), raw);
            assert_eq!(record_of(raw), record, "{raw}");
        }
    }

    #[test]
    fn every_byte_comes_back_wherever_it_stands() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let record = [b'\\', first, b'x', second, b'0', b'a', b'\\', b'x', first, second];
                assert_eq!(record_of(&raw_of(&record)), record);
            }
        }
    }

    #[test]
    fn code_and_reason_give_no_orders_and_the_record_is_as_it_came() {
        let mut out = Vec::new();
        let raw = b"=1+1,\x1b[2J\xe2\x80\xae";
        RejectWriter::default()
            .append(&mut out, POSITION, "-a1", "=1+1\n\u{202e}", raw)
            .unwrap();
        let row = "812,815,40961,\"'-a1\",\"'=1+1\\n\\u{202e}\",\"=1+1,\u{1b}[2J\u{202e}\"\n";
        assert!(String::from_utf8(out).unwrap().ends_with(row));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_record_comes_back_whatever_it_is(
            pieces in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::sample::select(vec![
                        &b"\\"[..], b"x", b"\\x", b"\\x5c", b"\\xff", b"x5", b"c", b"f", b"0", b"F", b"\"", b"\n", b"\r\n",
                        b"\xff", b"\xc3", b"\xc3\xa9", b"\xed\xa0\x80", b"\0", b",",
                    ]).prop_map(<[u8]>::to_vec),
                    proptest::collection::vec(proptest::prelude::any::<u8>(), 1..4),
                ],
                0..20,
            ),
        ) {
            let record = pieces.concat();
            let raw = raw_of(&record);
            proptest::prop_assert_eq!(record_of(&raw), record.as_slice());
            if let Ok(text) = std::str::from_utf8(&record)
                && !text.contains("\\x")
            {
                proptest::prop_assert_eq!(raw, text);
            }
        }

        #[test]
        fn a_csv_reader_gets_back_what_was_written(raw in "(?s).*", reason in "(?s).*") {
            let mut out = Vec::new();
            RejectWriter::default().append(&mut out, POSITION, "code", &reason, raw.as_bytes()).unwrap();
            let mut reader = csv::Reader::from_reader(out.as_slice());
            let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
            let reason = for_cell(&reason);
            let row = csv::StringRecord::from(vec!["812", "815", "40961", "code", &reason, &raw]);
            proptest::prop_assert_eq!(rows, [row]);
        }
    }
}
